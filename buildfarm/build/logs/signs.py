"""What a log says besides errors: unmet dependencies, a machine that failed, a build stopped for its silence."""

from __future__ import annotations

import re
from collections import deque

from buildfarm.build.logs.lines import Line

MAX_UNMET = 50
MAX_SIGNS = 8

_UNMET = re.compile(r"^\s*(?:\S+ : )?(?:Pre-)?Depends: (\S.*? but .+)$")
_SURE_UNMET = re.compile(
    r" but (?:\S+ is to be installed|\S+ is installed|it is not installable|it is a virtual package)$"
)
_STALLED = re.compile(r"^E: Build killed with signal \w+ after (\d+) minutes of inactivity")
# A test that provokes the error by /dev/full, or says that it went well, is no sign.
_PROVOKED = re.compile(r"/dev/full|^\s*(?:ok|PASS(?:ED)?|XFAIL)\b")
_COMPILER_KILLED = re.compile(r"(?:Killed|Terminated) signal terminated program|out of memory allocating \d+")
_KERNEL = re.compile(
    r"kernel BUG|BUG: (?:unable|soft lockup|Bad page)|self-detected stall|Out of memory: Kill|EXT4-fs error"
    r"|I/O error, dev "
)


class UnmetReader:
    """The build-dependencies that could not be installed, as apt words them."""

    needles = (b"Depends: ",)

    def __init__(self) -> None:
        self.unmet: dict[str, None] = {}

    def read(self, line: Line) -> int:
        """Keep what apt says of one dependency."""
        if (match := _UNMET.match(line.text)) and len(self.unmet) < MAX_UNMET:
            self.unmet[match[1]] = None
        return 0


def is_sure(unmet: str) -> bool:
    """Whether a dependency is missing for sure; of the rest only the archive's index can tell."""
    return bool(_SURE_UNMET.search(unmet))


class MachineReader:
    """Signs that the machine failed, not the package: a full disk, the kernel, memory.

    ``Killed`` alone is none: a test may kill itself. A compiler that was killed is one: nothing else kills it.
    """

    needles = (
        b"No space left on device",
        b"kernel BUG",
        b"BUG: ",
        b"self-detected stall",
        b"signal terminated program",
        b"out of memory allocating",
        b"Out of memory: Kill",
        b"virtual memory exhausted",
        b"EXT4-fs error",
        b"I/O error, dev ",
    )

    def __init__(self) -> None:
        self.first: list[tuple[int, str]] = []
        self.recent: deque[tuple[int, str]] = deque(maxlen=MAX_SIGNS)

    def read(self, line: Line) -> int:
        """Keep the first signs and the last."""
        text = line.text
        sign = not _PROVOKED.search(text) and (
            "No space left on device" in text
            or "virtual memory exhausted" in text
            or _COMPILER_KILLED.search(text)
            or _KERNEL.search(text)
        )
        if sign:
            kept = self.first if len(self.first) < MAX_SIGNS else self.recent
            kept.append((line.number, text.strip()))
        return 0

    def since(self, line_number: int) -> tuple[str, ...]:
        """The signs from a line on."""
        return tuple(text for number, text in (*self.first, *self.recent) if number >= line_number)[:MAX_SIGNS]


class MirrorReader:
    """apt's word that it could not fetch an index or a package."""

    needles = (
        b"\nW: Some index files failed",
        b"\nW: Failed to fetch ",
        b"\nE: Failed to fetch ",
        b"\nE: Unable to fetch ",
    )

    def __init__(self) -> None:
        self.signs: list[str] = []

    def read(self, line: Line) -> int:
        """Keep the first words of it."""
        if len(self.signs) < MAX_SIGNS:
            self.signs.append(line.text.strip())
        return 0


class StallReader:
    """sbuild's word that it stopped a build which said nothing for too long."""

    needles = (b"\nE: Build killed with signal ",)

    def __init__(self) -> None:
        self.minutes = 0

    def read(self, line: Line) -> int:
        """Keep how many minutes of silence it was."""
        if match := _STALLED.match(line.text):
            self.minutes = int(match[1][:9])
        return 0
