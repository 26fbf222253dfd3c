"""Nights as pages show them, as plain data: packages by nights, a package over time, two builds side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from buildfarm.regress.entries import News, news_of
from buildfarm.regress.model import RebuildVerdict, Subject, TestCounts
from buildfarm.regress.record import Record
from buildfarm.regress.records import Build, Night


@dataclass(frozen=True)
class Cell:
    """What a subject came to in a night (None while it goes on), with the number of the build to look at."""

    verdict: RebuildVerdict | None
    build: int | None
    news: News
    fingerprint: str


@dataclass(frozen=True)
class Matrix:
    """Subjects by nights, newest night first; a subject that a night did not have has no cell there."""

    nights: tuple[Night, ...]
    rows: Mapping[Subject, Mapping[int, Cell]]


@dataclass(frozen=True)
class Moment:
    """A subject's rebuild in a night: what its history is drawn of. Durations are in seconds."""

    night: Night
    version: str
    verdict: RebuildVerdict | None
    since: float | None
    reason: str
    news: News
    fingerprint: str
    build: Build | None

    @property
    def build_s(self) -> float | None:
        """How long the package's own build took."""
        return self.build.report.build_s if self.build and self.build.report else None

    @property
    def tests(self) -> TestCounts | None:
        """What its tests counted."""
        return self.build.report.tests if self.build and self.build.report else None


@dataclass(frozen=True)
class Compared:
    """Two builds of a subject: tests that fail in only one of them, and what took longer (seconds; None: unknown).

    ``environment`` is what changed between their environments, a line each.
    """

    before: Build
    after: Build
    newly_failing: tuple[str, ...]
    no_longer_failing: tuple[str, ...]
    still_failing: tuple[str, ...]
    build_s: tuple[float, float] | None
    tests: tuple[TestCounts | None, TestCounts | None]
    same_cause: bool
    environment: tuple[str, ...]


def matrix(nights: Record, set: str = "", last: int = 14) -> Matrix:  # noqa: A002 (the field's word)
    """The last nights of a set, or ("") of all; subjects by name."""
    chosen = nights.recent_nights(last, set)
    rows: dict[Subject, dict[int, Cell]] = {}
    for night in chosen:
        for one in nights.rebuilds(night):
            cell = Cell(one.verdict, one.decided_by, news_of(night, one), one.fingerprint)
            rows.setdefault(one.subject, {})[night.number] = cell
    return Matrix(chosen, dict(sorted(rows.items(), key=lambda item: str(item[0]))))


def package_history(nights: Record, subject: Subject, limit: int = 100) -> tuple[Moment, ...]:
    """A subject's rebuilds, newest first."""
    return tuple(
        Moment(
            night,
            one.job.version,
            one.verdict,
            one.since,
            one.reason,
            news_of(night, one),
            one.fingerprint,
            build,
        )
        for night, one, build in nights.rebuilds_of(subject, limit)
    )


def comparison(before: Build, after: Build, environment: tuple[str, ...] = ()) -> Compared:
    """Two builds side by side; ``environment`` are the lines of what changed between theirs."""
    old, new = before.report, after.report
    was = dict.fromkeys(old.failing_tests if old else ())
    now = dict.fromkeys(new.failing_tests if new else ())
    return Compared(
        before=before,
        after=after,
        newly_failing=tuple(name for name in now if name not in was),
        no_longer_failing=tuple(name for name in was if name not in now),
        still_failing=tuple(name for name in now if name in was),
        build_s=(old.build_s, new.build_s) if old and new else None,
        tests=(old.tests if old else None, new.tests if new else None),
        same_cause=bool(old and new and old.fingerprint and old.fingerprint == new.fingerprint),
        environment=environment,
    )
