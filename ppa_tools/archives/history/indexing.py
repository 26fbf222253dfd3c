"""What publishing asks of the history: which names have changed, their stanzas, which files come with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ppa_tools.archives.history import schema as t
from ppa_tools.archives.history.content import names_in_ppa
from ppa_tools.archives.history.ppas import PPA
from ppa_tools.archives.history.rows import chunks
from ppa_tools.publication import ACTIVE, Status

ROWS_AT_A_TIME = 1000  # an index may be larger than memory


def changed_names(conn: Connection, series_id: int, since: int, index_architecture: str | None) -> set[str]:
    """The names whose stanzas came or went after generation ``since``; an architecture of None means Sources."""
    table, name = _index(index_architecture)
    came = sa.select(name).where(table.c.series_id == series_id, table.c.created_generation > since)
    went = sa.select(name).where(table.c.series_id == series_id, table.c.ended_generation > since)
    if index_architecture is not None:
        mine = table.c.index_architecture == index_architecture
        came, went = came.where(mine), went.where(mine)
    return set(conn.execute(came.union(went)).scalars())


def generation_mark(conn: Connection, series_id: int, generation: int) -> str:
    """What names a generation beyond its number, which another history may have given to something else."""
    c = t.series_changes
    query = sa.select(c.c.at, c.c.what, c.c.by).where(c.c.series_id == series_id, c.c.generation == generation)
    row = conn.execute(query).one_or_none()
    return f"{row.at!r} {row.what} {row.by}" if row else ""


def stanzas_between(
    conn: Connection, series_id: int, index_architecture: str | None, first: str = "", before: str | None = None
) -> Iterator[tuple[str, str]]:
    """The stanzas of an index with ``first`` <= name < ``before``, as (name, stanza) in order of the index."""
    table, name = _index(index_architecture)
    release = t.source_releases if index_architecture is None else t.binary_releases
    query = sa.select(name, release.c.stanza).join(table, table.c.release_id == release.c.id)
    query = query.where(table.c.series_id == series_id, table.c.status.in_(ACTIVE), name >= first)
    if before is not None:
        query = query.where(name < before)
    if index_architecture is not None:
        query = query.where(table.c.index_architecture == index_architecture)
    query = query.order_by(name, table.c.id).execution_options(yield_per=ROWS_AT_A_TIME)
    for row in conn.execute(query):
        yield row[0], row[1]


def pending_ids(conn: Connection, series_id: int) -> tuple[list[int], list[int]]:
    """The publications of sources and of binaries that wait for the indexes to be written."""

    def pending(table: sa.Table) -> list[int]:
        query = sa.select(table.c.id).where(table.c.series_id == series_id, table.c.status == Status.PENDING)
        return list(conn.execute(query).scalars())

    return pending(t.source_publications), pending(t.binary_publications)


def pending_files(conn: Connection, ppa: PPA, series_id: int) -> list[tuple[str, str]]:
    """The files of pending publications as (path in the PPA's directory, SHA-256); not those that were lost."""
    f, b = t.source_release_files, t.binary_releases
    # Names first and files by name then: in one query SQLite would go through every name that the PPA has.
    of_sources = sa.select(f.c.name).where(f.c.release_id.in_(_pending_releases(t.source_publications, series_id)))
    of_binaries = sa.select(b.c.file_name).where(b.c.id.in_(_pending_releases(t.binary_publications, series_id)))
    names = {*conn.execute(of_sources).scalars(), *conn.execute(of_binaries).scalars()}
    known = names_in_ppa(conn, ppa.id, names).values()
    return [(one.pool_path, one.sha256) for one in known if not one.expired]


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
        for some in chunks(ids):
            conn.execute(
                sa.update(table)
                .where(table.c.id.in_(some), table.c.status == Status.PENDING)
                .values(status=Status.PUBLISHED, published_at=now)
            )
    values = {"published_generation": generation, "published_at": now}
    conn.execute(sa.update(t.series).where(t.series.c.id == series_id).values(**values))


def _index(index_architecture: str | None) -> tuple[sa.Table, sa.ColumnElement[str]]:
    table = t.source_publications if index_architecture is None else t.binary_publications
    return table, table.c.source if index_architecture is None else table.c.package


def _pending_releases(table: sa.Table, series_id: int) -> sa.Select[Any]:
    return sa.select(table.c.release_id).where(table.c.series_id == series_id, table.c.status == Status.PENDING)
