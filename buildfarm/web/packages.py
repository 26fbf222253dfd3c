"""A package's history: its verdicts over nights, how long it took, what its tests counted, how often it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from buildfarm.regress.flaky import Rate, failure_rate, is_flaky
from buildfarm.regress.model import Subject, TestCounts
from buildfarm.regress.record import Record
from buildfarm.regress.records import Build, Night, Rebuild
from buildfarm.regress.report_forms import seconds_words
from buildfarm.web.addresses import Links
from buildfarm.web.answers import Answer, NotFound
from buildfarm.web.lookups import Reading
from buildfarm.web.plots import Column, Plot, stacked, time_unit
from buildfarm.web.rendering import page
from buildfarm.web.words import mark_of

NIGHTS = 60
RESULTS = 200
Moment = tuple[Night, Rebuild, Build | None]


@dataclass(frozen=True)
class Chance:
    """How often one input (a version in an environment) failed of how many builds."""

    version: str
    environment: str
    failed: int
    builds: int
    rate: Rate


def package_page(reading: Reading, links: Links, subject: Subject) -> Answer:
    """The page; raises NotFound."""
    moments = Record.rebuilds_of(reading, subject, NIGHTS + 1)
    if not moments:
        raise NotFound(f"{subject} was never rebuilt here.", "The matrix has all packages of a set.")
    shown = moments[:NIGHTS]
    oldest_first = tuple(reversed(shown))
    return page(
        "package.html",
        links,
        subject=subject,
        moments=shown,
        newest=shown[0],
        is_cut=len(moments) > NIGHTS,
        labels=reading.labels(),
        durations=durations(oldest_first, links),
        tests=tests(oldest_first, links),
        chances=chances(reading.results(subject, RESULTS)),
    )


def chances(results: Sequence[tuple[str, str, bool]]) -> tuple[Chance, ...]:
    """The inputs that gave both results, the newest first; ``results`` are version, environment, passed."""
    inputs: dict[tuple[str, str], list[bool]] = {}
    for version, environment, passed in results:
        if environment:
            inputs.setdefault((version, environment), []).append(passed)
    return tuple(
        Chance(version, environment, those.count(False), len(those), failure_rate(those))
        for (version, environment), those in reversed(inputs.items())
        if is_flaky(those)
    )


def durations(moments: Sequence[Moment], links: Links) -> Plot | None:
    """How long the builds took that nights were decided by; None where there is nothing to draw."""
    times = [one.report for _night, _rebuild, one in moments if one is not None and one.report is not None]
    if not times:
        return None
    unit, unit_s = time_unit(max(one.build_s + one.prepare_s for one in times))
    columns = [
        Column(
            _day(night),
            (build.report.build_s / unit_s, build.report.prepare_s / unit_s) if build and build.report else None,
            f"night {night.number}: own build {seconds_words(build.report.build_s)}, "
            f"preparation {seconds_words(build.report.prepare_s)} (#{build.id})"
            if build and build.report
            else "",
            links.build(build.id) if build else "",
        )
        for night, _rebuild, build in moments
    ]
    layers = (("own", "own build"), ("prepare", "preparation"))
    return stacked("durations", "Duration of the build that decided each night", unit, layers, columns)


def tests(moments: Sequence[Moment], links: Links) -> Plot | None:
    """What the tests in the logs counted; None where none did."""
    if not any(_tests(build) for _night, _rebuild, build in moments):
        return None
    columns = []
    for night, rebuild, build in moments:
        found = _tests(build)
        values = (float(found.failed), float(found.passed), float(found.skipped)) if found else None
        title = (
            f"night {night.number}: {found.passed} passed, {found.failed} failed, {found.skipped} skipped "
            f"({mark_of(rebuild.verdict).words})"
            if found
            else ""
        )
        columns.append(Column(_day(night), values, title, links.build(build.id) if build else ""))
    layers = (("failed", "failed"), ("passed", "passed"), ("skipped", "skipped"))
    return stacked("tests", "Tests that the log of each night's build counts", "tests", layers, columns)


def _tests(build: Build | None) -> TestCounts | None:
    return build.report.tests if build is not None and build.report is not None else None


def _day(night: Night) -> str:
    return datetime.fromtimestamp(night.started_at).astimezone().strftime("%m-%d")
