"""The initial RAM disk: busybox, the few drivers between a kernel and its disk, and a short init; nothing else.

It is made on the host from what the image's tarball holds, in less than a second, and a machine is through with it
in a tenth of a second; the distribution's own is 20 times as large.
"""

from __future__ import annotations

import lzma
import re
import sys
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import FarmTrouble
from buildfarm.vm.image_recipe import INITRD_INIT

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BUSYBOX = (Path("/bin/busybox"), Path("/usr/bin/busybox"))
# What a machine needs to find its disk; and what it has in any case, so that udev need not look for it.
MODULES = (
    *("virtio_pci", "virtio_blk", "ext4"),
    *("virtio_rng", "virtio_net", "virtio_console", "qemu_fw_cfg", "pvpanic_mmio", "pvpanic_pci", "vmgenid"),
)
KERNEL = re.compile(r"\./boot/vmlinu[xz]-(.+)")
MODULE = re.compile(r"\./(?:usr/)?lib/modules/([^/]+)/(.+)")


@dataclass(frozen=True)
class KernelParts:
    """A kernel out of a root's tarball: its version, the kernel itself, module files by their path below
    lib/modules/VERSION, and the words of modules.dep."""

    version: str
    kernel: bytes
    modules: Mapping[str, bytes]
    order: tuple[str, ...]


def read_kernel(tarball: Path) -> KernelParts:
    """The kernel in a root, with the modules of ``MODULES`` that it has, in the order they load.

    Raises FarmTrouble when there is not exactly one kernel.
    """
    with tarfile.open(tarball) as archive:
        members = {member.name: member for member in archive if member.isfile()}
        found = {match[1]: name for name in members if (match := KERNEL.fullmatch(name))}
        if len(found) != 1:
            raise FarmTrouble(f"one kernel is wanted in an image, and there are {len(found)}: {', '.join(found)}")
        ((version, kernel_name),) = found.items()
        names = {match[2]: name for name in members if (match := MODULE.fullmatch(name)) and match[1] == version}

        def read(name: str) -> bytes:
            file = archive.extractfile(members[name])
            return b"" if file is None else file.read()

        dependencies = parse_dependencies(read(names["modules.dep"]).decode()) if "modules.dep" in names else {}
        order = load_order(MODULES, dependencies)
        return KernelParts(version, read(kernel_name), {path: read(names[path]) for path in order}, order)


def parse_dependencies(text: str) -> dict[str, tuple[str, ...]]:
    """``modules.dep``: a module's path, and the paths of all it needs, the last of them to be loaded first."""
    lines = (line.partition(":") for line in text.splitlines())
    return {path: tuple(needed.split()) for path, _, needed in lines if path}


def load_order(wanted: Iterable[str], dependencies: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The paths to load for the modules named, each after what it needs; one that is not there is built in."""
    by_name = {module_name(path): path for path in dependencies}
    order: dict[str, None] = {}
    for name in wanted:
        if (path := by_name.get(name)) is not None:
            order |= dict.fromkeys((*reversed(dependencies[path]), path))
    return tuple(order)


def module_name(path: str) -> str:
    """``virtio_rng`` of ``kernel/drivers/char/hw_random/virtio-rng.ko.xz``."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def make_initrd(parts: KernelParts) -> bytes | None:
    """The RAM disk's bytes, or None when this kernel needs none: it has its disk's drivers built in."""
    if not any(module_name(path) in ("virtio_pci", "virtio_blk", "ext4") for path in parts.order):
        return None
    names = [f"{number:02}-{module_name(path)}.ko" for number, path in enumerate(parts.order)]
    files = {
        f"modules/{name}": (0o100644, _plain(path, parts.modules[path]))
        for name, path in zip(names, parts.order, strict=True)
    }
    directories = dict.fromkeys(("bin", "dev", "modules", "proc", "root"), (16877, b""))
    return pack_cpio(
        {
            **directories,
            "bin/busybox": (0o100755, read_busybox()),
            "init": (0o100755, INITRD_INIT.read_bytes()),
            "modules/order": (0o100644, "".join(f"{name}\n" for name in names).encode()),
            **files,
        }
    )


def read_busybox() -> bytes:
    """The host's static busybox."""
    for path in BUSYBOX:
        if path.is_file():
            content = path.read_bytes()
            if b"/ld-linux" not in content[:4096]:
                return content
    raise FarmTrouble(
        "there is no static busybox", resolution="Install the package busybox-static (`make install` does)."
    )


def pack_cpio(entries: Mapping[str, tuple[int, bytes]]) -> bytes:
    """A cpio archive in the kernel's form ("newc"), of name: (mode, content); all is root's and of no date."""
    packed = bytearray()
    for number, (name, (mode, content)) in enumerate([*entries.items(), ("TRAILER!!!", (0, b""))], 1):
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        packed += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        packed += bytes(-len(packed) % 4) + content
        packed += bytes(-len(packed) % 4)
    return bytes(packed)


def _plain(path: str, content: bytes) -> bytes:
    if path.endswith(".xz"):
        return lzma.decompress(content)
    if path.endswith(".zst"):
        return zstd.decompress(content)
    return content
