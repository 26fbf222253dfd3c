"""What happens by itself when its time has come: copies end, builds are built, things are published, files go."""

from __future__ import annotations

import math

from tests.doubles.launchpad.copies import run_job
from tests.doubles.launchpad.model import BUILT, NEEDS_BUILDING, PUBLISHED, SourcePublication
from tests.doubles.launchpad.world import World


def settle(world: World, *, everything: bool = False) -> None:
    """Let happen what is due by now, each at its own moment; with ``everything`` also what waits to be told."""
    now, moved = world.now(), True
    while moved:
        moved = _run_jobs(world, now, everything)
        moved = _finish_builds(world, now, everything) or moved
        moved = _publish(world, now, everything) or moved
    _remove_files(world, now)


def _run_jobs(world: World, now: float, everything: bool) -> bool:
    moments = {job.id: now if everything or job.due_at is None else job.due_at for job in world.waiting_jobs}
    due = [job for job in world.waiting_jobs if everything or (job.due_at is not None and job.due_at <= now)]
    for job in sorted(due, key=lambda one: (moments[one.id], one.id)):
        world.waiting_jobs.remove(job)
        _publish(world, moments[job.id], everything)
        run_job(world, job, moments[job.id])
    return bool(due)


def _finish_builds(world: World, now: float, everything: bool) -> bool:
    delay_s, built = world.settings.build_delay_s, False
    if delay_s is None and not everything:
        return False
    for build in list(world.builds.values()):
        at = min(now, build.created_at + (delay_s or 0)) if everything else build.created_at + (delay_s or 0)
        if build.state == NEEDS_BUILDING and at <= now:
            for publication in build.archive.by_source.get(build.release.name, ()):
                if publication.release is build.release and publication.series == build.series:
                    world.set_build(build, BUILT, publication, at)
                    built = True
    return built


def _publish(world: World, now: float, everything: bool) -> bool:
    delay_s = world.settings.publish_delay_s
    if not world.pending or (delay_s is None and not everything):
        return False
    due = [one for one in world.pending if everything or one.created_at + (delay_s or 0) <= now]
    for one in due:
        one.status, one.published_at = PUBLISHED, min(now, one.created_at + (delay_s or 0))
        world.changed(one)
    world.pending = [one for one in world.pending if one.status != PUBLISHED]
    for one in due:
        world.dominate(one, one.published_at or now)
    return bool(due)


def _remove_files(world: World, now: float) -> None:
    """What ended long enough ago is taken from the archive; a source that is nowhere any more loses its files."""
    kept_s = world.settings.files_kept_s
    if world.oldest_ended + kept_s > now:
        return
    due = [one for one in world.ended if (one.superseded_at or now) + kept_s <= now]
    for one in due:
        one.removed_at = now
        world.changed(one)
    world.ended = [one for one in world.ended if one.removed_at is None]
    world.oldest_ended = min((one.superseded_at or now for one in world.ended), default=math.inf)
    releases = {one.release for one in due if isinstance(one, SourcePublication)}
    kept = {one.release for one in world.sources.values() if one.removed_at is None}
    for release in releases - kept:
        release.expired = release.binaries_expired = True
