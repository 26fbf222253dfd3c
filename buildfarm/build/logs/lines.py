"""Finding in a log of any size, in bounded memory, the few lines that somebody wants to see.

A reader names **needles**, byte strings one of which stands in every line it cares for. A block of the log is
searched for all needles, by one expression for those that begin a line and by ``bytes.find`` for the others; only
lines with one are cut out, decoded and shown, each to the readers it concerns. So a log's size costs little, and
most is spent on lines that tell something.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import BinaryIO, Protocol

from ppa_tools.plain_text import plain

NEWLINE = 10
LINE_LIMIT = 400
LINE_LIMIT_BYTES = 4 * LINE_LIMIT
RAW_LIMIT_BYTES = 1 << 16
BLOCK_BYTES = 1 << 18
HISTORY_BYTES = 1 << 13
PINNED_BYTES = 1 << 11
LAST_LINES = 15
CONTEXT_BEFORE = 4
CONTEXT_AFTER = 6


def numbered_lines(number: int, text: str, context: Sequence[tuple[int, str]]) -> tuple[str, ...]:
    """A line with its context, or alone where it has none, for people: each with its number, which a colon follows
    where it is the line itself."""
    return tuple(f"{n}{':' if n == number else ' '} {line}" for n, line in context or ((number, text),))


@dataclass(slots=True)  # not frozen: millions are made
class Line:
    """One line: its number from 1, and its text, cut at ``LINE_LIMIT`` characters."""

    number: int
    text: str
    _block: bytes = field(default=b"", repr=False)
    _start: int = 0

    def around(self, before: int, after: int) -> tuple[tuple[int, str], ...]:
        """The line with up to so many before and after it, numbered; fewer where a block begins or ends."""
        found: list[tuple[int, str]] = []
        end = self._start - 1
        while len(found) < before and end > 0:
            start = self._block.rfind(b"\n", max(0, end - RAW_LIMIT_BYTES), end) + 1
            if start == 0:
                break
            found.append((self.number - len(found) - 1, _decode(self._block, start, end)))
            end = start - 1
        found.reverse()
        found.append((self.number, self.text))
        start = self._block.find(b"\n", self._start) + 1
        for number in range(self.number + 1, self.number + 1 + after):
            if not 0 < start < len(self._block):
                break
            end = self._block.find(b"\n", start)
            found.append((number, _decode(self._block, start, end)))
            start = end + 1
        return tuple(found)

    def pinned(self) -> Line:
        """The same line with only its surroundings: for keeping, where the line itself keeps a whole block."""
        first = (
            self._block.rfind(b"\n", 0, max(1, self._start - PINNED_BYTES)) if self._start > PINNED_BYTES else 0
        )
        first = max(first, 0)
        last = self._block.find(b"\n", min(len(self._block) - 1, self._start + PINNED_BYTES)) + 1
        excerpt = self._block[first : last or len(self._block)]
        if len(excerpt) > 8 * PINNED_BYTES:  # lines without end
            return Line(self.number, self.text, b"\n" + self.text.encode("utf-8", "backslashreplace") + b"\n", 1)
        return Line(self.number, self.text, excerpt, self._start - first)

    def raw(self) -> bytes:
        """The line's bytes, cut at ``RAW_LIMIT_BYTES``: for what is written on one long line."""
        end = self._block.find(b"\n", self._start, self._start + RAW_LIMIT_BYTES)
        return self._block[self._start : end if end >= 0 else self._start + RAW_LIMIT_BYTES]


class Reader(Protocol):
    """Who reads lines. A needle that begins with a newline is looked for at the beginning of lines."""

    @property
    def needles(self) -> tuple[bytes, ...]:
        """Byte strings of which one stands in each line it wants."""

    def read(self, line: Line) -> int:
        """Take one line; returns how many of the lines that follow it wants whatever they say."""


@dataclass(frozen=True)
class Scanned:
    """What a whole scan tells: how many lines there were, and the last that were not blank."""

    lines: int
    last: tuple[str, ...]


class _Needles:
    """All readers' needles, ready to be looked for at once. A set of readers is a number with their bits."""

    def __init__(self, readers: Sequence[Reader]) -> None:
        wanted: dict[bytes, int] = {}
        for index, reader in enumerate(readers):
            for needle in reader.needles:
                wanted[needle] = wanted.get(needle, 0) | 1 << index
        self.inside = {needle: bits for needle, bits in wanted.items() if needle[0] != NEWLINE}
        begin = sorted((needle for needle in wanted if needle[0] == NEWLINE), key=len, reverse=True)
        # the longest that fits is found, and all that fit are beginnings of it
        self.begin = {
            needle: reduce(or_, (wanted[other] for other in begin if needle.startswith(other))) for needle in begin
        }
        self.expression = re.compile(b"\n(?:" + b"|".join(re.escape(needle[1:]) for needle in begin) + b")")

    def find(self, block: bytes, start: int) -> dict[int, int]:
        """Where the lines begin that have a needle, and who looks for it; a newline stands before ``start``."""
        hits: dict[int, int] = {}
        if self.begin:
            for match in self.expression.finditer(block, start - 1):
                hits[match.start() + 1] = self.begin[match[0]]
        for needle, readers in self.inside.items():
            at = block.find(needle, start)
            while at >= 0:
                begin = block.rfind(b"\n", start - 1, at) + 1
                hits[begin] = hits.get(begin, 0) | readers
                end = block.find(b"\n", at)
                at = block.find(needle, end + 1) if end >= 0 else -1
        return hits


def scan(file: BinaryIO, readers: Sequence[Reader]) -> Scanned:
    """Read a log once from where it stands, and show each reader its lines in their order."""
    needles = _Needles(readers)
    wanted_until = [0] * len(readers)
    number = 1
    tail = b""
    for block, start in _blocks(file):
        number = _show(block, start, number, needles, readers, wanted_until)
        tail = block
    return Scanned(number - 1, _last_lines(tail))


def _show(
    block: bytes,
    start: int,
    number: int,
    needles: _Needles,
    readers: Sequence[Reader],
    wanted_until: list[int],
) -> int:
    """Show the lines of one block, the first of which has ``number``; returns the next block's first number."""
    hits = needles.find(block, start)
    everyone = max(wanted_until)
    for at in [*sorted(hits), len(block)]:
        while start < at and number <= everyone:
            line, start = _line(block, start, number)
            everyone = _give(line, _wanting(wanted_until, number), readers, wanted_until)
            number += 1
        number += block.count(b"\n", start, at)
        if at == len(block):
            break
        line, start = _line(block, at, number)
        everyone = _give(line, hits[at] | _wanting(wanted_until, number), readers, wanted_until)
        number += 1
    return number


def _give(line: Line, to: int, readers: Sequence[Reader], wanted_until: list[int]) -> int:
    index = 0
    while to:
        if to & 1 and (more := readers[index].read(line)):
            wanted_until[index] = max(wanted_until[index], line.number + more)
        to >>= 1
        index += 1
    return max(wanted_until)


def _wanting(wanted_until: list[int], number: int) -> int:
    return sum(1 << index for index, until in enumerate(wanted_until) if until >= number)


def _line(block: bytes, start: int, number: int) -> tuple[Line, int]:
    end = block.index(b"\n", start)
    return Line(number, _decode(block, start, end), block, start), end + 1


def _decode(block: bytes, start: int, end: int) -> str:
    text = block[start : min(end, start + LINE_LIMIT_BYTES)].decode("utf-8", "backslashreplace")
    if not text.isprintable():
        # what a terminal would show: the last that was written over it
        text = next((shown for part in reversed(text.split("\r")) if (shown := plain(part))), "")
    return text[:LINE_LIMIT]


def _blocks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Whole lines in blocks, each with where its news begins: before that stands a newline and some history.

    Of a line longer than a block only its beginning and its last piece are kept.
    """
    history, rest = b"\n", b""
    while chunk := _read_fully(file):
        data = rest + chunk
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        if len(rest) > BLOCK_BYTES:
            rest = rest[:RAW_LIMIT_BYTES]
        if end:
            block = history + data[:end]
            yield block, len(history)
            history = _history(block)
    if rest:
        yield history + rest + b"\n", len(history)


def _read_fully(file: BinaryIO) -> bytes:
    """A whole block, however little the file gives at a time."""
    parts: list[bytes] = []
    missing = BLOCK_BYTES
    while missing > 0 and (part := file.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _history(block: bytes) -> bytes:
    at = block.find(b"\n", max(0, len(block) - HISTORY_BYTES), len(block) - 1)
    return block[at:] if at >= 0 else b"\n"


def _last_lines(block: bytes) -> tuple[str, ...]:
    found: list[str] = []
    end = len(block) - 1
    while end > 0 and len(found) < LAST_LINES:
        start = block.rfind(b"\n", 0, end) + 1
        if (text := _decode(block, start, end).rstrip()).strip():
            found.append(text)
        end = start - 1
    return tuple(reversed(found))
