"""Bringing an older publishing history up to this program's schema, in one transaction, losing nothing."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateColumn

from ppa_tools.archives.history import schema as t


def migrate(conn: Connection) -> None:
    """Make or complete every table; the caller holds the writers' transaction."""
    known = sa.inspect(conn)
    old = known.get_table_names()
    found = conn.execute(sa.select(t.schema_version.c.version)).scalar() if t.schema_version.name in old else None
    t.metadata.create_all(conn)
    if found is None:
        conn.execute(sa.insert(t.schema_version).values(version=t.SCHEMA_VERSION))
        return
    for table in t.metadata.sorted_tables:
        if table.name in old:
            _complete(conn, table)
    if found < 2:
        _from_1_to_2(conn)
    conn.execute(sa.update(t.schema_version).values(version=t.SCHEMA_VERSION))


def _complete(conn: Connection, table: sa.Table) -> None:
    """Add the columns and indexes that a table came without."""
    known = sa.inspect(conn)
    columns = {column["name"] for column in known.get_columns(table.name)}
    for column in table.columns:
        if column.name not in columns:
            words = CreateColumn(column).compile(dialect=conn.dialect)
            conn.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {words}")
    indexes = {index["name"] for index in known.get_indexes(table.name)}
    for index in table.indexes:
        if index.name not in indexes:
            index.create(conn)


def _from_1_to_2(conn: Connection) -> None:
    """What was ended before generations were kept with publications was over at generation 0 already."""
    conn.exec_driver_sql(
        "INSERT INTO signing_keys (ppa_id, fingerprint, added_at) SELECT id, key_fingerprint, created_at FROM ppas"
    )
    conn.exec_driver_sql("ALTER TABLE ppas DROP COLUMN key_fingerprint")
    for table in (t.source_publications, t.binary_publications):
        ended = table.c.status.in_(("Superseded", "Deleted"))
        conn.execute(sa.update(table).where(ended).values(ended_generation=0))
    held = (
        sa.select(sa.func.coalesce(sa.func.sum(t.files.c.size_bytes), 0))
        .join(t.file_names, t.file_names.c.sha256 == t.files.c.sha256)
        .where(t.file_names.c.ppa_id == t.ppas.c.id)
    )
    conn.execute(sa.update(t.ppas).values(used_bytes=held.scalar_subquery()))
