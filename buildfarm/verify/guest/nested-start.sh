# nested-start.sh PLACE MEMORY-MIB PROGRAM MACHINE CPU CONSOLE ACCEL: boot the image at PLACE/image in a machine inside
# this one, which goes on in the background, its console in PLACE/console. It has a disk (virtio), a network card
# (virtio), and a network of its own, whose way out is this machine's.
export LC_ALL=C
place=$1 memory=$2 program=$3 machine=$4 cpu=$5 console=$6 accel=$7
cd "$place" || exit
: >console
: >qemu.log
if [ "$(head --bytes=4 image)" = "$(printf 'QFI\373')" ]; then format=qcow2; else format=raw; fi
set -- "$program" -name image -nodefaults -no-user-config -machine "$machine" -accel tcg -cpu "$cpu" -m "${memory}M" \
    -display none -no-reboot -serial "file:$place/console" \
    -drive "if=virtio,file=$place/image,format=$format,cache=unsafe" \
    -netdev user,id=net,net=10.0.3.0/24 -device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci
# Emulated twice, a second of work takes minutes. The image's clock goes by what it has done, so that nothing in it
# runs out of time.
[ "$accel" = kvm ] || set -- "$@" -icount shift=3
if [ -f kernel ]; then
    append="console=$console root=/dev/vda rw panic=-1"
    [ ! -f append ] || append=$(tr '\n' ' ' <append)
    set -- "$@" -kernel kernel -append "$append"
    [ ! -f initrd ] || set -- "$@" -initrd initrd
fi
exec systemd-run --quiet --unit=buildfarm-nested --property=WorkingDirectory="$place" \
    --property=StandardOutput="append:$place/qemu.log" --property=StandardError="append:$place/qemu.log" "$@"
