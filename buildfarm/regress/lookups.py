"""What earlier builds say, looked up within a transaction: results, last passes, durations, controls."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from buildfarm.build.logs import NAMING
from buildfarm.regress.forgiven import key_of_test
from buildfarm.regress.model import RebuildVerdict, Subject
from buildfarm.regress.records import Build, build_of
from buildfarm.regress.schema import builds, nights, rebuilds, workers_out
from buildfarm.regress.verdicts import CONCLUSIVE, FAILING, PASSING, Past, Ran, Word

PAST_LIMIT = 400
RESULTS_LIMIT = 200
FLAKY_LOOK_BACK = 30
TESTS_LOOK_BACK = 60
STATE_CHANGES = frozenset({RebuildVerdict.NEW_FAILURE, RebuildVerdict.STILL_FAILING, RebuildVerdict.FIXED})
CONTROL_FRESH_S = 14 * 86400.0
USUAL_OF = 9
OWN_KINDS = ("first", "again")
AFTER_KINDS = ("culprit", "publish")
"""What follows a verdict, and changes it no more."""

IS_RESULT = sa.and_(builds.c.kind.in_(OWN_KINDS), builds.c.counts, builds.c.outcome.in_(("pass", "fail")))


def select_builds() -> sa.Select[Any]:
    """All builds, as ``build_of`` wants their rows."""
    return sa.select(builds, rebuilds.c.job.label("rebuild_job")).join(rebuilds, rebuilds.c.id == builds.c.rebuild)


def of_subject(subject: Subject, variant: str | None = None) -> sa.ColumnElement[bool]:
    """The rebuilds of a subject, of one variant or (None) of all."""
    condition = sa.and_(
        rebuilds.c.package == subject.package,
        rebuilds.c.series == subject.series,
        rebuilds.c.architecture == subject.architecture,
    )
    return condition if variant is None else sa.and_(condition, rebuilds.c.variant == variant)


def ran_of(connection: sa.Connection, rebuild: int) -> tuple[tuple[Ran, ...], tuple[sa.Row[Any], ...]]:
    """A rebuild's builds that have ended and count, in the order of their ends: for the rules, and as rows."""
    query = (
        sa.select(builds)
        .where(
            builds.c.rebuild == rebuild,
            builds.c.state == "done",
            builds.c.counts,
            builds.c.outcome.is_not(None),
            builds.c.kind.not_in(AFTER_KINDS),
        )
        .order_by(builds.c.ended_at, builds.c.id)
    )
    rows = tuple(connection.execute(query))
    return tuple(_ran(row) for row in rows), rows


def _ran(row: sa.Row[Any]) -> Ran:
    report = json.loads(row.report)
    fingerprint, reason = report.get("fingerprint", ""), report.get("reason", "")
    broken = frozenset(key_of_test(name) for name in report.get("broken_tests", ()))
    return Ran(row.kind, row.outcome, row.worker, row.ran_in, fingerprint, reason, broken)


def verdicts_before(rebuild: sa.Row[Any], *, told: bool) -> sa.Select[*tuple[Any, ...]]:
    """What a rebuild's subject came to before, newest first. ``told``: only in nights whose news are told, so that
    what somebody tried by hand does not take the news from the others."""
    query = (
        sa.select(
            *(rebuilds.c.id, rebuilds.c.version, rebuilds.c.verdict, rebuilds.c.since),
            *(rebuilds.c.fingerprint, rebuilds.c.culprit, rebuilds.c.decided_by),
        )
        .where(
            of_subject(Subject(rebuild.package, rebuild.series, rebuild.architecture), rebuild.variant),
            rebuilds.c.id != rebuild.id,
            rebuilds.c.verdict.is_not(None),
        )
        .order_by(rebuilds.c.ended_at.desc(), rebuilds.c.id.desc())
    )
    return query.where(_in_nights(told=told))


def _in_nights(*, told: bool) -> sa.ColumnElement[bool]:
    if not told:
        return sa.true()
    return rebuilds.c.night.in_(sa.select(nights.c.number).where(sa.func.json_extract(nights.c.rules, "$.tell")))


def past_of(connection: sa.Connection, rebuild: sa.Row[Any], environment: str, *, told: bool) -> Past:
    """What is known of a rebuild's subject from before; ``environment`` is of the build that ended last, ``told``
    as in ``verdicts_before``."""
    rows = connection.execute(verdicts_before(rebuild, told=told).limit(PAST_LIMIT)).all()
    before = _word(rows[0]) if rows else None
    conclusive = [row for row in rows if row.verdict in CONCLUSIVE]
    if not conclusive:
        return Past(None, before, results=_results(connection, rebuild, environment, told=told))
    fingerprints = set()
    for row in conclusive:
        if row.verdict not in FAILING:
            break
        fingerprints.add(row.fingerprint)
    return Past(
        settled=_word(conclusive[0]),
        before=before,
        fingerprints=frozenset(fingerprints - {""}),
        results=_results(connection, rebuild, environment, told=told),
        like=_while_flaky(connection, rebuild, conclusive, told=told),
        broken=broken_before(connection, rebuild, told=told),
    )


def _word(row: sa.Row[*tuple[Any, ...]]) -> Word:
    return Word(RebuildVerdict(row.verdict), row.since)


def _while_flaky(
    connection: sa.Connection,
    rebuild: sa.Row[Any],
    conclusive: Sequence[sa.Row[*tuple[Any, ...]]],
    *,
    told: bool,
) -> tuple[bool, ...]:
    """All results, oldest first, since the subject was first found flaky of late, if it was and if nothing has
    broken or mended it since; with those that it was found flaky by."""
    of_late = conclusive[:FLAKY_LOOK_BACK]
    changed = next((n for n, row in enumerate(of_late) if row.verdict in STATE_CHANGES), len(of_late))
    flaky = [n for n, row in enumerate(of_late[:changed]) if row.verdict == RebuildVerdict.FLAKY]
    if not flaky:
        return ()
    first = of_late[flaky[-1]]
    environment = connection.execute(sa.select(builds.c.ran_in).where(builds.c.id == first.decided_by)).scalar()
    same_input = (rebuilds.c.version == first.version) & (builds.c.ran_in == environment)
    since = rebuilds.c.id.in_([row.id for row in of_late[: flaky[-1] + 1]])
    return _outcomes(connection, rebuild, since | same_input, told=told)


def _results(connection: sa.Connection, rebuild: sa.Row[Any], environment: str, *, told: bool) -> tuple[bool, ...]:
    """The results of a rebuild's source in one environment, oldest first, without its own."""
    if not environment:
        return ()
    same_input = (rebuilds.c.version == rebuild.version) & (builds.c.ran_in == environment)
    return _outcomes(connection, rebuild, same_input, told=told)


def _outcomes(
    connection: sa.Connection, rebuild: sa.Row[Any], those: sa.ColumnElement[bool], *, told: bool
) -> tuple[bool, ...]:
    query = _newest(sa.select(builds.c.outcome).where(_own_results(rebuild, told=told), those), RESULTS_LIMIT)
    newest_first: Sequence[str] = connection.execute(query).scalars().all()
    return tuple(outcome == "pass" for outcome in reversed(newest_first))


def last_pass(
    connection: sa.Connection, subject: Subject, before: int | None = None, variant: str | None = None
) -> Build | None:
    """The newest build of a subject that passed in a known environment, of those numbered below ``before``."""
    query = (
        select_builds()
        .where(of_subject(subject, variant), IS_RESULT, builds.c.outcome == "pass", builds.c.ran_in != "")
        .order_by(builds.c.ended_at.desc(), builds.c.id.desc())
        .limit(1)
    )
    if before is not None:
        query = query.where(builds.c.id < before)
    row = connection.execute(query).first()
    return build_of(row) if row is not None else None


def last_culprit(connection: sa.Connection, rebuild: sa.Row[Any], *, told: bool) -> str | None:
    """What the search for the cause of the failure that goes on has found, as it is kept; ``told`` as in
    ``verdicts_before``."""
    query = verdicts_before(rebuild, told=told).where(rebuilds.c.verdict.in_(CONCLUSIVE)).limit(1)
    last = connection.execute(query).first()
    return last.culprit if last is not None and last.verdict in FAILING else None


def last_failure(connection: sa.Connection, rebuild: int) -> Build | None:
    """The newest build of a rebuild that failed and is believed."""
    query = (
        select_builds()
        .where(builds.c.rebuild == rebuild, IS_RESULT, builds.c.outcome == "fail")
        .order_by(builds.c.ended_at.desc(), builds.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return build_of(row) if row is not None else None


def known_to_fail(connection: sa.Connection, rebuild: sa.Row[Any], *, told: bool) -> frozenset[str] | None:
    """The tests, by their keys, that a build of a rebuild's subject may fail by and pass: those that failed in its
    last passes, and those that failed by chance, as a second build in the same rebuild showed.

    None where no pass has all its failing tests by name.
    """
    of_it = _own_results(rebuild, told=told)
    names = sa.select(sa.func.json_extract(builds.c.report, "$.failing_tests"))
    whole = sa.func.json_extract(builds.c.report, "$.naming") == NAMING
    counted = sa.func.json_extract(builds.c.report, "$.tests").is_not(None)
    passes = connection.execute(
        _newest(names.where(of_it, builds.c.outcome == "pass", whole, counted), TESTS_LOOK_BACK)
    )
    rows: list[str] = list(passes.scalars())
    if not rows:
        return None
    passed = sa.select(builds.c.rebuild).where(IS_RESULT, builds.c.outcome == "pass")
    by_chance = (rebuilds.c.verdict == RebuildVerdict.FLAKY) & builds.c.rebuild.in_(passed)
    rows += connection.execute(_newest(_broken_tests().where(of_it, by_chance), TESTS_LOOK_BACK)).scalars()
    return _keys(rows)


def broken_before(connection: sa.Connection, rebuild: sa.Row[Any], *, told: bool) -> frozenset[str]:
    """The tests, by their keys, that broke since a rebuild's subject is failing, in the rebuilds before."""
    ids = []
    rows = connection.execute(verdicts_before(rebuild, told=told).limit(PAST_LIMIT))
    for row in rows:
        if row.verdict in CONCLUSIVE and row.verdict not in FAILING:
            break
        ids.append(row.id)
    return _keys(connection.execute(_broken_tests().where(builds.c.rebuild.in_(ids), IS_RESULT)).scalars())


def _broken_tests() -> sa.Select[*tuple[Any, ...]]:
    names = sa.func.json_extract(builds.c.report, "$.broken_tests")
    return sa.select(names).where(builds.c.outcome == "fail", names.is_not(None), names != "[]")


def _own_results(rebuild: sa.Row[Any], *, told: bool) -> sa.ColumnElement[bool]:
    """The results of a rebuild's subject in other rebuilds; ``told`` as in ``verdicts_before``."""
    return sa.and_(
        of_subject(Subject(rebuild.package, rebuild.series, rebuild.architecture), rebuild.variant),
        rebuilds.c.id != rebuild.id,
        _in_nights(told=told),
        IS_RESULT,
    )


def _newest(query: sa.Select[*tuple[Any, ...]], limit: int) -> sa.Select[*tuple[Any, ...]]:
    joined = query.join(rebuilds, rebuilds.c.id == builds.c.rebuild)
    return joined.order_by(builds.c.ended_at.desc(), builds.c.id.desc()).limit(limit)


def _keys(rows: Iterable[str]) -> frozenset[str]:
    return frozenset(key_of_test(name) for row in rows for name in json.loads(row))


def expected_s(connection: sa.Connection, subject: Subject) -> float | None:
    """How long a subject's build took the last time that it passed, or else failed, in seconds."""
    query = (
        sa.select(builds.c.total_s)
        .join(rebuilds, rebuilds.c.id == builds.c.rebuild)
        .where(of_subject(subject), IS_RESULT)
        .order_by(builds.c.outcome == "fail", builds.c.ended_at.desc())
        .limit(1)
    )
    return connection.execute(query).scalar()


def usual_build_s(connection: sa.Connection, rebuild: sa.Row[Any]) -> float | None:
    """How long the own build of a rebuild's subject took before it, in seconds: the median of the last passes."""
    query = (
        sa.select(sa.func.json_extract(builds.c.report, "$.build_s"))
        .join(rebuilds, rebuilds.c.id == builds.c.rebuild)
        .where(
            of_subject(Subject(rebuild.package, rebuild.series, rebuild.architecture), rebuild.variant),
            IS_RESULT,
            builds.c.outcome == "pass",
            rebuilds.c.night < rebuild.night,
        )
        .order_by(builds.c.id.desc())
        .limit(USUAL_OF)
    )
    durations = connection.execute(query).scalars().all()
    return statistics.median(durations) if durations else None


def out_of_service(connection: sa.Connection) -> dict[str, tuple[str, float]]:
    """The workers that are given nothing: why, and since when (epoch seconds)."""
    rows = connection.execute(sa.select(workers_out).where(workers_out.c.reason != ""))
    return {row.worker: (row.reason, row.since) for row in rows}


def erred_only_there(connection: sa.Connection, worker: str, after: float) -> frozenset[str]:
    """The packages whose builds ended by trouble on a worker and then were built elsewhere, all since it last
    brought a build to its end, since it was put back, and since ``after`` (epoch seconds)."""
    put_back = sa.select(workers_out.c.since).where(workers_out.c.worker == worker)
    after = max(after, connection.execute(put_back).scalar() or 0.0)
    to_its_end = (builds.c.state == "done") & (builds.c.outcome != "error") & (builds.c.ended_at > after)
    query = sa.select(sa.func.max(builds.c.ended_at)).where(to_its_end, builds.c.worker == worker)
    sound_at = connection.execute(query).scalar() or after
    elsewhere = (
        sa.select(rebuilds.c.package, builds.c.tries)
        .join(rebuilds, rebuilds.c.id == builds.c.rebuild)
        .where(to_its_end, builds.c.tries != "[]", builds.c.worker != worker)
    )
    return frozenset(
        row.package
        for row in connection.execute(elsewhere)
        if any(one["worker"] == worker and one["ended_at"] > sound_at for one in json.loads(row.tries))
    )


def control_for(connection: sa.Connection, rebuild: sa.Row[Any], wanted: str) -> Build | None:
    """The pass whose package tries a worker for this rebuild: the wanted package's, or else the quickest.

    A package is known to be good while its last verdict is a pass. One that has not passed as a control since is
    taken only where there is no other: it may be the package that is at fault, not every worker in turn. So is one
    that has not passed for two weeks: its files may be gone. One that this rebuild has tried in vain is not taken.
    """
    controls = sa.select(sa.func.json_extract(builds.c.job, "$.package"), builds.c.environment).where(
        builds.c.kind == "control", builds.c.state == "done"
    )
    tried = _pairs(connection, controls.where(builds.c.rebuild == rebuild.id, builds.c.counts))
    doubtful = _pairs(connection, controls.where(builds.c.outcome != "pass"))
    newest = sa.func.row_number().over(
        partition_by=(rebuilds.c.package, rebuilds.c.variant),
        order_by=(rebuilds.c.ended_at.desc(), rebuilds.c.id.desc()),
    )
    verdicts = (
        sa.select(rebuilds.c.package, rebuilds.c.variant, rebuilds.c.verdict, newest.label("rank"))
        .where(
            rebuilds.c.series == rebuild.series,
            rebuilds.c.architecture == rebuild.architecture,
            rebuilds.c.package != rebuild.package,
            rebuilds.c.verdict.in_(CONCLUSIVE),
        )
        .subquery()
    )
    good = connection.execute(
        sa.select(verdicts.c.package, verdicts.c.variant).where(
            verdicts.c.rank == 1, verdicts.c.verdict.in_(PASSING)
        )
    ).all()
    passes = [
        found
        for row in good
        if (
            found := last_pass(
                connection, Subject(row.package, rebuild.series, rebuild.architecture), variant=row.variant
            )
        )
        and found.report is not None
        and (row.package, found.report.environment) not in tried
    ]
    if not passes:
        return None
    return min(
        passes,
        key=lambda one: (
            one.report is not None and (one.job.package, one.report.environment) in doubtful,
            one.job.package != wanted,
            rebuild.night_at - (one.ended_at or 0.0) > CONTROL_FRESH_S,
            one.report.total_s if one.report else 0.0,
            one.id,
        ),
    )


def _pairs(connection: sa.Connection, query: sa.Select[Any]) -> set[tuple[str, str]]:
    return {(package, environment) for package, environment in connection.execute(query)}


def control_passed(connection: sa.Connection, worker: str, since: float) -> bool:
    """Whether a control package passed on a worker in a build that began at this time or later."""
    query = sa.select(builds.c.id).where(
        builds.c.kind == "control",
        builds.c.outcome == "pass",
        builds.c.worker == worker,
        builds.c.started_at >= since,
    )
    return connection.execute(query.limit(1)).first() is not None
