"""Python's unittest: ``FAIL: test_x (module.Class.test_x)``, then ``Ran 5 tests`` and ``FAILED (failures=1)``."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import Suite

_TEST = re.compile(r"^(?:FAIL|ERROR|UNEXPECTED SUCCESS): (?P<test>[\w.]+) \((?P<where>[\w.<>]+)\)")
_RAN = re.compile(r"^Ran (\d+) tests? in ")
_END = re.compile(r"^(?:OK|FAILED|NO TESTS RAN)(?: \((?P<counts>[\w ]+=\d+(?:, [\w ]+=\d+)*)\))?$")


class Unittest(Suite):
    """A run ends with ``OK`` or ``FAILED``; a failing test is named with its module and class."""

    kind = "unittest"
    needles: ClassVar[tuple[bytes, ...]] = (
        b"\nFAIL: ",
        b"\nERROR: ",
        b"\nUNEXPECTED SUCCESS: ",
        b"\nRan ",
        b"\nOK",
        b"\nFAILED",
        b"\nNO TESTS RAN",
    )

    def __init__(self) -> None:
        super().__init__()
        self.ran = -1

    def read(self, line: Line) -> int:
        """Note names that failed, and the counts at the end."""
        if match := _TEST.match(line.text):
            run = self.open(line)
            if run.fail(_name(match["test"], match["where"]), line):
                run.count("failed")
        elif match := _RAN.match(line.text):
            self.open(line)
            self.ran = int(match[1][:12])
        elif self.ran >= 0 and (match := _END.match(line.text)):
            self._sum_up(line, match["counts"] or "")
        return 0

    def _sum_up(self, line: Line, counts: str) -> None:
        said = {
            word: int(number[:12])
            for word, _, number in (part.rpartition("=") for part in counts.split(", "))
            if word
        }
        failed = said.get("failures", 0) + said.get("errors", 0) + said.get("unexpected successes", 0)
        skipped = said.get("skipped", 0)
        run = self.open(line)
        run.state("failed", failed)
        run.state("skipped", skipped)
        run.state("passed", max(0, self.ran - failed - skipped))
        self.ran = -1
        self.close()


def _name(test: str, where: str) -> str:
    """Before Python 3.11 the parentheses have no method in them; a module that cannot be loaded is a test, too."""
    if "._FailedTest" in where:
        return test
    return where if where == test or where.endswith(f".{test}") else f"{where}.{test}"
