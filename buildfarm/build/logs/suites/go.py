"""go test: ``--- FAIL: TestName/case (0.00s)``, then ``FAIL  package  0.1s`` for each package."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import Result, Suite, SuiteRun, without_parents

_TEST = re.compile(r"^ *--- (?P<result>PASS|FAIL|SKIP): (?P<name>\S+)")
_PACKAGE = re.compile(r"^(?:FAIL|ok  |\?   )\t(?P<package>\S+)\t")
_WORDS: dict[str, Result] = {"PASS": "passed", "FAIL": "failed", "SKIP": "skipped"}


class GoTest(Suite):
    """A run is one package's, which only its last line names; without -v the tests that passed are not told."""

    kind = "go test"
    needles: ClassVar[tuple[bytes, ...]] = (
        b"--- ",
        b"\nFAIL\t",
        b"\nok  \t",
        b"\n?   \t",
    )

    def read(self, line: Line) -> int:
        """Take a test's line, or a package's."""
        if match := _TEST.match(line.text):
            run = self.open(line)
            result = _WORDS[match["result"]]
            if result != "failed" or run.fail(match["name"], line):
                run.count(result)
        elif (match := _PACKAGE.match(line.text)) and self.run is not None:
            run = self.open(line)
            package = match["package"]
            run.failed = {name: replace(test, name=f"{package}.{name}") for name, test in run.failed.items()}
            self.close()
        return 0

    def finished(self) -> tuple[SuiteRun, ...]:
        """A test that failed only by a case below it is not named."""
        return tuple(without_parents(run) for run in super().finished())
