"""Bringing an index up to what the history says: only blocks with changed names are rendered anew."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Connection

from ppa_tools.archives import block_store, blocks
from ppa_tools.archives import history as h
from ppa_tools.archives.block_store import Block, Sum
from ppa_tools.archives.indexes import Index

RENDER_AHEAD = 8
"""How many blocks wait in memory to be compressed."""


@dataclass(frozen=True)
class Update:
    """An index's blocks as the history wants them; ``sums`` of the whole where they are known already."""

    index: Index
    directory: Path
    forms: tuple[str, ...]
    mark: str
    generation: int
    blocks: tuple[Block, ...]
    sums: tuple[Sum, ...] | None


def update_index(
    conn: Connection, series: h.Series, index: Index, directory: Path, forms: tuple[str, ...], beside: Executor
) -> Update:
    """Render what has changed in an index since the table in ``directory`` was written.

    ``series`` is as ``conn`` sees it. The table itself is replaced by ``keep``, once the index is published.
    """
    table = block_store.load_table(directory, forms)
    if table is not None and table.mark != h.generation_mark(conn, series.id, table.generation):
        table = None  # of another history: a copy that was put back, a PPA of the same name
    mark = h.generation_mark(conn, series.id, series.generation)
    old = table.blocks if table else ()
    names = h.changed_names(conn, series.id, table.generation, index.architecture) if table else set[str]()
    if table is not None and not names:
        return Update(index, directory, forms, mark, series.generation, old, table.sums)
    directory.mkdir(parents=True, exist_ok=True)
    rendered = []
    for span in blocks.touched(old, names):
        stanzas = h.stanzas_between(conn, series.id, index.architecture, span.first, span.before)
        rendered.append((span, _write_blocks(directory, blocks.cut(stanzas), forms, beside)))
    new = blocks.splice(old, rendered, lambda: block_store.write_block(directory, blocks.Text("", b""), forms))
    sums = table.sums if table is not None and new == old else None
    return Update(index, directory, forms, mark, series.generation, new, sums)


def keep(update: Update, sums: Sequence[Sum]) -> None:
    """Begin from here next time; ``sums`` are of the whole index in each form."""
    table = block_store.Table(update.mark, update.generation, update.forms, update.blocks, tuple(sums))
    block_store.save_table(update.directory, table)


def _write_blocks(
    directory: Path, texts: Iterable[blocks.Text], forms: Sequence[str], beside: Executor
) -> list[Block]:
    done = list[Block]()
    waiting = deque[Future[Block]]()
    for text in texts:
        waiting.append(beside.submit(block_store.write_block, directory, text, forms))
        if len(waiting) > RENDER_AHEAD:
            done.append(waiting.popleft().result())
    return done + [future.result() for future in waiting]
