"""Files that survive a power cut: written whole beside their place, synced, then renamed into it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ppa_tools.archives.errors import ArchiveTrouble

CHUNK_BYTES = 1 << 20
LOCK_TIMEOUT_S = 300.0
LOCK_POLL_S = 0.02
TEMPORARY_PREFIX = ".new-"
SYNC_THREADS = 8
DISK_REMEDIES = {
    errno.ENOSPC: "is full: make room and try again; readers have a whole publication",
    errno.EDQUOT: "is full, to this user's quota: make room and try again; readers have a whole publication",
    errno.EROFS: "is read-only: mount it writable, after a look at the kernel's log, and try again",
    errno.EIO: "does not work: the kernel's log says more, and the disk may have to be replaced",
}


@dataclass(frozen=True)
class Digests:
    """A file's size in bytes and its hashes as hex."""

    size_bytes: int
    md5: str
    sha1: str
    sha256: str


def digests_of(path: Path) -> Digests:
    """Read a file once, in pieces, for its size and hashes."""
    md5, sha1, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    size_bytes = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            size_bytes += len(chunk)
            for digest in (md5, sha1, sha256):
                digest.update(chunk)
    return Digests(size_bytes, md5.hexdigest(), sha1.hexdigest(), sha256.hexdigest())


@contextlib.contextmanager
def new_file(directory: Path, *, mode: int = 0o644) -> Iterator[tuple[Path, IO[bytes]]]:
    """A file to write in ``directory``, under a name that no reader knows yet; the caller renames it into place.

    It is removed when the block ends in an exception. One that a killed process left begins with ``.new-``.
    """
    handle, name = tempfile.mkstemp(dir=directory, prefix=TEMPORARY_PREFIX)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, mode)
            yield Path(name), file
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def replace_file(path: Path, content: bytes, *, mode: int = 0o644, mtime_s: int | None = None) -> None:
    """Put ``content`` at ``path``, whole and synced or not at all; its directory is synced by the caller."""
    with new_file(path.parent, mode=mode) as (temporary, file):
        file.write(content)
        file.flush()
        if mtime_s is not None:
            os.utime(file.fileno(), (mtime_s, mtime_s))
        os.fsync(file.fileno())
        temporary.replace(path)


def write_durably(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """``replace_file``, and the directory synced too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content, mode=mode)
    sync_directories([path.parent])


def sync_files(paths: Iterable[Path]) -> None:
    """Make the contents of these files durable."""
    _sync(paths, os.O_RDONLY)


def sync_directories(directories: Iterable[Path]) -> None:
    """Make the names in these directories durable, each once."""
    _sync(directories, os.O_RDONLY | os.O_DIRECTORY)


def _sync(paths: Iterable[Path], flags: int) -> None:
    """Sync all at once: a file system then writes its journal for many of them together."""
    distinct = sorted(set(paths))
    if len(distinct) == 1:
        _sync_one(distinct[0], flags)
    elif distinct:
        with ThreadPoolExecutor(min(len(distinct), SYNC_THREADS)) as pool:
            list(pool.map(_sync_one, distinct, itertools.repeat(flags)))


def _sync_one(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def explained(root: Path) -> Iterator[None]:
    """Turn what a disk refuses into words: ArchiveTrouble when the one with ``root`` is full or read-only."""
    try:
        yield
    except OSError as error:
        remedy = DISK_REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        path = error.filename2 or error.filename
        name = f" (at {path})" if path else ""
        raise ArchiveTrouble(f"the disk that holds {root} {remedy}{name}") from error


@contextlib.contextmanager
def locked(path: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold an exclusive lock on a file, among threads and processes alike; waits for whoever has it.

    Raises ArchiveTrouble when that takes longer than ``timeout_s``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ArchiveTrouble(
                        f"another process holds {path} for more than {timeout_s:g} s; fuser {path} names it"
                    ) from None
                time.sleep(LOCK_POLL_S)
        yield
