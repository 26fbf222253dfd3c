"""The history at a moment: snapshots, which name generations, and what a series held at a generation."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ppa_tools.archives.history import schema as t
from ppa_tools.archives.history.ppas import PPA, Series, list_series
from ppa_tools.archives.history.publications import BinaryPublication, NewBinary
from ppa_tools.archives.history.rows import chunks, insert


@dataclass(frozen=True)
class Snapshot:
    """A name for what a PPA held; ``generations`` by series. Its files are kept as long as it is."""

    id: int
    name: str
    created_at: float
    created_by: str
    why: str
    generations: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class ChangeMade:
    """A change to a series: the transaction that counted it up to ``generation``."""

    series: str
    generation: int
    at: float
    by: str
    what: str
    why: str


@dataclass(frozen=True)
class HeldSource:
    """A source publication that was active at a generation."""

    id: int
    release_id: int
    source: str
    version: str


@dataclass(frozen=True)
class HeldBinary:
    """A binary publication that was active at a generation."""

    id: int
    release_id: int
    index_architecture: str
    package: str
    version: str
    architecture: str
    source: str
    source_version: str


def published_again(row: BinaryPublication | HeldBinary, why: str) -> NewBinary:
    """The publication to be of the same content as one that is or was."""
    return NewBinary(
        row.index_architecture,
        row.release_id,
        row.package,
        row.version,
        row.architecture,
        row.source,
        row.source_version,
        why,
        row.id,
    )


def touched_since(conn: Connection, series: Series, generation: int) -> tuple[set[str], set[str]]:
    """The source and the binary packages of a series that anything came or went of after a generation."""

    def names(table: sa.Table, name: sa.ColumnElement[str]) -> set[str]:
        mine = table.c.series_id == series.id
        came = sa.select(name).where(mine, table.c.created_generation > generation)
        went = sa.select(name).where(mine, table.c.ended_generation > generation)
        return set(conn.execute(came.union(went)).scalars())

    sources, binaries = t.source_publications, t.binary_publications
    return names(sources, sources.c.source), names(binaries, binaries.c.package)


def held_sources(
    conn: Connection, series: Series, generation: int, names: Collection[str] | None = None
) -> tuple[HeldSource, ...]:
    """The source publications that a series had at a generation; ``names`` of None are all."""
    p = t.source_publications
    query = sa.select(p.c.id, p.c.release_id, p.c.source, p.c.version).where(*_active_at(p, series, generation))
    found = (HeldSource(*row) for row in _of_names(conn, query, p.c.source, names))
    return tuple(sorted(found, key=lambda one: (one.source, one.id)))


def held_binaries(
    conn: Connection, series: Series, generation: int, names: Collection[str] | None = None
) -> tuple[HeldBinary, ...]:
    """The binary publications that a series had at a generation; ``names`` of packages, None are all."""
    p = t.binary_publications
    columns = (p.c.id, p.c.release_id, p.c.index_architecture, p.c.package, p.c.version, p.c.architecture)
    query = sa.select(*columns, p.c.source, p.c.source_version).where(*_active_at(p, series, generation))
    found = (HeldBinary(*row) for row in _of_names(conn, query, p.c.package, names))
    return tuple(sorted(found, key=lambda one: (one.index_architecture, one.package, one.id)))


def generation_at(conn: Connection, series: Series, moment: float) -> int:
    """The generation that a series had at a moment (seconds since the epoch, UTC); 0 before it was."""
    c = t.series_changes
    query = sa.select(sa.func.max(c.c.generation)).where(c.c.series_id == series.id, c.c.at <= moment)
    return conn.execute(query).scalar() or 0


def list_changes(conn: Connection, ppa: PPA, series: str = "", limit: int = 0) -> tuple[ChangeMade, ...]:
    """The changes made to a PPA's series, in the order they were made in each; the last ones, with a limit."""
    c, s = t.series_changes, t.series
    query = sa.select(s.c.name, c.c.generation, c.c.at, c.c.by, c.c.what, c.c.why).join(s)
    query = query.where(s.c.ppa_id == ppa.id)
    if series:
        query = query.where(s.c.name == series)
    query = query.order_by(c.c.at.desc(), s.c.name.desc(), c.c.generation.desc())
    rows = conn.execute(query.limit(limit) if limit else query).all()
    return tuple(ChangeMade(*row) for row in reversed(rows))


def add_snapshot(conn: Connection, ppa: PPA, name: str, now: float, by: str, why: str) -> Snapshot:
    """Name what every series of a PPA holds now."""
    values = {"created_at": now, "created_by": by, "why": why}
    snapshot_id = insert(conn, t.snapshots, ppa_id=ppa.id, name=name, **values)
    series = list_series(conn, ppa)
    rows = [{"snapshot_id": snapshot_id, "series_id": one.id, "generation": one.generation} for one in series]
    if rows:
        conn.execute(sa.insert(t.snapshot_series), rows)
    return Snapshot(snapshot_id, name, now, by, why, tuple((one.name, one.generation) for one in series))


def list_snapshots(conn: Connection, ppa: PPA) -> tuple[Snapshot, ...]:
    """The snapshots of a PPA, oldest first."""
    n, m, s = t.snapshots, t.snapshot_series, t.series
    query = sa.select(m.c.snapshot_id, s.c.name, m.c.generation).join(n, n.c.id == m.c.snapshot_id)
    query = query.join(s, s.c.id == m.c.series_id).where(n.c.ppa_id == ppa.id).order_by(s.c.name)
    generations: dict[int, tuple[tuple[str, int], ...]] = {}
    for snapshot_id, name, generation in conn.execute(query):
        generations[snapshot_id] = (*generations.get(snapshot_id, ()), (name, generation))
    rows = conn.execute(sa.select(n).where(n.c.ppa_id == ppa.id).order_by(n.c.id))
    return tuple(
        Snapshot(row.id, row.name, row.created_at, row.created_by, row.why, generations.get(row.id, ()))
        for row in rows
    )


def remove_snapshot(conn: Connection, snapshot: Snapshot) -> None:
    """Forget a snapshot; what only it kept may be collected."""
    conn.execute(sa.delete(t.snapshot_series).where(t.snapshot_series.c.snapshot_id == snapshot.id))
    conn.execute(sa.delete(t.snapshots).where(t.snapshots.c.id == snapshot.id))


def _of_names(
    conn: Connection, query: sa.Select[Any], column: sa.ColumnElement[str], names: Collection[str] | None
) -> Iterator[Any]:
    if names is None:
        yield from conn.execute(query)
        return
    for some in chunks(sorted(names)):
        yield from conn.execute(query.where(column.in_(some)))


def _active_at(table: sa.Table, series: Series, generation: int) -> tuple[sa.ColumnElement[bool], ...]:
    ended = table.c.ended_generation
    return (
        table.c.series_id == series.id,
        table.c.created_generation <= generation,
        sa.or_(ended.is_(None), ended > generation),
    )
