"""Machines asleep: booted, waiting for orders, and kept with their memory, to be woken as often as wanted.

    snapshots/KEY/ram        the memory, page for page; a woken machine maps it and copies what it writes to
    snapshots/KEY/state      the devices, as qemu migrates them (all but the memory)
    snapshots/KEY/disk.qcow2 what had been written to the disk, over the image's; woken machines write elsewhere
    snapshots/KEY.lock       shared while a machine is woken from it, exclusive while it is made or removed

KEY is made of all that decides them: the image, the hardware, how it is run, and qemu's version. Two machines
woken from one snapshot begin with the same memory, so the first thing each is told is who it is, what time it is,
and what no other knows (see the agent's WAKE).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from buildfarm import process
from buildfarm.build.bootstrap import locked
from buildfarm.errors import FarmTrouble
from buildfarm.files import empty_directory, remove_tree, write_json
from buildfarm.vm.images import Image
from buildfarm.vm.machine import Machine, MachineEnded
from buildfarm.vm.qemu import CHANNELS, Accel, Build, Descriptors, Disk, Hardware, argv

SNAPSHOT_VERSION = 1
SETTLE_LIMIT_S = 120.0
MIGRATE_LIMIT_S = 120.0
# The memory is a file already, shared while it is made, mapped for a copy on write afterwards.
WITHOUT_MEMORY = {"capabilities": [{"capability": "x-ignore-shared", "state": True}]}
# What a woken machine will want at once is read into its memory before it falls asleep.
WARM_UP = (
    "systemctl is-system-running --wait >/dev/null; apt-cache gencaches >/dev/null 2>&1; "
    "apt-get --simulate --quiet install bash >/dev/null 2>&1; dpkg --audit >/dev/null; "
    "systemctl --failed >/dev/null; sync"
)


@dataclass(frozen=True)
class SnapshotSpec:
    """What a snapshot is of."""

    image: Image
    hardware: Hardware
    accel: Accel
    qemu_version: str

    @property
    def key(self) -> str:
        """Its name in the cache."""
        content = [
            SNAPSHOT_VERSION,
            self.image.directory.name,
            self.qemu_version,
            argv(self._build),
            WARM_UP,
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def _build(self) -> Build:
        """The machine, but for what is each one's own; the image by its real path, however one came there."""
        image = replace(self.image, directory=self.image.directory.resolve())
        disk, wires = boot_disk(Path("disk"), image), Descriptors(3, 4, 5, dict.fromkeys(CHANNELS, 6))
        return Build("any", image.architecture, self.accel, self.hardware, disk, Path("gateway"), wires)


@dataclass(frozen=True)
class Snapshot:
    """A machine asleep."""

    directory: Path
    image: Image

    @property
    def ram(self) -> Path:
        """Its memory."""
        return self.directory / "ram"

    @property
    def state(self) -> Path:
        """Its devices."""
        return self.directory / "state"

    @property
    def disk(self) -> Disk:
        """Its disk, and the kernel that a reboot starts."""
        return boot_disk(self.directory / "disk.qcow2", self.image)


def snapshots_directory(cache: Path) -> Path:
    """Where they lie."""
    return cache / "snapshots"


@contextlib.contextmanager
def use_snapshot(
    spec: SnapshotSpec, cache: Path, make: Callable[[SnapshotSpec, Path], None]
) -> Iterator[Snapshot]:
    """The snapshot of ``spec``, made by ``make`` where there is none yet; kept in use for the ``with`` block.

    ``make`` is given the directory to fill. What it raises is passed on.
    """
    directory = snapshots_directory(cache)
    place, lock = directory / spec.key, directory / f"{spec.key}.lock"
    while True:
        with locked(lock, shared=True):
            if (place / "snapshot.json").is_file():
                os.utime(place / "snapshot.json")
                yield Snapshot(place, spec.image)
                return
        with locked(lock):
            if not (place / "snapshot.json").is_file():
                remove_tree(place)
                making = empty_directory(directory / f".making-{spec.key}")
                making.chmod(0o700)
                try:
                    make(spec, making)
                    record = {"image": spec.image.directory.name, "made_at": time.time(), "accel": spec.accel}
                    write_json(making / "snapshot.json", record)
                    making.rename(place)
                finally:
                    remove_tree(making)


def prepare(spec: SnapshotSpec, making: Path) -> Disk:
    """Make the files that a machine is booted with to be put to sleep; returns its disk."""
    with (making / "ram").open("wb") as ram:
        ram.truncate(spec.hardware.memory_mib << 20)
    disk = making / "disk.qcow2"
    process.run(
        [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            spec.image.disk.resolve(),
            "-F",
            spec.image.disk_format,
            disk,
        ],
        timeout_s=60,
        check=True,
    )
    return boot_disk(disk, spec.image)


def boot_disk(path: Path, image: Image) -> Disk:
    """A disk over an image's, started as that is."""
    return Disk(path, "qcow2", image.kernel, image.initrd, image.append, image.firmware)


def put_to_sleep(machine: Machine, making: Path) -> None:
    """Take the snapshot of a machine that waits; raises FarmTrouble. The machine is of no use afterwards."""
    try:
        machine.run(["sh", "-c", WARM_UP], timeout_s=SETTLE_LIMIT_S)
    except MachineEnded as error:
        raise FarmTrouble(
            f"a machine to be kept asleep did not boot: {error.ending.in_words}",
            details=machine.evidence().in_words,
        ) from error
    qmp = machine.qmp
    qmp.execute("migrate-set-capabilities", {"capabilities": [{"capability": "x-ignore-shared", "state": True}]})
    with (making / "state").open("wb") as state:
        qmp.execute("getfd", {"fdname": "state"}, descriptors=[state.fileno()])
        qmp.execute("migrate", {"uri": "fd:state"})
        deadline = time.monotonic() + MIGRATE_LIMIT_S
        while (status := qmp.execute("query-migrate").get("status")) != "completed":
            if status in ("failed", "cancelled") or time.monotonic() > deadline:
                raise FarmTrouble(f"the machine could not be put to sleep: its migration is {status}")
            time.sleep(0.02)


def wake_from(machine: Machine, snapshot: Snapshot) -> None:
    """Let a qemu that waits for a machine take the one that sleeps; raises FarmTrouble."""
    machine.qmp.execute("migrate-set-capabilities", WITHOUT_MEMORY)
    with snapshot.state.open("rb") as state:
        machine.qmp.execute("getfd", {"fdname": "state"}, descriptors=[state.fileno()])
        machine.qmp.execute("migrate-incoming", {"uri": "fd:state"})
    deadline = time.monotonic() + MIGRATE_LIMIT_S
    while not machine.qmp.execute("query-status").get("running"):
        if time.monotonic() > deadline:
            raise FarmTrouble("the machine did not wake up")
        time.sleep(0.01)


@dataclass(frozen=True)
class Removed:
    """A snapshot that was removed: its key, and what it took on the disk."""

    key: str
    size_bytes: int


def collect_snapshots(cache: Path, images: set[str], *, max_age_s: float, now: float) -> list[Removed]:
    """Remove snapshots of images that are gone (``images`` are the names of those there), and those not used for
    ``max_age_s``; what is in use stays. Returns what went."""
    gone = []
    directory = snapshots_directory(cache)
    for record in directory.glob("*/snapshot.json"):
        place = record.parent
        image = json.loads(record.read_text(encoding="utf-8")).get("image")
        if image in images and now - record.stat().st_mtime <= max_age_s:
            continue
        with (directory / f"{place.name}.lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            size_bytes = sum(512 * path.stat().st_blocks for path in place.iterdir())
            remove_tree(place)
            gone.append(Removed(place.name, size_bytes))
    return gone
