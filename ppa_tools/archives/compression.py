"""Compressing an index piece by piece, and joining the pieces to a file that apt reads.

gzip members and zstd frames may stand one after the other (RFC 1952, RFC 8878). xz streams may too, but apt reads
the first alone; so their blocks are put into one stream, with one index (the .xz file format, 1.2.0).
"""

from __future__ import annotations

import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_LEVEL = 6
XZ_PRESET = 6
ZSTD_LEVEL = 9  # the size of a middling xz in a third of gzip's time


XZ_HEADER_BYTES = XZ_FOOTER_BYTES = 12


@dataclass(frozen=True)
class Compression:
    """How pieces are compressed, each alone, what the whole is of compressed pieces, and how it is read."""

    compress: Callable[[bytes], bytes]
    join: Callable[[Iterable[bytes]], Iterable[bytes]]
    open: Callable[[Path], Any]


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, GZIP_LEVEL, mtime=0)  # no time in the header: the same bytes every time


def _xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=XZ_PRESET)


def _zstd(data: bytes) -> bytes:
    return zstd.compress(data, level=ZSTD_LEVEL)


def concatenate(pieces: Iterable[bytes]) -> Iterable[bytes]:
    """Pieces that may stand one after the other as they are."""
    return pieces


def join_xz(streams: Iterable[bytes]) -> Iterator[bytes]:
    """One stream with the blocks of all; they must have the same kind of check."""
    header, flags, count, records = b"", b"", 0, bytearray()
    for stream in streams:
        if not header:
            header, flags = stream[:XZ_HEADER_BYTES], stream[-4:-2]
            yield header
        size_bytes = (int.from_bytes(stream[-8:-4], "little") + 1) * 4
        index_at = len(stream) - XZ_FOOTER_BYTES - size_bytes
        here, records_at = _read_number(stream, index_at + 1)
        records_end = records_at
        for _ in range(2 * here):
            _, records_end = _read_number(stream, records_end)
        yield stream[XZ_HEADER_BYTES:index_at]
        count += here
        records += stream[records_at:records_end]
    index = b"\0" + _write_number(count) + records
    index += bytes(-len(index) % 4)
    backward = (len(index) // 4).to_bytes(4, "little") + flags  # with the checksum it has one word more, less one
    yield index + _crc32(index) + _crc32(backward) + backward + b"YZ"


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _write_number(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _crc32(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


PLAIN = ""
FORMS: Mapping[str, Compression] = MappingProxyType(
    {
        PLAIN: Compression(bytes, concatenate, lambda path: path.open("rb")),
        "gz": Compression(_gzip, concatenate, gzip.open),
        "xz": Compression(_xz, join_xz, lzma.open),
        "zst": Compression(_zstd, concatenate, zstd.open),
    }
)
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError)
"""What reading damaged files raises."""

"""The forms that an index may have, by the ending of its name."""
