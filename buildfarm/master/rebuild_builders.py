"""The builders of nightly rebuilds, and who may take what waits there."""

from __future__ import annotations

from typing import Any

from buildbot.plugins import util

from buildfarm.farm import Farm
from buildfarm.master.dispatcher import queue_name
from buildfarm.master.rebuild_queue import CULPRIT, PROJECT, PUBLISH, REBUILD
from buildfarm.master.rebuild_steps import RebuildContext, RebuildFactory
from buildfarm.master.service import Record

WHAT = {
    REBUILD: "builds of nightly rebuilds: here is what waits",
    CULPRIT: "searches for what broke a nightly rebuild: they make way for all that waits",
}


def rebuild_builders(farm: Farm, record: Record, builds: Any, company: Any) -> list[Any]:
    """The builders of builds, of searches, and of publications; what has begun is on each package's own pages.

    The first two share the lock ``builds`` with the commits' builds, and take ``company`` for themselves where a
    build is to be alone. What is published is signed, on the worker that does nothing else.
    """

    @util.renderer
    def locks(properties: Any) -> list[Any]:
        return [builds, company.access("exclusive" if properties.getProperty("alone") else "counting")]

    context = RebuildContext(farm.settings, record.nights, record.pool)
    publishing = util.BuilderConfig(
        name=queue_name(PUBLISH),
        workernames=[farm.signer],
        factory=RebuildFactory(context),
        description="what nightly rebuilds made goes to the archives of their sets",
        tags=["rebuild"],
        project=PROJECT,
    )
    return [
        publishing,
        *(
            util.BuilderConfig(
                name=queue_name(name),
                workernames=list(farm.build_workers),
                nextWorker=next_worker,
                canStartBuild=may_start,
                factory=RebuildFactory(context),
                locks=locks,
                description=description,
                tags=["rebuild"],
                project=PROJECT,
            )
            for name, description in WHAT.items()
        ),
    ]


def _rebuilds(builder: Any) -> Any:
    return builder.master.service_manager.namedServices["farm"].rebuilds


def next_worker(builder: Any, workers: list[Any], request: Any) -> Any:
    """As ``Rebuilds.next_worker``, of the farm as it is configured now."""
    return _rebuilds(builder).next_worker(builder, workers, request)


def may_start(builder: Any, worker: Any, request: Any) -> bool:
    """As ``Rebuilds.may_start``."""
    allowed: bool = _rebuilds(builder).may_start(builder, worker, request)
    return allowed


def may_start_commit(builder: Any, worker: Any, request: Any) -> bool:
    """As ``Rebuilds.may_start_commit``."""
    allowed: bool = _rebuilds(builder).may_start_commit(builder, worker, request)
    return allowed
