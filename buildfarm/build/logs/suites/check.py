"""Check, the C library: ``50%: Checks: 2, Failures: 1, Errors: 0`` and ``t.c:3:F:case:test:0: why``."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import MAX_NAMES, Suite

_COUNTS = re.compile(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)$")
_TEST = re.compile(r"^[^:]+:\d+:[FE]:(?P<case>[^:]*):(?P<name>[^:]+):\d+: ")


class Check(Suite):
    """A run begins with its counts; the tests that failed follow."""

    kind = "Check"
    needles: ClassVar[tuple[bytes, ...]] = (b"%: Checks: ",)

    def read(self, line: Line) -> int:
        """Take the counts, or a test that failed."""
        if match := _COUNTS.match(line.text):
            self.close()
            run = self.open(line)
            failed = int(match[2][:12]) + int(match[3][:12])
            run.state("failed", failed)
            run.state("passed", int(match[1][:12]) - failed)
            return min(failed, MAX_NAMES)
        if self.run is not None and (match := _TEST.match(line.text)):
            self.open(line).fail(f"{match['case']}.{match['name']}", line)
            return 3  # a message may have more than one line
        return 0
