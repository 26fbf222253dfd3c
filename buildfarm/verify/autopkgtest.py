"""A source's own tests: reading debian/tests/control, choosing where each runs, and what autopkgtest's end means.

autopkgtest decides by itself which tests there are and how they end. What is read here of debian/tests/control
only says where a test goes; where that cannot be read, all go to the overlay, and autopkgtest says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from debian.deb822 import Deb822

from buildfarm.verdict import Verdict

Where = Literal["overlay", "machine"]
Result = Literal["pass", "fail", "skip", "flaky"]
Stopped = Literal["", "time", "output", "disk", "machine"]

TEST_LIMIT = 500
NAME_LIMIT = 200
REASON_LIMIT = 500
SHOWN_FAILURES = 3
# What only a machine gives: an init and services, a kernel of its own, a reboot, harm that goes away with it.
MACHINE_RESTRICTIONS = ("isolation-machine", "isolation-container", "breaks-testbed", "needs-reboot")
INTERNET = "needs-internet"
GENERATED = re.compile(r"\bautopkgtest-pkg-[a-z0-9.+-]+")


@dataclass(frozen=True)
class DeclaredTest:
    """One test of debian/tests/control: its name as autopkgtest gives it, and its restrictions."""

    name: str
    restrictions: frozenset[str]


@dataclass(frozen=True)
class Declared:
    """What a source declares: tests in their order, and the ``autopkgtest-pkg-*`` of its Testsuite field.

    ``whole`` is False when debian/tests/control is there and cannot be read in full.
    """

    tests: tuple[DeclaredTest, ...] = ()
    generated: tuple[str, ...] = ()
    whole: bool = True

    @property
    def any(self) -> bool:
        """Whether there is anything for autopkgtest to do."""
        return bool(self.tests or self.generated or not self.whole)


@dataclass(frozen=True)
class Plan:
    """Which tests run where, and which do not run and why.

    ``overlay`` None means that nothing runs there, () that everything does, without a choice by name. ``builds``:
    a test in the machine wants the source built there.
    """

    overlay: tuple[str, ...] | None
    machine: tuple[str, ...] = ()
    skipped: Mapping[str, str] | None = None
    builds: bool = False

    @property
    def left_out(self) -> Mapping[str, str]:
        """The tests that do not run, with the reason."""
        return self.skipped or {}


@dataclass(frozen=True)
class TestEnd:
    """How one test ended. ``seconds`` is wall time from its preparation on, None when the log does not tell."""

    __test__ = False

    name: str
    result: Result
    reason: str
    where: Where
    seconds: float | None = None


@dataclass(frozen=True)
class RunEnd:
    """How one run of autopkgtest ended: its exit status, or why we stopped it, and what it says of each test.

    ``left_out`` counts the files it left that were not taken home.
    """

    where: Where
    status: int | None
    tests: tuple[TestEnd, ...] = ()
    message: str = ""
    stopped: Stopped = ""
    left_out: int = 0


@dataclass(frozen=True)
class Judgement:
    """The verdict on all runs together, in one line."""

    verdict: Verdict
    reason: str


def read_declared(tests_control: str | None, control: str) -> Declared:
    """What a source declares, by the texts of debian/tests/control (None: there is none) and debian/control."""
    generated = _generated(control)
    if tests_control is None:
        return Declared((), generated)
    tests: list[DeclaredTest] = []
    commands = 0
    try:
        paragraphs = _paragraphs(tests_control)
    except (ValueError, EOFError):
        return Declared((), generated, whole=False)
    whole = True
    for paragraph in paragraphs:
        restrictions = frozenset(_words(paragraph.get("Restrictions", "")))
        names = _words(paragraph.get("Tests", ""))
        if "Test-Command" in paragraph and not names:
            named = _name_feature(_words(paragraph.get("Features", "")))
            commands += named is None
            names = [named or f"command{commands}"]
        whole &= bool(names) and all(len(name) <= NAME_LIMIT and "/" not in name for name in names)
        tests += [DeclaredTest(name, restrictions) for name in names]
    whole &= len(tests) <= TEST_LIMIT and len({test.name for test in tests}) == len(tests)
    return Declared(tuple(tests[:TEST_LIMIT]), generated, whole)


def plan(declared: Declared, *, machines: str = "", internet: bool = False) -> Plan:
    """Which tests go where: to the overlay unless their restrictions ask for more.

    ``machines`` says why there are none; ``internet``: what is tested reaches hosts that the recipe lists.
    """
    if not declared.whole:
        return Plan(overlay=())
    overlay: list[str] = []
    machine: list[str] = []
    skipped: dict[str, str] = {}
    for test in declared.tests:
        wanted = [one for one in MACHINE_RESTRICTIONS if one in test.restrictions]
        if INTERNET in test.restrictions and not internet:
            skipped[test.name] = f"{INTERNET}: what is tested reaches the archives and nothing else"
        elif wanted and machines:
            skipped[test.name] = f"needs {wanted[0]}: {machines}"
        elif wanted:
            machine.append(test.name)
        else:
            overlay.append(test.name)
    builds = any("build-needed" in test.restrictions for test in declared.tests if test.name in machine)
    if declared.generated or (overlay and not machine and not skipped):
        # Tests that are generated on the spot have no name to choose by: all run but those that are elsewhere.
        return Plan((), tuple(machine), skipped, builds)
    return Plan(tuple(overlay) or None, tuple(machine), skipped, builds)


def read_summary(
    text: str, log: str, where: Where, *, only: Collection[str] = (), without: Collection[str] = ()
) -> tuple[TestEnd, ...]:
    """The tests' ends by autopkgtest's summary, times by its log.

    The summary repeats its SKIP lines, and names tests that were not chosen; chosen are ``only`` (() is all), less
    those ``without``.
    """
    found: dict[str, TestEnd] = {}
    times = _durations(log)
    for line in text.splitlines()[: 4 * TEST_LIMIT]:
        match = re.match(r"([^\s/]+)\s+(PASS|FAIL|SKIP|FLAKY|BROKEN)\b\s*(.*)", line)
        if match is None or match[1] in ("*", *without) or len(found) >= TEST_LIMIT:
            continue
        if only and match[1] not in only:
            continue
        result: Result = {"PASS": "pass", "SKIP": "skip", "FLAKY": "flaky"}.get(match[2], "fail")  # type: ignore[assignment]
        name = match[1][:NAME_LIMIT]
        found[name] = TestEnd(name, result, _plain(match[3]), where, times.get(name))
    return tuple(found.values())


def read_message(summary: str) -> str:
    """Why autopkgtest gave up, by its summary: ``erroneous package: ...``, ``testbed failure: ...``."""
    for line in summary.splitlines()[: 4 * TEST_LIMIT]:
        if re.match(r"(?:erroneous package|testbed failure|badpkg|quitting|unexpected error)\b", line):
            return _plain(line)
    return ""


def judge(runs: Sequence[RunEnd], planned: Plan) -> Judgement:
    """The verdict on all runs: the worst of them; a failure that is the package's weighs more than one of ours."""
    worst = max((_of_run(run) for run in runs), key=lambda one: _WEIGHT[one.verdict], default=None)
    tests = [test for run in runs for test in run.tests]
    if worst is None:
        return Judgement(Verdict.SKIPPED, _nothing_ran(planned))
    if worst.verdict is Verdict.PASS:
        return Judgement(Verdict.PASS, tell(tests, planned))
    failed = [test for test in tests if test.result == "fail"]
    if worst.verdict is Verdict.FAIL and failed:
        named = "; ".join(f"{test.name}: {test.reason or 'failed'}" for test in failed[:SHOWN_FAILURES])
        more = f"; and {len(failed) - SHOWN_FAILURES} more" if len(failed) > SHOWN_FAILURES else ""
        ran = sum(test.result != "skip" for test in tests)
        stopped = f"{worst.reason}; " if any(run.stopped for run in runs) else ""
        return Judgement(Verdict.FAIL, f"{stopped}{len(failed)} of {_counted(ran, 'test')} failed: {named}{more}")
    if worst.verdict is Verdict.SKIPPED and (tests or planned.left_out):
        return Judgement(Verdict.SKIPPED, _nothing_ran(planned, tests))
    return worst


def tell(tests: Sequence[TestEnd], planned: Plan) -> str:
    """How many passed and why the others did not: ``3 tests passed, 1 skipped (needs-internet)``."""
    passed = sum(test.result == "pass" for test in tests)
    parts = [f"{_counted(passed, 'test')} passed"]
    reasons = [test.reason for test in tests if test.result == "skip"]
    reasons += [reason.partition(":")[0] for reason in planned.left_out.values()]
    if reasons:
        told = "; ".join(dict.fromkeys(filter(None, reasons)))
        parts.append(f"{len(reasons)} skipped" + (f" ({told[:200]})" if told else ""))
    if flaky := sum(test.result == "flaky" for test in tests):
        parts.append(f"{flaky} marked flaky failed")
    return ", ".join(parts)


_WEIGHT = {Verdict.SKIPPED: 0, Verdict.PASS: 1, Verdict.ERROR: 2, Verdict.FAIL: 3}


def _of_run(run: RunEnd) -> Judgement:
    what = run.message or f"autopkgtest exited {run.status}"
    if run.stopped:
        reason = {
            "time": "the tests were stopped: not done in time (timeout_s)",
            "output": "the tests were stopped: they printed too much",
            "disk": "the tests were stopped: they filled the disk they may use",
            "machine": f"the tests ended their machine: {run.message}",
        }[run.stopped]
        return Judgement(Verdict.FAIL, reason)
    match run.status:
        case 0 | 2:
            return Judgement(Verdict.PASS, "")
        case 4 | 6 | 12 | 14:
            return Judgement(Verdict.FAIL, what)
        case 8:
            return Judgement(Verdict.SKIPPED, "no tests ran")
        case _:
            return Judgement(Verdict.ERROR, f"no verdict from the {run.where}: {what}")


def _nothing_ran(planned: Plan, tests: Sequence[TestEnd] = ()) -> str:
    reasons = [f"{name} {reason}" for name, reason in planned.left_out.items()]
    reasons += [f"{test.name} {test.reason}".strip() for test in tests]
    return f"no test gave a result: {'; '.join(reasons[:SHOWN_FAILURES])}" if reasons else "no tests"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _paragraphs(text: str) -> list[Deb822]:
    # Comments are left out as autopkgtest does it, before the paragraphs are read.
    lines = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        kept = line.split("#", 1)[0] if "#" in line else line
        if kept.strip() or kept == line:
            lines.append(kept)
    return [paragraph for paragraph in Deb822.iter_paragraphs(lines, use_apt_pkg=False) if paragraph]


def _words(value: str) -> list[str]:
    return value.replace(",", " ").split()


def _name_feature(features: Iterable[str]) -> str | None:
    return next((one.partition("=")[2] for one in features if one.startswith("test-name=")), None)


def _generated(control: str) -> tuple[str, ...]:
    try:
        first = next(iter(_paragraphs(control)), None)
    except (ValueError, EOFError):
        return ()
    return tuple(GENERATED.findall(first.get("Testsuite", ""))) if first is not None else ()


_LOG_LINE = re.compile(
    r"^autopkgtest \[(\d\d:\d\d:\d\d)\]: test (\S+): (preparing testbed|-----------------------\])"
)


def _durations(log: str) -> dict[str, float]:
    began: dict[str, datetime] = {}
    lasted: dict[str, float] = {}
    for line in log.splitlines():
        if (match := _LOG_LINE.match(line)) is None:
            continue
        try:
            at = datetime.strptime(match[1], "%H:%M:%S")
        except ValueError:
            continue
        if match[3].startswith("prep"):
            began[match[2]] = at
        elif match[2] in began:
            lasted[match[2]] = ((at - began[match[2]]) % timedelta(days=1)).total_seconds()
    return lasted


def _plain(text: str) -> str:
    return re.sub(r"[^\x20-\x7e\u00a0-\ufffd]", "?", text).strip()[:REASON_LIMIT]
