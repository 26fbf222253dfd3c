"""Buildbot's own database: SQLite with pooled connections and write-ahead logging.

Buildbot opens the file anew for each transaction and syncs each commit, 6 ms a time; pooled and with
``synchronous=normal`` it is 0.1 ms. What a power cut could lose is a last moment of pages: what must not be
lost, commits and tasks, is in the farm's own history. The function below stands in an imported module because
Buildbot refuses to reconfigure when the database settings compare as changed.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa


def tune_sqlite(connection: Any, _record: Any) -> None:
    """Set the pragmas of a new connection."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA busy_timeout=30000")


def database_config() -> dict[str, Any]:
    """The ``db`` part of Buildbot's configuration."""
    return {
        "db_url": "sqlite:///state.sqlite",
        "engine_kwargs": {
            "poolclass": sa.pool.QueuePool,
            "pool_size": 10,
            "max_overflow": 20,
            "pool_events": [(tune_sqlite, "connect")],
        },
    }
