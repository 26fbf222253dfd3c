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
        b".t .",
        b"\n#   Failed test",
        b" (Wstat: ",
        b"\nFiles=",
        b"\nResult: ",
    )

    def __init__(self) -> None:
        super().__init__()
        self.tests_failed = 0
        self.files_failed = 0
        self.skipped = 0
        self.first: Line | None = None

    def read(self, line: Line) -> int:
        """Take a file's line, the first word of a failure, one line of the report, or the totals."""
        text = line.text
        if match := _REPORT.match(text):
            self._report(line, match)
        elif (match := _TOTAL.match(text)) and self.run is not None:
            run = self.open(line)
            run.state("failed", self.tests_failed + self.files_failed)
            run.state("skipped", self.skipped)
            run.state("passed", max(0, int(match["tests"][:12]) - self.tests_failed))
        elif text.startswith("Result: ") and self.run is not None:
            self.open(line)
            self.close()
            self.tests_failed = self.files_failed = self.skipped = 0
            self.first = None
        elif text.startswith("#   Failed test"):
            self.first = self.first or line.pinned()
        elif (match := _FILE.match(text)) and (match["name"].endswith(".t") or self.run is not None):
            self.open(line)
            self.skipped += bool(_SKIPPED.match(match["rest"]))
        return 0

    def _report(self, line: Line, match: re.Match[str]) -> None:
        run = self.open(line)
        failed = int(match["failed"][:12])
        self.tests_failed += failed
        self.files_failed += not failed and match["wstat"] != "0"
        if failed or match["wstat"] != "0":
            run.fail(match["name"], self.first or line)
            self.first = None
