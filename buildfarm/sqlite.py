"""The farm's own records, each an SQLite file that several processes write: opened, and made where they are
missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from buildfarm.errors import FarmTrouble

WAIT_S = 30


def open_sqlite(path: Path, metadata: sa.MetaData, version: int, what: str) -> sa.Engine:
    """The engine of a record; its tables are there, in the shape that ``version`` counts (its user_version).

    Raises FarmTrouble, naming ``what`` it is, for a file that another version of the farm wrote.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": WAIT_S})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    with transaction(engine) as connection:  # of two at once, one makes the tables
        kept = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
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
