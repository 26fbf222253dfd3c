# The guest that tells whether this host's KVM runs guests: into long mode with paging, some millions of turns of
# a loop, and the answer on the isa-debug-exit port (qemu then exits 2 * 0x21 + 1 = 67).
#
# qemu loads it as a multiboot kernel: 32-bit protected mode, no paging. The tables below map the first GiB by
# pages of 2 MiB, in place. It is small but no toy: hosts were seen that run a 32-bit payload, and nothing real.

        .set    MAGIC, 0x1BADB002
        .set    FLAGS, 0x00010000               # the addresses below are given
        .set    BASE, 0x00100000
        .set    TABLES, 0x00200000
        .set    TURNS, 20000000

        .code32
        .globl  _start
start:
header: .long   MAGIC, FLAGS, -(MAGIC + FLAGS)
        .long   BASE, BASE, 0, 0, BASE + (_start - start)

_start: cli
        movl    $TABLES, %edi                   # three tables, empty at first
        xorl    %eax, %eax
        movl    $(3 * 4096 / 4), %ecx
        rep stosl
        movl    $(TABLES + 0x1003), TABLES      # level 4: present, writable
        movl    $(TABLES + 0x2003), TABLES + 0x1000
        movl    $(TABLES + 0x2000), %edi        # level 2: 512 large pages
        movl    $0x83, %eax
1:      movl    %eax, (%edi)
        addl    $0x200000, %eax
        addl    $8, %edi
        cmpl    $(TABLES + 0x3000), %edi
        jne     1b

        movl    %cr4, %eax
        orl     $0x20, %eax                     # PAE
        movl    %eax, %cr4
        movl    $TABLES, %eax
        movl    %eax, %cr3
        movl    $0xC0000080, %ecx               # EFER: long mode
        rdmsr
        orl     $0x100, %eax
        wrmsr
        movl    %cr0, %eax
        orl     $0x80000000, %eax               # paging
        movl    %eax, %cr0
        lgdt    BASE + (gdt_pointer - start)
        ljmp    $0x08, $(BASE + (long_mode - start))

        .code64
long_mode:
        movl    $TURNS, %ecx
        xorl    %eax, %eax
        movabsq $0x9E3779B97F4A7C15, %rbx
2:      addq    %rbx, %rax
        rolq    $7, %rax
        decl    %ecx
        jnz     2b
        movl    $0x21, %eax
        outl    %eax, $0xF4
3:      hlt
        jmp     3b

        .balign 8
gdt:    .quad   0
        .quad   0x00AF9A000000FFFF              # code, 64 bits
gdt_pointer:
        .word   gdt_pointer - gdt - 1
        .long   BASE + (gdt - start)
