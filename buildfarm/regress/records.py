"""What is on record of nightly rebuilds, as plain values, and how a row of its table becomes one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

import sqlalchemy as sa

from buildfarm.job import from_plain
from buildfarm.regress.flaky import Rate
from buildfarm.regress.model import BuildKind, BuildReport, Culprit, LeftOut, RebuildJob, RebuildVerdict, Subject

Driver = Literal["farm", "here"]
JOBS_CACHED = 4096  # the queue is looked at whenever a build ends, and a night may have thousands
State = Literal["waiting", "submitted", "done"]


@dataclass(frozen=True)
class NightRules:
    """How a night goes.

    ``control`` is the package that is built to try a worker; "" is the quickest that passed. ``confirm``: a
    failure is built again before it is one. ``culprit``: the cause of a new failure is searched for, with so many
    builds and in so many seconds at most. A night of higher ``priority`` goes first. ``tell``: its news are told.
    ``watch_tests``: a test that breaks is a failure although the package's rules forgive it.
    """

    control: str = ""
    confirm: bool = True
    culprit: bool = True
    culprit_builds: int = 24
    culprit_s: int = 4 * 3600
    priority: int = 0
    tell: bool = True
    watch_tests: bool = True


@dataclass(frozen=True)
class Night:
    """One round over a set. ``driver`` is who builds it, the farm or a command here; times are epoch seconds.

    ``told``: nothing of it is left to tell; ``told_by`` are the ways by which its news were told so far.
    ``left_out`` is what its set names and is not rebuilt.
    """

    number: int
    set: str
    driver: Driver
    reason: str
    started_at: float
    ended_at: float | None
    told: bool
    told_by: tuple[str, ...]
    settings: NightRules
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class Rebuild:
    """One subject of a night. ``verdict`` is None while it goes on; ``decided_by`` is the number of the build that
    it was settled with, for people to look at: of a failure, the last that failed.
    """

    id: int
    night: int
    job: RebuildJob
    verdict: RebuildVerdict | None
    since: float | None
    reason: str
    cause_changed: bool
    flaky_rate: Rate | None
    expected_s: float | None
    fingerprint: str
    culprit: Culprit | None
    decided_by: int | None
    ended_at: float | None

    @property
    def subject(self) -> Subject:
        """What it is a rebuild of."""
        return self.job.subject


@dataclass(frozen=True)
class Try:
    """A try of a build that ended by trouble: on which worker, when (epoch seconds), and what it said."""

    worker: str
    ended_at: float
    reason: str


@dataclass(frozen=True)
class Build:
    """One build; ``id`` is the number that people know it by, ``#id``.

    ``job`` is what is built: for kind control the control package's. ``attempts`` counts those started, ``tries``
    are those that ended by trouble. ``environment`` is the one it is to have ("" is today's). ``wanted_worker`` is
    where it must be built ("" is anywhere), ``avoid_workers`` where not if there are others. Of waiting builds
    those of higher ``priority`` go first. ``counts``: what it says is believed.
    """

    id: int
    rebuild: int
    kind: BuildKind
    state: State
    attempts: int
    tries: tuple[Try, ...]
    wanted_worker: str
    avoid_workers: tuple[str, ...]
    alone: bool
    environment: str
    not_before: float
    priority: int
    worker: str
    buildset: int | None
    started_at: float | None
    ended_at: float | None
    counts: bool
    report: BuildReport | None
    page: str
    job: RebuildJob


@dataclass(frozen=True)
class Label:
    """What people know of a cause: a note, the address of a bug; set at (epoch seconds)."""

    fingerprint: str
    text: str
    url: str
    set_at: float


def variant_of(job: RebuildJob) -> str:
    """A name for what decides a job's results besides its source and series: the repositories that it builds from
    too, and its options, but for how many processes it may run; "" is for none of both."""
    options = sorted({word for word in job.options if not word.startswith("parallel=")})
    if not job.extra and not options:
        return ""
    content = [*(asdict(one) for one in job.extra), *options]
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(JOBS_CACHED)
def _job(text: str) -> RebuildJob:
    return RebuildJob.from_json(json.loads(text))


def night_of(row: sa.Row[Any]) -> Night:
    """The night of a row of ``nights``."""
    rules = from_plain(NightRules, json.loads(row.rules))
    return Night(
        number=row.number,
        set=row.set,
        driver=row.driver,
        reason=row.reason,
        started_at=row.started_at,
        ended_at=row.ended_at,
        told=row.told,
        told_by=tuple(json.loads(row.told_by)),
        settings=rules,
        left_out=tuple(from_plain(LeftOut, one) for one in json.loads(row.left_out)),
    )


def rebuild_of(row: sa.Row[Any]) -> Rebuild:
    """The rebuild of a row of ``rebuilds``."""
    return Rebuild(
        id=row.id,
        night=row.night,
        job=_job(row.job),
        verdict=RebuildVerdict(row.verdict) if row.verdict else None,
        since=row.since,
        reason=row.reason,
        cause_changed=row.cause_changed,
        flaky_rate=Rate(*json.loads(row.flaky_rate)) if row.flaky_rate else None,
        expected_s=row.expected_s,
        fingerprint=row.fingerprint,
        culprit=from_plain(Culprit, json.loads(row.culprit)) if row.culprit else None,
        decided_by=row.decided_by,
        ended_at=row.ended_at,
    )


def build_of(row: sa.Row[Any]) -> Build:
    """The build of a row of ``builds`` with its rebuild's job as ``rebuild_job``."""
    return Build(
        id=row.id,
        rebuild=row.rebuild,
        kind=row.kind,
        state=row.state,
        attempts=row.attempts,
        tries=tuple(from_plain(Try, one) for one in json.loads(row.tries)),
        wanted_worker=row.wanted_worker,
        avoid_workers=tuple(json.loads(row.avoid_workers)),
        alone=row.alone,
        environment=row.environment,
        not_before=row.not_before,
        priority=row.priority,
        worker=row.worker,
        buildset=row.buildset,
        started_at=row.started_at,
        ended_at=row.ended_at,
        counts=row.counts,
        report=BuildReport.from_json(json.loads(row.report)) if row.report else None,
        page=row.page,
        job=_job(row.job or row.rebuild_job),
    )
