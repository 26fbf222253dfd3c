"""The files that keep an index's blocks between publications, so that only changed ones are rendered again.

An index has a directory of its own: each block's plain text and compressed forms in a file each, named by the
SHA-256 of the plain text, and ``table``, which names the blocks in order and the generation they stand for. All of
it is a cache, and not synced: whatever is missing, or differs from the sizes and sums that the table gives, is
rendered again from the history. One publisher at a time works in a directory; the PPA's lock sees to that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from xxhash import xxh3_64_hexdigest

from ppa_tools.archives.blocks import Text
from ppa_tools.archives.compression import FORMS, PLAIN

TABLE = "table"
FORMAT = 1  # counted up when the files change, or where an index is cut
REMEMBER_EVERY = 8
REMEMBER_INDEXES = 64


class DamagedBlock(Exception):
    """A block's file is not what the table says."""


class Part(NamedTuple):
    """One form of a block, as its file must be; XXH3 takes a tenth of the time of a cryptographic hash."""

    size_bytes: int
    xxh3: str


class Block(NamedTuple):
    """A block by its first package name and the SHA-256 of its plain text; ``parts`` are in the table's forms."""

    first: str
    sha256: str
    parts: tuple[Part, ...]


class Sum(NamedTuple):
    """The size and hash of a whole index in one form."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Table:
    """An index at a moment of the history, which ``mark`` names: its blocks, and its sums in each form."""

    mark: str
    generation: int
    forms: tuple[str, ...]
    blocks: tuple[Block, ...]
    sums: tuple[Sum, ...]


def load_table(directory: Path, forms: Sequence[str]) -> Table | None:
    """The table in a directory; None when there is none that is whole and has these forms."""
    try:
        checksum, _, text = (directory / TABLE).read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    if hashlib.sha256(text).hexdigest().encode() != checksum:
        return None
    said = json.loads(text)
    if said["format"] != FORMAT or tuple(said["forms"]) != tuple(forms):
        return None
    blocks = tuple(
        Block(first, sha256, tuple(Part(size, xxh3) for size, xxh3 in parts))
        for first, sha256, parts in said["blocks"]
    )
    return Table(
        said["mark"], said["generation"], tuple(forms), blocks, tuple(Sum(size, sha) for size, sha in said["sums"])
    )


def save_table(directory: Path, table: Table) -> None:
    """Replace the table, and remove every block that it does not name."""
    said = {
        "format": FORMAT,
        "mark": table.mark,
        "generation": table.generation,
        "forms": table.forms,
        "blocks": table.blocks,
        "sums": table.sums,
    }
    text = json.dumps(said, separators=(",", ":")).encode()
    temporary = directory / f".{TABLE}"
    temporary.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
    temporary.replace(directory / TABLE)
    named = {_file_name(block.sha256, form) for block in table.blocks for form in table.forms} | {TABLE}
    for name in os.listdir(directory):  # noqa: PTH208 (a list of thousands, each time)
        if name not in named:
            (directory / name).unlink()


def forget(directory: Path) -> None:
    """Remove an index's blocks and table: it will be rendered as a whole."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)


def write_block(directory: Path, text: Text, forms: Iterable[str]) -> Block:
    """Keep a block in these forms. One that is there already is written again: it may be damaged."""
    sha256 = hashlib.sha256(text.content).hexdigest()
    parts = []
    for form in forms:
        data = FORMS[form].compress(text.content)
        (directory / _file_name(sha256, form)).write_bytes(data)
        parts.append(Part(len(data), xxh3_64_hexdigest(data)))
    return Block(text.first, sha256, tuple(parts))


class PlainSums:
    """Sums plain indexes, and remembers how far each sum had come at some of the blocks.

    A process that publishes again reads and hashes only what comes after the first change. Threads may share one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[list[str], list[_Sofar]]] = {}

    def sum(self, directory: Path, blocks: Sequence[Block]) -> Sum:
        """The sum of a plain index; raises DamagedBlock when a block that is read is not what the table says."""
        names = [block.sha256 for block in blocks]
        with self._lock:
            known, states = self._known.pop(directory, ([], []))
        same = next((n for n, (a, b) in enumerate(zip(known, names, strict=False)) if a != b), len(known))
        states = [one for one in states if one.blocks <= min(same, len(names))] or [_Sofar(0, 0, hashlib.sha256())]
        digest, size_bytes = states[-1].digest.copy(), states[-1].size_bytes
        for count, block in enumerate(blocks[states[-1].blocks :], states[-1].blocks + 1):
            digest.update(_read(f"{directory}/{_file_name(block.sha256, PLAIN)}", block.parts[0]))
            size_bytes += block.parts[0].size_bytes
            if count % REMEMBER_EVERY == 0:
                states.append(_Sofar(count, size_bytes, digest.copy()))
        with self._lock:
            self._known[directory] = names, states
            while len(self._known) > REMEMBER_INDEXES:
                del self._known[next(iter(self._known))]
        return Sum(size_bytes, digest.hexdigest())


@dataclass(frozen=True)
class _Sofar:
    """The sum of the first blocks of an index."""

    blocks: int
    size_bytes: int
    digest: hashlib._Hash


def assemble(directory: Path, blocks: Iterable[Block], number: int, form: str, out: IO[bytes]) -> Sum:
    """Write one compressed form of an index, the ``number``th of its table, and sum it.

    Raises DamagedBlock when a block is not what the table says.
    """
    digest = hashlib.sha256()
    size_bytes = 0
    pieces = (_read(f"{directory}/{_file_name(block.sha256, form)}", block.parts[number]) for block in blocks)
    for data in FORMS[form].join(pieces):
        digest.update(data)
        out.write(data)
        size_bytes += len(data)
    return Sum(size_bytes, digest.hexdigest())


def _file_name(sha256: str, form: str) -> str:
    return f"{sha256}.{form}" if form else sha256


def _read(path: str, part: Part) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise DamagedBlock(f"{path} is missing") from error
    try:
        data = os.read(handle, part.size_bytes + 1)
    finally:
        os.close(handle)
    if len(data) != part.size_bytes or xxh3_64_hexdigest(data) != part.xxh3:
        raise DamagedBlock(f"{path} is not what was written")
    return data
