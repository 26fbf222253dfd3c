"""Nightly rebuilds in the master: nights opened when due, ended when done, told, and workers taken out of service.

A look every few seconds, in threads but for Buildbot's own things, does all of it. Nothing is kept here that a
restart would miss: what must not be lost is on the record of nights.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

from buildbot.data import resultspec
from buildbot.util.twisted import async_to_deferred
from twisted.internet import defer, threads
from twisted.internet.task import LoopingCall
from twisted.python import log

from buildfarm.master.dispatcher import queue_name
from buildfarm.master.rebuild_choice import GONE_AFTER_S, Wish, Workers, is_signers, may_run_on
from buildfarm.master.rebuild_queue import CULPRIT, FARM, REBUILD, give_up_hopeless
from buildfarm.master.rebuild_schedule import Schedule
from buildfarm.master.rebuild_steps import RebuildStep
from buildfarm.master.rebuild_telling import Telling
from buildfarm.regress.nights import Nights
from buildfarm.regress.records import Build, Night
from buildfarm.regress.sets import SetBook
from buildfarm.settings import Settings

LOOK_EACH_S = 3.0
PAUSED_BY_US = "nightly rebuilds: "
WAYS_MADE_AT_MOST = 5
"""How often a search for a culprit is interrupted for others; then it may end, or its night never would."""
LONG_QUEUES = (queue_name("build"), queue_name(REBUILD))
ONE_AT_A_TIME = (*LONG_QUEUES, queue_name(CULPRIT))


class Rebuilds:
    """The looks, and what they found last: who is in service."""

    def __init__(self, master: Any, nights: Nights, pool: Any, wake: Any) -> None:
        self._master = master
        self._nights = nights
        self._pool = pool
        self._wake = wake
        self._schedule = Schedule(master, nights, self._in_thread)
        self._telling = Telling(master, nights, self._in_thread)
        self._looking = LoopingCall(self._look)
        self._paused: set[str] = set()
        self._away_since: dict[str, float] = {}
        self._last_night = 0
        self._ways_made: Counter[int] = Counter()
        self.searching: set[RebuildStep] = set()
        self.workers = Workers(())

    def set_up(self, settings: Settings, book: SetBook, names: Iterable[str]) -> None:
        """Take up settings, sets, and the names of the workers that rebuild."""
        self._schedule.settings = self._telling.settings = settings
        self._schedule.book = book
        self.workers = Workers(tuple(names), self.workers.out, self.workers.gone)

    def start(self) -> None:
        """Begin to look."""
        self._looking.clock = self._master.reactor
        self._looking.start(LOOK_EACH_S)

    def stop(self) -> None:
        """Look no more."""
        if self._looking.running:
            self._looking.stop()

    def _in_thread(self, call: Any, *args: Any, **kwargs: Any) -> defer.Deferred[Any]:
        return threads.deferToThreadPool(self._master.reactor, self._pool, call, *args, **kwargs)

    @async_to_deferred
    async def _look(self) -> None:
        for look in (self._look_at_workers, self._look_at_nights, self._withdraw, self._make_way):
            try:
                await look()
            except Exception:  # noqa: BLE001 (told in full; the next look tries again)
                log.err(None, "looking after nightly rebuilds")
        # These may take minutes: the other looks go on meanwhile.
        self._schedule.look().addCallbacks(self._opened, log.err, errbackArgs=("opening nights",))
        self._telling.look().addErrback(log.err, "telling of nights")

    def _opened(self, opened: bool) -> None:
        if opened:
            self._wake()

    # Workers

    @async_to_deferred
    async def _look_at_workers(self) -> None:
        out = await self._in_thread(self._nights.workers_out)
        for name in sorted(out.keys() - self.workers.out.keys()):
            log.msg(f"WORKER {name} IS TAKEN OUT OF SERVICE: {out[name][0]}")
            log.msg(f"when it is sound again: buildfarm rebuild workers --put-back {name}")
        for name in sorted(self.workers.out.keys() - out.keys()):
            log.msg(f"worker {name} is in service again")
        before = self.workers
        self.workers = Workers(before.names, dict(out), self._gone())
        for name in self.workers.names:
            await self._show(name)
        if self.workers.in_service != before.in_service:
            self._wake()

    def _gone(self) -> frozenset[str]:
        """The workers that have not been connected for long."""
        now = self._master.reactor.seconds()
        connected = set(self._connected())
        self._away_since = {
            name: self._away_since.get(name, now) for name in self.workers.names if name not in connected
        }
        return frozenset(name for name, since in self._away_since.items() if now - since > GONE_AFTER_S)

    def _connected(self) -> list[str]:
        return [one.name for one in self._master.workers.workers.values() if one.conn is not None]

    @async_to_deferred
    async def _show(self, name: str) -> None:
        """A worker that is out is paused on its page; one that somebody resumes there is back in service."""
        worker = self._master.workers.workers.get(name)
        if worker is None or worker.workerid is None:
            return
        if name not in self.workers.out:
            if name in self._paused or await self._was_paused_by_us(worker):
                worker.unpause()
                self._paused.discard(name)
        elif not worker.isPaused() and name in self._paused:
            self._paused.discard(name)
            log.msg(f"worker {name} was resumed by hand")
            await self._in_thread(self._nights.put_back, name)
        elif not worker.isPaused():
            worker.pause(PAUSED_BY_US + self.workers.out[name][0])
            self._paused.add(name)
        elif name not in self._paused and await self._was_paused_by_us(worker):
            self._paused.add(name)

    @async_to_deferred
    async def _was_paused_by_us(self, worker: Any) -> bool:
        """In an earlier life: Buildbot keeps that a worker is paused, and why."""
        if not worker.isPaused():
            return False
        known = await self._master.data.get(("workers", worker.workerid))
        return bool(known and (known["pause_reason"] or "").startswith(PAUSED_BY_US))

    def may_start(self, builder: Any, worker_for_builder: Any, request: Any) -> bool:
        """Whether a worker may take a build now: by its wishes, and by what else runs there."""
        wish = wish_of(request)
        worker = worker_for_builder.worker
        if not may_run_on(wish, worker.name, self.workers, self._connected()):
            return False
        busy = {name for name, one in worker.workerforbuilders.items() if one.isBusy() and name != builder.name}
        return not busy if wish.alone else not busy & set(ONE_AT_A_TIME)

    def may_start_commit(self, builder: Any, worker_for_builder: Any, _request: Any) -> bool:
        """Whether a worker may take the build of a commit now. The lock says the same, a moment later."""
        others = worker_for_builder.worker.workerforbuilders.items()
        return not any(one.isBusy() for name, one in others if name in ONE_AT_A_TIME and name != builder.name)

    def next_worker(self, builder: Any, workers: list[Any], request: Any) -> Any:
        """One that may take the build; else any, which Buildbot then asks ``may_start`` of, and passes over."""
        fit = [one for one in workers if self.may_start(builder, one, request)]
        return random.choice(fit or workers) if workers else None  # noqa: S311

    # Nights

    @async_to_deferred
    async def _look_at_nights(self) -> None:
        newest, ended = await self._in_thread(self._end_nights)
        for night in ended:
            log.msg(f"night {night.number} of {night.set} has ended")
        if newest != self._last_night:  # a command opened one
            self._last_night = newest
            self._wake()

    def _end_nights(self) -> tuple[int, tuple[Night, ...]]:
        give_up_hopeless(self._nights, self.workers, self._master.reactor.seconds())
        ended = self._nights.end_nights()
        recent = self._nights.recent_nights(1)
        return recent[0].number if recent else 0, ended

    # What Buildbot has that nobody wants any more

    @async_to_deferred
    async def _withdraw(self) -> None:
        for night, _, build in await self._in_thread(self._nights.submitted, FARM):
            if night.ended_at is not None:
                await self._cancel(await self._requests(build), "the night was cancelled")
            elif self._waits_in_vain(build):
                waiting = [one for one in await self._requests(build) if not one["claimed"]]
                if waiting:
                    await self._in_thread(self._nights.return_to_queue, build)
                    await self._cancel(waiting, "no worker for it is in service")
                    self._wake()

    def _waits_in_vain(self, build: Build) -> bool:
        """Whether it is for a worker that is not in service, or for any, and none is."""
        if is_signers(build):
            return False
        serving = self.workers.in_service
        return build.wanted_worker not in serving if build.wanted_worker else not serving

    @async_to_deferred
    async def _requests(self, build: Build) -> list[dict[str, Any]]:
        """What Buildbot has of a build and has not ended."""
        filters = [
            resultspec.Filter("buildsetid", "eq", [build.buildset]),
            resultspec.Filter("complete", "eq", [False]),
        ]
        return await self._master.data.get(("buildrequests",), filters=filters) if build.buildset else []

    @async_to_deferred
    async def _cancel(self, requests: list[dict[str, Any]], reason: str) -> None:
        for one in requests:
            await self._master.data.control(
                "cancel", {"reason": reason}, ("buildrequests", str(one["buildrequestid"]))
            )

    # Searches for culprits, which are long, and nobody waits for

    @async_to_deferred
    async def _make_way(self) -> None:
        steps = [one for one in self.searching if self._ways_made[one.build_id] < WAYS_MADE_AT_MOST]
        if steps and await self._somebody_waits():
            for one in steps:
                self._ways_made[one.build_id] += 1
                one.make_way()

    @async_to_deferred
    async def _somebody_waits(self) -> bool:
        """Whether a build has waited for longer than it takes to be given to a worker."""
        before = self._master.reactor.seconds() - LOOK_EACH_S
        for name in LONG_QUEUES:
            builder_id = await self._master.data.updates.findBuilderId(name)
            waiting = await self._master.data.get(
                ("builders", builder_id, "buildrequests"), filters=[resultspec.Filter("claimed", "eq", [False])]
            )
            if any(one["submitted_at"].timestamp() < before for one in waiting):
                return True
        return False


def wish_of(request: Any) -> Wish:
    """Where a request to Buildbot wants to be."""
    properties = request.properties
    return Wish(
        properties.getProperty("wanted_worker", ""),
        frozenset(properties.getProperty("avoid_workers", ())),
        bool(properties.getProperty("alone", False)),
    )
