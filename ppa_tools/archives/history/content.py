"""What was uploaded: files by their content, their names in PPAs for ever, releases, uploads and refusals."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ppa_tools.archives.durable import Digests
from ppa_tools.archives.history import schema as t
from ppa_tools.archives.history.ppas import PPA, Change, add_used_bytes
from ppa_tools.archives.history.rows import chunks, insert

KEPT_REFUSALS = 200  # of each PPA, of uploaders and of strangers


@dataclass(frozen=True)
class NameInPPA:
    """A file name of a PPA and the content it stands for, for ever; ``removed`` when the PPA serves it no more."""

    name: str
    sha256: str
    pool_path: str
    size_bytes: int
    removed: bool
    expired: bool


@dataclass(frozen=True)
class SourceRelease:
    """A source version's content; ``payload_sha256`` is of its .dsc without the signature."""

    id: int
    payload_sha256: str


@dataclass(frozen=True)
class Upload:
    """An upload that was accepted; ``architecture`` is "source", or what the binaries were built on."""

    id: int
    series_id: int
    architecture: str
    changes_sha256: str
    source_release_id: int
    uploaded_at: float
    uploaded_by: str


@dataclass(frozen=True)
class Refusal:
    """An upload that was turned away; ``signer`` is "" where no signature held, ``via`` the way it came."""

    at: float
    series: str
    changes_name: str
    reason: str
    signer: str
    via: str


# Files and their names


def names_in_ppa(conn: Connection, ppa_id: int, names: Collection[str]) -> dict[str, NameInPPA]:
    """Those of the names that were ever used in a PPA."""
    n, f = t.file_names, t.files
    columns = (n.c.name, n.c.sha256, n.c.pool_path, f.c.size_bytes, n.c.removed_at, f.c.expired_at)
    query = sa.select(*columns).join(f).where(n.c.ppa_id == ppa_id)
    return {
        row.name: NameInPPA(*row[:4], row.removed_at is not None, row.expired_at is not None)
        for some in chunks(sorted(names))
        for row in conn.execute(query.where(n.c.name.in_(some)))
    }


def name_in_ppa(conn: Connection, ppa_id: int, name: str) -> NameInPPA | None:
    """What a file name stands for in a PPA; None for a name never used."""
    return names_in_ppa(conn, ppa_id, [name]).get(name)


def add_file(conn: Connection, digests: Digests) -> None:
    """Know a file by its content, which the pool has from now on."""
    known = sa.update(t.files).where(t.files.c.sha256 == digests.sha256).values(expired_at=None)
    if conn.execute(known).rowcount == 0:
        values = {"size_bytes": digests.size_bytes, "md5": digests.md5, "sha1": digests.sha1}
        conn.execute(sa.insert(t.files).values(sha256=digests.sha256, **values))


def name_files(conn: Connection, ppa_id: int, named: Sequence[tuple[str, str, str, int]]) -> None:
    """Give names in a PPA to files: (name, SHA-256, path below the PPA, size in bytes).

    A name that it has already stays as it is, and is served again if it was not.
    """
    n = t.file_names
    known = names_in_ppa(conn, ppa_id, [name for name, *_ in named])
    new = {name: (sha256, path) for name, sha256, path, _ in named if name not in known}
    rows = [
        {"ppa_id": ppa_id, "name": name, "sha256": sha256, "pool_path": path}
        for name, (sha256, path) in new.items()
    ]
    if rows:
        conn.execute(sa.insert(n), rows)
    back = sorted(one.name for one in known.values() if one.removed)
    for some in chunks(back):
        conn.execute(sa.update(n).where(n.c.ppa_id == ppa_id, n.c.name.in_(some)).values(removed_at=None))
    sizes = {name: size_bytes for name, _, _, size_bytes in named}
    added = sum(sizes[name] for name in {*new, *back})
    if added:
        add_used_bytes(conn, ppa_id, added)


def remove_names(conn: Connection, ppa_id: int, names: Collection[str] | None, now: float) -> None:
    """Names (None: all) of a PPA are no longer served; they stay taken, for what they stand for."""
    n, f = t.file_names, t.files
    served = sa.and_(n.c.ppa_id == ppa_id, n.c.removed_at.is_(None))
    for some in [None] if names is None else chunks(sorted(names)):
        those = served if some is None else sa.and_(served, n.c.name.in_(some))
        weight = sa.select(sa.func.coalesce(sa.func.sum(f.c.size_bytes), 0)).join(n).where(those)
        add_used_bytes(conn, ppa_id, -conn.execute(weight).scalar_one())
        conn.execute(sa.update(n).where(those).values(removed_at=now))


# Uploads


def find_upload(conn: Connection, series_id: int, changes_sha256: str) -> Upload | None:
    """The accepted upload with this .changes."""
    query = sa.select(t.uploads).where(
        t.uploads.c.series_id == series_id, t.uploads.c.changes_sha256 == changes_sha256
    )
    row = conn.execute(query).one_or_none()
    return Upload(**row._mapping) if row else None


def files_of_upload(conn: Connection, upload_id: int) -> tuple[str, ...]:
    """The SHA-256 of everything that an upload brought."""
    u = t.upload_files
    return tuple(conn.execute(sa.select(u.c.sha256).where(u.c.upload_id == upload_id)).scalars())


def uploads_of(conn: Connection, release_id: int, series_id: int) -> tuple[Upload, ...]:
    """The uploads to a series that belong to a source release."""
    query = sa.select(t.uploads).where(
        t.uploads.c.source_release_id == release_id, t.uploads.c.series_id == series_id
    )
    return tuple(Upload(**row._mapping) for row in conn.execute(query.order_by(t.uploads.c.id)))


def add_upload(
    conn: Connection,
    change: Change,
    architecture: str,
    changes_sha256: str,
    release_id: int,
    names: Sequence[tuple[str, str]],
) -> None:
    """Keep that an upload was accepted, and its files as (name, SHA-256)."""
    upload_id = insert(
        conn,
        t.uploads,
        series_id=change.series.id,
        architecture=architecture,
        changes_sha256=changes_sha256,
        source_release_id=release_id,
        uploaded_at=change.at,
        uploaded_by=change.by,
    )
    rows = [{"upload_id": upload_id, "name": name, "sha256": sha256} for name, sha256 in names]
    conn.execute(sa.insert(t.upload_files), rows)


def copy_builds(conn: Connection, change: Change, from_series_id: int, release_ids: Collection[int]) -> None:
    """The builds of source releases that came to one series count for another, too."""
    u = t.uploads
    here = sa.select(u.c.changes_sha256).where(u.c.series_id == change.series.id)
    known = {
        sha256
        for some in chunks(sorted(release_ids))
        for sha256 in conn.execute(here.where(u.c.source_release_id.in_(some))).scalars()
    }
    query = sa.select(u.c.architecture, u.c.changes_sha256, u.c.source_release_id)
    query = query.where(u.c.series_id == from_series_id, u.c.architecture != "source")
    common = {"series_id": change.series.id, "uploaded_at": change.at, "uploaded_by": change.by}
    rows = [
        {**common, **row._mapping}
        for some in chunks(sorted(release_ids))
        for row in conn.execute(query.where(u.c.source_release_id.in_(some)))
        if row.changes_sha256 not in known
    ]
    if rows:
        conn.execute(sa.insert(u), rows)


def built_architectures(
    conn: Connection,
    ppa: PPA,
    *,
    series: str = "",
    source: str = "",
    release_ids: Collection[int] | None = None,
) -> dict[tuple[str, int], tuple[str, ...]]:
    """The architectures whose binaries have come, by (series, source release); "" and None mean any."""
    u, s = t.uploads, t.series
    query = sa.select(s.c.name, u.c.source_release_id, u.c.architecture).join(s).distinct()
    query = query.where(s.c.ppa_id == ppa.id, u.c.architecture != "source").order_by(u.c.architecture)
    if series:
        query = query.where(s.c.name == series)
    if source:
        r = t.source_releases
        query = query.where(u.c.source_release_id.in_(sa.select(r.c.id).where(r.c.source == source)))
    queries = [query]
    if release_ids is not None:
        queries = [query.where(u.c.source_release_id.in_(some)) for some in chunks(sorted(release_ids))]
    built: dict[tuple[str, int], tuple[str, ...]] = {}
    for one in queries:
        for name, release_id, architecture in conn.execute(one):
            built[name, release_id] = (*built.get((name, release_id), ()), architecture)
    return built


def add_refusal(conn: Connection, ppa: PPA, refusal: Refusal) -> None:
    """Keep that an upload was turned away; the oldest make room, a stranger's for those of strangers alone."""
    insert(conn, t.refusals, ppa_id=ppa.id, **vars(refusal))
    r = t.refusals
    alike = sa.and_(r.c.ppa_id == ppa.id, r.c.signer != "" if refusal.signer else r.c.signer == "")
    newest_first = sa.select(r.c.id).where(alike).order_by(r.c.id.desc())
    oldest = conn.execute(newest_first.offset(KEPT_REFUSALS).limit(1)).scalar()
    if oldest is not None:  # strangers may send as many as they like
        conn.execute(sa.delete(r).where(alike, r.c.id <= oldest))


def list_refusals(conn: Connection, ppa: PPA, limit: int) -> tuple[Refusal, ...]:
    """The last uploads that were turned away, newest first."""
    r = t.refusals
    query = sa.select(r).where(r.c.ppa_id == ppa.id).order_by(r.c.id.desc()).limit(limit)
    return tuple(
        Refusal(row.at, row.series, row.changes_name, row.reason, row.signer, row.via)
        for row in conn.execute(query)
    )


# Releases


def name_of_release(conn: Connection, release_id: int) -> tuple[str, str]:
    """The source package's name and version."""
    r = t.source_releases
    row = conn.execute(sa.select(r.c.source, r.c.version).where(r.c.id == release_id)).one()
    return row.source, row.version


def source_architectures(conn: Connection, release_ids: Collection[int]) -> dict[int, tuple[str, ...]]:
    """The words of source releases' Architecture fields."""
    r = t.source_releases
    query = sa.select(r.c.id, r.c.architectures)
    return {
        row.id: tuple(row.architectures.split())
        for some in chunks(sorted(release_ids))
        for row in conn.execute(query.where(r.c.id.in_(some)))
    }


def find_source_release(conn: Connection, ppa_id: int, source: str, version: str) -> SourceRelease | None:
    """The content that this source version has in a PPA, uploaded there or copied into it."""
    r, p, s = t.source_releases, t.source_publications, t.series
    named = (r.c.source == source, r.c.version == version)
    here = sa.select(p.c.release_id).join(s).where(s.c.ppa_id == ppa_id, p.c.source == source)
    query = sa.select(r).where(*named, sa.or_(r.c.origin_ppa_id == ppa_id, r.c.id.in_(here)))
    row = conn.execute(query.order_by(r.c.id)).first()
    return SourceRelease(row.id, row.payload_sha256) if row else None


def add_source_release(
    conn: Connection,
    ppa_id: int,
    source: str,
    version: str,
    architectures: Sequence[str],
    payload_sha256: str,
    stanza: str,
    files: Sequence[tuple[str, str]],
) -> int:
    """Keep a source version's content: its stanza for Sources, its files as (name, SHA-256)."""
    release_id = insert(
        conn,
        t.source_releases,
        origin_ppa_id=ppa_id,
        source=source,
        version=version,
        architectures=" ".join(architectures),
        payload_sha256=payload_sha256,
        stanza=stanza,
    )
    rows = [{"release_id": release_id, "name": name, "sha256": sha256} for name, sha256 in files]
    conn.execute(sa.insert(t.source_release_files), rows)
    return release_id


def files_of_sources(conn: Connection, release_ids: Collection[int]) -> dict[int, tuple[tuple[str, str], ...]]:
    """The files that source releases name: (name, SHA-256)."""
    f = t.source_release_files
    found: dict[int, tuple[tuple[str, str], ...]] = {}
    for some in chunks(sorted(release_ids)):
        query = sa.select(f.c.release_id, f.c.name, f.c.sha256).where(f.c.release_id.in_(some))
        for release_id, name, sha256 in conn.execute(query):
            found[release_id] = (*found.get(release_id, ()), (name, sha256))
    return found


def add_binary_release(
    conn: Connection,
    source_release_id: int,
    package: str,
    version: str,
    architecture: str,
    file_name: str,
    sha256: str,
    stanza: str,
) -> int:
    """Keep a binary package's content: its stanza for Packages."""
    return insert(
        conn,
        t.binary_releases,
        source_release_id=source_release_id,
        package=package,
        version=version,
        architecture=architecture,
        file_name=file_name,
        sha256=sha256,
        stanza=stanza,
    )


def find_binary_release(conn: Connection, source_release_id: int, sha256: str) -> int | None:
    """The binary release of a source release that has this content."""
    b = t.binary_releases
    query = sa.select(b.c.id).where(b.c.source_release_id == source_release_id, b.c.sha256 == sha256)
    return conn.execute(query).scalar()


def files_of_binaries(conn: Connection, release_ids: Collection[int]) -> dict[int, tuple[str, str]]:
    """The files of binary releases: (name, SHA-256)."""
    b = t.binary_releases
    query = sa.select(b.c.id, b.c.file_name, b.c.sha256)
    return {
        row.id: (row.file_name, row.sha256)
        for some in chunks(sorted(release_ids))
        for row in conn.execute(query.where(b.c.id.in_(some)))
    }
