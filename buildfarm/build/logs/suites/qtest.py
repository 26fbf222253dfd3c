"""Qt Test: ``FAIL!  : Class::method() why``, and ``Totals: 3 passed, 1 failed``."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.suites.base import LineSuite, Result, Run


class QtTest(LineSuite):
    """A run is one test class."""

    kind = "Qt Test"
    needles: ClassVar[tuple[bytes, ...]] = (
        b"\nPASS   : ",
        b"\nFAIL!  : ",
        b"\nSKIP   : ",
        b"\nXPASS  : ",
        b"\nTotals: ",
    )
    results = re.compile(r"^(?P<result>PASS|FAIL!|SKIP|XPASS) +: (?P<name>\w+::[\w:]+\([^)]*\))")
    ends = re.compile(r"^Totals: (?P<passed>\d+) passed, (?P<failed>\d+) failed, (?P<skipped>\d+) skipped")
    words: ClassVar[dict[str, Result]] = {
        "PASS": "passed",
        "FAIL!": "failed",
        "XPASS": "failed",
        "SKIP": "skipped",
    }

    def sum_up(self, run: Run, match: re.Match[str]) -> None:
        """What ``Totals:`` says."""
        for result in ("passed", "failed", "skipped"):
            run.state(result, int(match[result][:12]))
