"""MySQL's and MariaDB's mysql-test-run: ``main.foo  [ fail ]``."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import LineSuite, Result, Run


class MysqlTestRun(LineSuite):
    """A test that passes when it is tried again (``retry-pass``) has not failed."""

    kind = "mysql-test-run"
    needles: ClassVar[tuple[bytes, ...]] = (b" [ ", b"\nCompleted: ")
    results = re.compile(
        r"^(?:\[ *\d+%\] +)?(?P<name>[\w-]+(?:\.[\w.-]+)+(?: '[^']*')?) +(?:w\d+ +)?"
        r"\[ (?P<result>pass|fail|skipped|disabled|retry-pass|retry-fail|exp-fail) +\]"
    )
    ends = re.compile(r"^Completed: ")
    words: ClassVar[dict[str, Result]] = {
        "pass": "passed",
        "retry-pass": "passed",
        "exp-fail": "passed",
        "fail": "failed",
        "retry-fail": "failed",
        "skipped": "skipped",
        "disabled": "skipped",
    }

    def take(self, run: Run, line: Line, name: str, result: Result) -> None:
        """Note one result, and take back a failure that passed when tried again."""
        if result == "passed" and name in run.failed:
            run.forget(name)
            run.count("failed", -1)
        super().take(run, line, name, result)
