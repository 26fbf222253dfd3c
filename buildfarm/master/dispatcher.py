"""Giving what is due to Buildbot, exactly once each, and taking what it came to into the record.

What is due comes from queues: the commits' tasks, the nights' builds. Each is counted as an attempt on record
before its buildset is made, and the buildset carries the attempt's name. After a kill between the two, the next
start finds the buildset by that name, or finds none and makes it. Buildbot itself runs again what was running when
it died.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from buildbot.data import resultspec
from buildbot.util.twisted import async_to_deferred
from twisted.internet import defer, threads
from twisted.internet.task import LoopingCall
from twisted.python import log
from twisted.python.threadpool import ThreadPool

SCHEDULER = "farm"
HEARTBEAT_S = 60.0
Item = TypeVar("Item")


@dataclass(frozen=True)
class Request:
    """What Buildbot is asked for an attempt: the builder that serves it, why, how urgently, and its properties.

    Of requests to one builder, and of builders that want one worker, those of higher ``priority`` go first; of
    equal ones the older.
    """

    builder: str
    reason: str
    priority: int
    properties: Mapping[str, Any] = field(default_factory=dict)


class Queue(Protocol[Item]):
    """Where what is due stands on record. All but ``sourcestamps`` run in threads; each is one transaction.

    An item's value is of the moment it was read; ``attempt`` names its current attempt, with all that keeps it
    apart from those of other records in one Buildbot database.
    """

    def due(self) -> Sequence[Item]:
        """What waits, and may be given out now, the first to be given first."""

    def submitted(self) -> Sequence[Item]:
        """What was given out and has not ended."""

    def next_due_at(self) -> float | None:
        """When the next one's time comes, in epoch seconds; None when nothing waits for a time."""

    def start(self, item: Item) -> Item:
        """Count an attempt, and return the item with it."""

    def attempt(self, item: Item) -> str:
        """The name of the item's attempt."""

    def of_attempt(self, name: str) -> Item | None:
        """The item whose current attempt has this name; None for an earlier one's name, and for a stranger's."""

    def request(self, item: Item) -> Request:
        """What Buildbot is asked."""

    def record_buildset(self, item: Item, buildset: int) -> None:
        """Keep the number of the buildset that was made for it."""

    def return_to_queue(self, item: Item) -> None:
        """Take back an attempt that has no buildset."""

    def settle(self, item: Item, results: int) -> None:
        """Take in how the attempt's buildset ended (Buildbot's number), unless its end is on record already."""

    async def sourcestamps(self, item: Item) -> list[Any]:
        """Which sources it is of, as Buildbot wants them; runs in the reactor's thread."""


class Dispatcher:
    """One at a time through what is due, in every queue."""

    def __init__(self, master: Any, queues: Sequence[Queue[Any]], pool: ThreadPool) -> None:
        self._master = master
        self._queues = queues
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
            self._lock.run(self._give_out).addErrback(log.err, "giving out what is due")

    @async_to_deferred
    async def _take_up(self) -> None:
        for queue in self._queues:
            try:
                await self._lock.run(self._recover, queue)
            except Exception:  # noqa: BLE001 (told in full; the next heartbeat tries again)
                log.err(None, "taking up what was left")
        self.wake()

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _in_thread(self, call: Callable[..., Any], *args: Any) -> defer.Deferred[Any]:
        return threads.deferToThreadPool(self._master.reactor, self._pool, call, *args)

    @async_to_deferred
    async def _recover(self, queue: Queue[Any]) -> None:
        for item in await self._in_thread(queue.submitted):
            found = await self._master.data.get(
                ("buildsets",), filters=[resultspec.Filter("external_idstring", "eq", [queue.attempt(item)])]
            )
            if not found:
                await self._in_thread(queue.return_to_queue, item)
            elif all(buildset["complete"] for buildset in found):  # several, where its page was told to rebuild
                results = max(found, key=lambda one: one["bsid"])["results"]
                await self._in_thread(queue.settle, item, results)

    @async_to_deferred
    async def _give_out(self) -> None:
        self._cancel_timer()
        times = []
        for queue in self._queues:
            for item in await self._in_thread(queue.due):
                if not self._running:
                    return
                try:
                    await self._submit(queue, item)
                except Exception:  # noqa: BLE001 (one's trouble is not the others')
                    log.err(None, f"giving out {queue.attempt(item)}; the next heartbeat tries again")
            times.append(await self._in_thread(queue.next_due_at))
        due_at = min((one for one in times if one is not None), default=None)
        if due_at is not None and self._running:
            delay = max(0.0, due_at - self._master.reactor.seconds())
            self._timer = self._master.reactor.callLater(delay, self.wake)

    @async_to_deferred
    async def _submit(self, queue: Queue[Any], item: Any) -> None:
        sourcestamps = await queue.sourcestamps(item)
        begun = await self._in_thread(queue.start, item)
        request = await self._in_thread(queue.request, begun)
        builder_id: int = await self._master.data.updates.findBuilderId(request.builder)
        buildset, _ = await self._master.data.updates.addBuildset(
            waited_for=False,
            scheduler=SCHEDULER,
            sourcestamps=sourcestamps,
            reason=request.reason,
            properties={key: (value, SCHEDULER) for key, value in request.properties.items()},
            builderids=[builder_id],
            external_idstring=queue.attempt(begun),
            priority=request.priority,
        )
        await self._in_thread(queue.record_buildset, begun, buildset)

    def _on_complete(self, message: dict[str, Any]) -> None:
        name = message.get("external_idstring") or ""
        if name:
            self._lock.run(self._complete, name, message["results"]).addErrback(log.err, f"settling {name}")

    @async_to_deferred
    async def _complete(self, name: str, results: int) -> None:
        for queue in self._queues:
            item = await self._in_thread(queue.of_attempt, name)
            if item is not None:
                await self._in_thread(queue.settle, item, results)
        self.wake()


def queue_name(group: str) -> str:
    """The builder where a group's tasks wait; their builds are shown on each recipe's own pages."""
    return f"queue-{group}"
