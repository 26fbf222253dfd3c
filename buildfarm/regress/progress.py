"""Carrying out what the rules say, within the transaction that ends a build: the next build, or the verdict."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as upsert

from buildfarm.job import from_plain
from buildfarm.regress.lookups import (
    AFTER_KINDS,
    OWN_KINDS,
    control_for,
    control_passed,
    erred_only_there,
    last_culprit,
    last_pass,
    out_of_service,
    past_of,
    ran_of,
)
from buildfarm.regress.model import Culprit, RebuildJob, RebuildVerdict, Subject
from buildfarm.regress.records import NightRules
from buildfarm.regress.schema import builds, nights, rebuilds, workers_out
from buildfarm.regress.verdicts import (
    FAILING,
    TROUBLE_LIMIT,
    TROUBLE_WITHIN_S,
    Next,
    Settled,
    Situation,
    decide,
)

CULPRIT_BEHIND = 1_000_000  # more than any priority that a set may have


def rebuild_row(connection: sa.Connection, rebuild: int) -> sa.Row[Any]:
    """A rebuild's row with its night's rules and start."""
    query = (
        sa.select(rebuilds, nights.c.rules, nights.c.started_at.label("night_at"))
        .join(nights, nights.c.number == rebuilds.c.night)
        .where(rebuilds.c.id == rebuild)
    )
    return connection.execute(query).one()


def rules_of(row: sa.Row[Any]) -> NightRules:
    """The rules of a rebuild's night."""
    return from_plain(NightRules, json.loads(row.rules))


def advance(connection: sa.Connection, rebuild: int, now: float, lost: str = "") -> Settled | None:
    """Do what follows from a rebuild's builds when none is open; returns its verdict if that settles it.

    ``lost`` is a worker that is out of service without anybody having taken it out.
    """
    row = rebuild_row(connection, rebuild)
    if row.verdict is not None or _has_open(connection, rebuild):
        return None
    situation = situation_of(connection, row)
    step = decide(dataclasses.replace(situation, out=situation.out | {lost}) if lost else situation)
    last = ran_of(connection, rebuild)[1]
    if step.take_out:
        take_out(connection, last[-1].worker, step.take_out, now, other_than=rebuild)
    if isinstance(step, Settled):
        settle(connection, row, step, now)
        return step
    add_build(connection, row, step)
    return None


def situation_of(connection: sa.Connection, row: sa.Row[Any]) -> Situation:
    """All that the rules want to know of a rebuild."""
    ran, rows = ran_of(connection, row.id)
    rules = rules_of(row)
    situation = Situation(
        night_at=row.night_at,
        ran=ran,
        past=past_of(connection, row, ran[-1].environment if ran else "", told=rules.tell),
        confirm=rules.confirm,
        left=tuple(json.loads(row.left)),
        out=frozenset(out_of_service(connection)),
    )
    if not ran or (ran[-1].outcome != "fail" and ran[-1].kind != "control"):
        return situation
    if _is_launchpads(row):
        return dataclasses.replace(situation, control="elsewhere")
    if ran[-1].kind != "control" and control_passed(connection, rows[-1].worker, rows[-1].started_at):
        return dataclasses.replace(situation, control="passed")
    known = control_for(connection, row, rules.control) is not None
    return dataclasses.replace(situation, control="known" if known else "unknown")


def add_build(connection: sa.Connection, row: sa.Row[Any], step: Next) -> None:
    """Let a build wait for its turn."""
    rules = rules_of(row)
    values: dict[str, Any] = {
        "rebuild": row.id,
        "kind": step.kind,
        "environment": step.environment,
        "wanted_worker": step.worker,
        "avoid_workers": json.dumps(step.avoid),
        "alone": step.alone,
        "priority": rules.priority,
    }
    if step.kind == "control":
        control = control_for(connection, row, rules.control)
        assert control is not None
        assert control.report is not None
        values |= {"environment": control.report.environment, "job": json.dumps(control.job.to_json())}
    if step.restart:
        discount(connection, row.id)
        connection.execute(sa.update(rebuilds).where(rebuilds.c.id == row.id).values(left=json.dumps(step.avoid)))
    connection.execute(sa.insert(builds).values(values))


def _is_launchpads(row: sa.Row[Any]) -> bool:
    return RebuildJob.from_json(json.loads(row.job)).is_launchpads


def settle(connection: sa.Connection, row: sa.Row[Any], settled: Settled, now: float) -> None:
    """Keep a verdict; a new failure gets its search for the culprit, or the words why there is none.

    What passed last is published, where its set wants that.
    """
    rows = ran_of(connection, row.id)[1]
    own = [one for one in rows if one.kind in OWN_KINDS]
    failed = [one for one in own if one.outcome == "fail"]
    shown = failed if failed and settled.verdict in FAILING | {RebuildVerdict.FLAKY} else own or rows
    words = _search(connection, row, failed[-1]) if settled.verdict is RebuildVerdict.NEW_FAILURE else ""
    culprit = json.dumps(asdict(Culprit(words))) if words else None
    if settled.verdict is RebuildVerdict.STILL_FAILING and not settled.cause_changed:
        culprit = last_culprit(connection, row, told=rules_of(row).tell)
    values = {
        "verdict": settled.verdict.value,
        "since": settled.since,
        "reason": settled.reason,
        "cause_changed": settled.cause_changed,
        "flaky_rate": json.dumps(settled.flaky_rate) if settled.flaky_rate else None,
        "fingerprint": settled.fingerprint,
        "decided_by": shown[-1].id if shown else row.decided_by,
        "culprit": culprit,
        "ended_at": now,
    }
    connection.execute(sa.update(rebuilds).where(rebuilds.c.id == row.id).values(**values))
    if settled.verdict is RebuildVerdict.INFRASTRUCTURE:
        discount(connection, row.id)
    elif settled.verdict in FAILING:
        return
    elif own and own[-1].outcome == "pass" and json.loads(row.job)["publish"].startswith("local:"):
        values = {"rebuild": row.id, "kind": "publish", "priority": rules_of(row).priority}
        connection.execute(sa.insert(builds).values(values))


def discount(connection: sa.Connection, rebuild: int) -> None:
    """What was built so far for a rebuild says nothing of its package."""
    ended = (builds.c.rebuild == rebuild) & (builds.c.state == "done")
    connection.execute(sa.update(builds).where(ended).values(counts=False))


def _search(connection: sa.Connection, row: sa.Row[Any], failed: sa.Row[Any]) -> str:
    """Queue the search for a new failure's culprit, or say why it is not searched for."""
    rules = rules_of(row)
    if not rules.culprit:
        return "The cause was not searched for: this set has it so."
    if _is_launchpads(row):
        return "The cause was not searched for: Launchpad does not tell the environments of its builds."
    if not failed.ran_in:
        return "The cause was not searched for: no environment was left of the build that failed."
    subject = Subject(row.package, row.series, row.architecture)
    passed = last_pass(connection, subject, before=failed.id, variant=row.variant)
    if passed is None or passed.report is None:
        return "The cause was not searched for: there is no earlier pass to compare with."
    if passed.report.environment == failed.ran_in and passed.job.version == row.version:
        return (
            f"The environment does not explain it: #{passed.id} passed with the very same packages. Left are "
            "time (a date, a certificate that ran out), the machine, or chance."
        )
    values = {
        "rebuild": row.id,
        "kind": "culprit",
        "environment": failed.ran_in,
        "priority": rules.priority - CULPRIT_BEHIND,
    }
    connection.execute(sa.insert(builds).values(values))
    return ""


def take_out(connection: sa.Connection, worker: str, reason: str, now: float, other_than: int = 0) -> None:
    """Take a worker out of service: what waits for it starts again elsewhere; what it alone said is no news."""
    if worker not in out_of_service(connection):
        set_in_service(connection, worker, reason, now)
    start_again_elsewhere(connection, worker, now, other_than)
    said = (
        sa.select(rebuilds.c.id)
        .join(builds, builds.c.id == rebuilds.c.decided_by)
        .join(nights, nights.c.number == rebuilds.c.night)
        .where(rebuilds.c.cause_changed, builds.c.worker == worker, nights.c.ended_at.is_(None))
    )
    connection.execute(
        sa.update(rebuilds)
        .where(rebuilds.c.id.in_(said))
        .values(
            cause_changed=False,
            fingerprint="",  # or the next night would take that cause for known
            reason=rebuilds.c.reason + "; its worker was taken out of service since",
        )
    )


def start_again_elsewhere(connection: sa.Connection, worker: str, now: float, other_than: int = 0) -> None:
    """What waits for a worker that will not come, as it is lost or out of service, begins anew on another."""
    waiting = sa.select(builds.c.rebuild).where(
        builds.c.state == "waiting", builds.c.wanted_worker == worker, builds.c.rebuild != other_than
    )
    for rebuild in connection.execute(waiting.distinct()).scalars().all():
        drop_waiting(connection, rebuild, now)
        advance(connection, rebuild, now, lost=worker)


def set_in_service(connection: sa.Connection, worker: str, why_not: str, now: float) -> None:
    """Keep that a worker is out of service from now on, and why; or in service ("")."""
    values = {"worker": worker, "reason": why_not, "since": now}
    statement = upsert(workers_out).values(values)
    connection.execute(statement.on_conflict_do_update(index_elements=["worker"], set_=values))


def take_out_the_troubled(connection: sa.Connection, build: sa.Row[Any], worker: str, now: float) -> None:
    """A build came to its end on ``worker``: those where it met trouble before may be out of order themselves."""
    tries = {one["worker"]: one["reason"] for one in json.loads(build.tries)}
    for other, reason in tries.items():
        packages = erred_only_there(connection, other, now - TROUBLE_WITHIN_S) if other not in ("", worker) else ()
        if len(packages) >= TROUBLE_LIMIT:
            words = f"{', '.join(sorted(packages))} met trouble there and were built elsewhere: {reason}"
            take_out(connection, other, words, now)


def drop_waiting(connection: sa.Connection, rebuild: int, now: float) -> None:
    """Take a rebuild's waiting builds off the queue; of what was never started nothing is left."""
    waiting = (builds.c.rebuild == rebuild) & (builds.c.state == "waiting")
    connection.execute(sa.delete(builds).where(waiting, builds.c.attempts == 0))
    connection.execute(sa.update(builds).where(waiting).values(state="done", counts=False, ended_at=now))


def spread_control(connection: sa.Connection, control: sa.Row[Any], worker: str, now: float) -> None:
    """A control that passed on a worker serves all that wait for one there and began to fail before it began."""
    query = sa.select(builds.c.rebuild).where(
        builds.c.kind == "control",
        builds.c.state == "waiting",
        builds.c.wanted_worker == worker,
        builds.c.rebuild != control.rebuild,
    )
    for rebuild in connection.execute(query.distinct()).scalars().all():
        _, rows = ran_of(connection, rebuild)
        if rows and rows[-1].started_at <= control.started_at:
            drop_waiting(connection, rebuild, now)
            advance(connection, rebuild, now)


def _has_open(connection: sa.Connection, rebuild: int) -> bool:
    query = sa.select(builds.c.id).where(
        builds.c.rebuild == rebuild, builds.c.state != "done", builds.c.kind.not_in(AFTER_KINDS)
    )
    return connection.execute(query.limit(1)).first() is not None
