"""meson test: ``2/7 suite / name  FAIL  0.01s``, and its list of counts."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import LineSuite, Result, Run

_WORDS: dict[str, Result] = {
    "OK": "passed",
    "EXPECTEDFAIL": "passed",
    "SKIP": "skipped",
    "FAIL": "failed",
    "TIMEOUT": "failed",
    "ERROR": "failed",
    "INTERRUPT": "failed",
    "UNEXPECTEDPASS": "failed",
}


_DUMP_BEGINS = "Log of Meson test suite run on "
_DUMP_ENDS = "Timeout: "


class Meson(LineSuite):
    """A run ends where its log file is named. A package that shows that file tells the same run again."""

    kind = "meson test"
    runs_others = True
    needles: ClassVar[tuple[bytes, ...]] = (
        *(f" {word} ".encode() for word in _WORDS),
        b"\nFull log written to ",
        f"\n{_DUMP_BEGINS}".encode(),
        f"\n{_DUMP_ENDS}".encode(),
    )
    results = re.compile(
        r"^ *(?P<index>\d+)/\d+ +(?P<name>\S.*?) +(?P<result>" + "|".join(_WORDS) + r") +\d+\.\d+ ?s\b"
    )
    ends = re.compile(r"^Full log written to ")
    words = _WORDS

    def __init__(self) -> None:
        super().__init__()
        self.told: Run | None = None  # the run whose log file is being shown

    def read(self, line: Line) -> int:
        """Take a line; all of a log file that is shown belongs to the run that it is of, and is known."""
        if line.text.startswith(_DUMP_BEGINS) and self.runs:
            self.told = self.runs[-1]
        if self.told is None:
            return super().read(line)
        self.told.last_line = line.number
        if line.text.startswith(_DUMP_ENDS):
            self.told = None
        return 0
