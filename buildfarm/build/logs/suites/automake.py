"""automake's test drivers: ``PASS: name``, ``FAIL: name``, and counts after ``# TOTAL:`` for each directory."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import Result, Run, Suite

_TEST = re.compile(r"^(PASS|FAIL|SKIP|XFAIL|XPASS|ERROR): (\S+(?: \d+(?: - .*)?| - .*)?)(?: # .*)?$")
_COUNT = re.compile(r"^# (TOTAL|PASS|SKIP|XFAIL|FAIL|XPASS|ERROR): +(\d+)$")
_OLD_SUMMARY = re.compile(r"^(?:(\d+) of (\d+) tests? failed|All (\d+) tests? passed)")
_PYTHON = re.compile(r"^(?:FAIL|ERROR): \S+ \(")
WORDS: dict[str, Result] = {
    "PASS": "passed",
    "XFAIL": "passed",
    "SKIP": "skipped",
    "FAIL": "failed",
    "XPASS": "failed",
    "ERROR": "failed",
}


class Automake(Suite):
    """A run is one directory's. Between its tests and its summary it may print the failing tests' own logs, with
    headings that look like results: from the first counts on only counts are read."""

    kind = "automake"
    runs_others = True
    needles: ClassVar[tuple[bytes, ...]] = (
        *(f"\n{word}: ".encode() for word in WORDS),
        *(f"\n# {word}:".encode() for word in ("TOTAL", *WORDS)),
        b"\nTestsuite summary ",
        b"\nAll ",
        b" tests failed",
        b" test failed",
        b"\n\t\t=== ",
        b"\nTest run by ",
        b"\nTest Run By ",
    )

    def __init__(self) -> None:
        super().__init__()
        self.summed_up = False
        self.summary = False
        self.dejagnu = False
        self.proven: set[int] = set()  # the runs whose lines are automake's for sure

    def read(self, line: Line) -> int:
        """Count results until counts are stated; those of the last block, the summary's, end the run."""
        text = line.text
        if text.startswith(("Test run by ", "Test Run By ")):
            self.dejagnu = True
        elif text.startswith("\t\t=== ") and "Summary" in text:
            self.dejagnu = False
        elif text.startswith("Testsuite summary "):
            self.summary = True
        elif match := _COUNT.match(text):
            self._count(line, match[1], int(match[2][:12]))
        elif (match := _OLD_SUMMARY.match(text)) and self.run is not None:
            self._sum_up_old(self.open(line), match)
        elif (match := _TEST.match(text)) and not self.summed_up and not self.dejagnu and not _PYTHON.match(text):
            self._result(line, WORDS[match[1]], match[2])
        return 0

    def _result(self, line: Line, result: Result, name: str) -> None:
        run = self.open(line)
        if result != "failed" or run.fail(name, line):
            run.count(result)
        if not line.text.startswith("ERROR"):
            self.proven.add(id(run))

    def _count(self, line: Line, word: str, number: int) -> None:
        run = self.open(line)
        self.proven.add(id(run))
        if word == "TOTAL":
            self.summed_up = True
            run.stated = {}
        else:
            result = WORDS[word]
            run.state(result, run.stated.get(result, 0) + number)
        if word == "ERROR" and self.summary:
            self.end_run()

    def _sum_up_old(self, run: Run, match: re.Match[str]) -> None:
        if match[3]:
            run.state("passed", int(match[3][:12]))
        else:
            run.state("failed", int(match[1][:12]))
            run.state("passed", int(match[2][:12]) - int(match[1][:12]))
        self.end_run()

    def end_run(self) -> None:
        """This directory's tests are done."""
        self.close()
        self.summed_up = self.summary = False

    def is_run(self, run: Run) -> bool:
        """``ERROR: word`` alone is said by many a program."""
        return id(run) in self.proven and super().is_run(run)
