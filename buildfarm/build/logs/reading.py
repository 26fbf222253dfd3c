"""One bounded pass over a build log, and all that it says as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, BinaryIO, Generic, TypeVar

from buildfarm.build.logs.errors import ErrorReader, Found
from buildfarm.build.logs.lines import (
    CONTEXT_AFTER,
    CONTEXT_BEFORE,
    LINE_LIMIT,
    Line,
    Reader,
    numbered_lines,
    scan,
)
from buildfarm.build.logs.rules import EXPLAINS_TESTS, Rank
from buildfarm.build.logs.signs import MachineReader, MirrorReader, StallReader, UnmetReader
from buildfarm.build.logs.suites.base import Counts, FailedTest, SuiteRun, whole_runs
from buildfarm.build.logs.suites.registry import KINDS
from buildfarm.build.logs.summary import Summary, SummaryReader

ERROR_LINES = 8
MAX_FAILING_TESTS = 1000
ONCE_MORE = "It did not fit into memory: once more, on disk."
"""The line that a second build of the same begins with: what stands before it counts no more."""

R = TypeVar("R", bound=Reader)


@dataclass(frozen=True)
class FirstError:
    """The first error of a log: its line, of what kind it is, what it says without its place, the lines around it.

    ``general``: the same words from another package mean the same cause. ``extra`` are further words of the cause.
    """

    line_number: int
    text: str
    kind: str
    message: str
    general: bool = False
    context: tuple[tuple[int, str], ...] = ()
    extra: tuple[str, ...] = ()

    def numbered_lines(self) -> tuple[str, ...]:
        """Its line and those around it, with their numbers, for people."""
        return numbered_lines(self.line_number, self.text, self.context)


@dataclass(frozen=True)
class LogReading:
    """What a log says: its summary, unmet dependencies, lines that name errors, signs of a failing machine
    and of a failing mirror.

    ``build_began``: the package's own build was reached; all before it is the farm's and the mirror's.
    ``first_error`` is the cause as far as the log tells it, ``errors`` are it and those after it. ``suites`` are
    the runs of test suites of known kinds. ``step`` is the last step that was begun (``dh_auto_test``).
    ``stalled_minutes``: it was stopped after saying nothing for so long; 0 when it was not. ``lines``: how many.
    """

    summary: Summary | None
    unmet: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    machine: tuple[str, ...] = ()
    mirror: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    build_began: bool = False
    first_error: FirstError | None = None
    suites: tuple[SuiteRun, ...] = ()
    step: str = ""
    stalled_minutes: int = 0
    lines: int = 0

    @property
    def package(self) -> str:
        """The source package that was built; "" when the log does not say."""
        return self.summary.values.get("Package", "") if self.summary is not None else ""

    @property
    def version(self) -> str:
        """The source version that was built; "" when the log does not say."""
        return self.summary.values.get("Source-Version", "") if self.summary is not None else ""

    @property
    def failing_tests(self) -> tuple[str, ...]:
        """The tests that failed by name, each once, in the log's order; at most ``MAX_FAILING_TESTS``."""
        return tuple(dict.fromkeys(test.name for test in failed_tests(self.suites)))[:MAX_FAILING_TESTS]

    @property
    def names_all_failing(self) -> bool:
        """Whether ``failing_tests`` are all that the suites name."""
        return not any(run.is_cut for run in self.suites) and len(self.failing_tests) < MAX_FAILING_TESTS

    @property
    def tests(self) -> Counts | None:
        """What all suites counted together; None when none of a known kind was run."""
        return reduce(add, (run.counts for run in self.suites)) if self.suites else None


def read_build_log(file: BinaryIO) -> LogReading:
    """Read a build log from where the file stands to its end. Any bytes will do; memory is bounded."""
    summary, unmet, mirror = _Anew(SummaryReader), _Anew(UnmetReader), _Anew(MirrorReader)
    machine, stall, errors = _Anew(MachineReader), _Anew(StallReader), _Anew(ErrorReader)
    suites = [_Anew(kind) for kind in KINDS]
    readers: tuple[_Anew[Any], ...] = (summary, unmet, mirror, machine, stall, errors, *suites)
    scanned = scan(file, (_OnceMore(readers), *readers))
    runs = whole_runs([suite.one for suite in suites], errors.one.dumps)
    first, lines = _first_error(errors.one, runs)
    return LogReading(
        summary=summary.one.summary(),
        unmet=tuple(unmet.one.unmet),
        errors=lines,
        machine=machine.one.since(errors.one.step.line_number),
        mirror=tuple(mirror.one.signs),
        last=scanned.last,
        build_began=summary.one.build_began,
        first_error=first,
        suites=runs,
        step=errors.one.step.name,
        stalled_minutes=stall.one.minutes,
        lines=scanned.lines,
    )


class _Anew(Generic[R]):
    """A reader that can forget what it has read: ``one`` is the one that reads now."""

    def __init__(self, kind: Callable[[], R]) -> None:
        self._kind = kind
        self.one = kind()
        self.needles = self.one.needles

    def read(self, line: Line) -> int:
        """Have the line read."""
        return self.one.read(line)

    def forget(self) -> None:
        """Begin anew."""
        self.one = self._kind()


class _OnceMore:
    """Lets readers forget what stands before a second build."""

    needles = (f"\n{ONCE_MORE}\n".encode(),)

    def __init__(self, readers: tuple[_Anew[Any], ...]) -> None:
        self._readers = readers

    def read(self, _line: Line) -> int:
        """Take the line that a second build begins with."""
        for reader in self._readers:
            reader.forget()
        return 0


def failed_tests(runs: tuple[SuiteRun, ...]) -> list[FailedTest]:
    """The tests that failed in the log's order."""
    return sorted((test for run in runs for test in run.failed), key=lambda test: test.line_number)


def _first_error(errors: ErrorReader, runs: tuple[SuiteRun, ...]) -> tuple[FirstError | None, tuple[str, ...]]:
    """The failing tests of the last step, unless something missing explains them; else the likeliest line."""
    causes = errors.causes()
    tests = [test for test in failed_tests(runs) if test.line_number >= errors.step.line_number]
    missing = next((f for f in causes if f.kind in EXPLAINS_TESTS), None)
    if tests and missing is None and _are_the_reason(errors, causes):
        texts = tuple(test.text for test in tests[:ERROR_LINES])
        first = tests[0]
        return FirstError(first.line_number, first.text, "tests", first.name, False, first.context), texts
    if missing is not None and tests:
        causes = (missing, *(f for f in causes if f is not missing))
    if not causes:
        return None, ()
    extra = tuple(sorted(set(errors.step.extra))) if "gensymbols" in causes[0].text else ()
    return _as_first(causes[0], extra), tuple(f.text[:LINE_LIMIT] for f in causes[:ERROR_LINES])


def _are_the_reason(errors: ErrorReader, causes: tuple[Found, ...]) -> bool:
    """In a step that is not for tests, an error that names a cause is the better reason."""
    return errors.step.tests or not causes or causes[0].rank is not Rank.CAUSE


def _as_first(found: Found, extra: tuple[str, ...]) -> FirstError:
    return FirstError(
        found.line_number,
        found.text,
        found.kind,
        found.message,
        found.general,
        found.line.around(CONTEXT_BEFORE, CONTEXT_AFTER) if found.line is not None else (),
        extra,
    )
