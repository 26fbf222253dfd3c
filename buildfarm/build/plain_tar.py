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


def read_members(archive: BinaryIO) -> Iterator[Member]:
    """The regular files of an archive, in order; what is of another kind is passed over. Raises NotPlain."""
    name = ""
    while len(header := archive.read(BLOCK_BYTES)) == BLOCK_BYTES:
        if not header.strip(b"\0"):
            return
        size_bytes, kind, begin = _size(header), header[156:157], archive.tell()
        if kind == LONG_NAME:
            if size_bytes > NAME_LIMIT_BYTES:
                raise NotPlain(f"a name of {size_bytes} bytes")
            name = _text(archive.read(size_bytes))
        else:
            if kind in REGULAR:
                yield Member(name or _text(header[:100]), size_bytes, archive)
            name = ""
        archive.seek(begin + -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES)
    raise NotPlain("the archive has no end")


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
