"""Reading and writing the history; every method is one transaction, safe to call from any thread.

What makes a commit's work survive a kill at any moment stands here: a commit is recorded together with the tip
that made it known and with all its tasks, so that it is either not seen yet or on record for good; a task moves
``blocked`` -> ``waiting`` -> ``submitted`` -> ``done``, and whoever finds it in one of these can tell what is
left to do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as upsert

from buildfarm.history.schema import SCHEMA_VERSION, metadata, runs, stage_results, tasks, watched
from buildfarm.job import Job
from buildfarm.pipeline import TaskKey, ready_tasks, retry_delay_s, run_verdict, tasks_of
from buildfarm.sqlite import open_sqlite, transaction
from buildfarm.verdict import StageResult, Verdict

ORDERED_GROUPS = ("upload", "build")


@dataclass(frozen=True)
class NewRun:
    """A commit that is to get its run."""

    revision: str
    revno: int
    author: str
    summary: str
    committed_at: float


@dataclass(frozen=True)
class Run:
    """A commit's run. ``verdict`` is None while it goes on; times are epoch seconds."""

    id: int
    run_id: str
    recipe: str
    revision: str
    revno: int
    author: str
    summary: str
    committed_at: float
    seen_at: float
    rewritten: bool
    job: Job
    verdict: Verdict | None
    ended_at: float | None
    change_id: int | None


@dataclass(frozen=True)
class Task:
    """One task of a run, see ``buildfarm.pipeline``.

    ``attempts`` counts those started; the first ``forgiven`` of them do not count towards giving up.
    """

    id: int
    run: int
    key: TaskKey
    state: str
    verdict: Verdict | None
    reason: str
    attempts: int
    forgiven: int
    not_before: float
    buildset: int | None


def open_history(path: Path) -> History:
    """The history kept in an SQLite file, made where it is missing; raises FarmTrouble for another version's."""
    return History(open_sqlite(path, metadata, SCHEMA_VERSION, "the history"))


class History:
    """The history behind one database engine."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with transaction(self._engine) as connection:
            yield connection

    # Trunks

    def tip(self, recipe: str, trunk: str) -> str:
        """The tip last seen for a recipe on this trunk, "" when it was never looked at."""
        query = sa.select(watched.c.tip).where(watched.c.recipe == recipe, watched.c.trunk == trunk)
        with self._engine.connect() as connection:
            return connection.execute(query).scalar() or ""

    def record_commits(
        self,
        recipe: str,
        trunk: str,
        tip: str,
        commits: Sequence[NewRun],
        make_job: Callable[[str, str], Job],
        *,
        rewritten: bool = False,
    ) -> tuple[str, ...]:
        """Record new commits, oldest first, and the tip they end at; returns the ids of the runs made.

        A commit that already has its run gets no second one. ``make_job(revision, run_id)`` gives the job.
        """
        now = self._clock()
        made = []
        with self._writing() as connection:
            known = set(connection.execute(sa.select(runs.c.revision).where(runs.c.recipe == recipe)).scalars())
            count = connection.execute(sa.select(sa.func.count()).where(runs.c.recipe == recipe)).scalar_one()
            for commit in commits:
                if commit.revision in known:
                    continue
                known.add(commit.revision)
                count += 1
                run_id = f"{recipe}-{count}"
                self._insert_run(
                    connection, recipe, run_id, commit, make_job(commit.revision, run_id), now, rewritten
                )
                made.append(run_id)
            row = {
                "recipe": recipe,
                "trunk": trunk,
                "tip": tip,
                "seen_at": now,
                "trouble": "",
                "trouble_since": None,
            }
            connection.execute(
                upsert(watched).values(row).on_conflict_do_update(index_elements=["recipe"], set_=row)
            )
        return tuple(made)

    @staticmethod
    def _insert_run(
        connection: sa.Connection,
        recipe: str,
        run_id: str,
        commit: NewRun,
        job: Job,
        now: float,
        rewritten: bool,
    ) -> None:
        row = sa.insert(runs).values(
            run_id=run_id,
            recipe=recipe,
            revision=commit.revision,
            revno=commit.revno,
            author=commit.author,
            summary=commit.summary,
            committed_at=commit.committed_at,
            seen_at=now,
            rewritten=rewritten,
            job=json.dumps(job.to_json()),
        )
        run = connection.execute(row).inserted_primary_key[0]  # type: ignore[index]
        first = set(ready_tasks(dict.fromkeys(tasks_of(job))))
        connection.execute(
            sa.insert(tasks),
            [
                {
                    "run": run,
                    "grp": key.group,
                    "series": key.series,
                    "architecture": key.architecture,
                    "state": "waiting" if key in first else "blocked",
                }
                for key in tasks_of(job)
            ],
        )

    def record_trouble(self, recipe: str, trunk: str, trouble: str) -> None:
        """Keep why a trunk could not be looked at ("" when it could again), and since when."""
        now = self._clock()
        row = {"recipe": recipe, "trunk": trunk, "tip": "", "seen_at": now, "trouble": trouble}
        since = sa.case(
            (sa.literal(not trouble), None),
            else_=sa.func.coalesce(watched.c.trouble_since, now),
        )
        statement = upsert(watched).values(row | {"trouble_since": now if trouble else None})
        statement = statement.on_conflict_do_update(
            index_elements=["recipe"], set_={"trouble": trouble, "trouble_since": since}
        )
        with self._writing() as connection:
            connection.execute(statement)

    def troubles(self) -> Mapping[str, tuple[str, float]]:
        """Recipes whose trunk cannot be looked at: why, and since when."""
        query = sa.select(watched.c.recipe, watched.c.trouble, watched.c.trouble_since).where(
            watched.c.trouble != ""
        )
        with self._engine.connect() as connection:
            return {row.recipe: (row.trouble, row.trouble_since or 0.0) for row in connection.execute(query)}

    # Runs and tasks

    def run(self, run_id: str) -> Run | None:
        """A run by its id."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(runs).where(runs.c.run_id == run_id)).first()
        return _run(row) if row is not None else None

    def run_of(self, recipe: str, revision: str) -> Run | None:
        """The run of a commit."""
        query = sa.select(runs).where(runs.c.recipe == recipe, runs.c.revision == revision)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return _run(row) if row is not None else None

    def recent_runs(self, limit: int = 20, recipe: str = "") -> tuple[Run, ...]:
        """The newest runs, newest first."""
        query = sa.select(runs).order_by(runs.c.id.desc()).limit(limit)
        if recipe:
            query = query.where(runs.c.recipe == recipe)
        with self._engine.connect() as connection:
            return tuple(_run(row) for row in connection.execute(query))

    def runs_past(self, keep: int) -> tuple[str, ...]:
        """The ids of runs that have ended and are not among the newest ``keep`` of their recipe."""
        newest_first = sa.func.row_number().over(partition_by=runs.c.recipe, order_by=runs.c.id.desc())
        ranked = sa.select(runs.c.run_id, runs.c.verdict, newest_first.label("rank")).subquery()
        query = sa.select(ranked.c.run_id).where(ranked.c.rank > keep, ranked.c.verdict.is_not(None))
        with self._engine.connect() as connection:
            return tuple(connection.execute(query).scalars())

    def tasks(self, run: Run) -> tuple[Task, ...]:
        """A run's tasks, in the pipeline's order."""
        with self._engine.connect() as connection:
            return _tasks(connection, tasks.c.run == run.id)

    def submitted_tasks(self) -> tuple[tuple[Run, Task], ...]:
        """Tasks that were given to Buildbot and have not ended."""
        with self._engine.connect() as connection:
            found = _tasks(connection, tasks.c.state == "submitted")
            return tuple((_run_by_key(connection, task.run), task) for task in found)

    def due_tasks(self) -> tuple[tuple[Run, Task], ...]:
        """Tasks whose time has come, oldest run first.

        The uploads of one recipe to one series go in the order of its commits, and so do its builds: a later
        commit's higher version would make the archive refuse the earlier one. Nothing else waits for another
        commit's: what is verified may be promoted though an older one still waits, which then is left where it is.
        """
        earlier = tasks.alias()
        run, before = runs.alias(), runs.alias()
        overtakes = (
            sa.select(earlier.c.id)
            .join(before, before.c.id == earlier.c.run)
            .where(
                before.c.recipe == run.c.recipe,
                earlier.c.run < tasks.c.run,
                earlier.c.grp == tasks.c.grp,
                earlier.c.series == tasks.c.series,
                earlier.c.architecture == tasks.c.architecture,
                earlier.c.state != "done",
            )
            .exists()
        )
        query = (
            sa.select(tasks.c.id)
            .join(run, run.c.id == tasks.c.run)
            .where(
                tasks.c.state == "waiting",
                tasks.c.not_before <= self._clock(),
                sa.or_(tasks.c.grp.not_in(ORDERED_GROUPS), ~overtakes),
            )
        )
        with self._engine.connect() as connection:
            found = _tasks(connection, tasks.c.id.in_(query))
            return tuple((_run_by_key(connection, task.run), task) for task in found)

    def next_due_at(self) -> float | None:
        """When the next task's time will come, in epoch seconds; None when every time has come.

        What still waits past its time is held by an earlier commit, whose end tells of itself.
        """
        query = sa.select(sa.func.min(tasks.c.not_before)).where(
            tasks.c.state == "waiting", tasks.c.not_before > self._clock()
        )
        with self._engine.connect() as connection:
            return connection.execute(query).scalar()

    def open_runs(self, recipe: str = "") -> tuple[Run, ...]:
        """The runs that have no verdict yet, oldest first."""
        query = sa.select(runs).where(runs.c.verdict.is_(None)).order_by(runs.c.id)
        if recipe:
            query = query.where(runs.c.recipe == recipe)
        with self._engine.connect() as connection:
            return tuple(_run(row) for row in connection.execute(query))

    def record_change(self, run: Run, change_id: int) -> None:
        """Keep the number of the Buildbot change that shows a run's commit."""
        with self._writing() as connection:
            connection.execute(sa.update(runs).where(runs.c.id == run.id).values(change_id=change_id))

    def start_attempt(self, task: Task) -> Task:
        """Count an attempt before it is given to Buildbot: its number is part of the name it is found by."""
        with self._writing() as connection:
            connection.execute(
                sa.update(tasks)
                .where(tasks.c.id == task.id)
                .values(state="submitted", attempts=tasks.c.attempts + 1, buildset=None, started_at=self._clock())
            )
            return _tasks(connection, tasks.c.id == task.id)[0]

    def return_to_queue(self, task: Task) -> None:
        """Take back an attempt that never reached Buildbot."""
        with self._writing() as connection:
            connection.execute(
                sa.update(tasks)
                .where(tasks.c.id == task.id, tasks.c.state == "submitted")
                .values(state="waiting", attempts=tasks.c.attempts - 1)
            )

    def record_buildset(self, task: Task, buildset: int) -> None:
        """Keep the number of the buildset that runs a task."""
        with self._writing() as connection:
            connection.execute(sa.update(tasks).where(tasks.c.id == task.id).values(buildset=buildset))

    def record_stage_start(self, task: Task, stage: str, target: str, page: str) -> None:
        """Note that a stage of a task's attempt has begun, and the page where it can be watched."""
        now = self._clock()
        row = {
            "run": task.run,
            "stage": stage,
            "target": target,
            "task": task.id,
            "attempt": task.attempts,
            "started_at": now,
            "finished_at": None,
            "verdict": None,
            "reason": "",
            "result": "{}",
            "page": page,
        }
        with self._writing() as connection:
            connection.execute(
                upsert(stage_results)
                .values(row)
                .on_conflict_do_update(index_elements=["run", "stage", "target"], set_=row)
            )

    def record_stage(self, run: Run, result: StageResult) -> None:
        """Keep a stage's result."""
        with self._writing() as connection:
            connection.execute(
                sa.update(stage_results)
                .where(
                    stage_results.c.run == run.id,
                    stage_results.c.stage == result.stage,
                    stage_results.c.target == result.target,
                )
                .values(
                    finished_at=self._clock(),
                    verdict=result.verdict.value,
                    reason=result.reason,
                    result=json.dumps(result.to_json()),
                )
            )

    def stage_rows(self, run: Run) -> tuple[sa.Row[Any], ...]:
        """A run's stages as they stand: stage, target, attempt, started_at, finished_at, verdict, reason, page."""
        query = sa.select(stage_results).where(stage_results.c.run == run.id).order_by(stage_results.c.started_at)
        with self._engine.connect() as connection:
            return tuple(connection.execute(query))

    def stage_result(self, run: Run, stage: str, target: str = "") -> StageResult | None:
        """The result of one stage, None while it has none."""
        for row in self.stage_rows(run):
            if (row.stage, row.target) == (stage, target) and row.verdict:
                return StageResult.from_json(json.loads(row.result))
        return None

    def end_attempt(self, task: Task, verdict: Verdict, reason: str, *, final: bool = False) -> Run:
        """An attempt has ended: the task is done, or waits for its next try; what follows from it is readied.

        ``error`` is tried again after ``retry_delay_s``, unless ``final``. Ending an attempt that already
        ended changes nothing, but for one that was built again from its page and passed now: the run goes on
        from there. Returns the run as it stands then.
        """
        now = self._clock()
        values: dict[str, Any]
        with self._writing() as connection:
            current = _tasks(connection, tasks.c.id == task.id)[0]
            built_again = current.state == "done" and current.verdict is not Verdict.PASS
            if built_again and verdict is Verdict.PASS and current.attempts == task.attempts:
                self._reopen(connection, task.run, Verdict.SKIPPED)
                values = {"state": "done", "verdict": verdict.value, "reason": "", "ended_at": now}
                connection.execute(sa.update(tasks).where(tasks.c.id == task.id).values(**values))
                self._advance(connection, task.run, now)
            elif current.state == "submitted" and current.attempts == task.attempts:
                delay = (
                    retry_delay_s(task.attempts - current.forgiven, task.key.group)
                    if verdict is Verdict.ERROR and not final
                    else None
                )
                values = {"reason": reason}
                if delay is not None:
                    values |= {"state": "waiting", "not_before": now + delay, "buildset": None}
                else:
                    values |= {"state": "done", "verdict": verdict.value, "ended_at": now}
                connection.execute(sa.update(tasks).where(tasks.c.id == task.id).values(**values))
                self._advance(connection, task.run, now)
            return _run_by_key(connection, task.run)

    def retry(self, run: Run, *, afresh: bool = False) -> bool:
        """Give every task of a run that did not pass another chance; False when all passed or some still run.

        With ``afresh`` those that passed are done again, too: what they left for the others is gone.
        """
        now = self._clock()
        with self._writing() as connection:
            current = _tasks(connection, tasks.c.run == run.id)
            if any(task.state in ("waiting", "submitted") for task in current):
                return False
            if all(task.verdict is Verdict.PASS for task in current):
                return False
            again = Verdict if afresh else (Verdict.SKIPPED, Verdict.FAIL, Verdict.ERROR)
            self._reopen(connection, run.id, *again)
            self._advance(connection, run.id, now)
        return True

    @staticmethod
    def _reopen(connection: sa.Connection, run: int, *verdicts: Verdict) -> None:
        """Let a run's tasks that came to these verdicts have another chance."""
        connection.execute(
            sa.update(tasks)
            .where(tasks.c.run == run, tasks.c.verdict.in_([verdict.value for verdict in verdicts]))
            .values(
                state="blocked", verdict=None, forgiven=tasks.c.attempts, reason="", not_before=0.0, ended_at=None
            )
        )
        connection.execute(sa.update(runs).where(runs.c.id == run).values(verdict=None, ended_at=None))

    @staticmethod
    def _advance(connection: sa.Connection, run: int, now: float) -> None:
        current = _tasks(connection, tasks.c.run == run)
        ended = {task.key: task.verdict for task in current}
        ready = set(ready_tasks(ended))
        verdict = run_verdict(ended)
        for task in current:
            if task.state == "blocked" and task.key in ready:
                connection.execute(sa.update(tasks).where(tasks.c.id == task.id).values(state="waiting"))
            elif task.state == "blocked" and verdict is not None:
                connection.execute(
                    sa.update(tasks)
                    .where(tasks.c.id == task.id)
                    .values(state="done", verdict=Verdict.SKIPPED.value, reason="what it needs did not pass")
                )
        if verdict is not None:
            connection.execute(sa.update(runs).where(runs.c.id == run).values(verdict=verdict.value, ended_at=now))


def _run(row: sa.Row[Any]) -> Run:
    values = dict(row._mapping)
    values["job"] = Job.from_json(json.loads(values["job"]))
    values["verdict"] = Verdict(values["verdict"]) if values["verdict"] else None
    return Run(**values)


def _run_by_key(connection: sa.Connection, key: int) -> Run:
    return _run(connection.execute(sa.select(runs).where(runs.c.id == key)).one())


def _tasks(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> tuple[Task, ...]:
    query = sa.select(tasks).where(condition).order_by(tasks.c.run, tasks.c.id)
    return tuple(
        Task(
            row.id,
            row.run,
            TaskKey(row.grp, row.series, row.architecture),
            row.state,
            Verdict(row.verdict) if row.verdict else None,
            row.reason,
            row.attempts,
            row.forgiven,
            row.not_before,
            row.buildset,
        )
        for row in connection.execute(query)
    )
