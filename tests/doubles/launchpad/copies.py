"""Copies as Launchpad makes them: what is checked when asked, and what a job finds later and tells nobody.

The order of the checks, and their words, are those of ``lp.soyuz.scripts.packagecopier``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppa_tools.debversion import version_key
from tests.doubles.launchpad.model import (
    BUILDING,
    BUILT,
    FAILED,
    NEEDS_BUILDING,
    PENDING,
    Archive,
    BinaryPublication,
    BinaryRelease,
    Build,
    CopyJob,
    SourcePublication,
)
from tests.doubles.launchpad.world import World


class CannotCopy(Exception):
    """The copy is refused; asked for over the API this is a 400 with these words."""


class NoSuchName(Exception):
    """A name that Launchpad has never heard of: a 404, and nothing of the call is taken."""


def newest(
    archive: Archive,
    name: str,
    *,
    series: str = "",
    version: str = "",
    statuses: Sequence[str] = (),
) -> SourcePublication | None:
    """What ``getPublishedSources(...).first()`` gives: the highest version, then the newest."""
    found = [
        one
        for one in archive.by_source.get(name, ())
        if (not series or one.series == series)
        and (not version or one.release.version == version)
        and (not statuses or one.status in statuses)
    ]
    return max(found, key=lambda one: (version_key(one.release.version), one.id), default=None)


def check_asked(
    world: World,
    person: str,
    target: Archive,
    series: str,
    pocket: str,
    sources: Sequence[SourcePublication],
    move: bool,
) -> None:
    """What is refused at once: the pocket, an obsolete series, no rights. Raises CannotCopy."""
    if target.is_ppa and pocket.upper() != "RELEASE":
        raise CannotCopy("PPA uploads must be for the RELEASE pocket.")
    for name in {series or one.series for one in sources}:
        if world.series[name].status == "Obsolete":
            raise CannotCopy(f"{name} is obsolete and will not accept new uploads.")
    if not world.may_write(person, target):
        raise CannotCopy("Signer has no upload rights to this PPA.")
    for archive in {one.archive for one in sources} if move else ():
        if not world.may_write(person, archive):
            raise CannotCopy(f"{person} is not permitted to delete publications from {archive.display_name}.")


def check_known(world: World, name: str) -> None:
    """Raises NoSuchName for what no archive has ever had."""
    if name not in world.names:
        raise NoSuchName(f"No such source package: '{name}'.")


def ask_copy(
    world: World,
    person: str,
    target: Archive,
    source: Archive,
    found: Sequence[SourcePublication],
    *,
    to_series: str,
    from_series: str,
    pocket: str,
    with_binaries: bool,
    unembargo: bool,
    move: bool,
    request: int,
) -> list[CopyJob]:
    """Take copies: one job each, to run when its time has come. Raises CannotCopy."""
    check_asked(world, person, target, to_series, pocket, found, move)
    now, delay_s = world.now(), world.settings.copy_delay_s
    jobs = []
    for one in found:
        due = None if delay_s is None else now + delay_s
        if due is not None and world.settings.lock_retry_s:
            due = _after_rivals(world, target, one, due)
        jobs.append(
            CopyJob(
                id=world.new_id(),
                target=target,
                source=source,
                name=one.release.name,
                version=one.release.version,
                to_series=to_series or one.series,
                from_series=from_series,
                with_binaries=with_binaries,
                unembargo=unembargo,
                move=move,
                requester=person,
                asked_at=now,
                due_at=due,
                request=request,
            )
        )
    world.jobs += jobs
    world.waiting_jobs += jobs
    return jobs


def _after_rivals(world: World, target: Archive, one: SourcePublication, due: float) -> float:
    """When a copy is tried that waits for others of the same source and version to the same archive."""
    rivals = [
        job.due_at
        for job in world.waiting_jobs
        if job.target is target and (job.name, job.version) == (one.release.name, one.release.version)
    ]
    at = [one for one in rivals if one is not None]
    return max(due, *at) + world.settings.lock_retry_s if at else due


def run_job(world: World, job: CopyJob, now: float) -> None:
    """Try a copy; what is wrong stands in the job, and nowhere in the API."""
    try:
        source = newest(job.source, job.name, series=job.from_series, version=job.version)
        if source is None:
            raise CannotCopy(f"Package {job.name!r} {job.version!r} not found.")
        check_asked(world, job.requester, job.target, job.to_series, "RELEASE", [source], job.move)
        try:
            check_copy(job, source)
        except CannotCopy as why:
            raise CannotCopy(f"{job.name} {job.version} in {source.series} ({why})") from why
    except CannotCopy as error:
        job.state, job.error = "failed", str(error)
        return
    copy(world, job, source, now)
    job.state = "done"


def check_copy(job: CopyJob, source: SourcePublication) -> None:
    """The rules of ``CopyChecker.checkCopy``; raises CannotCopy."""
    release, target = source.release, job.target
    if release.expired:
        raise CannotCopy("source contains expired files")
    if job.with_binaries:
        if not built_binaries(source):
            raise CannotCopy("source has no binaries to be copied")
        if release.binaries_expired:
            raise CannotCopy("source has expired binaries")
    check_same_version(job, source)
    current = newest(target, release.name, series=job.to_series, statuses=("Pending", "Published"))
    if current is not None and version_key(release.version) < version_key(current.release.version):
        raise CannotCopy(
            f"version older than the {current.release.name} {current.release.version} in {current.series} "
            f"published in {current.series}"
        )
    if release.restricted and not target.private and not job.unembargo:
        raise CannotCopy("Cannot copy restricted files to a public archive without explicit unembargo option.")


def check_same_version(job: CopyJob, source: SourcePublication) -> None:
    """What the target has, or ever had, at this version, in any series; and the names of files."""
    release, target = source.release, job.target
    published: set[int] = set()
    for one in target.by_source.get(release.name, ()):
        if one.release.version != release.version:
            continue
        if one.release is not release:
            raise CannotCopy("a different source with the same version is published in the destination archive")
        if one.series == job.to_series and target is source.archive and job.with_binaries:
            continue
        status, _ = summary(builds_of_publication(one), one)
        if status in ("NEEDSBUILD", "BUILDING"):
            raise CannotCopy(f"same version already building in the destination archive for {one.series.title()}")
        if status == "FULLYBUILT_PENDING":
            raise CannotCopy(
                f"same version has unpublished binaries in the destination archive for {one.series.title()}, "
                "please wait for them to be published before copying"
            )
        published |= {binary.id for binary in built_binaries(one)}
    if published and not job.with_binaries:
        raise CannotCopy("same version already has published binaries in the destination archive")
    if not {binary.id for binary in built_binaries(source)} >= published:
        raise CannotCopy("binaries conflicting with the existing ones")
    if source.archive is not target:
        for name, key in release.file_keys().items():
            if target.file_keys.get(name, key) != key:
                raise CannotCopy(f"{name} already exists in destination archive with different contents.")


def built_binaries(source: SourcePublication) -> list[BinaryRelease]:
    """The .debs published beside a source, whatever their status, each once."""
    return list({one.binary.id: one.binary for one in source.binaries}.values())


def copy(world: World, job: CopyJob, source: SourcePublication, now: float) -> None:
    """Publish the source where it is not yet, and its binaries; have the missing builds made; move."""
    release, target = source.release, job.target
    there = newest(
        target, release.name, series=job.to_series, version=release.version, statuses=("Pending", "Published")
    )
    if there is None:
        there = world.publish_source(
            target,
            job.to_series,
            release,
            PENDING,
            now,
            creator=job.requester,
            copied_from=source.archive,
        )
    if job.with_binaries:
        for binary in built_binaries(source):
            world.publish_binary(there, binary, now, copied_from=source.archive)
    create_missing_builds(world, there, now)
    if release.restricted and not target.private:
        release.restricted = False
    if job.move:
        where = job.to_series + (f" in {target.reference}" if target is not source.archive else "")
        world.delete(source, job.requester, f"Moved to {where}", now, job.request)


def create_missing_builds(world: World, publication: SourcePublication, now: float) -> None:
    """A build for each architecture of the PPA that has neither binaries nor a build there."""
    release, archive = publication.release, publication.archive
    have = {
        one.binary.build.architecture
        for other in archive.by_source[release.name]
        if other.release is release
        for one in other.binaries
    }
    have |= {
        build.architecture
        for build in release.builds
        if build.archive is archive and (build.series == publication.series or build.state == BUILT)
    }
    if have and all(spec.architecture == "all" for spec in release.binaries):
        return
    for architecture in world.to_build(release, archive, publication.series):
        if architecture not in have:
            world.new_build(release, archive, publication.series, architecture, now)


def builds_of_publication(publication: SourcePublication) -> list[Build]:
    """The builds of its release for its series: made in its archive, or with binaries published there."""
    here = {one.binary.build.id for one in publication.binaries}
    return [
        build
        for build in publication.release.builds
        if build.series == publication.series and (build.archive is publication.archive or build.id in here)
    ]


def summary(builds: Sequence[Build], publication: SourcePublication) -> tuple[str, list[Build]]:
    """The state of all builds in one word, and the builds that it is about."""
    for word, states in (("BUILDING", BUILDING), ("NEEDSBUILD", (NEEDS_BUILDING,)), ("FAILEDTOBUILD", FAILED)):
        found = [build for build in builds if build.state in states]
        if found:
            return word, found
    built = [build for build in builds if build.state == BUILT]
    if publication.active:
        unpublished = [build for build in built if not _is_published(build, publication.binaries)]
        if unpublished:
            return "FULLYBUILT_PENDING", unpublished
    return "FULLYBUILT", built


def _is_published(build: Build, binaries: Sequence[BinaryPublication]) -> bool:
    return any(one.binary.build is build and one.published_at is not None for one in binaries)
