"""The commits' tasks as a queue of the dispatcher, on the farm's history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from buildbot.process.results import CANCELLED, SUCCESS
from buildbot.util.twisted import async_to_deferred
from twisted.internet import threads
from twisted.python.threadpool import ThreadPool

from buildfarm.history import History, Run, Task
from buildfarm.master.dispatcher import Request, queue_name
from buildfarm.pipeline import stages_of
from buildfarm.trunk import redact
from buildfarm.verdict import Verdict

LONG_GROUPS = ("build", "verify")
Item = tuple[Run, Task]


class CommitQueue:
    """A ``Queue`` of runs' tasks."""

    def __init__(self, master: Any, history: History, pool: ThreadPool) -> None:
        self._master = master
        self._history = history
        self._pool = pool

    def due(self) -> Sequence[Item]:
        """The tasks that are ready to be run."""
        return self._history.due_tasks()

    def submitted(self) -> Sequence[Item]:
        """The tasks that were given to Buildbot and have not ended."""
        return self._history.submitted_tasks()

    def next_due_at(self) -> float | None:
        """When the next task's time comes."""
        return self._history.next_due_at()

    def start(self, item: Item) -> Item:
        """Count an attempt."""
        run, task = item
        return run, self._history.start_attempt(task)

    def attempt(self, item: Item) -> str:
        """Run, group, series, architecture, attempt.

        The time the run was made keeps the names of two histories apart in one Buildbot database.
        """
        run, task = item
        key = task.key
        return f"{run.run_id}@{run.seen_at:.3f}|{key.group}|{key.series}|{key.architecture}|{task.attempts}"

    def of_attempt(self, name: str) -> Item | None:
        """The task of an attempt."""
        run = self._history.run(name.partition("@")[0]) if name.count("|") == 4 else None
        if run is None:
            return None
        return next(((run, one) for one in self._history.tasks(run) if self.attempt((run, one)) == name), None)

    def request(self, item: Item) -> Request:
        """A build of the task's stages."""
        run, task = item
        return Request(
            builder=queue_name(task.key.group),
            reason=f"{run.run_id}: {task.key}" + (f", attempt {task.attempts}" if task.attempts > 1 else ""),
            # Of two due builds the older commit's goes first; what is short before what is long.
            priority=0 if task.key.group in LONG_GROUPS else 1,
            properties=task_properties(run, task),
        )

    def record_buildset(self, item: Item, buildset: int) -> None:
        """Keep its number."""
        self._history.record_buildset(item[1], buildset)

    def return_to_queue(self, item: Item) -> None:
        """Take back an attempt."""
        self._history.return_to_queue(item[1])

    def settle(self, item: Item, results: int) -> None:
        """End the attempt by what its stages have on record."""
        run, task = item
        verdict, reason, final = judge_attempt(self._history, run, task, results)
        self._history.end_attempt(task, verdict, reason, final=final)

    @async_to_deferred
    async def sourcestamps(self, item: Item) -> list[Any]:
        """The commit, as a change of Buildbot's."""
        change = await self._change_of(item[0])
        return [change.sourcestampid]

    @async_to_deferred
    async def _change_of(self, run: Run) -> Any:
        if run.change_id is not None:
            change = await self._master.db.changes.getChange(run.change_id)
            # A new Buildbot database counts from one again: the number may be another commit's now, or nobody's.
            if change is not None and (change.revision, change.project) == (run.revision, run.recipe):
                return change
        return await self._master.db.changes.getChange(await self._add_change(run))

    @async_to_deferred
    async def _add_change(self, run: Run) -> int:
        change_id: int = await self._master.data.updates.addChange(
            author=run.author,
            revision=run.revision,
            comments=run.summary,
            when_timestamp=int(run.committed_at),
            branch=run.job.trunk.branch or None,
            repository=redact(run.job.trunk.location),
            project=run.recipe,
            codebase="",
            properties={"run": run.run_id, "revno": run.revno},
        )
        await threads.deferToThreadPool(
            self._master.reactor, self._pool, self._history.record_change, run, change_id
        )
        return change_id


def judge_attempt(history: History, run: Run, task: Task, results: int) -> tuple[Verdict, str, bool]:
    """An attempt's verdict and reason from its stages' records, and whether it is final whatever it is."""
    if results == CANCELLED:
        return Verdict.ERROR, "stopped by hand", True
    for row in history.stage_rows(run):
        if (row.task, row.attempt) == (task.id, task.attempts) and row.verdict in (Verdict.FAIL, Verdict.ERROR):
            return Verdict(row.verdict), f"{row.stage}: {row.reason}", False
    if results == SUCCESS:
        return Verdict.PASS, "", False
    return Verdict.ERROR, "the worker's connection or Buildbot failed before the stage ended", False


def task_properties(run: Run, task: Task) -> dict[str, Any]:
    """The properties of a task's build: what its steps read, and the name its pages have."""
    name = "-".join(part for part in (run.recipe, task.key.group, task.key.target) if part)
    return {
        "run": run.run_id,
        "recipe": run.recipe,
        "group": task.key.group,
        "series": task.key.series,
        "architecture": task.key.architecture,
        "attempt": task.attempts,
        "stages": [list(step) for step in stages_of(run.job, task.key)],
        "virtual_builder_name": name,
        "virtual_builder_description": f"{task.key} of {run.recipe}",
        "virtual_builder_tags": [run.recipe, task.key.group],
        "virtual_builder_project": run.recipe,
    }
