"""Small helps for rows, which every part of the publishing history uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

CHUNK = 500  # values in one IN (...); SQLite took 999 before 3.32

T = TypeVar("T")


def insert(conn: Connection, table: sa.Table, **values: Any) -> int:
    """Add a row; its id."""
    key = conn.execute(sa.insert(table).values(**values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def chunks(values: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """The values in pieces that a query can take."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
