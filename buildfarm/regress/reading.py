"""From a build's end and its log to a report: outcome, first error, failing tests, cause."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from buildfarm.build.building import BuildEnd
from buildfarm.build.logs import NAMING, LogReading, find_cause, judge, read_build_log
from buildfarm.regress.forgiven import WatchedTests, hold_to
from buildfarm.regress.model import BuildReport, TestCounts

CONTEXT_LINES = 15


def report_of(log: Path, end: BuildEnd, watch: WatchedTests | None = None) -> BuildReport:
    """What a build came to, by how it ended and what its log says; one that passes is held to ``watch``."""
    with log.open("rb") as file:
        reading = read_build_log(file)
    judgement = judge(reading, end.status)
    cause = find_cause(reading, judgement)
    report = BuildReport(
        judgement.outcome,
        judgement.reason,
        stage=judgement.stage,
        details=judgement.details,
        first_error=first_error(reading) if judgement.outcome != "pass" else (),
        failing_tests=reading.failing_tests,
        naming=NAMING if reading.names_all_failing else 0,
        tests=_counts(reading),
        fingerprint=cause.fingerprint,
        cause=cause.words,
    )
    if not end.stopped:
        return hold_to(watch, report, reading) if watch is not None and report.outcome == "pass" else report
    # Stopped for a limit: where it stood is no reason, and the limit's own numbers are no part of the cause.
    words = f"{reading.package}: stopped: {re.sub(r'[0-9]+', 'N', end.stopped)}"
    fingerprint = hashlib.sha256(words.encode()).hexdigest()[:16]
    return replace(
        report,
        outcome="fail",
        reason=f"the build was stopped: {end.stopped}",
        stage="build",
        first_error=end.last,
        fingerprint=fingerprint,
        cause=words,
    )


def first_error(reading: LogReading) -> tuple[str, ...]:
    """The lines around a log's first error, each with its number; its last lines where it names none."""
    found = reading.first_error
    if found is None:
        return reading.last[-CONTEXT_LINES:]
    return found.numbered_lines()


def _counts(reading: LogReading) -> TestCounts | None:
    tests = reading.tests
    return None if tests is None else TestCounts(tests.passed, tests.failed, tests.skipped)
