"""Putting a checked upload into the publishing history: the archive's rules, inside one transaction.

The rules are Launchpad's: the same content again is already there; a file name means the same bytes for ever; a
version must be higher than the active one of its series; binaries belong to a source of the PPA.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.engine import Connection

from ppa_tools.archives import history as h
from ppa_tools.archives.checks import BinaryUpload, SourceUpload, UploadedFile
from ppa_tools.archives.domination import Arrival, Build, Plan, Standing, plan_arrival
from ppa_tools.archives.errors import UploadRefused, VersionNotNewer
from ppa_tools.archives.pool import Pool, pool_directory
from ppa_tools.archives.releases import add_release, keep_deb
from ppa_tools.archives.words import in_a_line
from ppa_tools.debversion import version_key

NAME_LIMIT = 200


@dataclass(frozen=True)
class Receipt:
    """What became of an upload; ``architecture`` is "source" for a source. ``already``: nothing has changed."""

    archive: str
    series: str
    architecture: str
    source: str
    version: str
    changes_sha256: str
    already: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scene:
    """Where and when an upload is put in."""

    conn: Connection
    pool: Pool
    ppa: h.PPA
    series: h.Series
    now: float

    def refuse_other_bytes(self, name: str, sha256: str) -> None:
        """A name once used means the same bytes for ever."""
        known = h.name_in_ppa(self.conn, self.ppa.id, name)
        if known is not None and known.sha256 != sha256:
            raise UploadRefused(
                f"{name} is already in {self.ppa.address} with other content "
                f"(SHA-256 {known.sha256}, not {sha256}); "
                "a file name stands for the same content for ever: use a new version"
            )

    def begin(self, by: str, what: str, why: str = "") -> h.Change:
        """The series changes from here on."""
        return h.begin_change(self.conn, self.series, self.now, by, what, why)


def accept_source(scene: Scene, upload: SourceUpload) -> Receipt:
    """Publish a source upload, and supersede the older version; raises UploadRefused."""
    source, version = upload.dsc.source, upload.dsc.version
    conn, series = scene.conn, scene.series
    receipt = Receipt(
        str(scene.ppa.address), series.name, "source", source, version, upload.changes_sha256, already=False
    )
    if h.find_upload(conn, series.id, upload.changes_sha256) is not None:
        return replace(receipt, already=True)  # even if it was deleted since: who replays it may be anybody
    if upload.uploader not in {one.fingerprint for one in h.list_uploaders(conn, scene.ppa)}:
        raise UploadRefused(f"the key {upload.uploader} may upload to {scene.ppa.address} no longer")
    publications = h.select_source_publications(conn, scene.ppa, series=series.name, source=source)
    release = h.find_source_release(conn, scene.ppa.id, source, version)
    if release is not None and _source_is_there(scene, upload, release, publications):
        return replace(receipt, already=True)
    active = [one for one in publications if one.span.status in h.ACTIVE]
    for one in active:
        if version_key(version) <= version_key(one.version):
            raise VersionNotNewer(
                f"{source} {version} is not newer than {one.version}, "
                f"which {scene.ppa.address} has in {series.name}",
                one.version,
            )
    # A source that was deleted and comes back keeps its first .dsc, whose signature may differ.
    named = upload.dsc.files if release is not None else (upload.dsc_file, *upload.dsc.files)
    for file in named:
        scene.refuse_other_bytes(file.name, file.sha256)
    _refuse_lost_files(scene, upload, release)
    change = scene.begin(upload.uploader, "upload", f"{source} {version}")
    release_id = _keep_source(scene, change, upload, release, {file.name for file in named})
    new = h.NewSource(
        release_id, source, version, f"uploaded by {in_a_line(upload.changes.changed_by, NAME_LIMIT)}"
    )
    new_id = h.add_sources(conn, change, [new])[source]
    outdated = over_the_limit(active, scene.ppa.settings.versions - 1)
    h.end_sources(conn, change, outdated, h.Status.SUPERSEDED, f"{version} has come", new_id)
    return receipt


def accept_binaries(scene: Scene, upload: BinaryUpload, architecture: str, worker: str) -> Receipt:
    """Publish binaries beside their source, and supersede what they replace; raises UploadRefused."""
    source, version = upload.changes.source, upload.changes.source_version
    conn, series = scene.conn, scene.series
    found = h.select_source_publications(conn, scene.ppa, series=series.name, source=source, version=version)
    if not found:
        raise UploadRefused(
            f"{scene.ppa.address} has no {source} {version} in {series.name}: its source comes first"
        )
    receipt = Receipt(
        *(str(scene.ppa.address), series.name, architecture, source, version, upload.changes_sha256),
        already=False,
        notes=tuple(f"{name} is kept but not published" for name in upload.unpublished),
    )
    for deb in upload.debs:
        scene.refuse_other_bytes(deb.file.name, deb.file.digests.sha256)
    release_id = found[-1].release_id
    before = [one for one in h.uploads_of(conn, release_id, series.id) if one.architecture == architecture]
    known = {h.find_binary_release(conn, release_id, deb.file.digests.sha256) for deb in upload.debs}
    over = _is_over(scene, found[-1])
    if before and None not in known and not _may_come_again(scene, found[-1], known):
        return replace(receipt, already=True)
    if over:
        raise UploadRefused(
            f"{source} {version} is no longer published in {series.name} of {scene.ppa.address}: "
            f"it was {found[-1].span.status.lower()}"
        )
    words = h.source_architectures(conn, [release_id])[release_id]
    build = Build(
        source, version, (architecture,), words, published_beside(conn, scene.ppa, series, source, version)
    )
    plan = _plan_debs(scene, upload, build)
    change = scene.begin(worker, "build", f"{source} {version} on {architecture}")
    _keep_files(scene, upload.files, {deb.file.name for deb in upload.debs}, source)
    releases = {
        (deb.control.package, deb.control.architecture): keep_deb(conn, deb, release_id) for deb in upload.debs
    }
    late = _carry_out(conn, change, plan, releases, build)
    if h.find_upload(conn, series.id, upload.changes_sha256) is None:
        names = [(file.name, file.digests.sha256) for file in upload.files]
        h.add_upload(conn, change, architecture, upload.changes_sha256, release_id, names)
    return replace(receipt, notes=(*receipt.notes, *late))


def _is_over(scene: Scene, source: h.SourcePublication) -> bool:
    """Whether a source was ended, and not by a newer version, beside which its binaries would have a place."""
    if source.span.status in h.ACTIVE:
        return False
    where = {"series": source.series, "source": source.source}
    newer = h.select_source_publications(scene.conn, scene.ppa, **where, active=True)
    return source.span.superseded_by_id is None or not newer


def _may_come_again(scene: Scene, source: h.SourcePublication, release_ids: Collection[int | None]) -> bool:
    """Whether binaries are gone that a source wants: they were deleted alone, or it has come back without them."""
    if source.span.status not in h.ACTIVE:
        return False
    where = {"series": source.series, "source": source.source, "source_version": source.version}
    rows = h.select_binary_publications(scene.conn, scene.ppa, **where)  # type: ignore[arg-type]
    last = {row.release_id: row.span for row in rows if row.release_id in release_ids}
    return any(
        span.status is h.Status.DELETED
        or (span.ended_generation is not None and span.ended_generation < source.span.created_generation)
        for span in last.values()
    )


def over_the_limit(active: Sequence[h.SourcePublication], keep: int) -> list[int]:
    """The publications of one source beyond the newest ``keep``."""
    newest_first = sorted(active, key=lambda one: version_key(one.version), reverse=True)
    return [one.id for one in newest_first[keep:]]


def published_beside(conn: Connection, ppa: h.PPA, series: h.Series, source: str, version: str) -> frozenset[str]:
    """The other versions of a source that stay published with this one; none where this one is over."""
    active = h.select_source_publications(conn, ppa, series=series.name, source=source, active=True)
    versions = {one.version for one in active}
    return frozenset(versions - {version}) if version in versions else frozenset()


def spread_to_architectures(conn: Connection, ppa: h.PPA, change: h.Change, architectures: Sequence[str]) -> None:
    """A series gets architectures: its packages for all architectures are published there, too."""
    active = h.select_binary_publications(conn, ppa, series=change.series.name, active=True)
    for_all = {one.release_id: one for one in active if one.architecture == "all"}
    new = [
        h.NewBinary(
            architecture,
            one.release_id,
            one.package,
            one.version,
            one.architecture,
            one.source,
            one.source_version,
            f"{change.series.name} has {architecture} from now on",
        )
        for one in for_all.values()
        for architecture in architectures
    ]
    h.add_binaries(conn, change, new)


def _refuse_lost_files(scene: Scene, upload: SourceUpload, release: h.SourceRelease | None) -> None:
    """What the upload leaves out the PPA must still have; so must it what an earlier upload of it had."""
    conn, where = scene.conn, scene.ppa.address
    for missing in upload.left_out:
        known = h.name_in_ppa(conn, scene.ppa.id, missing.name)
        if known is None or known.expired:
            raise UploadRefused(
                f"the .dsc names {missing.name}, which did not come and is not in {where}"
                f"{' any more' if known else ''}; upload it with the source (dpkg-buildpackage -sa)"
            )
    if release is None:
        return
    come = {file.digests.sha256 for file in upload.files}
    names = h.names_in_ppa(
        conn, scene.ppa.id, [name for name, _ in h.files_of_sources(conn, [release.id])[release.id]]
    )
    lost = sorted(one.name for one in names.values() if one.expired and one.sha256 not in come)
    if lost:
        raise UploadRefused(
            f"{where} had {upload.dsc.source} {upload.dsc.version} before, and its {', '.join(lost)} "
            "is no longer kept; use a higher version"
        )


def _source_is_there(
    scene: Scene,
    upload: SourceUpload,
    release: h.SourceRelease,
    publications: tuple[h.SourcePublication, ...],
) -> bool:
    """Whether this very source is or was in the series; raises UploadRefused when another is by this version."""
    dsc = upload.dsc
    if release.payload_sha256 != upload.payload_sha256:
        active = [one.version for one in publications if one.span.status in h.ACTIVE]
        highest = max((dsc.version, *active), key=version_key)
        raise VersionNotNewer(
            f"{dsc.source} {dsc.version} is already in {scene.ppa.address} with other content; "
            f"use a version higher than {highest}",
            highest,
        )
    last = [one.span.status for one in publications if one.release_id == release.id][-1:]
    if last and last != [h.Status.DELETED]:
        return True
    everywhere = h.select_source_publications(scene.conn, scene.ppa, source=dsc.source, version=dsc.version)
    if others := sorted({one.series for one in everywhere} - {scene.series.name}):
        raise UploadRefused(
            f"{dsc.source} {dsc.version} is already in {', '.join(others)} of {scene.ppa.address}; "
            "each series needs a version of its own"
        )
    return False


def _keep_source(
    scene: Scene, change: h.Change, upload: SourceUpload, release: h.SourceRelease | None, pooled: set[str]
) -> int:
    """Keep the upload's files and, where it is new, its content; the id of its release."""
    _keep_files(scene, upload.files, pooled, upload.dsc.source)
    its = (upload.dsc, upload.dsc_file, upload.payload_sha256)
    release_id = release.id if release is not None else add_release(scene.conn, scene.ppa, *its)
    come = {file.digests.sha256 for file in upload.files if file.name in pooled}
    others = [
        name for name, sha256 in h.files_of_sources(scene.conn, [release_id])[release_id] if sha256 not in come
    ]
    name_again(scene.conn, scene.ppa, others)
    names = [(file.name, file.digests.sha256) for file in upload.files]
    h.add_upload(scene.conn, change, "source", upload.changes_sha256, release_id, names)
    return release_id


def _keep_files(scene: Scene, files: tuple[UploadedFile, ...], pooled: set[str], source: str) -> None:
    """Adopt an upload's files; those in ``pooled`` get their names in the PPA. Raises UploadRefused over quota."""
    directory = pool_directory(source)
    named = [
        (file.name, file.digests.sha256, f"{directory}/{file.name}", file.digests.size_bytes)
        for file in files
        if file.name in pooled
    ]
    if over := over_quota(scene.conn, scene.ppa, [(name, size_bytes) for name, _, _, size_bytes in named]):
        raise UploadRefused(over)
    scene.pool.adopt((file.path, file.digests.sha256) for file in files)
    for file in files:
        h.add_file(scene.conn, file.digests)
    h.name_files(scene.conn, scene.ppa.id, named)


def name_again(conn: Connection, ppa: h.PPA, names: Sequence[str]) -> None:
    """Names of a PPA that are needed: those that were removed are served again."""
    known = h.names_in_ppa(conn, ppa.id, names).values()
    h.name_files(conn, ppa.id, [(one.name, one.sha256, one.pool_path, one.size_bytes) for one in known])


def over_quota(conn: Connection, ppa: h.PPA, arriving: Sequence[tuple[str, int]]) -> str:
    """Why files, as (name, size in bytes), would make a PPA larger than it may be; "" when they would not."""
    quota = ppa.settings.quota_bytes
    if not quota:
        return ""
    known = h.names_in_ppa(conn, ppa.id, [name for name, _ in arriving])
    added = sum(size for name, size in arriving if name not in known or known[name].removed)
    if not added or ppa.used_bytes + added <= quota:
        return ""
    return (
        f"{ppa.address} holds {ppa.used_bytes} bytes of the {quota} that it may; "
        f"this would add {added}: delete what is not needed, or raise the quota"
    )


def _plan_debs(scene: Scene, upload: BinaryUpload, build: Build) -> Plan:
    """Where each package is to be published, and what that ends; raises UploadRefused."""
    arrivals = [
        Arrival(index, deb.control.package, deb.control.version, deb.control.architecture)
        for deb in upload.debs
        for index in (
            scene.series.architectures if deb.control.architecture == "all" else (deb.control.architecture,)
        )
    ]
    return plan_arrival(build, arrivals, _standing(scene, build, {one.package for one in arrivals}))


def _carry_out(
    conn: Connection, change: h.Change, plan: Plan, releases: Mapping[tuple[str, str], int], build: Build
) -> tuple[str, ...]:
    """Add the publications and end what they replace; notes on what came too late to be seen."""

    def new(arrival: Arrival) -> h.NewBinary:
        return h.NewBinary(
            arrival.index,
            releases[arrival.package, arrival.architecture],
            arrival.package,
            arrival.version,
            arrival.architecture,
            build.source,
            build.version,
            f"built on {' '.join(build.built_on)} from {build.source} {build.version}",
        )

    late = [arrival for arrival, _ in plan.outdated]
    ids = h.add_binaries(conn, change, [new(arrival) for arrival in (*plan.visible, *late)])
    for row in plan.ended:
        successor = ids.get((row.index, row.package))
        why = f"{build.source} {build.version} has come"
        h.end_binaries(conn, change, [row.id], h.Status.SUPERSEDED, why, successor)
    notes = set()
    for arrival, over in plan.outdated:
        why = f"{build.source} {over.source_version} was built before it"
        own_id = ids[arrival.index, arrival.package]
        h.end_binaries(conn, change, [own_id], h.Status.SUPERSEDED, why, over.id)
        notes.add(f"{arrival.package} {arrival.version} is superseded already: {why}")
    return tuple(sorted(notes))


def _standing(scene: Scene, build: Build, packages: set[str]) -> list[Standing]:
    """The active binaries of the same source, and of any source with these package names."""

    def select(**those: Any) -> tuple[h.BinaryPublication, ...]:
        return h.select_binary_publications(scene.conn, scene.ppa, series=scene.series.name, active=True, **those)

    rows = {row.id: row for row in (*select(source=build.source), *select(packages=sorted(packages)))}
    return [
        Standing(
            row.id,
            row.index_architecture,
            row.package,
            row.version,
            row.architecture,
            row.source,
            row.source_version,
        )
        for row in rows.values()
    ]
