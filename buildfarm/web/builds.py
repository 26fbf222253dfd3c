"""A build's page: its verdict in a sentence, what it was given, why it failed, and what was otherwise before."""

from __future__ import annotations

from dataclasses import dataclass

from buildfarm.errors import FarmError
from buildfarm.regress.model import BuildReport
from buildfarm.regress.places import Places
from buildfarm.regress.records import Build, Night, Rebuild
from buildfarm.web.addresses import Links, Query
from buildfarm.web.answers import Answer, NotFound
from buildfarm.web.comparing import compare_builds
from buildfarm.web.files import Kept, kept_files
from buildfarm.web.lookups import Reading
from buildfarm.web.rendering import page
from buildfarm.web.words import KINDS

TESTS_SHOWN = 200
STOPPED = "the build was stopped: "


@dataclass(frozen=True)
class Given:
    """What a build was given: its environment's id and, where that is kept, how many packages it has."""

    environment: str
    packages: int | None


def build_page(reading: Reading, places: Places, links: Links, number: int, query: Query) -> Answer:
    """The page; raises NotFound and BadRequest."""
    build = find_build(reading, number)
    rebuild = reading.rebuild(build.rebuild)
    night = reading.night(rebuild.night) if rebuild is not None else None
    if rebuild is None or night is None:
        raise NotFound(f"The night of #{number} is not on record.")
    kept: Kept = kept_files(places, build)
    report = build.report
    return page(
        "build.html",
        links,
        build=build,
        rebuild=rebuild,
        night=night,
        report=report,
        sentence=sentence(build, report),
        given=given_to(places, build),
        siblings=reading.builds(rebuild),
        culprit=culprit_of(build, rebuild),
        label=reading.labels().get(report.fingerprint) if report and report.fingerprint else None,
        stopped=report.reason.removeprefix(STOPPED) if report and report.reason.startswith(STOPPED) else "",
        tests_shown=TESTS_SHOWN,
        kept=kept,
        compared=compare_builds(reading, places, build, query.number("against")),
        about=about(build, rebuild, night),
    )


def find_build(reading: Reading, number: int) -> Build:
    """A build by its number; raises NotFound."""
    build = reading.build(number)
    if build is None:
        raise NotFound(f"There is no build #{number}.", "The matrix leads to the builds of the last nights.")
    return build


def sentence(build: Build, report: BuildReport | None) -> str:
    """How the sentence goes on that begins with what a build came to: where, and why."""
    if report is None:
        if build.state == "waiting":
            return " for its turn." if not build.tries else " to be tried again."
        return f" on {build.worker}." if build.worker else "."
    if report.outcome == "pass" and build.kind not in ("culprit", "publish"):
        return ""
    return f"{f' in the stage {report.stage}' if report.stage else ''}: {report.reason.strip().rstrip('.')}."


def about(build: Build, rebuild: Rebuild, night: Night) -> str:
    """What the build was for."""
    if build.kind == "control":
        return f"A control: it shows whether {build.worker or 'the worker'} is sound, for {rebuild.subject}."
    if build.kind == "culprit":
        return f"The search for the cause of the new failure of {rebuild.subject} in night {night.number}."
    if build.kind == "again":
        return f"The same again, to see whether the failure in night {night.number} stays."
    what = KINDS.get(build.kind, build.kind)
    return f"{what[:1].upper()}{what[1:]} of {rebuild.subject} in night {night.number}."


def given_to(places: Places, build: Build) -> Given:
    """The environment that a build had, or is to have."""
    environment = (build.report.environment if build.report is not None else "") or build.environment
    if not environment:
        return Given("", None)
    try:
        return Given(environment, len(places.manifest(environment).packages))
    except FarmError:
        return Given(environment, None)


def culprit_of(build: Build, rebuild: Rebuild) -> object | None:
    """What the search found, for the builds that it is about."""
    if build.report is not None and build.report.culprit is not None:
        return build.report.culprit
    return rebuild.culprit if build.kind != "control" else None
