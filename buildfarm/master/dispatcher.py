"""Giving due tasks to Buildbot, exactly once each, and taking what they came to into the history.

A task is counted as an attempt in the history before its buildset is made, and the buildset carries the
attempt's name. After a kill between the two, the next start finds the buildset by that name, or finds none and
makes it. Buildbot itself runs again what was running when it died.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from buildbot.data import resultspec
from buildbot.process.results import CANCELLED, SUCCESS
from buildbot.util.twisted import async_to_deferred
from twisted.internet import defer, threads
from twisted.internet.task import LoopingCall
from twisted.python import log
from twisted.python.threadpool import ThreadPool

from buildfarm.history import History, Run, Task
from buildfarm.pipeline import stages_of
from buildfarm.trunk import redact
from buildfarm.verdict import Verdict

SCHEDULER = "farm"
HEARTBEAT_S = 60.0
LONG_GROUPS = ("build", "verify")


class Dispatcher:
    """One at a time through what is due."""

    def __init__(self, master: Any, history: History, pool: ThreadPool) -> None:
        self._master = master
        self._history = history
        self._pool = pool
        self._lock = defer.DeferredLock()
        self._timer: Any = None
        self._consumer: Any = None
        self._running = False
        # Whatever a passing trouble (a full disk, a locked database) made us miss is taken up again.
        self._heartbeat = LoopingCall(self._take_up)

    @async_to_deferred
    async def start(self) -> None:
        """Take up what an earlier life left, then begin."""
        self._running = True
        self._consumer = await self._master.mq.startConsuming(
            lambda _key, message: self._on_complete(message), ("buildsets", None, "complete")
        )
        self._heartbeat.clock = self._master.reactor
        self._heartbeat.start(HEARTBEAT_S)

    def stop(self) -> None:
        """End: nothing further is given out."""
        self._running = False
        if self._heartbeat.running:
            self._heartbeat.stop()
        if self._consumer is not None:
            self._consumer.stopConsuming()
            self._consumer = None
        self._cancel_timer()

    def wake(self) -> None:
        """Something may be due now."""
        if self._running:
            self._cancel_timer()
            self._lock.run(self._give_out).addErrback(log.err, "giving out tasks")

    @async_to_deferred
    async def _take_up(self) -> None:
        try:
            await self._lock.run(self._recover)
        except Exception:  # noqa: BLE001 (told in full; the next heartbeat tries again)
            log.err(None, "taking up what was left")
        self.wake()

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _in_thread(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> defer.Deferred[Any]:
        return threads.deferToThreadPool(self._master.reactor, self._pool, call, *args, **kwargs)

    @async_to_deferred
    async def _recover(self) -> None:
        for run, task in await self._in_thread(self._history.submitted_tasks):
            found = await self._master.data.get(
                ("buildsets",), filters=[resultspec.Filter("external_idstring", "eq", [attempt_name(run, task)])]
            )
            if not found:
                await self._in_thread(self._history.return_to_queue, task)
            elif all(buildset["complete"] for buildset in found):  # several, where its page was told to rebuild
                await self._settle(run, task, max(found, key=lambda one: one["bsid"])["results"])

    @async_to_deferred
    async def _give_out(self) -> None:
        for run, due in await self._in_thread(self._history.due_tasks):
            if not self._running:
                return
            try:
                await self._submit(run, due)
            except Exception:  # noqa: BLE001 (one task's trouble is not the others')
                log.err(None, f"giving out {due.key} of {run.run_id}; the next heartbeat tries again")
        due_at = await self._in_thread(self._history.next_due_at)
        if due_at is not None and self._running:
            delay = max(0.0, due_at - self._master.reactor.seconds())
            self._timer = self._master.reactor.callLater(delay, self.wake)

    @async_to_deferred
    async def _submit(self, run: Run, due: Task) -> None:
        change = await self._change_of(run)
        begun = await self._in_thread(self._history.start_attempt, due)
        builder_id: int = await self._master.data.updates.findBuilderId(queue_name(begun.key.group))
        buildset, _ = await self._master.data.updates.addBuildset(
            waited_for=False,
            scheduler=SCHEDULER,
            sourcestamps=[change.sourcestampid],
            reason=f"{run.run_id}: {begun.key}" + (f", attempt {begun.attempts}" if begun.attempts > 1 else ""),
            properties=task_properties(run, begun),
            builderids=[builder_id],
            external_idstring=attempt_name(run, begun),
            # Of two due builds the older commit's goes first; what is short before what is long.
            priority=0 if begun.key.group in LONG_GROUPS else 1,
        )
        await self._in_thread(self._history.record_buildset, begun, buildset)

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
        await self._in_thread(self._history.record_change, run, change_id)
        return change_id

    def _on_complete(self, message: dict[str, Any]) -> None:
        name = message.get("external_idstring") or ""
        if name.count("|") == 4:
            self._lock.run(self._complete, name, message["results"]).addErrback(log.err, f"settling {name}")

    @async_to_deferred
    async def _complete(self, name: str, results: int) -> None:
        run = await self._in_thread(self._history.run, name.partition("@")[0])
        if run is None:
            return
        for one in await self._in_thread(self._history.tasks, run):
            if attempt_name(run, one) == name:
                await self._settle(run, one, results)
        self.wake()

    @async_to_deferred
    async def _settle(self, run: Run, task: Task, results: int) -> None:
        verdict, reason, final = await self._in_thread(judge_attempt, self._history, run, task, results)
        await self._in_thread(self._history.end_attempt, task, verdict, reason, final=final)


def queue_name(group: str) -> str:
    """The builder where a group's tasks wait; their builds are shown on each recipe's own pages."""
    return f"queue-{group}"


def attempt_name(run: Run, task: Task) -> str:
    """What a buildset is found by: run, group, series, architecture, attempt.

    The time the run was made keeps the names of two histories apart in one Buildbot database.
    """
    key = task.key
    return f"{run.run_id}@{run.seen_at:.3f}|{key.group}|{key.series}|{key.architecture}|{task.attempts}"


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


def task_properties(run: Run, task: Task) -> dict[str, tuple[Any, str]]:
    """The properties of a task's build: what its steps read, and the name its pages have."""
    name = "-".join(part for part in (run.recipe, task.key.group, task.key.target) if part)
    values = {
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
    return {key: (value, SCHEDULER) for key, value in values.items()}
