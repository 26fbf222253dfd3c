"""A machine's serial console: recorded with times, bounded, and read for how far the machine came."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

RECORD_LIMIT_BYTES = 16 << 20
LINE_LIMIT = 2000
KEPT_LINES = 200
# Colours, cursor movements, and the odd control character.
UNPRINTABLE = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b.|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]"
)
# What a console says on the way up, the furthest last.
MILESTONES = (
    ("the firmware", re.compile(r"SeaBIOS|UEFI|BdsDxe|iPXE|Booting from")),
    ("the boot loader", re.compile(r"GRUB|SYSLINUX|EXTLINUX|systemd-boot")),
    ("the kernel", re.compile(r"Linux version|Command line:|Decompressing Linux|^\[ *\d+\.\d+\] ")),
    ("the root file system", re.compile(r"EXT4-fs \(.*mounted filesystem|initrd: \S+ is mounted")),
    ("systemd", re.compile(r"systemd\[1\]: |Welcome to (?!GRUB).*!|Started |Reached target|Starting ")),
    ("the basic system", re.compile(r"Reached target.* [Bb]asic\S*|basic\.target")),
    (
        "all its services",
        re.compile(r"buildfarm: the system is up|Reached target.*(Multi-User|Graphical)|login:"),
    ),
)
TROUBLE = re.compile(
    r"cannot be mounted|Kernel panic|Unable to mount root|VFS: Cannot open root|Attempted to kill init|not syncing"
    r"|No bootable device|Boot failed|UEFI Interactive Shell|emergency mode|Failed to (?:mount|execute)"
    r"|Out of memory|BUG:|Oops|soft lockup"
)


class Console:
    """The console as it is written: each line goes to ``path`` with the seconds since the machine began."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._clock = clock
        self._began = clock()
        self._file = path.open("wb")
        self._line = bytearray()
        self._tail: deque[str] = deque(maxlen=KEPT_LINES)
        self._room = RECORD_LIMIT_BYTES
        self._reached = -1
        self._trouble = ""
        self._lock = threading.Lock()

    def feed(self, data: bytes) -> None:
        """Take in what the machine wrote."""
        with self._lock:
            for piece in data.splitlines(keepends=True):
                self._line += piece
                if piece.endswith((b"\n", b"\r")) or len(self._line) > LINE_LIMIT:
                    self._end_line()

    def _end_line(self) -> None:
        text = clean(bytes(self._line).decode("utf-8", "backslashreplace"))
        self._line.clear()
        if not text.strip():
            return
        text = text[:LINE_LIMIT]
        self._tail.append(text)
        if self._reached < len(MILESTONES) - 1:
            self._reached = max(self._reached, furthest((text,)))
        if not self._trouble and TROUBLE.search(text):
            self._trouble = text.strip()
        if self._room > 0:
            line = f"{self._clock() - self._began:8.3f}  {text}\n".encode("utf-8", "backslashreplace")
            self._room -= len(line)
            self._write(line if self._room > 0 else b"[... the console said more than is kept]\n")

    def _write(self, data: bytes) -> None:
        """Record it; where there is no room on the host the record ends, and the machine goes on being watched."""
        try:
            self._file.write(data)
        except OSError:
            self._room = 0

    def close(self) -> None:
        """Write out what is left."""
        with self._lock:
            if self._line:
                self._end_line()
            with contextlib.suppress(OSError):
                self._file.close()

    def flush(self) -> None:
        """What was said so far stands in the file."""
        with self._lock:
            if not self._file.closed:
                with contextlib.suppress(OSError):
                    self._file.flush()

    def last_lines(self, count: int = 15) -> tuple[str, ...]:
        """The last lines, as they were said."""
        with self._lock:
            return tuple([*self._tail, *self._unfinished()][-count:])

    def _unfinished(self) -> list[str]:
        """The line that has not come to its end, if there is one: a prompt never does."""
        text = clean(bytes(self._line).decode("utf-8", "backslashreplace"))
        return [text] if text.strip() else []

    @property
    def trouble(self) -> str:
        """The first line that spoke of serious trouble (a panic, no root file system), or ""."""
        return self._trouble

    @property
    def how_far(self) -> str:
        """How far the machine came, in words: "nothing", "the kernel", ... "all its services"."""
        with self._lock:
            reached = max(self._reached, furthest(self._unfinished()))
        return MILESTONES[reached][0] if reached >= 0 else "nothing"


def clean(text: str) -> str:
    """A console's line without what would act on a terminal that shows it."""
    return UNPRINTABLE.sub("", text).rstrip()


def furthest(lines: Iterable[str]) -> int:
    """The number of the furthest milestone that any of the lines tells of; -1 for none."""
    return max((n for line in lines for n, (_, sign) in enumerate(MILESTONES) if sign.search(line)), default=-1)
