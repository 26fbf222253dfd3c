"""What a machine is made of, as qemu's command line (pure)."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Accel = Literal["kvm", "tcg"]

GATEWAY_ADDRESS = "10.0.2.100"
CHANNELS = ("control", "input", "output", "error", "calls")
CONTROL_ID = "control-port"  # events that tell of its other end name it so
CREDENTIAL = "buildfarm.firstboot"
LAN_SLOT = "lan-slot"
PROGRAMS = {"amd64": "qemu-system-x86_64", "i386": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}
MACHINE_TYPES = {"amd64": "q35", "i386": "q35", "arm64": "virt"}
# What an image's boot loader is started by where it wants UEFI; a machine of type virt knows nothing else.
UEFI_FIRMWARE = {
    "amd64": Path("/usr/share/ovmf/OVMF.fd"),
    "arm64": Path("/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"),
}
# A BIOS that finds nothing to start resets the machine a second later, which ends it; else it stands for ever.
GIVE_UP = ("-boot", "reboot-timeout=1000")
# What of a PC nobody here has a use for, and a boot spends time on.
WITHOUT = {"q35": ("smm=off", "sata=off", "smbus=off", "vmport=off", "usb=off")}


@dataclass(frozen=True)
class Hardware:
    """What a machine has, and may use up at most: memory in MiB, processors, disk in GiB, a screen; with ``lan`` a
    slot for a card on the network of a suite's machines."""

    memory_mib: int = 512
    cpus: int = 1
    disk_gib: int = 8
    screen: bool = False
    lan: bool = False


@dataclass(frozen=True)
class Disk:
    """The image's disk, which is never written to. ``kernel`` None: the firmware boots it."""

    path: Path
    format: str
    kernel: Path | None = None
    initrd: Path | None = None
    append: str = ""
    firmware: Literal["bios", "uefi"] = "bios"


@dataclass(frozen=True)
class Descriptors:
    """The numbers of the sockets that qemu inherits: QMP, the console, the shell, one for each channel."""

    qmp: int
    console: int
    shell: int
    channels: Mapping[str, int]


@dataclass(frozen=True)
class Build:
    """All that decides a machine's command line.

    ``memory_file`` is where its memory lies; with ``memory_shared`` it is written there (a snapshot in the
    making), else the machine has a copy of its own on write. ``incoming`` waits for a migration stream.
    ``credentials`` is a file that qemu reads: it has a token in it, which no argument list may show.
    ``smbios_serial`` is shown in one: where cloud-init finds its seed, which nobody can ask for but this machine.
    ``held``: it does not run before it is told to.
    """

    name: str
    architecture: str
    accel: Accel
    hardware: Hardware
    disk: Disk
    gateway: Path
    descriptors: Descriptors
    credentials: str = ""
    smbios_serial: str = ""
    address: str = ""
    memory_file: Path | None = None
    memory_shared: bool = False
    incoming: bool = False
    held: bool = False


def hardware_address(random: bytes) -> str:
    """A locally administered unicast address in qemu's range, of three random bytes."""
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in random[:3])


def cpu_model(architecture: str, accel: Accel) -> str:
    """The processor a machine gets."""
    if accel == "kvm":
        return "host"
    # Under emulation a plain processor boots in two thirds of the time that one with every extension takes.
    return {"amd64": "qemu64", "i386": "qemu64", "arm64": "cortex-a57"}.get(architecture, "max")


def argv(build: Build) -> list[str]:
    """qemu's arguments for a machine."""
    hardware = build.hardware
    machine = MACHINE_TYPES.get(build.architecture, "virt")
    is_pc = machine == "q35"
    return [
        PROGRAMS.get(build.architecture, f"qemu-system-{build.architecture}"),
        "-name",
        f"{build.name},debug-threads=on",
        "-nodefaults",
        "-no-user-config",
        "-machine",
        ",".join((machine, "memory-backend=ram", *WITHOUT.get(machine, ()), *_firmware_console(build.disk))),
        "-accel",
        "kvm" if build.accel == "kvm" else "tcg,thread=multi",
        "-cpu",
        cpu_model(build.architecture, build.accel),
        "-smp",
        str(hardware.cpus),
        "-m",
        f"{hardware.memory_mib}M",
        "-object",
        _memory(build),
        "-display",
        "none",
        *(["-device", "VGA"] if hardware.screen else []),
        *(["-device", f"pcie-root-port,id={LAN_SLOT},chassis=1"] if hardware.lan else []),
        "-rtc",
        "base=utc,clock=host",
        # A reset that nobody asked for ends the machine, and is told apart from a shutdown; a panic stops it.
        "-action",
        "reboot=shutdown,shutdown=poweroff,panic=exit-failure",
        "-device",
        "pvpanic" if is_pc else "pvpanic-pci",
        # A copy of a machine that slept gets another number here: its kernel then seeds its random numbers anew.
        *(["-device", "vmgenid,guid=auto"] if is_pc else []),
        "-object",
        "rng-random,id=entropy,filename=/dev/urandom",
        "-device",
        "virtio-rng-pci,rng=entropy",
        *_disk(build),
        *_network(build),
        *_wires(build.descriptors),
        *_boot(build),
        *(["-incoming", "defer"] if build.incoming else []),
        *(["-S"] if build.held else []),
    ]


def _firmware_console(disk: Disk) -> tuple[str, ...]:
    """So that a PC's BIOS, and a boot loader that prints by it, are seen on the serial console."""
    return ("graphics=off",) if disk.kernel is None and disk.firmware == "bios" else ()


def _memory(build: Build) -> str:
    size = f"size={build.hardware.memory_mib}M"
    if build.memory_file is None:
        return f"memory-backend-ram,id=ram,{size}"
    shared = "on" if build.memory_shared else "off"
    return f"memory-backend-file,id=ram,{size},mem-path={escape(str(build.memory_file))},share={shared}"


def _disk(build: Build) -> list[str]:
    # snapshot=on: what the machine writes goes to a file that qemu unlinks as it makes it.
    snapshot = "off" if build.memory_shared else "on"
    drive = f"if=none,id=disk,file={escape(str(build.disk.path))},format={build.disk.format},snapshot={snapshot}"
    return [
        "-drive",
        f"{drive},cache=unsafe,discard=unmap,detect-zeroes=unmap",
        "-device",
        # Where a firmware looks for a boot loader: here, and nowhere else.
        "virtio-blk-pci,drive=disk" + (",bootindex=1" if build.disk.kernel is None else ""),
    ]


def _network(build: Build) -> list[str]:
    forward = way_out(build.gateway)
    address = f",mac={build.address}" if build.address else ""
    return [
        "-netdev",
        f"user,id=net,restrict=on,ipv6=off,{forward}",
        "-device",
        f"virtio-net-pci,netdev=net,romfile={address}",
    ]


def _wires(fds: Descriptors) -> list[str]:
    words = ["-chardev", f"socket,id=qmp,fd={fds.qmp}", "-mon", "chardev=qmp,mode=control"]
    words += ["-chardev", f"socket,id=console,fd={fds.console}", "-serial", "chardev:console"]
    words += ["-device", "virtio-serial-pci,max_ports=8"]
    words += ["-chardev", f"socket,id=shell,fd={fds.shell}", "-device", "virtconsole,chardev=shell"]
    for name in CHANNELS:
        words += ["-chardev", f"socket,id={name},fd={fds.channels[name]}"]
        named = f",id={CONTROL_ID}" if name == "control" else ""
        words += ["-device", f"virtserialport,chardev={name},name=org.buildfarm.{name}{named}"]
    return words


def _boot(build: Build) -> list[str]:
    words = []
    if build.disk.kernel is not None:
        words += ["-kernel", str(build.disk.kernel), "-append", kernel_words(build)]
        if build.disk.initrd is not None:
            words += ["-initrd", str(build.disk.initrd)]
    elif (firmware := uefi_firmware(build.architecture, build.disk)) is not None:
        words += ["-bios", str(firmware)]
    elif build.disk.firmware == "bios":
        words += GIVE_UP
    if build.credentials:
        words += ["-smbios", f"type=11,path={escape(build.credentials)}"]
    if build.smbios_serial:
        words += ["-smbios", f"type=1,serial={escape(build.smbios_serial)}"]
    return words


def uefi_firmware(architecture: str, disk: Disk) -> Path | None:
    """The file of the firmware that such a disk is started by; None for one that comes with qemu."""
    if disk.kernel is not None or (disk.firmware == "bios" and MACHINE_TYPES.get(architecture) == "q35"):
        return None
    return UEFI_FIRMWARE.get(architecture)


def credential_text(content: str) -> bytes:
    """What the file of ``credentials`` holds: one systemd credential, as an SMBIOS string."""
    value = base64.b64encode(content.encode()).decode()
    return f"io.systemd.credential.binary:{CREDENTIAL}={value}".encode()


def kernel_words(build: Build) -> str:
    """The kernel's command line.

    An emulated machine's processor counts the host's ticks, and how fast they are the kernel finds out while the
    host may give the machine no time: its clock then ran twice as fast as ours. The HPET has a rate of its own.
    """
    pc = MACHINE_TYPES.get(build.architecture) == "q35"
    steady = " tsc=unstable clocksource=hpet" if build.accel == "tcg" and pc else ""
    return f"{build.disk.append}{steady}"


def way_out(gateway: Path) -> str:
    """The guest's only way out, as a part of ``-netdev user``: one address and port, which lead to this socket."""
    # qemu splits the command at blanks, as a shell would, and runs no shell.
    # -N: the guest's end of a connection is passed on, so that none is kept for what waits for nothing.
    return f"guestfwd=tcp:{GATEWAY_ADDRESS}:80-cmd:nc -N -U {escape(shlex.quote(str(gateway)))}"


def escape(value: str) -> str:
    """A value inside one of qemu's comma-separated lists."""
    return value.replace(",", ",,")
