"""Cutting an index into blocks by its content, and telling which of them a change touches: pure functions.

The stanzas of an index are sorted by package name. A name whose hash says so begins a block, and all stanzas of a
name are in one block. Where the cuts fall depends on the names alone, not on how they came: the bytes of an index
are a function of its stanzas, and a change to a few names touches only the blocks that they are in.
"""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


class HasFirst(Protocol):
    """A block, as far as this module needs to know it: by the package name it begins with."""

    @property
    def first(self) -> str:
        """The first package name in it; "" in the block of an empty index."""


B = TypeVar("B", bound=HasFirst)


@dataclass(frozen=True)
class Text:
    """A block's plain text. Each stanza ends in an empty line, so that blocks can stand one after the other."""

    first: str
    content: bytes


@dataclass(frozen=True)
class Span:
    """Neighbouring blocks, by their places ``start:stop``, and the names they hold: ``first <= name < before``.

    "" as ``first`` and None as ``before`` mean no bound.
    """

    start: int
    stop: int
    first: str
    before: str | None


def begins_block(name: str) -> bool:
    """Whether a package name begins a block: one in 128 does."""
    return hashlib.sha256(name.encode()).digest()[0] < 2


def cut(stanzas: Iterable[tuple[str, str]]) -> Iterator[Text]:
    """The blocks of sorted (package name, stanza) pairs, which begin where a block does."""
    first, parts = "", list[str]()
    for name, group in itertools.groupby(stanzas, key=lambda pair: pair[0]):
        if parts and begins_block(name):
            yield Text(first, _join(parts))
            parts = []
        if not parts:
            first = name
        parts.extend(stanza for _, stanza in group)
    if parts:
        yield Text(first, _join(parts))


def touched(blocks: Sequence[HasFirst], names: Iterable[str]) -> tuple[Span, ...]:
    """The spans of blocks that must be rendered again when these names came, went or changed.

    A name that begins a block may have gone: then the rest of its block belongs to the one before.
    """
    firsts = [block.first for block in blocks]
    places = set[int]()
    for name in names:
        place = max(bisect_right(firsts, name) - 1, 0)
        places.add(place)
        if place > 0 and firsts[place] == name:
            places.add(place - 1)
    if not firsts:
        return (Span(0, 0, "", None),)
    runs = list[tuple[int, int]]()
    for place in sorted(places):
        if runs and runs[-1][1] == place:
            runs[-1] = (runs[-1][0], place + 1)
        else:
            runs.append((place, place + 1))
    return tuple(
        Span(start, stop, firsts[start] if start else "", firsts[stop] if stop < len(firsts) else None)
        for start, stop in runs
    )


def splice(
    blocks: Sequence[B], rendered: Iterable[tuple[Span, Sequence[B]]], empty: Callable[[], B]
) -> tuple[B, ...]:
    """The blocks with each span replaced by what was rendered for it; ``empty`` makes an empty index's one."""
    result = list[B]()
    done = 0
    for span, new in rendered:
        result += blocks[done : span.start]
        result += new
        done = span.stop
    result += blocks[done:]
    return tuple(block for block in result if block.first) or (empty(),)


def _join(stanzas: Iterable[str]) -> bytes:
    return "".join(f"{stanza}\n" for stanza in stanzas).encode()
