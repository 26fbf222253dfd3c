"""Bringing an index up to what the history says: only blocks with changed names are rendered anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.engine import Connection

from ppa_tools.archives import block_store
from ppa_tools.archives import history as h
from ppa_tools.archives.block_store import Block, Sum
from ppa_tools.archives.blocks import Span, Text, cut, splice, touched
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


@dataclass(frozen=True)
class Begun:
    """An update whose new blocks are still being compressed: spans of ``old``, and what is to replace them."""

    update: Update
    old: tuple[Block, ...]
    rendered: tuple[tuple[Span, list[Future[Block]]], ...]


def begin_update(
    conn: Connection, series: h.Series, index: Index, directory: Path, forms: tuple[str, ...], beside: Executor
) -> Begun:
    """Read what has changed in an index since its table was written, and have it compressed by ``beside``.

    ``series`` is as ``conn`` sees it. The table itself is replaced by ``keep``, once the index is published.
    """
    table = block_store.load_table(directory, forms)
    if table is not None and table.mark != h.generation_mark(conn, series.id, table.generation):
        table = None  # of another history: a copy that was put back, a PPA of the same name
    mark = h.generation_mark(conn, series.id, series.generation)
    old, sums = (table.blocks, table.sums) if table else ((), None)
    update = Update(index, directory, forms, mark, series.generation, old, sums)
    names = h.changed_names(conn, series.id, table.generation, index.architecture) if table else set[str]()
    if table is not None and not names:
        return Begun(update, old, ())
    directory.mkdir(parents=True, exist_ok=True)
    rendered = []
    for span in touched(old, names):
        stanzas = h.stanzas_between(conn, series.id, index.architecture, span.first, span.before)
        rendered.append((span, _compress(directory, cut(stanzas), forms, beside)))
    return Begun(update, old, tuple(rendered))


def finish_update(begun: Begun) -> Update:
    """Wait for the new blocks."""
    if not begun.rendered:
        return begun.update
    rendered = [(span, [future.result() for future in futures]) for span, futures in begun.rendered]
    update = begun.update
    new = splice(
        begun.old, rendered, lambda: block_store.write_block(update.directory, Text("", b""), update.forms)
    )
    return replace(update, blocks=new, sums=update.sums if new == begun.old else None)


def keep(update: Update, sums: Sequence[Sum]) -> None:
    """Begin from here next time; ``sums`` are of the whole index in each form."""
    table = block_store.Table(update.mark, update.generation, update.forms, update.blocks, tuple(sums))
    block_store.save_table(update.directory, table)


def _compress(
    directory: Path, texts: Iterable[Text], forms: Sequence[str], beside: Executor
) -> list[Future[Block]]:
    futures = list[Future[Block]]()
    for text in texts:
        if len(futures) >= RENDER_AHEAD:
            futures[-RENDER_AHEAD].result()
        futures.append(beside.submit(block_store.write_block, directory, text, forms))
    return futures
