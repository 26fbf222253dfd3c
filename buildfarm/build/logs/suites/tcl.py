"""Tcl's tcltest: ``==== name description FAILED``, and a line of totals."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import Suite

_TEST = re.compile(r"^==== (?P<name>\S+) .*FAILED$")
_TOTAL = re.compile(r"^\S+:\tTotal\t(\d+)\tPassed\t(\d+)\tSkipped\t(\d+)\tFailed\t(\d+)")


class TclTest(Suite):
    """A run ends with its totals; what a failing test was is between two lines that name it."""

    kind = "tcltest"
    needles: ClassVar[tuple[bytes, ...]] = (b"\n==== ", b"\tTotal\t")

    def read(self, line: Line) -> int:
        """Take a test's line or the totals."""
        if match := _TEST.match(line.text):
            run = self.open(line)
            if run.fail(match["name"], line):
                run.count("failed")
        elif match := _TOTAL.match(line.text):
            run = self.open(line)
            run.state("passed", int(match[2][:12]))
            run.state("skipped", int(match[3][:12]))
            run.state("failed", int(match[4][:12]))
            self.close()
        return 0
