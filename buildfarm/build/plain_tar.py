"""Reading tar archives of whoever: regular files as GNU tar writes them, and nothing that a header could ask for.

Python's tarfile believes pax headers, which may be of any length, and sparse files, which may be of any size. Here
no member is larger than what the archive really has, and no name longer than a path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

BLOCK_BYTES = 512
NAME_LIMIT_BYTES = 4096
COPY_BYTES = 1 << 20
REGULAR, LONG_NAME = (b"0", b"\0"), b"L"


class NotPlain(ValueError):
    """The file is no tar archive, or its end is missing."""


@dataclass(frozen=True)
class Member:
    """A regular file in an archive, to be read before the next one is asked for."""

    name: str
    size_bytes: int
    archive: BinaryIO

    def copy_to(self, path: Path) -> None:
        """Write its content to ``path``; raises NotPlain when the archive ends before."""
        left = self.size_bytes
        with path.open("wb") as file:
            while left:
                chunk = self.archive.read(min(left, COPY_BYTES))
                if not chunk:
                    raise NotPlain(f"the archive ends within {self.name[:100]!r}")
                file.write(chunk)
                left -= len(chunk)


@dataclass(frozen=True)
class Header:
    """A header as it stands at ``offset``: 512 bytes. Its content follows it, to be read before the next one."""

    block: bytes
    offset: int
    size_bytes: int

    @property
    def kind(self) -> bytes:
        """What it is the header of, as one byte."""
        return self.block[156:157]

    @property
    def name(self) -> bytes:
        """The name that stands in it; a longer one stands elsewhere."""
        return self.block[:100].partition(b"\0")[0]

    @property
    def content_offset(self) -> int:
        """Where its content begins."""
        return self.offset + BLOCK_BYTES

    @property
    def end_offset(self) -> int:
        """Where the next header stands."""
        return self.content_offset + -(-self.size_bytes // BLOCK_BYTES) * BLOCK_BYTES


def read_headers(archive: BinaryIO) -> Iterator[Header]:
    """All headers of an archive in order, of members and of what is told about them. Raises NotPlain."""
    offset = archive.tell()
    while len(block := archive.read(BLOCK_BYTES)) == BLOCK_BYTES:
        if not block.strip(b"\0"):
            return
        header = Header(block, offset, _size(block))
        yield header
        offset = archive.seek(header.end_offset)
    raise NotPlain("the archive has no end")


def read_members(archive: BinaryIO) -> Iterator[Member]:
    """The regular files of an archive, in order; what is of another kind is passed over. Raises NotPlain."""
    name = ""
    for header in read_headers(archive):
        if header.kind == LONG_NAME:
            if header.size_bytes > NAME_LIMIT_BYTES:
                raise NotPlain(f"a name of {header.size_bytes} bytes")
            name = _text(archive.read(header.size_bytes))
        else:
            if header.kind in REGULAR:
                yield Member(name or _text(header.name), header.size_bytes, archive)
            name = ""


def _size(header: bytes) -> int:
    """A member's size; raises NotPlain for a header that is none."""
    told = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
    field = header[124:136]
    try:
        if told != int(header[148:156].strip(b"\0 "), 8):
            raise ValueError
        size_bytes = int.from_bytes(field[1:], "big") if field[0] & 0x80 else int(field.strip(b"\0 ") or b"0", 8)
    except ValueError:
        raise NotPlain("a header that is none") from None
    if size_bytes < 0 or size_bytes >> 60:
        raise NotPlain(f"a member of {size_bytes} bytes")
    return size_bytes


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "backslashreplace")
