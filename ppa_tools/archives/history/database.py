"""The publishing history's database: opening it, bringing it up to date, and its transactions.

SQLite in WAL mode with full synchronisation: what is committed survives a power cut. PostgreSQL takes the same
code. A writing transaction is alone among writers from its beginning, so what it read still holds when it writes.
Nothing outside this module belongs to one of the two alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from ppa_tools.archives.errors import ArchiveError, ArchiveTrouble
from ppa_tools.archives.history import schema as t
from ppa_tools.archives.history.migrations import migrate

BUSY_TIMEOUT_MS = 60_000
CACHE_KIB = 64 << 10
TROUBLES_AT_MOST = 20
WRITERS_LOCK = 0x62756C6C  # any number that all processes of one archive share
REMEDIES = {
    "database or disk is full": "make room and try again; what was acknowledged before is untouched",
    "readonly database": "mount its disk writable, after a look at the kernel's log, or let its file be written",
    "unable to open database file": "see that its directory is there, writable, and has room",
    "disk I/O error": "make room, or look at the kernel's log: the disk may have to be replaced",
    "database is locked": "another process has written for long; try again",
    "connection": "see that the database server runs, and try again",
}


class History:
    """The database. ``read`` and ``write`` give a connection in a transaction; an exception rolls it back."""

    def __init__(self, url: str) -> None:
        # Pre-ping: a server that was started again is met with a new connection, not with an error.
        self._engine = sa.create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        if self._engine.dialect.name == "sqlite":
            _prepare_sqlite(self._engine)
        if not self._is_current():
            with self.write() as conn:
                migrate(conn)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view; raises ArchiveTrouble when the database is in trouble."""
        with self._explained(), self._connect("REPEATABLE READ") as conn, conn.begin():
            yield conn

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes, alone among writers; durable when the block has ended.

        Raises ArchiveTrouble when the database is in trouble, or does not take what it is given: nothing is kept.
        """
        with (
            self._explained(),
            self._connect("READ COMMITTED").execution_options(writing=True) as conn,
            conn.begin(),
        ):
            if conn.dialect.name == "postgresql":
                # READ COMMITTED: what is read after the lock is what the writer before has left.
                conn.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITERS_LOCK)))
            yield conn

    def troubles(self) -> tuple[str, ...]:
        """What the database finds wrong with itself, in its words; PostgreSQL sees to that on its own."""
        try:
            with self.read() as conn:
                if not _is_sqlite(conn):
                    return ()
                said = [str(row[0]) for row in conn.exec_driver_sql(f"PRAGMA integrity_check({TROUBLES_AT_MOST})")]
                strays = conn.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(TROUBLES_AT_MOST)
        except (ArchiveError, sa.exc.DatabaseError) as error:
            return (str(error).partition("\n")[0],)
        lost = [f"row {row[1]} of {row[0]} names a row of {row[2]} that is not there" for row in strays]
        return (*(line for line in said if line != "ok"), *lost)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the database's troubles into words; what breaks the schema's rules is a fault, and stays."""
        try:
            yield
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.DataError) as error:
            said = " ".join(str(error.orig).split())
            remedy = next((remedy for symptom, remedy in REMEDIES.items() if symptom in said), "")
            raise ArchiveTrouble(
                f"the publishing history {self._engine.url.render_as_string()}: {said}"
                + (f"; {remedy}" if remedy else "")
            ) from error

    def _connect(self, isolation_level: str) -> Connection:
        conn = self._engine.connect()
        return conn if _is_sqlite(conn) else conn.execution_options(isolation_level=isolation_level)

    def _is_current(self) -> bool:
        """Whether the schema is this program's; raises ArchiveError when it is a later one's."""
        with self.read() as conn:
            if not sa.inspect(conn).has_table(t.schema_version.name):
                return False
            found = conn.execute(sa.select(t.schema_version.c.version)).scalar() or 0
        if found > t.SCHEMA_VERSION:
            raise ArchiveError(
                f"the publishing history has schema {found}; this program knows {t.SCHEMA_VERSION}: update it"
            )
        return bool(found == t.SCHEMA_VERSION)


def open_history(file: Path) -> History:
    """The history in a SQLite file, which is made when missing, for its owner alone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        file.touch(mode=0o600)
    return History(f"sqlite:///{file}")


def _is_sqlite(conn: Connection) -> bool:
    return conn.dialect.name == "sqlite"


def _prepare_sqlite(engine: Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def configure(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in (
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            f"cache_size = -{CACHE_KIB}",
        ):
            dbapi_connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(conn: Connection) -> None:
        writing = conn.get_execution_options().get("writing", False)
        conn.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
