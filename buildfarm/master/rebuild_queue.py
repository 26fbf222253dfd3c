"""The nights' builds as a queue of the dispatcher, on the record of nights."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from buildbot.process.results import CANCELLED
from buildbot.util.twisted import async_to_deferred

from buildfarm.master.dispatcher import Request, queue_name
from buildfarm.master.rebuild_choice import ALL_OUT_PATIENCE_S, Workers, choose_due, is_signers, priority_of
from buildfarm.regress.model import BuildReport
from buildfarm.regress.nights import Nights
from buildfarm.regress.records import Build, Driver, Night, Rebuild

REBUILD, CULPRIT, PUBLISH = "rebuild", "culprit", "publish"
PROJECT = "rebuilds"
FARM: Driver = "farm"
Item = tuple[Night, Rebuild, Build]
KINDS = {
    "first": "",
    "again": ", again",
    "control": ", to try the worker",
    "culprit": ", searching for the cause",
    "publish": ", published",
}
_NAME = re.compile(r"rebuild (\d{1,15})@[\d.]+\|\d+", re.ASCII)


class RebuildQueue:
    """A ``Queue`` of nights' builds. ``workers`` tells who there is to build."""

    def __init__(self, nights: Nights, workers: Callable[[], Workers]) -> None:
        self._nights = nights
        self._workers = workers

    def due(self) -> Sequence[Item]:
        """The builds that a worker may take now, or soon."""
        waiting = self._nights.due(FARM)
        if self._leave_lost_workers({one.wanted_worker for _, _, one in waiting if not is_signers(one)} - {""}):
            waiting = self._nights.due(FARM)
        due = {one.id: (night, rebuild, one) for night, rebuild, one in waiting}
        submitted = (one for _, _, one in self._nights.submitted(FARM))
        chosen = choose_due([one for _, _, one in due.values()], submitted, self._workers())
        return [due[one.id] for one in chosen]

    def _leave_lost_workers(self, wanted: set[str]) -> bool:
        """What waits for a worker that will not come starts again elsewhere; returns whether anything did."""
        workers = self._workers()
        lost = wanted - set(workers.in_service)
        for name in lost:
            if name in workers.out:
                self._nights.take_out(name, workers.out[name][0])
            else:
                self._nights.leave(name)
        return bool(lost)

    def submitted(self) -> Sequence[Item]:
        """The builds that were given to Buildbot and have not ended."""
        return self._nights.submitted(FARM)

    def next_due_at(self) -> float | None:
        """When the time of the next build comes that waits for one."""
        return self._nights.next_due_at(FARM)

    def start(self, item: Item) -> Item:
        """Count a start."""
        night, rebuild, build = item
        return night, rebuild, self._nights.start(build)

    def attempt(self, item: Item) -> str:
        """The build's number, its night's start, how many times it was started."""
        night, _, build = item
        return f"rebuild {build.id}@{night.started_at:.3f}|{build.attempts}"

    def of_attempt(self, name: str) -> Item | None:
        """The build of an attempt."""
        match = _NAME.fullmatch(name)
        build = self._nights.build(int(match[1])) if match else None
        rebuild = self._nights.rebuild(build.rebuild) if build is not None else None
        night = self._nights.night(rebuild.night) if rebuild is not None else None
        if night is None or rebuild is None or build is None:
            return None
        item = (night, rebuild, build)
        return item if self.attempt(item) == name else None

    def request(self, item: Item) -> Request:
        """A build on a worker, as it wishes."""
        night, rebuild, build = item
        return Request(
            builder=queue_name(_builder(build)),
            reason=f"night {night.number}: #{build.id} {build.job.subject}{KINDS[build.kind]}",
            priority=priority_of(night, rebuild, build),
            properties=rebuild_properties(night, build),
        )

    def record_buildset(self, item: Item, buildset: int) -> None:
        """Keep its number."""
        self._nights.record_buildset(item[2], buildset)

    def return_to_queue(self, item: Item) -> None:
        """Take back a start."""
        self._nights.return_to_queue(item[2])

    def settle(self, item: Item, results: int) -> None:
        """End a build whose step did not: the step knows more."""
        build = item[2]
        if build.state != "submitted":
            return
        by_hand = results == CANCELLED
        words = "stopped by hand" if by_hand else "Buildbot ended it before it had a report"
        self._nights.end(build, BuildReport("error", words), build.worker, final=by_hand)

    @async_to_deferred
    async def sourcestamps(self, item: Item) -> list[Any]:
        """The source package, in its version."""
        job = item[2].job
        return [
            {
                "codebase": "",
                "repository": job.package,
                "branch": job.series,
                "revision": job.version,
                "project": PROJECT,
            }
        ]


def _builder(build: Build) -> str:
    if is_signers(build):
        return PUBLISH
    return CULPRIT if build.kind == "culprit" else REBUILD


def give_up_hopeless(nights: Nights, workers: Workers, now: float) -> None:
    """End what waits, without verdicts, when all workers are out of service for long; ``now`` is epoch seconds."""
    since = workers.hopeless_since()
    if since is not None and now - since > ALL_OUT_PATIENCE_S:
        names = ", ".join(f"{name} ({workers.out[name][0]})" for name in workers.names)
        for _, _, build in nights.due(FARM):
            if not is_signers(build):
                nights.give_up(build, f"no worker is in service: {names}")


def rebuild_properties(night: Night, build: Build) -> dict[str, Any]:
    """The properties of a build: what its step reads, where it wishes to be, and the name its pages have."""
    job = build.job
    name = f"{job.set}-{job.package}-{job.series}-{job.architecture}"
    return {
        "night": night.number,
        "rebuild_build": build.id,
        "attempt": build.attempts,
        "kind": build.kind,
        "package": job.package,
        "series": job.series,
        "architecture": job.architecture,
        "wanted_worker": build.wanted_worker,
        "avoid_workers": list(build.avoid_workers),
        "alone": build.alone,
        "run": f"#{build.id}",
        "virtual_builder_name": name,
        "virtual_builder_description": f"nightly rebuilds of {job.subject} in the set {job.set}",
        "virtual_builder_tags": [job.set, "rebuild"],
        "virtual_builder_project": PROJECT,
    }
