"""Reading and writing the record of nightly rebuilds; every method is one transaction, safe from any thread.

What makes a night survive a kill at any moment stands here. A night is recorded together with all its rebuilds and
their first builds. A build is ``waiting``, then ``submitted`` to its driver, then ``done``; the transaction that
ends a build also queues the one that follows or settles its rebuild. So a rebuild without a verdict always has a
build that is not done, and whoever finds a build submitted by a driver that is gone returns it to the queue.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as upsert

from buildfarm.errors import UsageError
from buildfarm.regress import lookups
from buildfarm.regress.lookups import AFTER_KINDS
from buildfarm.regress.model import (
    LOOK_AGAIN_S,
    NOT_PUBLISHED,
    BuildReport,
    Culprit,
    LeftOut,
    RebuildJob,
    RebuildVerdict,
    Subject,
)
from buildfarm.regress.progress import (
    add_build,
    advance,
    drop_waiting,
    rebuild_row,
    set_in_service,
    settle,
    spread_control,
    start_again_elsewhere,
    take_out,
    take_out_the_troubled,
)
from buildfarm.regress.record import Record, builds_where
from buildfarm.regress.records import (
    Build,
    Driver,
    Label,
    Night,
    NightRules,
    Rebuild,
    Try,
    night_of,
    rebuild_of,
    variant_of,
)
from buildfarm.regress.schema import SCHEMA_VERSION, UPGRADES, builds, labels, metadata, nights, rebuilds
from buildfarm.regress.verdicts import Next, Settled, retry_delay_s
from buildfarm.sqlite import open_sqlite, transaction

__all__ = ["Build", "Label", "Night", "NightRules", "Nights", "Rebuild", "Settled", "Try", "open_nights"]

START_LIMIT = 12  # a build that takes its worker with it each time must end, too


def open_nights(path: Path, clock: Callable[[], float] = time.time) -> Nights:
    """The record kept in an SQLite file, made where it is missing; raises FarmTrouble for another version's."""
    return Nights(open_sqlite(path, metadata, SCHEMA_VERSION, "the record of nights", UPGRADES), clock)


class Nights(Record):
    """The record behind one database engine."""

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with transaction(self._engine) as connection:
            yield connection

    # Nights

    def open_night(
        self,
        set: str,  # noqa: A002 (the field's word)
        jobs: Sequence[RebuildJob],
        *,
        driver: Driver,
        reason: str,
        rules: NightRules,
        not_before: float = 0.0,
        left_out: Sequence[LeftOut] = (),
    ) -> Night:
        """Begin a night with these jobs; none of its builds is due before ``not_before`` (epoch seconds).

        ``left_out`` is what the set names besides, for people.

        A job that is given twice is built once. Raises UsageError without jobs, for two different jobs of one
        subject, and while an earlier night of the set goes on, which the error names.
        """
        if not jobs:
            raise UsageError(f"the set {set} has nothing to rebuild", resolution="See that its packages exist.")
        subjects: dict[Subject, RebuildJob] = {}
        for job in jobs:
            other = subjects.setdefault(job.subject, job)
            if other != job:
                how = f"{other.version} and {job.version}" if other.version != job.version else "two ways"
                raise UsageError(
                    f"{job.subject} is wanted {'in ' if other.version != job.version else ''}{how} in one night",
                    where=f"set {set}",
                    resolution="Name it once, or put the other into a set of its own.",
                )
        now = self._clock()
        with self._writing() as connection:
            going_on = connection.execute(
                sa.select(nights).where(nights.c.set == set, nights.c.ended_at.is_(None))
            ).first()
            if going_on is not None:
                raise UsageError(
                    f"night {going_on.number} of the set {set} goes on",
                    where=f"set {set}",
                    resolution="Wait until it has ended, or cancel it.",
                )
            row = sa.insert(nights).values(
                set=set,
                driver=driver,
                reason=reason,
                started_at=now,
                rules=json.dumps(asdict(rules)),
                left_out=json.dumps([asdict(one) for one in left_out]),
            )
            number = connection.execute(row).inserted_primary_key[0]  # type: ignore[index]
            for job in subjects.values():
                self._insert_rebuild(connection, number, job, not_before)
            return _night(connection, number)

    @staticmethod
    def _insert_rebuild(connection: sa.Connection, night: int, job: RebuildJob, not_before: float) -> None:
        row = sa.insert(rebuilds).values(
            night=night,
            package=job.package,
            series=job.series,
            architecture=job.architecture,
            variant=variant_of(job),
            version=job.version,
            job=json.dumps(job.to_json()),
            expected_s=lookups.expected_s(connection, job.subject),
        )
        rebuild = connection.execute(row).inserted_primary_key[0]  # type: ignore[index]
        add_build(connection, rebuild_row(connection, rebuild), Next("first"))
        connection.execute(sa.update(builds).where(builds.c.rebuild == rebuild).values(not_before=not_before))

    def end_nights(self) -> tuple[Night, ...]:
        """End the nights of which every rebuild is settled and no build is open any more; returns these."""
        open_builds = (
            sa.select(builds.c.id)
            .join(rebuilds, rebuilds.c.id == builds.c.rebuild)
            .where(rebuilds.c.night == nights.c.number, builds.c.state != "done")
        )
        unsettled = sa.select(rebuilds.c.id).where(
            rebuilds.c.night == nights.c.number, rebuilds.c.verdict.is_(None)
        )
        over = nights.c.ended_at.is_(None) & ~open_builds.exists() & ~unsettled.exists()
        with self._writing() as connection:
            numbers = connection.execute(sa.select(nights.c.number).where(over)).scalars().all()
            chosen = nights.c.number.in_(numbers)
            connection.execute(sa.update(nights).where(chosen).values(ended_at=self._clock()))
            query = sa.select(nights).where(chosen).order_by(nights.c.number)
            return tuple(night_of(row) for row in connection.execute(query))

    def mark_told(self, night: Night) -> None:
        """Note that a night's news were told, or that there is nobody to tell."""
        with self._writing() as connection:
            connection.execute(sa.update(nights).where(nights.c.number == night.number).values(told=True))

    def note_told(self, night: Night, way: str) -> Night:
        """Note that a night's news were told by a way (mail, webhook), for who goes on after a kill."""
        with self._writing() as connection:
            told_by = {*_night(connection, night.number).told_by, way}
            this = nights.c.number == night.number
            connection.execute(sa.update(nights).where(this).values(told_by=json.dumps(sorted(told_by))))
            return _night(connection, night.number)

    def cancel(self, night: Night) -> Night:
        """End a night at once: what has no verdict yet gets none on its package, and nothing is told.

        Builds that are submitted stay so until their driver ends them, which changes nothing any more.
        """
        now = self._clock()
        with self._writing() as connection:
            query = sa.select(rebuilds.c.id, rebuilds.c.verdict).where(rebuilds.c.night == night.number)
            if _night(connection, night.number).ended_at is None:
                for rebuild, verdict in connection.execute(query).all():
                    drop_waiting(connection, rebuild, now)
                    if verdict is None:
                        self._settle_without(connection, rebuild, "the night was cancelled", now)
                ended = {"ended_at": now, "told": True}
                connection.execute(sa.update(nights).where(nights.c.number == night.number).values(**ended))
            return _night(connection, night.number)

    # Rebuilds and builds

    def start(self, build: Build, worker: str = "") -> Build:
        """Count a start of a build before its driver is given it: the count is part of the name it is found by.

        Raises UsageError when it does not wait: another driver was quicker.
        """
        with self._writing() as connection:
            started = connection.execute(
                sa.update(builds)
                .where(builds.c.id == build.id, builds.c.state == "waiting")
                .values(
                    state="submitted",
                    attempts=builds.c.attempts + 1,
                    buildset=None,
                    worker=worker,
                    page="",
                    started_at=self._clock(),
                )
            )
            if started.rowcount != 1:
                raise UsageError(f"build #{build.id} does not wait to be started")
            return builds_where(connection, builds.c.id == build.id)[0]

    def record_buildset(self, build: Build, buildset: int) -> None:
        """Keep the number of the buildset that does a build."""
        self._note(build, buildset=buildset)

    def note_worker(self, build: Build, worker: str, page: str = "") -> None:
        """Keep which worker does a build and the page where it can be watched; its time counts from now."""
        self._note(build, worker=worker, page=page, started_at=self._clock())

    def _note(self, build: Build, **values: Any) -> None:
        this = (builds.c.id == build.id) & (builds.c.attempts == build.attempts) & (builds.c.state == "submitted")
        with self._writing() as connection:
            connection.execute(sa.update(builds).where(this).values(**values))

    def return_to_queue(self, build: Build) -> Settled | None:
        """Take back a start that came to nothing; the twelfth time it ends as trouble. Returns as ``end`` does.

        Of a build on Launchpad, each look at which is a start, none is the last.
        """
        if build.attempts >= START_LIMIT and not build.job.is_launchpads:
            words = f"it was started {build.attempts} times, and its worker or its driver was lost each time"
            return self.end(build, BuildReport("error", words), final=True)
        with self._writing() as connection:
            this = (builds.c.id == build.id) & (builds.c.state == "submitted")
            connection.execute(
                sa.update(builds).where(this, builds.c.attempts == build.attempts).values(state="waiting")
            )
        return None

    def end(self, build: Build, report: BuildReport, worker: str = "", *, final: bool = False) -> Settled | None:
        """A build has ended: it waits for its next try, or what follows from it is done; in one transaction.

        A build that goes on elsewhere waits until one may look again. An error is tried again after
        ``retry_delay_s`` on another worker where there is one, unless ``final`` or where it had to be on this
        worker. Ending a start that has ended already changes nothing. Returns the rebuild's verdict when it has
        one; the end of a search for a culprit leaves that as it is.
        """
        now = self._clock()
        with self._writing() as connection:
            current = connection.execute(sa.select(builds).where(builds.c.id == build.id)).one()
            if current.state == "submitted" and current.attempts == build.attempts:
                self._end(connection, current, report, worker or current.worker, now, final)
            return _settled(connection, current.rebuild)

    def _end(
        self,
        connection: sa.Connection,
        current: sa.Row[Any],
        report: BuildReport,
        worker: str,
        now: float,
        final: bool,
    ) -> None:
        rebuild = rebuild_row(connection, current.rebuild)
        values: dict[str, Any]
        look_again_s = report.facts.get(LOOK_AGAIN_S)
        if look_again_s is not None and rebuild.verdict is None and not final:
            values = {"state": "waiting", "not_before": now + float(look_again_s), "buildset": None}
            connection.execute(sa.update(builds).where(builds.c.id == current.id).values(worker=worker, **values))
            return
        trouble = report.outcome == "error" or (report.outcome == "dependency-wait" and current.kind != "first")
        tries = json.loads(current.tries)
        values = {"worker": worker, "ended_at": now, "buildset": None}
        delay = None
        if trouble:
            tries = [*tries, asdict(Try(worker, now, report.reason))]
            values["tries"] = json.dumps(tries)
            out = worker in lookups.out_of_service(connection)
            settled = rebuild.verdict is not None and current.kind not in AFTER_KINDS
            over = final or out or settled
            delay = None if over else retry_delay_s(len(tries))
        this = sa.update(builds).where(builds.c.id == current.id)
        if delay is not None:
            avoid = json.loads(current.avoid_workers)
            if worker and not current.wanted_worker and worker not in avoid:
                avoid.append(worker)
            values |= {"state": "waiting", "not_before": now + delay, "avoid_workers": json.dumps(avoid)}
            connection.execute(this.values(**values))
            return
        values |= {
            "state": "done",
            "outcome": "error" if trouble else report.outcome,
            "ran_in": report.environment,
            "total_s": report.total_s,
            "report": json.dumps(report.to_json()),
        }
        connection.execute(this.values(**values))
        if not trouble:
            take_out_the_troubled(connection, current, worker, now)
        if current.kind == "culprit":
            found = report.culprit or Culprit(f"The search for the cause came to nothing: {report.reason}")
            connection.execute(
                sa.update(rebuilds).where(rebuilds.c.id == rebuild.id).values(culprit=json.dumps(asdict(found)))
            )
            return
        if current.kind == "publish":
            self._add_words(connection, rebuild.id, report.reason)
            return
        advance(connection, rebuild.id, now)
        if current.kind == "control" and report.outcome == "pass":
            spread_control(connection, current, worker, now)

    def give_up(self, build: Build, reason: str) -> Settled | None:
        """A waiting build will find no worker: its rebuild ends without a verdict on the package."""
        now = self._clock()
        with self._writing() as connection:
            current = connection.execute(sa.select(builds).where(builds.c.id == build.id)).first()
            if current is not None and current.state == "waiting":
                drop_waiting(connection, current.rebuild, now)
                if current.kind == "publish":
                    self._add_words(connection, current.rebuild, f"{NOT_PUBLISHED}{reason}")
                elif current.kind == "culprit":
                    words = json.dumps(asdict(Culprit(f"The cause was not searched for: {reason}")))
                    connection.execute(
                        sa.update(rebuilds).where(rebuilds.c.id == current.rebuild).values(culprit=words)
                    )
                else:
                    self._settle_without(connection, current.rebuild, reason, now)
            return _settled(connection, build.rebuild)

    @staticmethod
    def _add_words(connection: sa.Connection, rebuild: int, words: str) -> None:
        """Say behind a verdict's reason what became of it since."""
        this = sa.update(rebuilds).where(rebuilds.c.id == rebuild)
        connection.execute(this.values(reason=rebuilds.c.reason + "; " + words))

    @staticmethod
    def _settle_without(connection: sa.Connection, rebuild: int, reason: str, now: float) -> None:
        row = rebuild_row(connection, rebuild)
        settle(connection, row, Settled(RebuildVerdict.INFRASTRUCTURE, row.night_at, reason), now)

    # Workers

    def take_out(self, worker: str, reason: str) -> None:
        """Give a worker nothing any more until it is put back; what waits for it starts again elsewhere."""
        with self._writing() as connection:
            take_out(connection, worker, reason, self._clock())

    def leave(self, worker: str) -> None:
        """A worker is gone: what waits for it starts again elsewhere. It may build as soon as it is back."""
        with self._writing() as connection:
            start_again_elsewhere(connection, worker, self._clock())

    def put_back(self, worker: str) -> None:
        """Let a worker serve again."""
        with self._writing() as connection:
            set_in_service(connection, worker, "", self._clock())

    # Labels

    def set_label(self, fingerprint: str, text: str, url: str = "") -> None:
        """Keep what is known of a cause; an empty text and address take it away.

        Raises UsageError for an address that is no http(s) one.
        """
        if url and not url.startswith(("http://", "https://")):
            raise UsageError("an address that begins with http:// or https:// is wanted", where=url)
        row = {"fingerprint": fingerprint, "text": text, "url": url, "set_at": self._clock()}
        with self._writing() as connection:
            if text or url:
                statement = upsert(labels).values(row)
                connection.execute(statement.on_conflict_do_update(index_elements=["fingerprint"], set_=row))
            else:
                connection.execute(sa.delete(labels).where(labels.c.fingerprint == fingerprint))


def _night(connection: sa.Connection, number: int) -> Night:
    return night_of(connection.execute(sa.select(nights).where(nights.c.number == number)).one())


def _settled(connection: sa.Connection, rebuild: int) -> Settled | None:
    found = rebuild_of(connection.execute(sa.select(rebuilds).where(rebuilds.c.id == rebuild)).one())
    if found.verdict is None:
        return None
    since = found.since if found.since is not None else 0.0
    return Settled(found.verdict, since, found.reason, found.fingerprint, found.cause_changed, found.flaky_rate)
