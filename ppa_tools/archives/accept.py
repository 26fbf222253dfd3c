"""Putting a checked upload into the publishing history: the archive's rules, inside one transaction.

The rules are Launchpad's: the same content again is already there; a file name means the same bytes for ever; a
version must be higher than the active one of its series; binaries belong to a source of the PPA.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.engine import Connection

from ppa_tools.archives import history as h
from ppa_tools.archives import indexes
from ppa_tools.archives.checks import BinaryUpload, Deb, SourceUpload, UploadedFile
from ppa_tools.archives.domination import Arrival, Build, Plan, Standing, plan_arrival
from ppa_tools.archives.errors import UploadRefused, VersionNotNewer
from ppa_tools.archives.pool import Pool, pool_directory
from ppa_tools.debversion import version_key


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
        known = h.bytes_of_name(self.conn, self.ppa.id, name)
        if known not in (None, sha256):
            raise UploadRefused(
                f"{name} is already in {self.ppa.address} with other content (SHA-256 {known}, not {sha256}); "
                "a file name stands for the same content for ever: use a new version"
            )


def accept_source(scene: Scene, upload: SourceUpload) -> Receipt:
    """Publish a source upload, and supersede the older version; raises UploadRefused."""
    source, version = upload.dsc.source, upload.dsc.version
    conn, series = scene.conn, scene.series
    receipt = Receipt(
        str(scene.ppa.address), series.name, "source", source, version, upload.changes_sha256, already=False
    )
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
    for missing in upload.left_out:
        if h.bytes_of_name(conn, scene.ppa.id, missing.name) is None:
            raise UploadRefused(
                f"the .dsc names {missing.name}, which did not come and is not in {scene.ppa.address}; "
                "upload it with the source (dpkg-buildpackage -sa)"
            )
    release_id = _keep_source(scene, upload, release, {file.name for file in named})
    why = f"uploaded by {upload.changes.changed_by}"
    new_id = h.add_source_publication(conn, series, release_id, source, version, scene.now, upload.uploader, why)
    h.supersede_sources(
        conn, [one.id for one in active], new_id, scene.now, upload.uploader, f"{version} has come"
    )
    h.mark_dirty(conn, series.id)
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
    if before and all(h.find_binary_release(conn, release_id, deb.file.name) for deb in upload.debs):
        return replace(receipt, already=True)
    if found[-1].span.status is h.Status.DELETED:
        raise UploadRefused(f"{source} {version} was deleted from {scene.ppa.address}")
    build = Build(source, version, architecture, h.source_architectures(conn, release_id))
    plan = _plan_debs(scene, upload, build)
    _keep_files(scene, upload.files, {deb.file.name for deb in upload.debs}, source)
    releases = {
        (deb.control.package, deb.control.architecture): _keep_deb(scene, deb, release_id) for deb in upload.debs
    }
    late = _carry_out(scene, plan, releases, build, worker)
    h.add_upload(
        conn,
        series,
        architecture,
        upload.changes_sha256,
        release_id,
        [(file.name, file.digests.sha256) for file in upload.files],
        scene.now,
        worker,
    )
    h.mark_dirty(conn, series.id)
    return replace(receipt, notes=(*receipt.notes, *late))


def spread_to_architectures(
    conn: Connection, ppa: h.PPA, series: h.Series, architectures: Sequence[str], now: float
) -> None:
    """A series gets architectures: its packages for all architectures are published there, too."""
    active = h.select_binary_publications(conn, ppa, series=series.name, active=True)
    for_all = {one.release_id: one for one in active if one.architecture == "all"}
    for one in for_all.values():
        for architecture in architectures:
            h.add_binary_publication(
                conn,
                series,
                architecture,
                one.release_id,
                now=now,
                by=one.span.created_by,
                package=one.package,
                version=one.version,
                architecture=one.architecture,
                source=one.source,
                source_version=one.source_version,
                why=f"{series.name} has {architecture} from now on",
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
    if any(one.release_id == release.id and one.span.status != h.Status.DELETED for one in publications):
        return True
    everywhere = h.select_source_publications(scene.conn, scene.ppa, source=dsc.source, version=dsc.version)
    if others := sorted({one.series for one in everywhere} - {scene.series.name}):
        raise UploadRefused(
            f"{dsc.source} {dsc.version} is already in {', '.join(others)} of {scene.ppa.address}; "
            "each series needs a version of its own"
        )
    return False


def _keep_source(scene: Scene, upload: SourceUpload, release: h.SourceRelease | None, pooled: set[str]) -> int:
    """Keep the upload's files and, where it is new, its content; the id of its release."""
    conn, dsc = scene.conn, upload.dsc
    _keep_files(scene, upload.files, pooled, dsc.source)
    release_id = release.id if release is not None else _add_release(scene, upload)
    h.add_upload(
        conn,
        scene.series,
        "source",
        upload.changes_sha256,
        release_id,
        [(file.name, file.digests.sha256) for file in upload.files],
        scene.now,
        upload.uploader,
    )
    return release_id


def _add_release(scene: Scene, upload: SourceUpload) -> int:
    dsc = upload.dsc
    return h.add_source_release(
        scene.conn,
        scene.ppa.id,
        dsc.source,
        dsc.version,
        dsc.architectures,
        upload.payload_sha256,
        indexes.source_stanza(dsc, upload.dsc_file, dsc.files, pool_directory(dsc.source)),
        [(file.name, file.sha256) for file in (upload.dsc_file, *dsc.files)],
    )


def _keep_files(scene: Scene, files: tuple[UploadedFile, ...], pooled: set[str], source: str) -> None:
    """Adopt an upload's files; those in ``pooled`` get their names in the PPA."""
    scene.pool.adopt((file.path, file.digests.sha256) for file in files)
    directory = pool_directory(source)
    for file in files:
        h.add_file(scene.conn, file.digests)
        if file.name in pooled:
            h.name_file(scene.conn, scene.ppa.id, file.name, file.digests.sha256, f"{directory}/{file.name}")


def _keep_deb(scene: Scene, deb: Deb, source_release_id: int) -> int:
    known = h.find_binary_release(scene.conn, source_release_id, deb.file.name)
    if known is not None:
        return known
    control, digests = deb.control, deb.file.digests
    pool_path = f"{pool_directory(control.source)}/{deb.file.name}"
    return h.add_binary_release(
        scene.conn,
        source_release_id,
        control.package,
        control.version,
        control.architecture,
        deb.file.name,
        digests.sha256,
        indexes.package_stanza(control, pool_path, digests),
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
    scene: Scene, plan: Plan, releases: Mapping[tuple[str, str], int], build: Build, worker: str
) -> tuple[str, ...]:
    """Add the publications and end what they replace; notes on what came too late to be seen."""

    def add(arrival: Arrival) -> int:
        return h.add_binary_publication(
            scene.conn,
            scene.series,
            arrival.index,
            releases[arrival.package, arrival.architecture],
            now=scene.now,
            by=worker,
            package=arrival.package,
            version=arrival.version,
            architecture=arrival.architecture,
            source=build.source,
            source_version=build.version,
            why=f"built on {build.built_on} from {build.source} {build.version}",
        )

    successors = {(one.index, one.package): add(one) for one in plan.visible}
    for row in plan.ended:
        new_id = successors.get((row.index, row.package))
        why = f"{build.source} {build.version} has come"
        h.supersede_binaries(scene.conn, [row.id], new_id, scene.now, worker, why)
    notes = set()
    for arrival, over in plan.outdated:
        why = f"{build.source} {over.source_version} was built before it"
        h.supersede_binaries(scene.conn, [add(arrival)], over.id, scene.now, worker, why)
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
