"""Files that survive a power cut: written whole beside their place, synced, then renamed into it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ppa_tools.archives.errors import ArchiveError

CHUNK_BYTES = 1 << 20
LOCK_TIMEOUT_S = 300.0
LOCK_POLL_S = 0.02


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


def replace_file(path: Path, content: bytes, *, mode: int = 0o644, mtime_s: int | None = None) -> None:
    """Put ``content`` at ``path``, whole and synced or not at all; its directory is synced by the caller."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if mtime_s is not None:
                os.utime(file.fileno(), (mtime_s, mtime_s))
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_durably(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """``replace_file``, and the directory synced too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content, mode=mode)
    sync_directories([path.parent])


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_directories(directories: Iterable[Path]) -> None:
    """Make the names in these directories durable, each once."""
    for directory in sorted(set(directories)):
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def locked(path: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold an exclusive lock on a file, among threads and processes alike; waits for whoever has it.

    Raises ArchiveError when that takes longer than ``timeout_s``.
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
                    raise ArchiveError(
                        f"another process holds {path} for more than {timeout_s:g} s; fuser {path} names it"
                    ) from None
                time.sleep(LOCK_POLL_S)
        yield
