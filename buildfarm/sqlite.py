"""The farm's own records, each an SQLite file that several processes write: opened, and made where they are
missing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from buildfarm.errors import FarmTrouble

WAIT_S = 30
HOME = (
    "It lies in the farm's home, a directory that you must be able to write to: `buildfarm --home DIR`, "
    "BUILDFARM_HOME or `home` in farm.toml names it."
)
RESTORE = (
    "Stop the farm (`buildfarm down`). Then put the file back from a backup, or move it away to begin a new one: "
    "docs/how-to/backup-and-restart.md says what is lost with it."
)
SPACE = "Make room on its disk: docs/how-to/backup-and-restart.md says what may go."
TROUBLE = {  # SQLite's primary result codes: what happened, and what to do
    sqlite3.SQLITE_NOTADB: ("is damaged", RESTORE),
    sqlite3.SQLITE_CORRUPT: ("is damaged", RESTORE),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "Look what the kernel says of its disk: `dmesg`."),
    sqlite3.SQLITE_FULL: ("cannot be written", SPACE),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", HOME),
    sqlite3.SQLITE_PERM: ("cannot be opened", HOME),
    sqlite3.SQLITE_READONLY: ("cannot be written", HOME),
    sqlite3.SQLITE_BUSY: (f"was held by another process for {WAIT_S} s", "Give the command again."),
}


def open_sqlite(
    path: Path,
    metadata: sa.MetaData,
    version: int,
    what: str,
    upgrades: Mapping[int, Sequence[str]] = MappingProxyType({}),
) -> sa.Engine:
    """The engine of a record; its tables are there, in the shape that ``version`` counts (its user_version).

    ``upgrades`` has the SQL that makes the tables of an earlier version those of the next.

    Raises FarmTrouble, naming ``what`` it is, for a file that another version of the farm wrote, and for one that
    cannot be used; so does whatever uses the engine later.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FarmTrouble(
            f"{what} cannot be opened: {error.filename}: {error.strerror}", where=str(path), resolution=HOME
        ) from error
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": WAIT_S})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @sa.event.listens_for(engine, "handle_error")
    def _explain(context: sa.ExceptionContext) -> None:
        error = context.original_exception
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in TROUBLE:
            happened, resolution = TROUBLE[code]
            raise FarmTrouble(f"{what} {happened}: {error}", where=str(path), resolution=resolution) from error

    with transaction(engine) as connection:  # of two at once, one makes the tables
        kept = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        while kept in upgrades:
            for statement in upgrades[kept]:
                connection.exec_driver_sql(statement)
            kept += 1
            connection.exec_driver_sql(f"PRAGMA user_version = {kept}")
        if kept not in (0, version):
            raise FarmTrouble(
                f"{what} has schema {kept}, and this farm reads {version}",
                where=str(path),
                resolution="Use the farm's version that wrote it, or move the file away to begin a new one.",
            )
        if kept == 0:
            metadata.create_all(connection)
            connection.exec_driver_sql(f"PRAGMA user_version = {version}")
    return engine


@contextmanager
def transaction(engine: sa.Engine, how: str = "BEGIN IMMEDIATE") -> Iterator[sa.Connection]:
    """One transaction, committed at the end of the ``with`` block and rolled back where that fails.

    Python's driver would begin only at the first write: two writers could read, then deadlock.
    """
    with engine.connect() as connection:
        connection.exec_driver_sql(how)
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
