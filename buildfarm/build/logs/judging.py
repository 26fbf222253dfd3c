"""Whose fault a build's end is; the rules are sbuild's and those of Debian's buildds.

sbuild exits 0 for ``successful`` and for ``skipped`` (a source that is not for this architecture), 2 for
``attempted``, 3 for ``given-back`` and 1 for all else. Only the stage that failed tells whom to blame, and it
is told in the summary at the log's end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from buildfarm.build.logs.reading import LogReading
from buildfarm.build.logs.signs import is_sure
from buildfarm.verdict import Verdict

Outcome = Literal["pass", "fail", "dependency-wait", "error"]

EXIT_STATUS = {"successful": 0, "skipped": 0, "attempted": 2, "given-back": 3}
PACKAGE_STAGES = frozenset({"build", "arch-check"})
WRONG_ARCHITECTURE = ("skipped", "arch-check")
DEPENDENCY_STAGES = frozenset({"install-deps", "install-deps-env"})
SHOWN_NAMES = 3


@dataclass(frozen=True)
class Judgement:
    """The verdict on a build, in one line, with evidence.

    ``outcome`` is the same in the words of rebuilds, where a dependency that is missing for sure is nobody's
    fault: one waits for it. ``stage`` is where it failed, in sbuild's word; "" when it did not or nobody knows.
    """

    verdict: Verdict
    reason: str
    details: str = ""
    outcome: Outcome = "error"
    stage: str = ""


def judge(reading: LogReading, exit_status: int) -> Judgement:
    """Whose fault it is, by sbuild's exit status and what its log says."""
    summary = reading.summary
    if summary is None:
        return _machine(reading, f"sbuild exited {exit_status} and its log ends without a summary")
    if EXIT_STATUS.get(summary.status, 1) != exit_status:
        return _machine(reading, f"sbuild exited {exit_status}, but its log says {summary.status!r}")
    if summary.status == "successful":
        return Judgement(Verdict.PASS, "built", outcome="pass")
    if reading.machine:
        return _machine(reading, f"the machine failed: {reading.machine[0]}")
    stage = summary.fail_stage
    if (summary.status == "attempted" and stage in PACKAGE_STAGES) or (
        summary.status,
        stage,
    ) == WRONG_ARCHITECTURE:
        details = "\n".join(reading.errors or reading.last)
        return Judgement(Verdict.FAIL, _why(reading), details, "fail", stage)
    if summary.status == "given-back" and stage in DEPENDENCY_STAGES and reading.mirror:
        # without its indexes apt takes every package for one that is not installable
        return _machine(reading, f"the mirror failed: {reading.mirror[0]}")
    if summary.status == "given-back" and stage in DEPENDENCY_STAGES and reading.unmet:
        return _judge_unmet(reading, stage)
    return _machine(reading, f"sbuild gave up in its stage {stage or 'unknown'} ({summary.status or 'no status'})")


def _why(reading: LogReading) -> str:
    if reading.stalled_minutes:
        return f"the build was stopped: it said nothing for {reading.stalled_minutes} minutes"
    if reading.first_error is None:
        return "the build failed"
    names = reading.failing_tests
    if reading.first_error.kind == "tests" and len(names) > 1:
        shown = ", ".join(names[:SHOWN_NAMES])
        return f"the build failed: {len(names)} tests failed: {shown}{', ...' if len(names) > SHOWN_NAMES else ''}"
    return f"the build failed: {reading.first_error.text}"


def _judge_unmet(reading: LogReading, stage: str) -> Judgement:
    sure = [text for text in reading.unmet if is_sure(text)]
    details = "\n".join(reading.unmet)
    if sure:
        reason = f"unmet build-dependencies: {'; '.join(sure[:5])}"
        return Judgement(Verdict.FAIL, reason, details, "dependency-wait", stage)
    reason = f"build-dependencies could not be installed: {'; '.join(reading.unmet[:5])}"
    return Judgement(Verdict.ERROR, reason, details, "error", stage)


def _machine(reading: LogReading, reason: str) -> Judgement:
    stage = reading.summary.fail_stage if reading.summary is not None else ""
    return Judgement(Verdict.ERROR, reason, "\n".join((*reading.machine, *reading.last)), "error", stage)
