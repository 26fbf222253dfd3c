"""Collections in batches, as lazr.restful and lazr.batchnavigator cut them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import urlencode

DEFAULT_SIZE, MAX_SIZE = 75, 300
BATCH_PARAMETERS = ("ws.start", "ws.size", "memo", "direction", "ws.show")

Row = TypeVar("Row")


class BadBatch(Exception):
    """The batch that was asked for cannot be: a 400 with these words."""


def page(
    rows: Sequence[Row],
    render: Callable[[Row], str],
    *,
    url: str,
    query: Mapping[str, str],
    kind: str,
    size_link: bool,
) -> str:
    """One batch in JSON text, or with ``ws.show=total_size`` the number alone. Raises BadBatch.

    ``kind`` is the type of a collection; what an operation gives has none. With ``size_link`` (operations of the
    ``devel`` API) all batches but the last tell where to ask for the size of the whole instead of telling it.
    """
    if query.get("ws.show") == "total_size":
        return json.dumps(len(rows))
    size, start = _number(query, "ws.size", DEFAULT_SIZE), _number(query, "ws.start", 0)
    if size > MAX_SIZE:
        raise BadBatch(f'Maximum for "ws.size" parameter is {MAX_SIZE}.')
    batch, end = rows[start : start + size], start + size
    kept = {name: value for name, value in query.items() if name not in BATCH_PARAMETERS}
    has_next = end < len(rows)
    facts: dict[str, object] = {"start": start}
    if kind:
        facts["resource_type_link"] = kind
    if has_next and size_link:
        facts["total_size_link"] = f"{url}?{urlencode({**kept, 'ws.show': 'total_size'})}"
    else:
        facts["total_size"] = len(rows)
    if has_next:
        more = {**kept, "ws.size": str(size), "memo": str(end), "ws.start": str(end)}
        facts["next_collection_link"] = f"{url}?{urlencode(more)}"
    if start > 0 and batch:
        before = {**kept, "ws.size": str(size), "direction": "backwards", "memo": str(start)}
        if start > size:
            before["ws.start"] = str(start - size)
        facts["prev_collection_link"] = f"{url}?{urlencode(before)}"
    entries = ", ".join(map(render, batch))
    return f'{json.dumps(facts)[:-1]}, "entries": [{entries}]}}'


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isdigit():
        raise BadBatch(f"{name}: {text!r} is not a number.")
    return int(text) or default
