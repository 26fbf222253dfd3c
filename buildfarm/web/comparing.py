"""Two builds of a package side by side: what changed around it, and what it did otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from buildfarm.errors import FarmError, UsageError
from buildfarm.regress.environment_diff import Change, EnvironmentDiff, compare
from buildfarm.regress.model import Suspect
from buildfarm.regress.places import Places
from buildfarm.regress.records import Build
from buildfarm.regress.views import Compared, comparison
from buildfarm.web.answers import NotFound
from buildfarm.web.lookups import Reading

DIFFS_KEPT = 32


@dataclass(frozen=True)
class SourceChange:
    """A source's change, with the packages that it brought; ``guilty``: the search found it to be the cause."""

    suspect: Suspect
    packages: tuple[Change, ...]
    guilty: bool


@dataclass(frozen=True)
class Comparison:
    """A build beside an earlier one; ``words`` say which that is.

    ``diff`` is None where an environment is not known or not kept: ``trouble`` says which.
    """

    told: Compared
    words: str
    sources: tuple[SourceChange, ...]
    diff: EnvironmentDiff | None
    same_environment: bool
    trouble: str


def compare_builds(reading: Reading, places: Places, build: Build, against: int | None) -> Comparison | None:
    """A build beside an earlier one of its package; None where there is none.

    Without ``against`` that is the last pass for a build that did not pass, else the result before it. Raises
    NotFound for one of another package.
    """
    if build.report is None:
        return None
    before, words = _other(reading, build, against)
    if before is None or before.report is None:
        return None
    named = {one.source for one in _suspects(reading, build)}
    old, new = before.report.environment, build.report.environment
    diff, trouble = None, ""
    if not (old and new):
        trouble = f"#{before.id if not old else build.id} ended before an environment stood."
    elif old != new:
        try:
            diff = _diff(places.manifest_path("x").parent, places, old, new)
        except FarmError as error:
            trouble = f"{error.brief[:1].upper()}{error.brief[1:]}. {error.resolution}".strip()
    return Comparison(
        told=comparison(before, build),
        words=words,
        sources=_by_source(diff, named) if diff is not None else (),
        diff=diff,
        same_environment=bool(old) and old == new,
        trouble=trouble,
    )


def _other(reading: Reading, build: Build, against: int | None) -> tuple[Build | None, str]:
    if against is not None:
        other = reading.build(against)
        if other is None or other.job.subject != build.job.subject or other.report is None:
            raise NotFound(
                f"#{against} is no build of {build.job.subject} that has ended.",
                f"Compare with a number from the history of {build.job.package}.",
            )
        return other, "chosen by its number"
    if build.report is not None and build.report.outcome != "pass":
        passed = reading.last_pass(build.job.subject, before=build)
        if passed is not None:
            return passed, "the last that passed"
    return reading.result_before(build), "the one before"


def _suspects(reading: Reading, build: Build) -> tuple[Suspect, ...]:
    rebuild = reading.rebuild(build.rebuild)
    return rebuild.culprit.suspects if rebuild is not None and rebuild.culprit is not None else ()


@lru_cache(maxsize=DIFFS_KEPT)
def _diff(_where: Path, places: Places, old: str, new: str) -> EnvironmentDiff:
    """An environment's packages never change under its id: what was compared once stays so."""
    before, after = places.manifest(old), places.manifest(new)
    try:
        return compare(before.packages, after.packages)
    except ValueError as error:
        raise UsageError(f"the environments cannot be compared: {error}") from error


def _by_source(diff: EnvironmentDiff, named: set[str]) -> tuple[SourceChange, ...]:
    found = [
        SourceChange(
            suspect, tuple(one for one in diff.changes if suspect.source in one.sources), suspect.source in named
        )
        for suspect in diff.suspects
    ]
    return tuple(sorted(found, key=lambda one: (not one.guilty, one.suspect.source)))
