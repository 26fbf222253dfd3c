"""Compressing a piece of an index so that pieces can stand one after the other, as apt reads them.

gzip members, xz streams and zstd frames may all be concatenated (RFC 1952, the xz file format, RFC 8878).
"""

from __future__ import annotations

import gzip
import lzma
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_LEVEL = 6
XZ_PRESET = 6
ZSTD_LEVEL = 9  # the size of a middling xz in a third of gzip's time


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, GZIP_LEVEL, mtime=0)  # no time in the header: the same bytes every time


def _xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=XZ_PRESET)


def _zstd(data: bytes) -> bytes:
    return zstd.compress(data, level=ZSTD_LEVEL)


COMPRESSORS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType({"gz": _gzip, "xz": _xz, "zst": _zstd})
"""What indexes may be compressed with, by the ending of their names."""
