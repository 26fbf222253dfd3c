"""Perl's prove and Test::Harness: ``t/a.t .. ok``, and a report of the files that failed."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import Suite

_FILE = re.compile(r"^(?P<name>\S+) \.{2,} ?(?P<rest>.*)$")
_REPORT = re.compile(
    r"^(?P<name>\S+) +\(Wstat: (?P<wstat>\d+)(?: \([^)]*\))? Tests: (?P<tests>\d+) Failed: (?P<failed>\d+)\)"
)
_TOTAL = re.compile(r"^Files=\d+, Tests=(?P<tests>\d+)")
_SKIPPED = re.compile(r"^skipped: ")


class Prove(Suite):
    """Tests are counted, and files are named: which tests of a file failed only its TAP tells, if at all.

    A file that ended badly with all its tests passed counts as one failure.
    """

    kind = "prove"
    runs_others = True
    needles: ClassVar[tuple[bytes, ...]] = (
        b" .. ",
        b" ... ",
        b"... ",
        b" (Wstat: ",
        b"\nFiles=",
        b"\nResult: ",
        b" ..\n",
        b"...\n",
    )

    def __init__(self) -> None:
        super().__init__()
        self.failed = 0
        self.skipped = 0

    def read(self, line: Line) -> int:
        """Take a file's line, one of the report, or the totals."""
        text = line.text
        if match := _REPORT.match(text):
            run = self.open(line)
            failed = int(match["failed"][:12]) or int(match["wstat"] != "0")
            self.failed += failed
            if failed:
                run.fail(match["name"], line)
        elif (match := _TOTAL.match(text)) and self.run is not None:
            run = self.open(line)
            run.state("failed", self.failed)
            run.state("skipped", self.skipped)
            run.state("passed", max(0, int(match["tests"][:12]) - self.failed))
        elif text.startswith("Result: ") and self.run is not None:
            self.open(line)
            self.close()
            self.failed = self.skipped = 0
        elif (match := _FILE.match(text)) and (match["name"].endswith(".t") or self.run is not None):
            self.open(line)
            self.skipped += bool(_SKIPPED.match(match["rest"]))
        return 0
