"""Which files the history still needs, and letting go of those that it does not.

A publication needs its files while it is active, for the PPA's time to keep after its end, while an index that
names it is still served, and while a snapshot holds it. As on Launchpad, a source's files are also needed as long
as one of its binaries is: whoever gives away a program gives away its source.

A name is served while a publication of its PPA needs it. A file is kept while a publication of any PPA needs it,
or the upload that it came with. Both questions are asked of all there is, or of some contents (``among``, by their
SHA-256; 200 at a time, for a query has bounds) when an answer is to be made sure of.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ppa_tools.archives.history import schema as t

AMONG_AT_MOST = 200


@dataclass(frozen=True)
class ServedName:
    """A file name that a PPA serves: where below its directory, and what it stands for."""

    ppa_id: int
    name: str
    sha256: str
    pool_path: str
    size_bytes: int


@dataclass(frozen=True)
class KeptFile:
    """A file that the pool has."""

    sha256: str
    size_bytes: int


def unneeded_names(conn: Connection, now: float, among: Collection[str] | None = None) -> tuple[ServedName, ...]:
    """The names that PPAs serve and nothing needs any more, by PPA and name."""
    n, f = t.file_names, t.files
    r, b = t.source_release_files, t.binary_releases
    served = sa.select(n.c.ppa_id, n.c.name).where(n.c.removed_at.is_(None), _in(n.c.sha256, among))
    needed = (
        _needed_sources(sa.select(t.series.c.ppa_id, r.c.name), r, r.c.release_id, now, _in(r.c.sha256, among)),
        _needed_with_binaries(
            sa.select(t.series.c.ppa_id, r.c.name), r, r.c.release_id, now, _in(r.c.sha256, among)
        ),
        _needed_binaries(sa.select(t.series.c.ppa_id, b.c.file_name), now, _in(b.c.sha256, among)),
    )
    gone = sa.except_(served, *needed).subquery()
    query = (
        sa.select(n.c.ppa_id, n.c.name, n.c.sha256, n.c.pool_path, f.c.size_bytes)
        .select_from(gone.join(n, sa.and_(n.c.ppa_id == gone.c.ppa_id, n.c.name == gone.c.name)))
        .join(f, f.c.sha256 == n.c.sha256)
    )
    return tuple(sorted((ServedName(*row) for row in conn.execute(query)), key=lambda one: (one.ppa_id, one.name)))


def unneeded_files(conn: Connection, now: float, among: Collection[str] | None = None) -> tuple[KeptFile, ...]:
    """The files that are kept and that nothing will need, once unneeded names are no longer served."""
    f = t.files
    kept = sa.select(f.c.sha256).where(f.c.expired_at.is_(None), _in(f.c.sha256, among))
    gone = sa.except_(kept, *_needed_files(now, among)).subquery()
    query = sa.select(f.c.sha256, f.c.size_bytes).select_from(gone.join(f, f.c.sha256 == gone.c.sha256))
    return tuple(sorted((KeptFile(*row) for row in conn.execute(query)), key=lambda one: one.sha256))


def needed_files(conn: Connection, now: float, among: Collection[str]) -> set[str]:
    """Those of the files that are needed, whether the pool has them or has lost them."""
    return set(conn.execute(sa.union(*_needed_files(now, among))).scalars())


def expire_files(conn: Connection, sha256s: Collection[str], now: float) -> tuple[KeptFile, ...]:
    """Keep files no longer, except those that a PPA serves; those that are over now. At most 200 at a time."""
    f, n = t.files, t.file_names
    served = sa.exists().where(n.c.sha256 == f.c.sha256, n.c.removed_at.is_(None))
    going = sa.and_(f.c.sha256.in_(sha256s), f.c.expired_at.is_(None), ~served)
    rows = conn.execute(sa.select(f.c.sha256, f.c.size_bytes).where(going).order_by(f.c.sha256)).all()
    conn.execute(sa.update(f).where(f.c.sha256.in_([row.sha256 for row in rows])).values(expired_at=now))
    return tuple(KeptFile(*row) for row in rows)


def lose_file(conn: Connection, sha256: str, now: float) -> None:
    """The pool has a file no more, though it is needed; it comes back when the same content is uploaded again."""
    conn.execute(sa.update(t.files).where(t.files.c.sha256 == sha256).values(expired_at=now))


def _needed_files(now: float, among: Collection[str] | None) -> tuple[sa.Select[Any], ...]:
    """The contents that a publication needs, by five ways that it may."""
    r, b = t.source_release_files, t.binary_releases
    u, uf = t.uploads, t.upload_files
    of_uploads = uf.join(u, u.c.id == uf.c.upload_id)
    sources = sa.select(r.c.sha256), r, r.c.release_id, now, _in(r.c.sha256, among)
    uploads = sa.select(uf.c.sha256), of_uploads, u.c.source_release_id, now, _in(uf.c.sha256, among)
    return (
        _needed_sources(*sources),
        _needed_with_binaries(*sources),
        _needed_binaries(sa.select(b.c.sha256), now, _in(b.c.sha256, among)),
        _needed_sources(*uploads),
        _needed_with_binaries(*uploads),
    )


def _needed_sources(
    query: sa.Select[Any], rows: sa.FromClause, release_id: sa.ColumnElement[int], now: float, more: Any
) -> sa.Select[Any]:
    """``query`` of ``rows``, each with its source release: those that a publication of the source needs."""
    p = t.source_publications
    joined = rows.join(p, p.c.release_id == release_id)
    return query.select_from(_with_ppa(joined, p)).where(_is_needed(p, now), more)


def _needed_with_binaries(
    query: sa.Select[Any], rows: sa.FromClause, release_id: sa.ColumnElement[int], now: float, more: Any
) -> sa.Select[Any]:
    """The same, where a publication of one of its binaries needs it."""
    b, p = t.binary_releases, t.binary_publications
    joined = rows.join(b, b.c.source_release_id == release_id).join(p, p.c.release_id == b.c.id)
    return query.select_from(_with_ppa(joined, p)).where(_is_needed(p, now), more)


def _needed_binaries(query: sa.Select[Any], now: float, more: Any) -> sa.Select[Any]:
    b, p = t.binary_releases, t.binary_publications
    joined = b.join(p, p.c.release_id == b.c.id)
    return query.select_from(_with_ppa(joined, p)).where(_is_needed(p, now), more)


def _with_ppa(joined: sa.FromClause, p: sa.Table) -> sa.FromClause:
    return joined.join(t.series, t.series.c.id == p.c.series_id).join(t.ppas, t.ppas.c.id == t.series.c.ppa_id)


def _is_needed(p: sa.Table, now: float) -> sa.ColumnElement[bool]:
    """Whether a publication needs its files; its series and its PPA are in the query."""
    s, a, m = t.series, t.ppas, t.snapshot_series
    held = sa.exists().where(
        m.c.series_id == p.c.series_id,
        m.c.generation >= p.c.created_generation,
        m.c.generation < p.c.ended_generation,
    )
    return sa.or_(
        p.c.ended_generation.is_(None),
        p.c.ended_at > now - a.c.keep_ended_s,
        sa.and_(s.c.deleted_at.is_(None), p.c.ended_generation > s.c.published_generation),
        sa.and_(a.c.deleted_at.is_(None), held),
    )


def _in(column: sa.ColumnElement[str], among: Collection[str] | None) -> sa.ColumnElement[bool]:
    return sa.true() if among is None else column.in_(among)
