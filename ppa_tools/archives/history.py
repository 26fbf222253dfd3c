"""The publishing history: opening its database, and the questions and changes the archive puts to it.

SQLite in WAL mode with full synchronisation: what is committed survives a power cut. A writing transaction takes
the write lock at its beginning, so what it read still holds when it writes. Nothing here is SQLite's alone but
``_prepare_sqlite``.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from ppa_tools.address import Address
from ppa_tools.archives import schema as t
from ppa_tools.archives.durable import Digests
from ppa_tools.archives.errors import ArchiveError

BUSY_TIMEOUT_MS = 60_000


class Status(enum.StrEnum):
    """Where a publication stands, in Launchpad's words."""

    PENDING = "Pending"
    PUBLISHED = "Published"
    SUPERSEDED = "Superseded"
    DELETED = "Deleted"


ACTIVE = (Status.PENDING, Status.PUBLISHED)


@dataclass(frozen=True)
class PPA:
    """A PPA; ``key_fingerprint`` is the key that signs it."""

    id: int
    address: Address
    description: str
    key_fingerprint: str
    created_at: float


@dataclass(frozen=True)
class Series:
    """A series of a PPA; it is to be published while ``generation`` is ahead of ``published_generation``."""

    id: int
    ppa_id: int
    name: str
    architectures: tuple[str, ...]
    generation: int
    published_generation: int

    @property
    def is_dirty(self) -> bool:
        """Whether its indexes lag behind the history."""
        return self.generation != self.published_generation


@dataclass(frozen=True)
class Uploader:
    """Someone who may upload, by the primary fingerprint of their key."""

    fingerprint: str
    uid: str
    public_key: bytes


@dataclass(frozen=True)
class Span:
    """How a publication came and went: who, when, why. ``ended_at`` is None while it is active."""

    status: Status
    created_at: float
    created_by: str
    why: str
    copied_from_id: int | None
    published_at: float | None
    ended_at: float | None
    ended_by: str
    end_why: str
    superseded_by_id: int | None


@dataclass(frozen=True)
class SourceRelease:
    """A source version's content; ``payload_sha256`` is of its .dsc without the signature."""

    id: int
    payload_sha256: str


@dataclass(frozen=True)
class SourcePublication:
    """A source version in a series."""

    id: int
    series: str
    release_id: int
    source: str
    version: str
    span: Span


@dataclass(frozen=True)
class BinaryPublication:
    """A binary package in one architecture's index of a series; ``architecture`` is the package's own."""

    id: int
    series: str
    index_architecture: str
    release_id: int
    package: str
    version: str
    architecture: str
    source: str
    source_version: str
    span: Span


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


class History:
    """The database. ``read`` and ``write`` give a connection in a transaction; an exception rolls it back."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url)
        if self._engine.dialect.name == "sqlite":
            _prepare_sqlite(self._engine)
        with self.write() as conn:
            t.metadata.create_all(conn)
            found = conn.execute(sa.select(t.schema_version.c.version)).scalar()
            if found is None:
                conn.execute(sa.insert(t.schema_version).values(version=t.SCHEMA_VERSION))
            elif found != t.SCHEMA_VERSION:
                raise ArchiveError(
                    f"the publishing history has schema {found}; this program knows {t.SCHEMA_VERSION}"
                )

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view."""
        with self._engine.connect() as conn, conn.begin():
            yield conn

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes, alone among writers; durable when the block has ended."""
        with self._engine.connect().execution_options(writing=True) as conn, conn.begin():
            yield conn

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def open_history(file: Path) -> History:
    """The history in a SQLite file, which is made when missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return History(f"sqlite:///{file}")


def _prepare_sqlite(engine: Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def configure(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in (
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
        ):
            dbapi_connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(conn: Connection) -> None:
        writing = conn.get_execution_options().get("writing", False)
        conn.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


# PPAs and their series


def find_ppa(conn: Connection, address: Address) -> PPA | None:
    """The PPA at an address."""
    query = sa.select(t.ppas).where(t.ppas.c.owner == address.owner, t.ppas.c.name == address.name)
    row = conn.execute(query).one_or_none()
    return _ppa(row) if row else None


def list_ppas(conn: Connection) -> tuple[PPA, ...]:
    """All PPAs, by owner and name."""
    return tuple(_ppa(row) for row in conn.execute(sa.select(t.ppas).order_by(t.ppas.c.owner, t.ppas.c.name)))


def add_ppa(conn: Connection, address: Address, description: str, key_fingerprint: str, now: float) -> PPA:
    """Create a PPA without series."""
    row_id = _insert(
        conn,
        t.ppas,
        owner=address.owner,
        name=address.name,
        description=description,
        key_fingerprint=key_fingerprint,
        created_at=now,
    )
    return PPA(row_id, address, description, key_fingerprint, now)


def describe_ppa(conn: Connection, ppa: PPA, description: str) -> None:
    """Change a PPA's description."""
    conn.execute(sa.update(t.ppas).where(t.ppas.c.id == ppa.id).values(description=description))


def list_series(conn: Connection, ppa: PPA) -> tuple[Series, ...]:
    """The series of a PPA, by name."""
    query = sa.select(t.series).where(t.series.c.ppa_id == ppa.id).order_by(t.series.c.name)
    return tuple(_series(row) for row in conn.execute(query))


def find_series(conn: Connection, ppa: PPA, name: str) -> Series | None:
    """One series of a PPA, as it stands now."""
    query = sa.select(t.series).where(t.series.c.ppa_id == ppa.id, t.series.c.name == name)
    row = conn.execute(query).one_or_none()
    return _series(row) if row else None


def dirty_series(conn: Connection) -> tuple[tuple[PPA, str], ...]:
    """The series whose indexes lag behind the history."""
    query = (
        sa.select(t.ppas, t.series.c.name.label("series_name"))
        .join(t.series, t.series.c.ppa_id == t.ppas.c.id)
        .where(t.series.c.generation != t.series.c.published_generation)
    )
    return tuple((_ppa(row), row.series_name) for row in conn.execute(query))


def add_series(conn: Connection, ppa: PPA, name: str, architectures: Sequence[str]) -> None:
    """Add a series, to be published."""
    _insert(
        conn,
        t.series,
        ppa_id=ppa.id,
        name=name,
        architectures=" ".join(architectures),
        generation=1,
        published_generation=0,
    )


def set_architectures(conn: Connection, one: Series, architectures: Sequence[str]) -> None:
    """Change which architectures a series has, and have it published."""
    conn.execute(sa.update(t.series).where(t.series.c.id == one.id).values(architectures=" ".join(architectures)))
    mark_dirty(conn, one.id)


def mark_dirty(conn: Connection, series_id: int) -> None:
    """What the series publishes has changed."""
    conn.execute(
        sa.update(t.series).where(t.series.c.id == series_id).values(generation=t.series.c.generation + 1)
    )


def list_uploaders(conn: Connection, ppa: PPA) -> tuple[Uploader, ...]:
    """Who may upload to a PPA."""
    query = sa.select(t.uploader_keys).where(t.uploader_keys.c.ppa_id == ppa.id).order_by(t.uploader_keys.c.id)
    return tuple(Uploader(row.fingerprint, row.uid, row.public_key) for row in conn.execute(query))


def add_uploader(conn: Connection, ppa: PPA, uploader: Uploader, now: float) -> None:
    """Let someone upload; a key that is known already is replaced (a new expiry date, more subkeys)."""
    keys = t.uploader_keys
    known = sa.and_(keys.c.ppa_id == ppa.id, keys.c.fingerprint == uploader.fingerprint)
    values = {"uid": uploader.uid, "public_key": uploader.public_key}
    if conn.execute(sa.update(keys).where(known).values(**values)).rowcount == 0:
        _insert(conn, keys, ppa_id=ppa.id, fingerprint=uploader.fingerprint, added_at=now, **values)


# Files


def bytes_of_name(conn: Connection, ppa_id: int, name: str) -> str | None:
    """The SHA-256 that a file name stands for in a PPA, for ever; None for a name never used."""
    query = sa.select(t.file_names.c.sha256).where(t.file_names.c.ppa_id == ppa_id, t.file_names.c.name == name)
    return conn.execute(query).scalar()


def add_file(conn: Connection, digests: Digests) -> None:
    """Know a file by its content."""
    known = sa.select(t.files.c.sha256).where(t.files.c.sha256 == digests.sha256)
    if conn.execute(known).scalar() is None:
        values = {"size_bytes": digests.size_bytes, "md5": digests.md5, "sha1": digests.sha1}
        conn.execute(sa.insert(t.files).values(sha256=digests.sha256, **values))


def name_file(conn: Connection, ppa_id: int, name: str, sha256: str, pool_path: str) -> None:
    """Give a name in a PPA to a file; one that it has already stays."""
    if bytes_of_name(conn, ppa_id, name) is None:
        conn.execute(sa.insert(t.file_names).values(ppa_id=ppa_id, name=name, sha256=sha256, pool_path=pool_path))


# Uploads


def find_upload(conn: Connection, series_id: int, changes_sha256: str) -> Upload | None:
    """The accepted upload with this .changes."""
    query = sa.select(t.uploads).where(
        t.uploads.c.series_id == series_id, t.uploads.c.changes_sha256 == changes_sha256
    )
    row = conn.execute(query).one_or_none()
    return Upload(**row._mapping) if row else None


def uploads_of(conn: Connection, release_id: int, series_id: int) -> tuple[Upload, ...]:
    """The uploads to a series that belong to a source release."""
    query = sa.select(t.uploads).where(
        t.uploads.c.source_release_id == release_id, t.uploads.c.series_id == series_id
    )
    return tuple(Upload(**row._mapping) for row in conn.execute(query.order_by(t.uploads.c.id)))


def add_upload(
    conn: Connection,
    one: Series,
    architecture: str,
    changes_sha256: str,
    release_id: int,
    names: Sequence[tuple[str, str]],
    now: float,
    by: str,
) -> None:
    """Keep that an upload was accepted, and its files as (name, SHA-256)."""
    upload_id = _insert(
        conn,
        t.uploads,
        series_id=one.id,
        architecture=architecture,
        changes_sha256=changes_sha256,
        source_release_id=release_id,
        uploaded_at=now,
        uploaded_by=by,
    )
    rows = [{"upload_id": upload_id, "name": name, "sha256": sha256} for name, sha256 in names]
    conn.execute(sa.insert(t.upload_files), rows)


def built_architectures(conn: Connection, ppa: PPA, source: str = "") -> dict[tuple[str, int], tuple[str, ...]]:
    """The architectures whose binaries have come, by (series, source release); "" means any source."""
    u = t.uploads
    query = sa.select(t.series.c.name, u.c.source_release_id, u.c.architecture).join(t.series).distinct()
    query = query.where(t.series.c.ppa_id == ppa.id, u.c.architecture != "source").order_by(u.c.architecture)
    if source:
        r = t.source_releases
        query = query.where(u.c.source_release_id.in_(sa.select(r.c.id).where(r.c.source == source)))
    built: dict[tuple[str, int], tuple[str, ...]] = {}
    for series, release_id, architecture in conn.execute(query):
        built[series, release_id] = (*built.get((series, release_id), ()), architecture)
    return built


# Sources


def name_of_release(conn: Connection, release_id: int) -> tuple[str, str]:
    """The source package's name and version."""
    r = t.source_releases
    row = conn.execute(sa.select(r.c.source, r.c.version).where(r.c.id == release_id)).one()
    return row.source, row.version


def source_architectures(conn: Connection, release_id: int) -> tuple[str, ...]:
    """The words of a source release's Architecture field."""
    r = t.source_releases
    return tuple(conn.execute(sa.select(r.c.architectures).where(r.c.id == release_id)).scalar_one().split())


def find_source_release(conn: Connection, ppa_id: int, source: str, version: str) -> SourceRelease | None:
    """The content that was uploaded to a PPA as this source version."""
    r = t.source_releases
    row = conn.execute(
        sa.select(r).where(r.c.origin_ppa_id == ppa_id, r.c.source == source, r.c.version == version)
    ).one_or_none()
    if row is None:
        return None
    return SourceRelease(row.id, row.payload_sha256)


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
    release_id = _insert(
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


def select_source_publications(
    conn: Connection, ppa: PPA, *, series: str = "", source: str = "", version: str = "", active: bool = False
) -> tuple[SourcePublication, ...]:
    """Publications of sources, newest last; "" means any."""
    p = t.source_publications
    query = sa.select(p, t.series.c.name.label("series")).join(t.series).where(t.series.c.ppa_id == ppa.id)
    for column, value in ((t.series.c.name, series), (p.c.source, source), (p.c.version, version)):
        if value:
            query = query.where(column == value)
    if active:
        query = query.where(p.c.status.in_(ACTIVE))
    return tuple(
        SourcePublication(row.id, row.series, row.release_id, row.source, row.version, _span(row))
        for row in conn.execute(query.order_by(p.c.id))
    )


def add_source_publication(
    conn: Connection, one: Series, release_id: int, source: str, version: str, now: float, by: str, why: str
) -> int:
    """Publish a source release in a series (it is pending until the indexes are written)."""
    return _insert(
        conn,
        t.source_publications,
        series_id=one.id,
        release_id=release_id,
        source=source,
        version=version,
        status=Status.PENDING,
        created_at=now,
        created_by=by,
        why=why,
    )


# Binaries


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
    return _insert(
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


def find_binary_release(conn: Connection, source_release_id: int, file_name: str) -> int | None:
    """The binary release of a source release that has this file name."""
    b = t.binary_releases
    query = sa.select(b.c.id).where(b.c.source_release_id == source_release_id, b.c.file_name == file_name)
    return conn.execute(query).scalar()


def select_binary_publications(
    conn: Connection,
    ppa: PPA,
    *,
    series: str = "",
    source: str = "",
    source_version: str = "",
    packages: Sequence[str] | None = None,
    active: bool = False,
) -> tuple[BinaryPublication, ...]:
    """Publications of binaries, newest last; "" and None mean any."""
    p = t.binary_publications
    query = sa.select(p, t.series.c.name.label("series")).join(t.series).where(t.series.c.ppa_id == ppa.id)
    for column, value in (
        (t.series.c.name, series),
        (p.c.source, source),
        (p.c.source_version, source_version),
    ):
        if value:
            query = query.where(column == value)
    if packages is not None:
        query = query.where(p.c.package.in_(packages))
    if active:
        query = query.where(p.c.status.in_(ACTIVE))
    return tuple(_binary_publication(row) for row in conn.execute(query.order_by(p.c.id)))


def add_binary_publication(
    conn: Connection, one: Series, index_architecture: str, release_id: int, *, now: float, by: str, **more: str
) -> int:
    """Publish a binary release in one architecture's index of a series.

    ``more``: package, version, architecture, source, source_version, why.
    """
    return _insert(
        conn,
        t.binary_publications,
        series_id=one.id,
        index_architecture=index_architecture,
        release_id=release_id,
        status=Status.PENDING,
        created_at=now,
        created_by=by,
        **more,
    )


def supersede_sources(
    conn: Connection, ids: Sequence[int], by_id: int | None, now: float, by: str, why: str
) -> None:
    """End publications of sources: a newer one has come."""
    _supersede(conn, t.source_publications, ids, by_id, now, by, why)


def supersede_binaries(
    conn: Connection, ids: Sequence[int], by_id: int | None, now: float, by: str, why: str
) -> None:
    """End publications of binaries: newer ones have come."""
    _supersede(conn, t.binary_publications, ids, by_id, now, by, why)


def _supersede(
    conn: Connection, table: sa.Table, ids: Sequence[int], by_id: int | None, now: float, by: str, why: str
) -> None:
    values = {"ended_at": now, "ended_by": by, "end_why": why, "superseded_by_id": by_id}
    conn.execute(sa.update(table).where(table.c.id.in_(ids)).values(status=Status.SUPERSEDED, **values))


# Publishing


def source_stanzas(conn: Connection, series_id: int) -> list[str]:
    """The stanzas of a series' Sources, in order."""
    p, r = t.source_publications, t.source_releases
    query = sa.select(r.c.stanza).join(p, p.c.release_id == r.c.id)
    query = query.where(p.c.series_id == series_id, p.c.status.in_(ACTIVE)).order_by(p.c.source, p.c.id)
    return list(conn.execute(query).scalars())


def binary_stanzas(conn: Connection, series_id: int, index_architecture: str) -> list[str]:
    """The stanzas of one architecture's Packages of a series, in order."""
    p, r = t.binary_publications, t.binary_releases
    query = sa.select(r.c.stanza).join(p, p.c.release_id == r.c.id)
    query = query.where(
        p.c.series_id == series_id, p.c.index_architecture == index_architecture, p.c.status.in_(ACTIVE)
    )
    return list(conn.execute(query.order_by(p.c.package, p.c.id)).scalars())


def pending_ids(conn: Connection, series_id: int) -> tuple[list[int], list[int]]:
    """The publications of sources and of binaries that wait for the indexes to be written."""

    def pending(table: sa.Table) -> list[int]:
        query = sa.select(table.c.id).where(table.c.series_id == series_id, table.c.status == Status.PENDING)
        return list(conn.execute(query).scalars())

    return pending(t.source_publications), pending(t.binary_publications)


def pending_files(conn: Connection, ppa: PPA, series_id: int) -> list[tuple[str, str]]:
    """The files of pending publications as (path in the PPA's directory, SHA-256)."""
    n = t.file_names
    pending_releases = _pending_releases(t.source_publications, series_id)
    f = t.source_release_files
    sources = (
        sa.select(n.c.pool_path, n.c.sha256)
        .join(f, sa.and_(f.c.name == n.c.name, n.c.ppa_id == ppa.id))
        .where(f.c.release_id.in_(pending_releases))
    )
    b = t.binary_releases
    binaries = (
        sa.select(n.c.pool_path, n.c.sha256)
        .join(b, sa.and_(b.c.file_name == n.c.name, n.c.ppa_id == ppa.id))
        .where(b.c.id.in_(_pending_releases(t.binary_publications, series_id)))
    )
    return [(row.pool_path, row.sha256) for row in conn.execute(sources.union(binaries))]


def _pending_releases(table: sa.Table, series_id: int) -> sa.Select[Any]:
    return sa.select(table.c.release_id).where(table.c.series_id == series_id, table.c.status == Status.PENDING)


def mark_published(
    conn: Connection,
    series_id: int,
    generation: int,
    source_ids: Sequence[int],
    binary_ids: Sequence[int],
    now: float,
) -> None:
    """The indexes of this generation are written: these publications are what apt sees now."""
    for table, ids in ((t.source_publications, source_ids), (t.binary_publications, binary_ids)):
        for some in _chunks(ids):
            conn.execute(
                sa.update(table)
                .where(table.c.id.in_(some), table.c.status == Status.PENDING)
                .values(status=Status.PUBLISHED, published_at=now)
            )
    conn.execute(sa.update(t.series).where(t.series.c.id == series_id).values(published_generation=generation))


def _chunks(ids: Sequence[int], size: int = 500) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


# Rows to values


def _insert(conn: Connection, table: sa.Table, **values: Any) -> int:
    key = conn.execute(sa.insert(table).values(**values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def _ppa(row: sa.Row[Any]) -> PPA:
    return PPA(row.id, Address("local", row.owner, row.name), row.description, row.key_fingerprint, row.created_at)


def _series(row: sa.Row[Any]) -> Series:
    return Series(
        row.id,
        row.ppa_id,
        row.name,
        tuple(row.architectures.split()),
        row.generation,
        row.published_generation,
    )


def _span(row: sa.Row[Any]) -> Span:
    return Span(
        Status(row.status),
        row.created_at,
        row.created_by,
        row.why,
        row.copied_from_id,
        row.published_at,
        row.ended_at,
        row.ended_by or "",
        row.end_why or "",
        row.superseded_by_id,
    )


def _binary_publication(row: sa.Row[Any]) -> BinaryPublication:
    return BinaryPublication(
        row.id,
        row.series,
        row.index_architecture,
        row.release_id,
        row.package,
        row.version,
        row.architecture,
        row.source,
        row.source_version,
        _span(row),
    )
