"""What a build may use, and who looks that it uses no more: time, silence, memory, disk, log, processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildfarm.build import usage
from buildfarm.build.namespaces import Orders, enter
from buildfarm.errors import FarmTrouble
from buildfarm.process import clean_environment, descendants

RESERVE_BYTES = 2 << 30  # of the disk, that no build is given
MEMORY_PARTS = (4, 5)  # of the memory that is available, a build may take
DISK_LOOK_EACH_S = 5.0
FILES_LIMIT = 4_000_000
LOOK_SHARE = 20  # looking takes at most one part in so many of the time
MEMORY_LOOK_AT_LEAST_S = 15.0  # but memory is looked at as often as this,
DISK_LOOK_AT_LEAST_S = 60.0  # and a disk that is nearly full
MEASURE_TIMEOUT_S = 300


@dataclass(frozen=True)
class BuildLimits:
    """What a build may use before it is stopped: seconds in all, seconds without a word in its log, memory and
    disk of all its processes and files together (0: what the machine can spare), log, processes."""

    timeout_s: int = 4 * 3600
    silence_s: int = 3600
    memory_mib: int = 0
    disk_mib: int = 0
    log_mib: int = 500
    processes: int = 16384


class LimitWatch:
    """Looks at a running build about every second, and says why it must end (see ``process.Watch``).

    The kernel bounds what it can bound for an ordinary user: each process' files and the number of processes. What
    all processes hold together, and what all their files take in ``scratch`` (None: they are in memory, and the
    mount has its own limit, ``in_memory_bytes``), is looked at from outside.
    """

    def __init__(
        self,
        limits: BuildLimits,
        scratch: Path | None,
        memory_available_bytes: int,
        in_memory_bytes: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._scratch = scratch
        self._clock = clock
        spare = memory_available_bytes * MEMORY_PARTS[0] // MEMORY_PARTS[1]
        self._memory_bytes = limits.memory_mib << 20 or spare
        self._in_memory_bytes = in_memory_bytes
        self._least_shared = usage.shared_by_all_bytes()
        self._next_look = 0.0
        self._next_disk_look = 0.0
        self._free_at_first = free_bytes(scratch) if scratch else 0
        self._files_at_first = _free_files(scratch) if scratch else 0
        self.disk_bytes = limits.disk_mib << 20 or max(0, self._free_at_first - RESERVE_BYTES)
        self.peak_memory_bytes = 0
        self.peak_disk_bytes = 0

    def __call__(self, pid: int, silent_s: float) -> str:
        """Why the build must end now; "" while it may go on."""
        if silent_s > self._limits.silence_s:
            return f"it has said nothing for {silent_s:.0f} s (silence_s)"
        began = self._clock()
        if began < self._next_look:
            return ""
        family = tuple(descendants(pid))
        why = self._look_at_memory(family)
        ended = self._clock()
        self._next_look = ended + min((ended - began) * LOOK_SHARE, MEMORY_LOOK_AT_LEAST_S)
        return why or self._look_at_disk(family)

    def _look_at_memory(self, family: Sequence[int]) -> str:
        each = [usage.resident_bytes(one) for one in family]
        held, shared = sum(own for own, _ in each), sum(shared for _, shared in each)
        shared_by_all = usage.shared_by_all_bytes()
        self._least_shared = min(self._least_shared, shared_by_all)
        grown = shared_by_all - self._least_shared  # by whomever, mapped or not
        if held + max(shared, grown) > self._memory_bytes:  # to count each page once is dear, and seldom needed
            held, mapped = usage.share_bytes(family)
            # Files in memory have their own limit, and may be mapped: a linker does so with all of them.
            held += max(mapped - self._in_memory_bytes, usage.unmapped_bytes(family))
        self.peak_memory_bytes = max(self.peak_memory_bytes, held)
        if held > self._memory_bytes:
            return f"its processes hold {held >> 20} MiB of memory, the limit is {self._memory_bytes >> 20} MiB"
        return ""

    def _look_at_disk(self, family: Sequence[int]) -> str:
        if self._scratch is None or self._clock() < self._next_disk_look:
            return ""
        self._next_disk_look = self._clock() + DISK_LOOK_EACH_S
        free = free_bytes(self._scratch)
        written = self._free_at_first - free  # by whomever: counting our own files is dear, and seldom needed
        self.peak_disk_bytes = max(self.peak_disk_bytes, written)
        made = self._files_at_first - _free_files(self._scratch)
        if written <= self.disk_bytes and free >= RESERVE_BYTES // 2 and made <= FILES_LIMIT:
            return ""
        began = self._clock()
        used, files = measure_tree(self._scratch)
        used += usage.nameless_bytes(family, self._scratch.stat().st_dev)
        wait_s = min((self._clock() - began) * LOOK_SHARE, DISK_LOOK_AT_LEAST_S)
        self._next_disk_look = self._clock() + DISK_LOOK_EACH_S + wait_s
        self.peak_disk_bytes = used
        if used > self.disk_bytes:
            return f"its files take {used >> 20} MiB of disk, the limit is {self.disk_bytes >> 20} MiB"
        if free < RESERVE_BYTES // 2 and used > RESERVE_BYTES:
            return f"its files take {used >> 20} MiB of disk, and only {free >> 20} MiB are left for all"
        return f"it made {files} files, the limit is {FILES_LIMIT}" if files > FILES_LIMIT else ""


def measure_tree(directory: Path) -> tuple[int, int]:
    """What the files below a directory of our subordinate ids take of the disk: bytes, and how many there are."""
    return _measure(directory, "-B1"), _measure(directory, "--inodes")


def _measure(directory: Path, option: str) -> int:
    orders = Orders(("du", "-s", option, directory.name), clean_environment(), directory=directory.parent)
    ended = enter(orders, timeout_s=MEASURE_TIMEOUT_S)
    first = ended.finished.text.split()[:1]
    return int(first[0]) if first and first[0].isdigit() else 0


def free_bytes(path: Path) -> int:
    """How much an ordinary user may still write where ``path`` is."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _free_files(path: Path) -> int:
    return os.statvfs(path).f_favail


def require_room(path: Path, wanted_bytes: int) -> None:
    """Raise FarmTrouble where the disk has not that much: a build would be stopped for no fault of its own."""
    free = free_bytes(path)
    if free - RESERVE_BYTES < wanted_bytes:
        raise FarmTrouble(
            f"the disk is nearly full: {free >> 20} MiB left, this build wants {wanted_bytes >> 20} MiB "
            f"beside the {RESERVE_BYTES >> 20} MiB that stay free",
            where=str(path.parent),
            resolution="Free room on the farm's disk; it is tried again.",
        )
