"""What pages read of the record of nights, in questions that stay small however many packages there are.

``Record`` gives whole rebuilds and builds; what a page with thousands of cells needs of each is a few columns.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from buildfarm.regress.lookups import IS_RESULT, of_subject, select_builds
from buildfarm.regress.model import RebuildVerdict, Subject
from buildfarm.regress.nights import open_nights
from buildfarm.regress.record import Record
from buildfarm.regress.records import Build, Night, Rebuild, build_of, rebuild_of
from buildfarm.regress.schema import builds, nights, rebuilds

SETS_SHOWN = 200
CAUSE_ROWS = 2000
BUILDS_AT_A_TIME = 500
NEWS_OF_A_NIGHT = 500
BAD = tuple(one.value for one in RebuildVerdict if one is not RebuildVerdict.STILL_PASSING)
NEWS = (rebuilds.c.verdict.in_((RebuildVerdict.NEW_FAILURE.value, RebuildVerdict.FIXED.value))) | (
    rebuilds.c.cause_changed
)
CELL_COLUMNS = (
    rebuilds.c.night,
    rebuilds.c.package,
    rebuilds.c.series,
    rebuilds.c.architecture,
    rebuilds.c.verdict,
    rebuilds.c.since,
    rebuilds.c.cause_changed,
    rebuilds.c.fingerprint,
    rebuilds.c.decided_by,
)


@dataclass(frozen=True)
class Hit:
    """A rebuild of a night in the few words that a cell has. ``build`` is the number of the one to look at."""

    night: int
    subject: Subject
    verdict: RebuildVerdict | None
    since: float | None
    cause_changed: bool
    fingerprint: str
    build: int | None


@dataclass(frozen=True)
class SetSummary:
    """A set that has had nights: its name, its newest night, and how many there were."""

    name: str
    newest: int
    nights: int


class Reading(Record):
    """The record of nights, to look at only: what is asked through it cannot change anything."""

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine)
        self._watching: sa.Connection | None = None
        self._watch = threading.Lock()

    def state(self) -> str:
        """A word that is another one whenever the record has changed since."""
        with self._watch:
            if self._watching is None:
                self._watching = self._engine.connect()
            version = self._watching.exec_driver_sql("PRAGMA data_version").scalar_one()
            self._watching.rollback()
        return str(version)

    def sets(self) -> tuple[SetSummary, ...]:
        """The sets that have had nights, the one with the newest first."""
        newest = sa.func.max(nights.c.number)
        query = (
            sa.select(nights.c.set, newest, sa.func.count()).group_by(nights.c.set).order_by(newest.desc())
        ).limit(SETS_SHOWN)
        with self._reading() as connection:
            return tuple(SetSummary(*row) for row in connection.execute(query))

    def nights_of_set(self, set: str, limit: int, before: int | None = None) -> tuple[Night, ...]:  # noqa: A002
        """A set's newest nights, or those before a night; newest first."""
        query = sa.select(nights).where(nights.c.set == set).order_by(nights.c.number.desc()).limit(limit)
        return self._nights(query if before is None else query.where(nights.c.number < before))

    def nights_after(self, set: str, number: int, limit: int) -> tuple[int, ...]:  # noqa: A002
        """The numbers of so many nights of a set that came after a night, oldest first."""
        query = sa.select(nights.c.number).where(nights.c.set == set, nights.c.number > number)
        with self._reading() as connection:
            return tuple(connection.execute(query.order_by(nights.c.number).limit(limit)).scalars())

    def subjects(self, numbers: Sequence[int]) -> tuple[Subject, ...]:
        """All that these nights had, by name; the index alone answers it."""
        columns = (rebuilds.c.package, rebuilds.c.series, rebuilds.c.architecture)
        query = sa.select(*columns).where(rebuilds.c.night.in_(numbers)).distinct().order_by(*columns)
        with self._reading() as connection:
            return tuple(Subject(*row) for row in connection.execute(query))

    def count_rebuilds(self, numbers: Sequence[int]) -> int:
        """How many rebuilds these nights had; the index alone answers it."""
        query = sa.select(sa.func.count()).select_from(rebuilds).where(rebuilds.c.night.in_(numbers))
        with self._reading() as connection:
            return connection.execute(query).scalar_one()

    def hits(self, numbers: Sequence[int], packages: Sequence[str] | None = None) -> tuple[Hit, ...]:
        """The rebuilds of these nights, of these packages or (None) of all."""
        query = sa.select(*CELL_COLUMNS).where(rebuilds.c.night.in_(numbers))
        if packages is not None:
            query = query.where(rebuilds.c.package.in_(packages))
        with self._reading() as connection:
            return tuple(_hit(row) for row in connection.execute(query))

    def hits_of_cause(self, fingerprint: str, limit: int = CAUSE_ROWS) -> tuple[Hit, ...]:
        """The rebuilds that failed (always, or sometimes) of a cause, newest night first."""
        query = (
            sa.select(*CELL_COLUMNS)
            .where(rebuilds.c.verdict.in_(BAD), rebuilds.c.fingerprint == fingerprint)
            .order_by(rebuilds.c.night.desc(), rebuilds.c.package)
            .limit(limit)
        )
        with self._reading() as connection:
            return tuple(_hit(row) for row in connection.execute(query))

    def causes(self, numbers: Sequence[int]) -> Mapping[int, str]:
        """Why these builds came to what they did, by their numbers: the causes in words, or else the reasons."""
        reason = sa.case((builds.c.outcome != "pass", sa.func.json_extract(builds.c.report, "$.reason")), else_="")
        cause = sa.func.coalesce(sa.func.nullif(sa.func.json_extract(builds.c.report, "$.cause"), ""), reason)
        query = sa.select(builds.c.id, cause).where(builds.c.id.in_(numbers[:BUILDS_AT_A_TIME]))
        with self._reading() as connection:
            return {row[0]: row[1] or "" for row in connection.execute(query)}

    def bad_of(self, night: Night, limit: int) -> tuple[tuple[Rebuild, Build | None], ...]:
        """A night's rebuilds that did not just pass again, with the builds that they were settled with."""
        query = (
            sa.select(rebuilds)
            .where(rebuilds.c.night == night.number, rebuilds.c.verdict.in_(BAD))
            .order_by(rebuilds.c.package, rebuilds.c.series, rebuilds.c.architecture)
            .limit(limit)
        )
        with self._reading() as connection:
            found = tuple(rebuild_of(row) for row in connection.execute(query))
            ids = [one.decided_by for one in found if one.decided_by]
            rows = connection.execute(select_builds().where(builds.c.id.in_(ids)))
            theirs = {row.id: build_of(row) for row in rows}
            return tuple((one, theirs.get(one.decided_by or 0)) for one in found)

    def open_builds(self, night: int, limit: int) -> tuple[Build, ...]:
        """A night's builds that go on, the longest running first."""
        query = (
            select_builds()
            .where(rebuilds.c.night == night, builds.c.state == "submitted")
            .order_by(builds.c.started_at)
            .limit(limit)
        )
        with self._reading() as connection:
            return tuple(build_of(row) for row in connection.execute(query))

    def result_before(self, build: Build) -> Build | None:
        """The newest earlier build of the same subject that passed or failed and is believed."""
        query = select_builds().where(of_subject(build.job.subject), IS_RESULT, builds.c.id < build.id)
        with self._reading() as connection:
            row = connection.execute(query.order_by(builds.c.id.desc()).limit(1)).first()
            return build_of(row) if row is not None else None

    def results(self, subject: Subject, limit: int) -> tuple[tuple[str, str, bool], ...]:
        """What a subject's newest builds gave: source version, environment, whether it passed; oldest first."""
        query = (
            sa.select(rebuilds.c.version, builds.c.ran_in, builds.c.outcome)
            .join(rebuilds, rebuilds.c.id == builds.c.rebuild)
            .where(of_subject(subject), IS_RESULT)
            .order_by(builds.c.id.desc())
            .limit(limit)
        )
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return tuple((version, ran_in, outcome == "pass") for version, ran_in, outcome in reversed(rows))

    def close(self) -> None:
        """Let go of the file."""
        with self._watch:
            if self._watching is not None:
                self._watching.close()
                self._watching = None
        self._engine.dispose()


class NewsOnly(Reading):
    """The record as a feed reads it: of each night the rebuilds that are news, so that sixty nights are quick."""

    def rebuilds(self, night: Night) -> tuple[Rebuild, ...]:
        """A night's rebuilds that are new failures, fixed, or fail of another cause now."""
        columns = (rebuilds.c.package, rebuilds.c.series, rebuilds.c.architecture)
        query = sa.select(rebuilds).where(rebuilds.c.night == night.number, NEWS).order_by(*columns)
        with self._reading() as connection:
            return tuple(rebuild_of(row) for row in connection.execute(query.limit(NEWS_OF_A_NIGHT)))

    def deciding_builds(self, night: Night) -> Mapping[int, Build]:
        """The builds that these were settled with, by their ids."""
        query = select_builds().where(rebuilds.c.night == night.number, NEWS, builds.c.id == rebuilds.c.decided_by)
        with self._reading() as connection:
            return {row.rebuild: build_of(row) for row in connection.execute(query.limit(NEWS_OF_A_NIGHT))}

    def usual_build_s(self, night: Night) -> Mapping[int, float]:  # noqa: ARG002
        """Nothing: a feed does not tell durations."""
        return {}


def open_reading(path: Path) -> Reading:
    """The record in a file, which is made where it is missing; raises FarmTrouble for another version's."""
    return Reading(_engine(path))


def open_news(path: Path) -> NewsOnly:
    """The same, of news alone."""
    return NewsOnly(_engine(path))


def _engine(path: Path) -> sa.Engine:
    open_nights(path)
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA query_only=ON")

    return engine


def _hit(row: Any) -> Hit:
    night, package, series, architecture, verdict, since, changed, fingerprint, build = row
    subject = Subject(package, series, architecture)
    return Hit(night, subject, RebuildVerdict(verdict) if verdict else None, since, changed, fingerprint, build)
