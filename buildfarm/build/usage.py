"""What the processes of a build hold, read from outside: memory, and files that no directory names any more.

A build's processes belong to ids that are nobody's. Who made their user namespace may look at their memory all
the same, but not at what they have open: for that a tool is sent into their namespace, and reads the host's /proc
there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from buildfarm import process

LOOK_TIMEOUT_S = 300
BLOCK_BYTES = 512
SEGMENT_RESIDENT, SEGMENT_SWAPPED = 14, 15  # columns of /proc/sysvipc/shm
_RESIDENT = re.compile(rb"^(?:Rss|Pss_)(Anon|Shmem):\s+(\d+) kB", re.MULTILINE)


def resident_bytes(pid: int) -> tuple[int, int]:
    """What a process has in memory for itself, and what it may share, files on disk aside; 0 when it is gone."""
    return _resident(pid, "status")


def share_bytes(pids: Iterable[int]) -> tuple[int, int]:
    """The same of processes together, with each page counted once. It is dear: the kernel looks at each page."""
    own = shared = 0
    for pid in pids:
        of_one = _resident(pid, "smaps_rollup")
        if of_one == (0, 0):  # gone, or not ours to see
            of_one = resident_bytes(pid)[0], 0
        own, shared = own + of_one[0], shared + of_one[1]
    return own, shared


def shared_by_all_bytes() -> int:
    """The memory of the whole machine that is shared, or in memory as files."""
    found = re.search(r"^Shmem:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def unmapped_bytes(pids: Sequence[int]) -> int:
    """The shared memory that processes hold whether or not they look at it: files of memory, System V segments."""
    return nameless_bytes(pids, memory_device()) + _segments_bytes(pids)


def memory_device() -> int:
    """The device of all memory that is shared without a name in a file system."""
    fd = os.memfd_create("device")
    try:
        return os.fstat(fd).st_dev
    finally:
        os.close(fd)


def nameless_bytes(pids: Sequence[int], device: int) -> int:
    """What the files of a device take that these processes have open and no directory names; each counts once."""
    if not pids:
        return 0
    opened = (f"/proc/{pid}/fd" for pid in pids)
    wanted = ("-maxdepth", "1", "-type", "f", "-links", "0", "-printf", r"%D %i %b\n")
    files = {}
    for line in _tell(pids, ["find", "-L", *opened, *wanted]):
        if len(line) == 3 and all(map(str.isdecimal, line)):
            where, inode, blocks = map(int, line)
            files[where, inode] = blocks
    return sum(blocks for (where, _), blocks in files.items() if where == device) * BLOCK_BYTES


def _segments_bytes(pids: Sequence[int]) -> int:
    """The System V segments of a build; those of our own namespace are none of it."""
    if not _way_in(pids):
        return 0
    rows = [one for one in _tell(pids, ["cat", "/proc/sysvipc/shm"])[1:] if len(one) > SEGMENT_SWAPPED]
    return sum(int(one[SEGMENT_RESIDENT]) + int(one[SEGMENT_SWAPPED]) for one in rows)


def _resident(pid: int, file: str) -> tuple[int, int]:
    try:
        text = Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:
        return 0, 0
    found = {name: int(kib) << 10 for name, kib in _RESIDENT.findall(text)}
    return found.get(b"Anon", 0), found.get(b"Shmem", 0)


def _tell(pids: Sequence[int], argv: Sequence[str]) -> list[list[str]]:
    """The words of a tool's lines, run where it may see what these processes have."""
    # Its exit status says no more than that some of them have ended meanwhile.
    ran = process.run([*_way_in(pids), *argv], timeout_s=LOOK_TIMEOUT_S)
    return [line.split() for line in ran.text.splitlines()]


def _way_in(pids: Sequence[int]) -> list[str]:
    """The command that leads into the namespace of the first of these that is in another one than we are."""
    ours = Path("/proc/self/ns/user").stat().st_ino
    for pid in pids:
        try:
            theirs = Path(f"/proc/{pid}/ns/user").stat().st_ino
        except OSError:  # gone, or the program at the border, which nobody may look at
            continue
        if theirs != ours:
            return ["nsenter", f"--target={pid}", "--user", "--ipc", "--"]
    return []
