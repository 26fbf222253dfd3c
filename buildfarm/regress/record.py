"""Reading the record of nightly rebuilds; every method is one transaction, safe from any thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from buildfarm.regress import lookups
from buildfarm.regress.lookups import IS_RESULT, of_subject, select_builds
from buildfarm.regress.model import BuildReport, Subject
from buildfarm.regress.records import (
    Build,
    Driver,
    Label,
    Night,
    Rebuild,
    build_of,
    night_of,
    rebuild_of,
    variant_of,
)
from buildfarm.regress.schema import builds, labels, nights, rebuilds
from buildfarm.sqlite import transaction

KEEP_NIGHTS = 30
DAY_S = 86400.0


class Record:
    """The record behind one database engine, to look at; ``Nights`` also writes it."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with transaction(self._engine, "BEGIN") as connection:  # all its questions see one state
            yield connection

    # Nights

    def night(self, number: int) -> Night | None:
        """A night by its number."""
        with self._reading() as connection:
            row = connection.execute(sa.select(nights).where(nights.c.number == number)).first()
            return night_of(row) if row is not None else None

    def recent_nights(self, limit: int = 20, set: str = "") -> tuple[Night, ...]:  # noqa: A002
        """The newest nights, newest first; of one set, or ("") of all."""
        query = sa.select(nights).order_by(nights.c.number.desc()).limit(limit)
        return self._nights(query.where(nights.c.set == set) if set else query)

    def night_before(self, night: Night) -> Night | None:
        """The night of the same set that came before, of those that are told as it is."""
        query = (
            sa.select(nights)
            .where(nights.c.set == night.set, nights.c.number < night.number)
            .where(sa.func.json_extract(nights.c.rules, "$.tell") == night.settings.tell)
            .order_by(nights.c.number.desc())
        )
        return next(iter(self._nights(query.limit(1))), None)

    def nights_since(self, at: float, number: int = 0) -> tuple[Night, ...]:
        """The nights from this number on that go on or have ended at this time (epoch seconds) or later."""
        late = nights.c.ended_at.is_(None) | (nights.c.ended_at >= at)
        return self._nights(sa.select(nights).where(late, nights.c.number >= number).order_by(nights.c.number))

    def open_nights_of(self, driver: Driver) -> tuple[Night, ...]:
        """The nights of a driver that have not ended, oldest first."""
        condition = nights.c.ended_at.is_(None) & (nights.c.driver == driver)
        return self._nights(sa.select(nights).where(condition).order_by(nights.c.number))

    def untold_nights(self) -> tuple[Night, ...]:
        """The nights that have ended, whose news nobody was told yet, oldest first."""
        untold = nights.c.ended_at.is_not(None) & ~nights.c.told
        return self._nights(sa.select(nights).where(untold).order_by(nights.c.number))

    def _nights(self, query: sa.Select[Any]) -> tuple[Night, ...]:
        with self._reading() as connection:
            return tuple(night_of(row) for row in connection.execute(query))

    # Rebuilds and builds

    def rebuilds(self, night: Night) -> tuple[Rebuild, ...]:
        """A night's rebuilds, by package, series and architecture."""
        columns = (rebuilds.c.package, rebuilds.c.series, rebuilds.c.architecture)
        query = sa.select(rebuilds).where(rebuilds.c.night == night.number).order_by(*columns)
        with self._reading() as connection:
            return tuple(rebuild_of(row) for row in connection.execute(query))

    def rebuild(self, id: int) -> Rebuild | None:  # noqa: A002
        """A rebuild by its id."""
        with self._reading() as connection:
            row = connection.execute(sa.select(rebuilds).where(rebuilds.c.id == id)).first()
            return rebuild_of(row) if row is not None else None

    def builds(self, rebuild: Rebuild) -> tuple[Build, ...]:
        """A rebuild's builds, oldest first."""
        with self._reading() as connection:
            return builds_where(connection, builds.c.rebuild == rebuild.id)

    def build(self, id: int) -> Build | None:  # noqa: A002
        """A build by the number that people know it by."""
        with self._reading() as connection:
            return next(iter(builds_where(connection, builds.c.id == id)), None)

    def due(self, driver: Driver, night: Night | None = None) -> tuple[tuple[Night, Rebuild, Build], ...]:
        """The builds that wait and whose time has come, the first to be done first.

        That is by priority; then what comes after a failure; then the longest expected, of which those never
        built before may be the longest of all.
        """
        query = (
            self._open_builds(driver, "waiting")
            .where(builds.c.not_before <= self._clock())
            .order_by(
                builds.c.priority.desc(),
                builds.c.kind == "first",
                rebuilds.c.expected_s.is_not(None),
                rebuilds.c.expected_s.desc(),
                builds.c.id,
            )
        )
        return self._with_theirs(query if night is None else query.where(nights.c.number == night.number))

    def submitted(self, driver: Driver) -> tuple[tuple[Night, Rebuild, Build], ...]:
        """The builds that were given to their driver and have not ended."""
        return self._with_theirs(self._open_builds(driver, "submitted").order_by(builds.c.id))

    def next_due_at(self, driver: Driver) -> float | None:
        """When the next build's time will come, in epoch seconds; None when every time has come."""
        waiting = self._open_builds(driver, "waiting").where(builds.c.not_before > self._clock())
        with self._reading() as connection:
            return connection.execute(waiting.with_only_columns(sa.func.min(builds.c.not_before))).scalar()

    @staticmethod
    def _open_builds(driver: Driver, state: str) -> sa.Select[Any]:
        joined = select_builds().join(nights, nights.c.number == rebuilds.c.night)
        return joined.where(nights.c.driver == driver, builds.c.state == state)

    def _with_theirs(self, query: sa.Select[Any]) -> tuple[tuple[Night, Rebuild, Build], ...]:
        with self._reading() as connection:
            found = tuple(build_of(row) for row in connection.execute(query))
            ids = {one.rebuild for one in found}
            theirs = {
                row.id: rebuild_of(row)
                for row in connection.execute(sa.select(rebuilds).where(rebuilds.c.id.in_(ids)))
            }
            numbers = {one.night for one in theirs.values()}
            known = {
                row.number: night_of(row)
                for row in connection.execute(sa.select(nights).where(nights.c.number.in_(numbers)))
            }
            return tuple((known[theirs[one.rebuild].night], theirs[one.rebuild], one) for one in found)

    def deciding_builds(self, night: Night) -> Mapping[int, Build]:
        """The builds that a night's rebuilds were settled with, by the ids of these."""
        query = select_builds().where(rebuilds.c.night == night.number, builds.c.id == rebuilds.c.decided_by)
        with self._reading() as connection:
            return {row.rebuild: build_of(row) for row in connection.execute(query)}

    def usual_build_s(self, night: Night) -> Mapping[int, float]:
        """How long the packages' own builds took before, in seconds, by the ids of a night's rebuilds.

        That is the median of the last passes before the night; what never passed has none.
        """
        with self._reading() as connection:
            rows = connection.execute(sa.select(rebuilds).where(rebuilds.c.night == night.number)).all()
            usual = {row.id: lookups.usual_build_s(connection, row) for row in rows}
        return {rebuild: seconds for rebuild, seconds in usual.items() if seconds is not None}

    def rebuilds_of(self, subject: Subject, limit: int) -> tuple[tuple[Night, Rebuild, Build | None], ...]:
        """A subject's newest rebuilds, newest first, with the builds that they were settled with."""
        query = sa.select(rebuilds).where(of_subject(subject)).order_by(rebuilds.c.id.desc()).limit(limit)
        with self._reading() as connection:
            found = tuple(rebuild_of(row) for row in connection.execute(query))
            numbers = {one.night for one in found}
            theirs = {
                row.number: night_of(row)
                for row in connection.execute(sa.select(nights).where(nights.c.number.in_(numbers)))
            }
            deciding = {
                one.id: one for one in builds_where(connection, builds.c.id.in_({one.decided_by for one in found}))
            }
            return tuple(
                (theirs[one.night], one, deciding.get(one.decided_by) if one.decided_by else None) for one in found
            )

    def earlier_that_day(self, night: Night, rebuild: Rebuild) -> int:
        """How many nights and series had the same source version, for the same archive, earlier on a night's day.

        The day is that of its start, in UTC; of series of one night, those first by name are the earlier ones.
        """
        day_at = night.started_at - night.started_at % DAY_S
        query = (
            sa.select(rebuilds)
            .join(nights, nights.c.number == rebuilds.c.night)
            .where(
                rebuilds.c.package == rebuild.job.package,
                rebuilds.c.version == rebuild.job.version,
                nights.c.started_at >= day_at,
                nights.c.started_at < day_at + DAY_S,
            )
        )
        with self._reading() as connection:
            found = [rebuild_of(row) for row in connection.execute(query)]
        same = {(one.night, one.job.series) for one in found if one.job.publish == rebuild.job.publish}
        return sum(one < (night.number, rebuild.job.series) for one in same)

    # What is known from before

    def history(self, subject: Subject, limit: int = 100) -> tuple[Build, ...]:
        """A subject's builds that say something of it (passed or failed, and are believed), newest first."""
        query = select_builds().where(of_subject(subject), IS_RESULT).order_by(builds.c.id.desc()).limit(limit)
        with self._reading() as connection:
            return tuple(build_of(row) for row in connection.execute(query))

    def last_pass(self, subject: Subject, before: Build | None = None) -> Build | None:
        """A subject's newest build that passed in a known environment: of all, or of those before another build.

        What is compared was built out of the same repositories.
        """
        variant = variant_of(before.job) if before is not None else None
        with self._reading() as connection:
            return lookups.last_pass(connection, subject, before.id if before is not None else None, variant)

    def last_failure(self, rebuild: Rebuild) -> BuildReport | None:
        """The report of a rebuild's newest build that failed, and is believed."""
        with self._reading() as connection:
            failed = lookups.last_failure(connection, rebuild.id)
            return failed.report if failed is not None else None

    def tests_known(self, night: Night, rebuild: Rebuild) -> tuple[frozenset[str] | None, frozenset[str]]:
        """The tests by which a rebuild's subject may fail and pass, and those that broke since it is failing, as
        ``known_to_fail`` and ``broken_before`` have them."""
        told = night.settings.tell
        with self._reading() as connection:
            row = connection.execute(sa.select(rebuilds).where(rebuilds.c.id == rebuild.id)).one()
            known = lookups.known_to_fail(connection, row, told=told)
            return known, lookups.broken_before(connection, row, told=told)

    def expected_s(self, subject: Subject) -> float | None:
        """How long a build of the subject will take, in seconds: as long as the last that passed, or failed."""
        with self._reading() as connection:
            return lookups.expected_s(connection, subject)

    def workers_out(self) -> Mapping[str, tuple[str, float]]:
        """The workers that are out of service: why, and since when (epoch seconds)."""
        with self._reading() as connection:
            return lookups.out_of_service(connection)

    def labels(self) -> Mapping[str, Label]:
        """What is known of causes, by their fingerprints."""
        with self._reading() as connection:
            return {row.fingerprint: Label(*row) for row in connection.execute(sa.select(labels))}

    def knows_cause(self, fingerprint: str) -> bool:
        """Whether a rebuild on record failed of this cause."""
        query = sa.select(rebuilds.c.id).where(rebuilds.c.fingerprint == fingerprint).limit(1)
        with self._reading() as connection:
            return connection.execute(query).first() is not None

    # Housekeeping

    def kept_builds_past(self, keep_nights: int = KEEP_NIGHTS) -> tuple[int, ...]:
        """The builds whose directories may go, of nights that have ended and are past the newest of their set.

        A subject's last pass is kept in any case, for what is built next is compared with it.
        """
        with self._reading() as connection:
            return tuple(connection.execute(sa.select(builds.c.id).where(_past(keep_nights))).scalars())

    def environments_in_use(self, keep_nights: int = KEEP_NIGHTS) -> frozenset[str]:
        """The environments of all builds that are kept, and those that waiting ones are to have."""
        kept = ~builds.c.id.in_(sa.select(builds.c.id).where(_past(keep_nights)))
        with self._reading() as connection:
            query = sa.select(builds.c.environment, builds.c.ran_in).where(kept)
            return frozenset(name for row in connection.execute(query) for name in row) - {""}


def _past(keep_nights: int) -> sa.ColumnElement[bool]:
    newest_first = sa.func.row_number().over(partition_by=nights.c.set, order_by=nights.c.number.desc())
    ranked = sa.select(nights.c.number, nights.c.ended_at, newest_first.label("rank")).subquery()
    old = (
        sa.select(rebuilds.c.id)
        .join(ranked, ranked.c.number == rebuilds.c.night)
        .where(ranked.c.rank > keep_nights, ranked.c.ended_at.is_not(None))
    )
    subject = (rebuilds.c.package, rebuilds.c.series, rebuilds.c.architecture, rebuilds.c.variant)
    last_passes = (
        sa.select(sa.func.max(builds.c.id))
        .join(rebuilds, rebuilds.c.id == builds.c.rebuild)
        .where(IS_RESULT, builds.c.outcome == "pass", builds.c.ran_in != "")
        .group_by(*subject)
    )
    return builds.c.rebuild.in_(old) & (builds.c.state == "done") & ~builds.c.id.in_(last_passes)


def builds_where(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> tuple[Build, ...]:
    """The builds of a condition, oldest first."""
    query = select_builds().where(condition).order_by(builds.c.id)
    return tuple(build_of(row) for row in connection.execute(query))
