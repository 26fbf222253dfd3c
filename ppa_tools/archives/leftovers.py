"""What lies on disk though nothing wants it: what crashes, ended uploads and superseded indexes have left."""

from __future__ import annotations

import contextlib
import enum
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppa_tools.address import Address
from ppa_tools.archives import dists
from ppa_tools.archives import history as h
from ppa_tools.archives.durable import locked
from ppa_tools.archives.history.rows import chunks
from ppa_tools.archives.incoming import Incoming
from ppa_tools.archives.indexes import Index
from ppa_tools.archives.layout import Layout

SAFE_AGE_S = 3600.0
"""What is younger may belong to somebody who is still at work."""

SHA256 = re.compile(r"[0-9a-f]{64}")


class Kind(enum.StrEnum):
    """What sort of thing was left."""

    LINK = "link"  # a file in a PPA's pool whose name is no longer served
    BLOB = "blob"  # a file of the pool that the history does not keep
    INDEX = "index"  # of a series or PPA that is gone, superseded, or never finished
    UPLOAD = "upload"  # begun, and not gone on with for a day


@dataclass(frozen=True)
class Leftover:
    """A file or a directory, below the archive's root; ``address`` where it belongs to a PPA."""

    kind: Kind
    path: Path
    size_bytes: int
    address: Address | None = None

    @property
    def path_in_ppa(self) -> str:
        """Where it lies below its PPA's directory."""
        return str(Path(*self.path.parts[3:]))


def find(history: h.History, layout: Layout, now: float, keep_by_hash_s: float) -> Iterator[Leftover]:
    """All leftovers; takes each PPA's lock for a moment."""
    yield from find_blobs(history, layout, now)
    for address in addresses_on_disk(layout):
        yield from find_links(history, layout, address)
        with locked(layout.lock_file(address)):
            yield from list(of_ppa(history, layout, address, now, keep_by_hash_s))
    for root in (layout.incoming, layout.incoming_binaries):
        for path in Incoming(root).stale(now):
            yield _leftover(layout, Kind.UPLOAD, path, None)


def find_blobs(history: h.History, layout: Layout, now: float) -> Iterator[Leftover]:
    """Blobs that the history let go of, and those that it has not known for a safe while."""
    for directory in sorted(layout.pool.root.iterdir()):
        # The directory first: what comes after is in the history before it is here for long.
        there = {name for name in _names(directory) if SHA256.fullmatch(name)}
        with history.read() as conn:
            known = {one.sha256: one.expired_at for one in h.files_from(conn, directory.name)}
        for sha256 in sorted(there):
            path = directory / sha256
            is_left = known[sha256] is not None if sha256 in known else is_old(path, now)
            if is_left:
                yield _leftover(layout, Kind.BLOB, path, None)


def find_links(history: h.History, layout: Layout, address: Address) -> Iterator[Leftover]:
    """Files in a PPA's pool whose names it no longer serves; not those that it never knew."""
    with history.read() as conn:
        ppa = h.find_ppa(conn, address)
    if ppa is None:
        return
    directory = layout.served(address, private=ppa.settings.private)
    for some in chunks(pool_files(directory), h.AMONG_AT_MOST):
        with history.read() as conn:
            named = h.names_in_ppa(conn, ppa.id, [Path(path).name for path in some])
        for path in some:
            name = named.get(Path(path).name)
            if name is not None and (name.removed or name.pool_path != path):
                yield _leftover(layout, Kind.LINK, directory / path, address)


def of_ppa(
    history: h.History, layout: Layout, address: Address, now: float, keep_by_hash_s: float
) -> Iterator[Leftover]:
    """What else a PPA has left; the caller holds its lock."""
    with history.read() as conn:
        ppa = h.find_ppa(conn, address, deleted=True)
        series = {one.name: one for one in h.list_series(conn, ppa)} if ppa else {}
    if ppa is None:
        return
    cache = layout.block_cache(address)
    if ppa.deleted_at is not None:
        served_by = (layout.served(address, private=private) for private in (False, True))
        gone = (*served_by, cache, layout.contents_room(address))
        yield from (_leftover(layout, Kind.INDEX, path, address) for path in gone if path.is_dir())
        return
    served = layout.served(address, private=ppa.settings.private)
    for directory in (*_directories(served / "dists"), *_directories(cache)):
        if directory.name not in series:
            yield _leftover(layout, Kind.INDEX, directory, address)
    for one in series.values():
        indexes = {Index(architecture).name for architecture in (*one.architectures, None)}
        for directory in _directories(cache / one.name):
            if directory.name not in indexes:
                yield _leftover(layout, Kind.INDEX, directory, address)
        where = served / "dists" / one.name
        for path in dists.find_old(where, dists.standing(where).listed, now - keep_by_hash_s):
            if is_old(path, now):
                yield _leftover(layout, Kind.INDEX, path, address)


def addresses_on_disk(layout: Layout) -> list[Address]:
    """The PPAs that have files, or had."""
    served_by = (layout.served_root(private=private) for private in (False, True))
    roots = (*served_by, layout.block_caches, layout.contents_rooms)
    return sorted(
        {
            Address("local", owner.name, one.name)
            for root in roots
            for owner in _directories(root)
            for one in _directories(owner)
        }
    )


def pool_files(directory: Path) -> list[str]:
    """The paths of the files in a PPA's pool, below its directory."""
    return [
        os.path.relpath(os.path.join(where, name), directory)  # noqa: PTH118 (they may be many)
        for where, _, names in os.walk(directory / "pool")
        for name in names
    ]


def is_old(path: Path, now: float) -> bool:
    """Whether a file was last touched, or linked, longer ago than anybody works on it."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return max(status.st_mtime, status.st_ctime) < now - SAFE_AGE_S


def _leftover(layout: Layout, kind: Kind, path: Path, address: Address | None) -> Leftover:
    return Leftover(kind, path.relative_to(layout.root), _size_bytes(path), address)


def _size_bytes(path: Path) -> int:
    paths: Sequence[Path] = [path]
    if path.is_dir():
        paths = [Path(where) / name for where, _, names in os.walk(path) for name in names]
    total = 0
    for one in paths:
        with contextlib.suppress(FileNotFoundError):
            total += one.stat().st_size
    return total


def _directories(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir()) if path.is_dir() else []


def _names(path: Path) -> list[str]:
    return os.listdir(path) if path.is_dir() else []  # noqa: PTH208 (they may be many)
