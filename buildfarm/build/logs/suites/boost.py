"""Boost.Test: ``t.cc(4): error: in "suite/case": ...``, and how many cases were run."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import Suite

_BEGIN = re.compile(r"^Running (\d+) test cases?\.\.\.")
_FAILED = re.compile(r'error: in "(?P<name>[^"]+)"')
_END = re.compile(r"^\*\*\* (?:\d+ failures? (?:is|are) detected|No errors detected)")


class BoostTest(Suite):
    """Checks are what it counts; here a case with a check that failed is one test that failed."""

    kind = "Boost.Test"
    needles: ClassVar[tuple[bytes, ...]] = (b'error: in "', b"\nRunning ", b"*** ")

    def __init__(self) -> None:
        super().__init__()
        self.cases = 0

    def read(self, line: Line) -> int:
        """Take the beginning, a check that failed, or the end."""
        if match := _BEGIN.match(line.text):
            self.close()
            self.open(line)
            self.cases = int(match[1][:12])
        elif self.run is not None and (match := _FAILED.search(line.text)):
            run = self.open(line)
            if run.fail(match["name"], line):
                run.count("failed")
        elif self.run is not None and _END.match(line.text):
            run = self.open(line)
            run.count("passed", max(0, self.cases - run.seen["failed"]))
            self.close()
        return 0
