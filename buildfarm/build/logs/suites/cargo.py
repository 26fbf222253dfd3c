"""cargo test: ``test module::name ... FAILED``, and ``test result:`` for each program."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.suites.base import LineSuite, Result, Run


class CargoTest(LineSuite):
    """A run is one test program's (or the documentation's)."""

    kind = "cargo test"
    needles: ClassVar[tuple[bytes, ...]] = (b"\ntest ", b"\nrunning ")
    begins = re.compile(r"^running \d+ tests?$")
    results = re.compile(r"^test (?P<name>\S.*?) \.\.\. (?P<result>ok|FAILED|ignored)(?:, .*)?$")
    ends = re.compile(
        r"^test result: \w+\. (?P<passed>\d+) passed; (?P<failed>\d+) failed; (?P<ignored>\d+) ignored"
    )
    words: ClassVar[dict[str, Result]] = {"ok": "passed", "FAILED": "failed", "ignored": "skipped"}

    def name_of(self, match: re.Match[str]) -> str:
        """Without the line number that a documentation's example is named by."""
        return re.sub(r" \(line \d+\)", "", match["name"])

    def sum_up(self, run: Run, match: re.Match[str]) -> None:
        """What ``test result:`` says."""
        run.state("passed", int(match["passed"][:12]))
        run.state("failed", int(match["failed"][:12]))
        run.state("skipped", int(match["ignored"][:12]))
