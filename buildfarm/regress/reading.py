"""From a build's end and its log to a report."""

from __future__ import annotations

from pathlib import Path

from buildfarm.build.building import BuildEnd
from buildfarm.build.logs import find_cause, judge, read_build_log
from buildfarm.regress.model import BuildReport, TestCounts


def report_of(log: Path, end: BuildEnd) -> BuildReport:
    """What a build on layers came to, by how it ended and what its log says."""
    with log.open("rb") as file:
        reading = read_build_log(file)
    judgement = judge(reading, end.status)
    cause = find_cause(reading, judgement)
    first = reading.first_error
    counts = reading.tests
    return BuildReport(
        judgement.outcome,
        f"the build was stopped: {end.stopped}" if end.stopped else judgement.reason,
        stage=end.stage,
        details=judgement.details,
        first_error=tuple(f"{number}: {text}" for number, text in first.context) if first is not None else (),
        failing_tests=reading.failing_tests,
        tests=TestCounts(counts.passed, counts.failed, counts.skipped) if counts is not None else None,
        fingerprint=cause.fingerprint,
        cause=cause.words,
    )
