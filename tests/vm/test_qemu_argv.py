"""qemu's command line: what is in it for which machine, odd paths escaped, no secret shown."""

from __future__ import annotations

import base64
import re
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.vm.qemu import (
    CHANNELS,
    CONTROL_ID,
    Build,
    Descriptors,
    Disk,
    Hardware,
    argv,
    credential_text,
    escape,
    hardware_address,
    uefi_firmware,
)

DESCRIPTORS = Descriptors(3, 4, 5, {name: 6 + number for number, name in enumerate(CHANNELS)})
PLAIN = Build(
    "greet-1",
    "amd64",
    "tcg",
    Hardware(),
    Disk(Path("/cache/disk.qcow2"), "qcow2", Path("/cache/vmlinuz"), Path("/cache/initrd"), "console=ttyS0"),
    Path("/run/m/gateway.sock"),
    DESCRIPTORS,
    credentials="/dev/fd/9",
    address="52:54:00:01:02:03",
)
PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)


def values(words: list[str], option: str) -> list[str]:
    return [after for word, after in pairwise(words) if word == option]


def fields(value: str) -> list[str]:
    """A comma-separated list as qemu reads it: two commas are one of the value's own."""
    return [part.replace(",,", ",") for part in re.findall(r"(?:[^,]|,,)+", value)]


def test_a_machine_reaches_nothing_but_its_gateway() -> None:
    (net,) = values(argv(PLAIN), "-netdev")
    assert fields(net) == [
        "user",
        "id=net",
        "restrict=on",
        "ipv6=off",
        "guestfwd=tcp:10.0.2.100:80-cmd:nc -N -U /run/m/gateway.sock",
    ]


def test_a_machine_has_nothing_that_was_not_asked_for() -> None:
    words = argv(PLAIN)
    assert words[0] == "qemu-system-x86_64"
    assert "-nodefaults" in words
    assert "-no-user-config" in words
    assert values(words, "-display") == ["none"]
    assert values(words, "-m") == ["512M"]
    assert values(words, "-action") == ["reboot=shutdown,shutdown=poweroff,panic=exit-failure"]
    assert "pvpanic" in values(words, "-device")


def test_what_it_writes_goes_to_a_file_without_a_name() -> None:
    (drive,) = values(argv(PLAIN), "-drive")
    assert "snapshot=on" in fields(drive)
    (drive,) = values(argv(replace(PLAIN, memory_file=Path("/s/ram"), memory_shared=True)), "-drive")
    assert "snapshot=off" in fields(drive)


def test_a_copy_has_its_memory_to_itself() -> None:
    memory = next(value for value in values(argv(replace(PLAIN, memory_file=Path("/s/ram"))), "-object"))
    assert fields(memory) == ["memory-backend-file", "id=ram", "size=512M", "mem-path=/s/ram", "share=off"]


def test_the_control_ports_other_end_is_told_of_by_name() -> None:
    ports = [fields(value) for value in values(argv(PLAIN), "-device") if value.startswith("virtserialport")]
    assert [port[2] for port in ports] == [f"name=org.buildfarm.{name}" for name in CHANNELS]
    assert [f"id={CONTROL_ID}" in port for port in ports] == [name == "control" for name in CHANNELS]


@given(path=PATHS)
def test_a_path_stays_one_value_whatever_is_in_it(path: str) -> None:
    odd = Path("/cache") / path.lstrip("/")
    build = replace(PLAIN, disk=replace(PLAIN.disk, path=odd), memory_file=odd, gateway=odd)
    words = argv(build)
    (drive,) = values(words, "-drive")
    assert f"file={odd}" in fields(drive)
    assert f"mem-path={odd}" in fields(values(words, "-object")[0])
    (net,) = values(words, "-netdev")
    command = fields(net)[-1].partition("-cmd:")[2]
    assert shlex.split(command) == ["nc", "-N", "-U", str(odd)]


@given(st.text(max_size=60))
def test_an_escaped_value_reads_as_itself(value: str) -> None:
    assert fields(f"a=1,b={escape(value)}")[1:] == [f"b={value}"]


def test_no_secret_is_in_the_words() -> None:
    content = "mode=call\ntoken=very-secret\n"
    words = argv(PLAIN)
    assert not any("secret" in word or base64.b64encode(content.encode()).decode() in word for word in words)
    assert "type=11,path=/dev/fd/9" in values(words, "-smbios")
    assert base64.b64decode(credential_text(content).partition(b"=")[2]) == content.encode()


@pytest.mark.parametrize(
    ("architecture", "program", "machine", "panics"),
    [
        ("amd64", "qemu-system-x86_64", "q35", "pvpanic"),
        ("i386", "qemu-system-x86_64", "q35", "pvpanic"),
        ("arm64", "qemu-system-aarch64", "virt", "pvpanic-pci"),
        ("riscv64", "qemu-system-riscv64", "virt", "pvpanic-pci"),
    ],
)
def test_each_architecture_has_its_machine(architecture: str, program: str, machine: str, panics: str) -> None:
    words = argv(replace(PLAIN, architecture=architecture))
    assert words[0] == program
    assert fields(values(words, "-machine")[0])[0] == machine
    assert panics in values(words, "-device")


GIVEN = Disk(Path("/cache/disk.raw"), "raw")


def test_a_disk_that_a_bios_starts_has_the_bios_on_the_console_and_an_end_to_its_search() -> None:
    words = argv(
        replace(PLAIN, disk=GIVEN, credentials="", smbios_serial="ds=nocloud-net;s=http://a/b,c/", held=True)
    )
    assert "graphics=off" in fields(values(words, "-machine")[0])
    assert values(words, "-boot") == ["reboot-timeout=1000"]
    assert "virtio-blk-pci,drive=disk,bootindex=1" in values(words, "-device")
    assert [fields(value) for value in values(words, "-smbios")] == [
        ["type=1", "serial=ds=nocloud-net;s=http://a/b,c/"]
    ]
    assert "-S" in words
    assert not {"-kernel", "-append", "-initrd", "-bios"} & set(words)


def test_a_machine_with_a_kernel_of_its_own_is_as_it_was() -> None:
    words = argv(PLAIN)
    assert not {"-S", "-bios", "-boot"} & set(words)
    assert "graphics=off" not in fields(values(words, "-machine")[0])
    assert "virtio-blk-pci,drive=disk" in values(words, "-device")


@pytest.mark.parametrize(
    ("architecture", "firmware", "file"),
    [
        ("amd64", "bios", None),
        ("amd64", "uefi", "/usr/share/ovmf/OVMF.fd"),
        ("i386", "bios", None),
        ("arm64", "bios", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"),  # it has no other
        ("arm64", "uefi", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"),
    ],
)
def test_each_firmware_has_its_file(architecture: str, firmware: Any, file: str | None) -> None:
    disk = replace(GIVEN, firmware=firmware)
    assert uefi_firmware(architecture, disk) == (Path(file) if file else None)
    words = argv(replace(PLAIN, architecture=architecture, disk=disk))
    assert values(words, "-bios") == ([file] if file else [])
    assert uefi_firmware(architecture, replace(disk, kernel=Path("/vmlinuz"))) is None


def test_kvm_gets_the_hosts_processor() -> None:
    assert values(argv(replace(PLAIN, accel="kvm")), "-cpu") == ["host"]


@given(st.binary(min_size=3, max_size=3))
def test_addresses_are_of_one_card_each(random: bytes) -> None:
    address = hardware_address(random)
    assert address.startswith("52:54:00:")
    assert bytes.fromhex(address.replace(":", ""))[3:] == random
