"""What a kind of test suite is: it reads the lines it knows and makes of them runs with counts and names.

A **run** is one call of a suite's program, from the first line of it to the last. A kind that ``runs_others``
(CTest, automake, prove, ...) repeats what the programs under it print; what other kinds read within such a run is
the same tests again and is left out (``whole_runs``).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from buildfarm.build.logs.lines import CONTEXT_AFTER, CONTEXT_BEFORE, Line, numbered_lines

Result = Literal["passed", "failed", "skipped"]
MAX_RUNS = 2000
MAX_NAMES = 500
NAME_LIMIT = 200
WITH_CONTEXT = 5  # a first one may yet be left out, as the parent of another


@dataclass(frozen=True)
class FailedTest:
    """A test that failed: its name, the line that said so first, and for a run's first ones their context."""

    name: str
    line_number: int
    text: str
    context: tuple[tuple[int, str], ...] = ()

    def numbered_lines(self) -> tuple[str, ...]:
        """Its line and the context, with their numbers, for people."""
        return numbered_lines(self.line_number, self.text, self.context)


@dataclass(frozen=True)
class Counts:
    """How many tests passed, failed and were skipped. What failed as expected passed."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)


@dataclass(frozen=True)
class SuiteRun:
    """One run of a suite: its kind, the lines it stands in, its counts, and which tests failed.

    ``is_cut``: more failed than are named.
    """

    kind: str
    first_line: int
    last_line: int
    counts: Counts
    failed: tuple[FailedTest, ...] = ()
    is_cut: bool = False


@dataclass
class Run:
    """A run that is being read. ``stated`` are counts that the suite itself sums up: they win over those seen."""

    first_line: int
    last_line: int
    seen: dict[Result, int] = field(default_factory=lambda: {"passed": 0, "failed": 0, "skipped": 0})
    stated: dict[Result, int] = field(default_factory=dict)
    failed: dict[str, FailedTest] = field(default_factory=dict)
    is_cut: bool = False

    def count(self, result: Result, number: int = 1) -> None:
        """So many tests more had this result."""
        self.seen[result] += number

    def state(self, result: Result, number: int) -> None:
        """The suite says that so many tests in all had this result."""
        self.stated[result] = max(0, min(number, 1 << 40))

    def fail(self, name: str, line: Line, text: str = "") -> bool:
        """A test failed, as the line says (``text`` where it says more); returns whether it was not yet known."""
        name = name.strip()[:NAME_LIMIT]
        if name in self.failed:
            return False
        if len(self.failed) >= MAX_NAMES:
            self.is_cut = True
        else:
            context = () if len(self.failed) >= WITH_CONTEXT else line.around(CONTEXT_BEFORE, CONTEXT_AFTER)
            self.failed[name] = FailedTest(name, line.number, text or line.text.strip(), context)
        return True

    def forget(self, name: str) -> None:
        """The test did not fail after all."""
        self.failed.pop(name, None)

    def counts(self) -> Counts:
        """What was stated, and what was seen where nothing was stated."""
        known = self.stated or self.seen
        return Counts(*(known.get(result, 0) for result in self.seen))


class Suite(ABC):
    """A kind of test suite. One object reads one log."""

    kind: ClassVar[str]
    needles: ClassVar[tuple[bytes, ...]]
    runs_others: ClassVar[bool] = False

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.run: Run | None = None

    @abstractmethod
    def read(self, line: Line) -> int:
        """Take a line; returns how many of the following it wants whatever they say."""

    def open(self, line: Line) -> Run:
        """The run that the line belongs to, begun with it where none is open."""
        if self.run is None:
            self.run = Run(line.number, line.number)
            if len(self.runs) >= MAX_RUNS:
                self.run = self.runs.pop()
                self._restate(self.run)
            self.runs.append(self.run)
        self.run.last_line = line.number
        return self.run

    def close(self) -> None:
        """The run that is open has ended."""
        self.run = None

    def is_run(self, run: Run) -> bool:
        """Whether a run that was read is one: by default when any test was seen."""
        return run.counts() != Counts() or bool(run.failed)

    def finished(self) -> tuple[SuiteRun, ...]:
        """The runs that were read, in their order."""
        return tuple(self._finished(run) for run in self.runs if self.is_run(run))

    def _finished(self, run: Run) -> SuiteRun:
        failed = tuple(run.failed.values())
        return SuiteRun(self.kind, run.first_line, run.last_line, run.counts(), failed, run.is_cut)

    @staticmethod
    def _restate(run: Run) -> None:
        """Beyond ``MAX_RUNS`` all further runs become one: what was stated of the last is taken as seen."""
        if run.stated:
            run.seen = {result: run.stated.get(result, 0) for result in run.seen}
            run.stated = {}


class LineSuite(Suite):
    """A suite with a line a test: ``results`` match it (groups ``name``, ``result``), ``words`` tell the result.

    ``begins`` and ``ends`` match the first and the last line of a run.
    """

    results: ClassVar[re.Pattern[str]]
    words: ClassVar[dict[str, Result]]
    begins: ClassVar[re.Pattern[str] | None] = None
    ends: ClassVar[re.Pattern[str] | None] = None

    def read(self, line: Line) -> int:
        """Count a test's line, begin or end a run."""
        if self.begins is not None and self.begins.search(line.text):
            self.close()
            self.open(line)
        elif match := self.results.search(line.text):
            if (result := self.words.get(match["result"])) is not None:
                self.take(self.open(line), line, self.name_of(match), result)
        elif self.ends is not None and (match := self.ends.search(line.text)):
            self.sum_up(self.open(line), match)
            self.close()
        return 0

    def name_of(self, match: re.Match[str]) -> str:
        """A test's name, from its line."""
        return match["name"]

    def take(self, run: Run, line: Line, name: str, result: Result) -> None:
        """Note one test's result: a name that failed is counted once, however often it is said."""
        if result != "failed" or run.fail(name, line):
            run.count(result)

    def sum_up(self, run: Run, match: re.Match[str]) -> None:
        """Take the counts that the last line of a run states, where it does."""


def whole_runs(suites: Iterable[Suite], dumps: Sequence[tuple[int, int]] = ()) -> tuple[SuiteRun, ...]:
    """All runs of all kinds in the log's order, without those that stand within another kind's that runs them.

    ``dumps`` are the first and last lines of files shown in the log once more: what stands in them was told.
    """
    runs = [(suite.runs_others, run) for suite in suites for run in suite.finished()]
    outer = sorted([*dumps, *((run.first_line, run.last_line) for runs_others, run in runs if runs_others)])
    firsts = [first for first, _ in outer]
    reach: list[int] = []
    for _, last in outer:
        reach.append(max(last, reach[-1] if reach else 0))
    kept = []
    for runs_others, run in runs:
        at = bisect_right(firsts, run.last_line) - 1
        dumped = any(first <= run.first_line and run.last_line <= last for first, last in dumps)
        if not dumped and (runs_others or at < 0 or reach[at] < run.first_line):
            kept.append(run)
    return tuple(sorted(kept, key=lambda run: (run.first_line, run.last_line, run.kind)))


def without_parents(run: SuiteRun, separator: str = "/") -> SuiteRun:
    """The run without the names of tests that only failed because a test below them did."""
    names = {test.name for test in run.failed}
    parents = {name.rpartition(separator)[0] for name in names}
    return replace(run, failed=tuple(test for test in run.failed if test.name not in parents))
