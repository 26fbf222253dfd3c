"""Publications: what is, or was, in a series of a PPA, from its creation to its end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ppa_tools.archives.history import schema as t
from ppa_tools.archives.history.ppas import PPA, Change
from ppa_tools.archives.history.rows import chunks
from ppa_tools.publication import ACTIVE, Status


@dataclass(frozen=True)
class Span:
    """How a publication came and went: who, when, why. ``ended_at`` is None while it is active.

    The generations are the series' when it came and when it went.
    """

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
    created_generation: int
    ended_generation: int | None


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
class NewSource:
    """A source publication to be; ``copied_from_id`` names the publication that it was copied from."""

    release_id: int
    source: str
    version: str
    why: str
    copied_from_id: int | None = None


@dataclass(frozen=True)
class NewBinary:
    """A binary publication to be."""

    index_architecture: str
    release_id: int
    package: str
    version: str
    architecture: str
    source: str
    source_version: str
    why: str
    copied_from_id: int | None = None


class Listed(NamedTuple):
    """A line of a listing: a source version in a series, and since when (seconds since the epoch, UTC)."""

    series: str
    source: str
    version: str
    status: str
    since: float


def list_sources(
    conn: Connection, ppa: PPA, *, series: str = "", source: str = "", active: bool = True
) -> list[Listed]:
    """Source publications by series and name, the newest last: quick, however many they are."""
    p, s = t.source_publications, t.series
    since = sa.func.coalesce(p.c.ended_at, p.c.created_at)
    query = sa.select(s.c.name, p.c.source, p.c.version, p.c.status, since).join(s)
    query = query.where(s.c.ppa_id == ppa.id, s.c.deleted_at.is_(None))
    if series:
        query = query.where(s.c.name == series)
    if source:
        query = query.where(p.c.source == source)
    if active:
        query = query.where(p.c.status.in_(ACTIVE))
    return [Listed(*row) for row in conn.execute(query.order_by(s.c.name, p.c.source, p.c.id))]


def select_source_publications(
    conn: Connection,
    ppa: PPA,
    *,
    series: str = "",
    source: str = "",
    sources: Collection[str] | None = None,
    version: str = "",
    active: bool = False,
) -> tuple[SourcePublication, ...]:
    """Publications of sources, newest last; "" and None mean any."""
    p = t.source_publications
    query = sa.select(p, t.series.c.name.label("series")).join(t.series).where(t.series.c.ppa_id == ppa.id)
    query = _narrow(query, ((t.series.c.name, series), (p.c.source, source), (p.c.version, version)))
    if active:
        query = query.where(p.c.status.in_(ACTIVE))
    return tuple(
        SourcePublication(row.id, row.series, row.release_id, row.source, row.version, _span(row))
        for row in _in_pieces(conn, query, p.c.source, sources, p.c.id)
    )


def select_binary_publications(
    conn: Connection,
    ppa: PPA,
    *,
    series: str = "",
    source: str = "",
    sources: Collection[str] | None = None,
    source_version: str = "",
    packages: Collection[str] | None = None,
    active: bool = False,
) -> tuple[BinaryPublication, ...]:
    """Publications of binaries, newest last; "" and None mean any. Not both ``sources`` and ``packages``."""
    p = t.binary_publications
    query = sa.select(p, t.series.c.name.label("series")).join(t.series).where(t.series.c.ppa_id == ppa.id)
    query = _narrow(query, ((t.series.c.name, series), (p.c.source, source), (p.c.source_version, source_version)))
    if active:
        query = query.where(p.c.status.in_(ACTIVE))
    column, values = (p.c.source, sources) if packages is None else (p.c.package, packages)
    return tuple(_binary_publication(row) for row in _in_pieces(conn, query, column, values, p.c.id))


def add_sources(conn: Connection, change: Change, new: Sequence[NewSource]) -> dict[str, int]:
    """Publish source releases in a series (pending until the indexes are written); source name -> id.

    A source may come in several versions; the id is then the last one's.
    """
    _add(conn, t.source_publications, change, new)
    p = t.source_publications
    query = sa.select(p.c.source, p.c.id).where(
        p.c.series_id == change.series.id, p.c.created_generation == change.generation
    )
    return {row.source: row.id for row in conn.execute(query.order_by(p.c.id))}


def add_binaries(conn: Connection, change: Change, new: Sequence[NewBinary]) -> dict[tuple[str, str], int]:
    """Publish binary releases in indexes of a series; (index architecture, package) -> id of the last."""
    _add(conn, t.binary_publications, change, new)
    p = t.binary_publications
    query = sa.select(p.c.index_architecture, p.c.package, p.c.id).where(
        p.c.series_id == change.series.id, p.c.created_generation == change.generation
    )
    return {(row.index_architecture, row.package): row.id for row in conn.execute(query.order_by(p.c.id))}


def end_sources(
    conn: Connection,
    change: Change,
    ids: Sequence[int],
    status: Status,
    why: str,
    successor_id: int | None = None,
) -> None:
    """End publications of sources: superseded (by a successor, if there is one) or deleted."""
    _end(conn, t.source_publications, change, ids, status, why, successor_id)


def end_binaries(
    conn: Connection,
    change: Change,
    ids: Sequence[int],
    status: Status,
    why: str,
    successor_id: int | None = None,
) -> None:
    """End publications of binaries."""
    _end(conn, t.binary_publications, change, ids, status, why, successor_id)


def _narrow(query: sa.Select[Any], wanted: Iterable[tuple[sa.ColumnElement[str], str]]) -> sa.Select[Any]:
    for column, value in wanted:
        if value:
            query = query.where(column == value)
    return query


def _in_pieces(
    conn: Connection,
    query: sa.Select[Any],
    column: sa.ColumnElement[str],
    values: Collection[str] | None,
    order: sa.ColumnElement[int],
) -> list[sa.Row[Any]]:
    if values is None:
        return list(conn.execute(query.order_by(order)))
    rows = [
        row
        for some in chunks(sorted(set(values)))
        for row in conn.execute(query.where(column.in_(some)).order_by(order))
    ]
    return rows if len(values) <= 1 else sorted(rows, key=lambda row: int(row.id))


def _add(
    conn: Connection, table: sa.Table, change: Change, new: Sequence[NewSource] | Sequence[NewBinary]
) -> None:
    common = {
        "series_id": change.series.id,
        "status": Status.PENDING.value,
        "created_at": change.at,
        "created_by": change.by,
        "created_generation": change.generation,
    }
    if new:
        conn.execute(sa.insert(table), [{**common, **vars(one)} for one in new])


def _end(
    conn: Connection,
    table: sa.Table,
    change: Change,
    ids: Sequence[int],
    status: Status,
    why: str,
    successor_id: int | None,
) -> None:
    values = {
        "status": status.value,
        "ended_at": change.at,
        "ended_by": change.by,
        "end_why": why,
        "superseded_by_id": successor_id,
        "ended_generation": change.generation,
    }
    for some in chunks(sorted(ids)):
        conn.execute(sa.update(table).where(table.c.id.in_(some)).values(**values))


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
        row.created_generation,
        row.ended_generation,
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
