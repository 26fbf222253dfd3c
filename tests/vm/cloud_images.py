"""A bootable image as clouds have them, made without root's powers: a partition table, a boot loader for either
firmware, and a system with cloud-init that grows into its disk."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import BinaryIO

from buildfarm import process
from buildfarm.build.apt_sources import find_sources, read_host
from buildfarm.build.bootstrap import (
    Bootstrap,
    bootstrap,
    locked,
    native_architecture,
    open_directory,
    own_directory,
    scratch_directory,
)
from buildfarm.build.namespaces import run_as_owner

TOOLS = ("mcopy", "mkfs.fat", "sfdisk", "syslinux")
MBR = Path("/usr/lib/syslinux/mbr/mbr.bin")
# As Debian's own cloud images have them.
PACKAGES = (
    "ca-certificates",
    "cloud-guest-utils",
    "cloud-init",
    "fdisk",
    "iproute2",
    "linux-image-cloud-amd64",
    "netplan.io",
    "systemd-boot-efi",
    "systemd-sysv",
    "udev",
)
HOOKS = (
    'chroot "$1" systemctl --quiet enable systemd-networkd.service',
    'printf "LABEL=cloud-root / ext4 defaults 0 1\\n" > "$1/etc/fstab"',
    'rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1"/etc/apt/sources.list.d/* "$1/etc/hostname"',
    # Where no machine of a farm's gets to.
    'printf "deb https://mirror.invalid/debian stable main\\n" > "$1/etc/apt/sources.list"',
    ': > "$1/etc/machine-id"',
)
ROOT_SCRIPT = r"""
umask 022
mkdir fs boot
tar --extract --directory fs --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*'
cp fs/boot/vmlinuz-* boot/vmlinuz
cp fs/boot/initrd.img-* boot/initrd
cp fs/usr/lib/systemd/boot/efi/systemd-bootx64.efi boot/
chmod -R a+rX boot
truncate --size=1600M root.raw
features=has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,extra_isize
MKE2FS_CONFIG=/dev/null mkfs.ext4 -q -F -b 4096 -I 256 -O none,$features -L cloud-root -d fs root.raw
rm -rf fs
"""
# Apart: syslinux looks for its own descriptors in /proc.
DISK_SCRIPT = r"""
words='root=LABEL=cloud-root console=ttyS0'
mkdir -p tree/EFI/BOOT tree/loader/entries
cp boot/vmlinuz boot/initrd tree/
cp boot/systemd-bootx64.efi tree/EFI/BOOT/BOOTX64.EFI
printf 'default linux.conf\ntimeout 0\n' >tree/loader/loader.conf
printf 'title Linux\nlinux /vmlinuz\ninitrd /initrd\noptions %s\n' "$words" >tree/loader/entries/linux.conf
printf 'DEFAULT linux\nPROMPT 0\nLABEL linux\n LINUX /vmlinuz\n INITRD /initrd\n APPEND %s\n' "$words" \
    >tree/syslinux.cfg
truncate --size=112M boot.raw
mkfs.fat -F 32 -h 2048 -n BOOT boot.raw >/dev/null
mcopy -i boot.raw -s tree/* ::/
syslinux --install boot.raw
truncate --size=1714M disk.raw
printf 'label: dos\nstart=1MiB, size=112MiB, type=ef, bootable\nstart=113MiB, size=1600MiB, type=83\n' |
    sfdisk --quiet disk.raw
dd if="$1" of=disk.raw conv=notrunc status=none
dd if=boot.raw of=disk.raw bs=1M seek=1 conv=notrunc status=none
dd if=root.raw of=disk.raw bs=1M seek=113 conv=notrunc,sparse status=none
qemu-img convert -f raw -O qcow2 disk.raw "$2"
"""


def missing_tools() -> list[str]:
    """What is not installed of what makes such an image."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    return absent + [str(path) for path in (MBR,) if not path.is_file()]


def make_cloud_image(series: str, cache: Path, log: BinaryIO) -> Path:
    """The image as a qcow2 file below ``cache``, where it is kept."""
    key = hashlib.sha256(repr((series, PACKAGES, HOOKS, ROOT_SCRIPT, DISK_SCRIPT)).encode()).hexdigest()[:16]
    directory = cache / "cloud-images-for-tests"
    disk = directory / f"{key}.qcow2"
    with locked(directory / f"{key}.lock"):
        if not disk.is_file():
            with own_directory(directory / f".making-{key}") as making, scratch_directory(making) as scratch:
                architecture = native_architecture()
                sources = find_sources(series, architecture, None, read_host())
                order = Bootstrap(series, architecture, "minbase", sources, PACKAGES, HOOKS, again="the test")
                tarball = scratch / "root.tar"
                bootstrap(order, tarball, scratch, log)
                place = open_directory(scratch / "disk", "making")
                with tarball.open("rb") as content:
                    run_as_owner(("sh", "-euc", ROOT_SCRIPT), place, timeout_s=900, input_file=content)
                made = making / "disk.qcow2"
                process.run(("sh", "-euc", DISK_SCRIPT, "sh", MBR, made), cwd=place, timeout_s=900, check=True)
                made.rename(disk)
    return disk
