"""What verifying asks of the history: which files should be where, who needs them, what they weigh."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ppa_tools.address import Address
from ppa_tools.archives.history import schema as t
from ppa_tools.archives.history.content import names_in_ppa
from ppa_tools.archives.history.ppas import PPA, Series
from ppa_tools.archives.history.rows import chunks
from ppa_tools.publication import ACTIVE, Status

ROWS_AT_A_TIME = 1000


@dataclass(frozen=True)
class KnownFile:
    """A file that was ever accepted; since ``expired_at`` the pool need not have it."""

    sha256: str
    size_bytes: int
    expired_at: float | None


@dataclass(frozen=True)
class PublishedFile:
    """A file that apt is told of, below its PPA's directory; never ``removed`` or ``expired``, if all is well."""

    pool_path: str
    sha256: str
    size_bytes: int
    removed: bool
    expired: bool


@dataclass(frozen=True, order=True)
class Dependant:
    """An active package that needs a file; ``architecture`` is its own, or "source"."""

    address: Address
    series: str
    package: str
    version: str
    architecture: str

    def __str__(self) -> str:
        return f"{self.package} {self.version} ({self.architecture}) in {self.address} {self.series}"


@dataclass(frozen=True)
class Weight:
    """What the history says that a PPA's files weigh, and what they do, in bytes."""

    ppa_id: int
    address: Address
    said: int
    counted: int


def files_from(conn: Connection, prefix: str) -> tuple[KnownFile, ...]:
    """The files whose SHA-256 begins so."""
    f = t.files
    query = sa.select(f.c.sha256, f.c.size_bytes, f.c.expired_at)
    query = query.where(f.c.sha256 >= prefix, f.c.sha256 < f"{prefix}g").order_by(f.c.sha256)
    return tuple(KnownFile(*row) for row in conn.execute(query))


def kept_among(conn: Connection, sha256s: Collection[str]) -> dict[str, int]:
    """Those of the files that the pool must have: their sizes in bytes by SHA-256."""
    f = t.files
    query = sa.select(f.c.sha256, f.c.size_bytes).where(f.c.expired_at.is_(None))
    return {
        row.sha256: row.size_bytes
        for some in chunks(sorted(sha256s))
        for row in conn.execute(query.where(f.c.sha256.in_(some)))
    }


def served_paths(conn: Connection, ppa_id: int, paths: Collection[str]) -> dict[str, str]:
    """Those of the paths below a PPA's directory at which it serves a file: the file's SHA-256 by path."""
    named = names_in_ppa(conn, ppa_id, {PurePosixPath(path).name for path in paths}).values()
    wanted = set(paths)
    return {one.pool_path: one.sha256 for one in named if not one.removed and one.pool_path in wanted}


def serving(conn: Connection, sha256s: Collection[str]) -> list[tuple[Address, str, str]]:
    """Where files are served: (PPA, path below its directory, SHA-256)."""
    n, a = t.file_names, t.ppas
    query = sa.select(a.c.owner, a.c.name, n.c.pool_path, n.c.sha256).join(a, a.c.id == n.c.ppa_id)
    query = query.where(n.c.removed_at.is_(None)).order_by(n.c.ppa_id, n.c.name)
    return [
        (Address("local", owner, name), path, sha256)
        for some in chunks(sorted(sha256s))
        for owner, name, path, sha256 in conn.execute(query.where(n.c.sha256.in_(some)))
    ]


def published_files(conn: Connection, ppa: PPA) -> Iterator[PublishedFile]:
    """The files that a PPA's indexes name."""
    r, b, n, f = t.source_release_files, t.binary_releases, t.file_names, t.files
    of_sources = sa.select(r.c.name).select_from(_published(r, t.source_publications, r.c.release_id))
    of_binaries = sa.select(b.c.file_name).select_from(_published(b, t.binary_publications, b.c.id))
    names = (
        of_sources.where(*_of(ppa, t.source_publications))
        .union(of_binaries.where(*_of(ppa, t.binary_publications)))
        .subquery()
    )
    query = (
        sa.select(n.c.pool_path, n.c.sha256, f.c.size_bytes, n.c.removed_at, f.c.expired_at)
        .select_from(names.join(n, sa.and_(n.c.ppa_id == ppa.id, n.c.name == names.c[0])))
        .join(f, f.c.sha256 == n.c.sha256)
        .execution_options(yield_per=ROWS_AT_A_TIME)
    )
    for row in conn.execute(query):
        yield PublishedFile(*row[:3], row.removed_at is not None, row.expired_at is not None)


def dependants(conn: Connection, sha256s: Collection[str]) -> dict[str, tuple[Dependant, ...]]:
    """The active packages that need files, by SHA-256."""
    r, b = t.source_release_files, t.binary_releases
    p, q = t.source_publications, t.binary_publications
    sources = _where(r.join(p, p.c.release_id == r.c.release_id), p).where(p.c.status.in_(ACTIVE))
    sources = sources.add_columns(r.c.sha256, p.c.source, p.c.version, sa.literal("source"))
    binaries = _where(b.join(q, q.c.release_id == b.c.id), q).where(q.c.status.in_(ACTIVE))
    binaries = binaries.add_columns(b.c.sha256, q.c.package, q.c.version, q.c.architecture)
    found: dict[str, set[Dependant]] = {}
    for some in chunks(sorted(sha256s)):
        for query, column in ((sources, r.c.sha256), (binaries, b.c.sha256)):
            for owner, name, series, sha256, *package in conn.execute(query.where(column.in_(some))):
                one = Dependant(Address("local", owner, name), series, *package)
                found.setdefault(sha256, set()).add(one)
    return {sha256: tuple(sorted(its)) for sha256, its in found.items()}


def weights(conn: Connection) -> tuple[Weight, ...]:
    """What each PPA's files weigh."""
    a, n, f = t.ppas, t.file_names, t.files
    counted = (
        sa.select(n.c.ppa_id, sa.func.sum(f.c.size_bytes).label("size_bytes"))
        .join(f, f.c.sha256 == n.c.sha256)
        .where(n.c.removed_at.is_(None))
        .group_by(n.c.ppa_id)
        .subquery()
    )
    size_bytes = sa.func.coalesce(counted.c.size_bytes, 0)
    query = sa.select(a.c.id, a.c.owner, a.c.name, a.c.used_bytes, size_bytes)
    query = query.select_from(a.outerjoin(counted, counted.c.ppa_id == a.c.id)).order_by(a.c.owner, a.c.name)
    return tuple(
        Weight(ppa_id, Address("local", owner, name), said, int(size))
        for ppa_id, owner, name, said, size in conn.execute(query)
    )


def weigh_again(conn: Connection, address: Address) -> None:
    """Set right what the history says that a PPA's files weigh."""
    for one in weights(conn):
        if one.address == address:
            conn.execute(sa.update(t.ppas).where(t.ppas.c.id == one.ppa_id).values(used_bytes=one.counted))


def addresses_of(conn: Connection, ppa_ids: Collection[int]) -> dict[int, Address]:
    """The addresses of PPAs, deleted ones among them."""
    a = t.ppas
    query = sa.select(a.c.id, a.c.owner, a.c.name)
    return {
        row.id: Address("local", row.owner, row.name)
        for some in chunks(sorted(ppa_ids))
        for row in conn.execute(query.where(a.c.id.in_(some)))
    }


def waiting_since(conn: Connection, series: Series) -> float | None:
    """When the oldest change was made that a series' indexes do not show; None when they show all."""
    c = t.series_changes
    query = sa.select(sa.func.min(c.c.at))
    return conn.execute(
        query.where(c.c.series_id == series.id, c.c.generation > series.published_generation)
    ).scalar()


def _published(rows: sa.FromClause, p: sa.Table, release_id: sa.ColumnElement[int]) -> sa.FromClause:
    return rows.join(p, p.c.release_id == release_id).join(t.series, t.series.c.id == p.c.series_id)


def _of(ppa: PPA, p: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
    return t.series.c.ppa_id == ppa.id, p.c.status == Status.PUBLISHED


def _where(joined: sa.FromClause, p: sa.Table) -> sa.Select[Any]:
    """Owner and name of the PPA, and the series."""
    s, a = t.series, t.ppas
    joined = joined.join(s, s.c.id == p.c.series_id).join(a, a.c.id == s.c.ppa_id)
    return sa.select(a.c.owner, a.c.name, s.c.name).select_from(joined)
