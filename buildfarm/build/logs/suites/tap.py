"""TAP, the Test Anything Protocol: ``ok 1 - name``, ``not ok 2 - name``; BATS, tape and many more print it."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import Result, Run, Suite

_TEST = re.compile(
    r"^(?P<not>not )?ok\b(?: +(?P<number>\d+))?(?: +- +| +(?![-+] ))?(?P<name>[^#]*)(?:# *(?P<word>\w+))?"
)
_PLAN = re.compile(r"^1\.\.\d+\b")
_REGRESS = re.compile(r"^(?:not )?ok \d+ +[-+] \S+ +\d+ ms$")


class Tap(Suite):
    """TAP at the beginning of lines; what is indented are subtests, and the line above them counts."""

    kind = "TAP"
    needles: ClassVar[tuple[bytes, ...]] = (b"\nok ", b"\nnot ok ", b"\n1..")

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.planned = False

    def read(self, line: Line) -> int:
        """A numbered test of a lower number than before begins another run, and so does a plan after tests."""
        if _PLAN.match(line.text):
            self._plan(line)
            return 0
        match = _TEST.match(line.text)
        if match is None or _REGRESS.match(line.text):
            return 0
        if not match["number"] and not line.text.partition("ok")[2].startswith(" - "):
            return 0
        number = min(int(match["number"][:9]), 1 << 30) if match["number"] else self.number + 1
        if number <= self.number:
            self.close()
            self.planned = False
        self.number = number
        self._take(self.open(line), line, match)
        return 0

    def _plan(self, line: Line) -> None:
        """A plan stands before a program's tests or after them."""
        after = bool(self.number) and not self.planned
        if after:
            self.open(line)
        if self.number:
            self.close()
        self.number = 0
        self.planned = not after

    @staticmethod
    def _take(run: Run, line: Line, match: re.Match[str]) -> None:
        word = (match["word"] or "").lower()
        result: Result = "passed"
        if word.startswith("skip"):
            result = "skipped"
        elif match["not"] and word != "todo":
            result = "failed"
            run.fail(match["name"].strip() or f"test {match['number']}", line)
        run.count(result)
