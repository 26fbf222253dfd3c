"""Packages that were downloaded once: whole files of mirrors, by their URL, shared by all gateways of a host.

Only what never changes under its name is kept: what lies below ``/pool/`` or ``/by-hash/``. A file is written
beside its place and renamed into it when its length, and where its name tells one its hash, are right. Nothing
here is trusted for being here: apt checks what it gets against the signed index.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO

from buildfarm.vm.http_wire import Request, Response
from buildfarm.vm.targets import Target
from buildfarm.vm.upstream import in_thread

KEPT_BYTES = 4 << 30
FILE_LIMIT_BYTES = 1 << 30
DEAD_PART_S = 86400.0
KEEPING_AT_ONCE = 8
_BY_HASH = re.compile(r"/by-hash/(MD5Sum|SHA1|SHA256|SHA512)/([0-9a-f]{32,128})$")
_ALGORITHMS = {"MD5Sum": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}


@dataclass
class Kept:
    """A file of the cache, open: it can be read to its end whatever happens to its name."""

    file: BinaryIO
    size_bytes: int
    modified: float

    @property
    def modified_text(self) -> str:
        """Its Last-Modified."""
        return formatdate(self.modified, usegmt=True)


class Part:
    """A file on its way into the cache; one that cannot be written is silently none."""

    place: Path

    def __init__(self, place: Path, expected_bytes: int, url_path: str, modified: float) -> None:
        self.place = place
        self._left_bytes = expected_bytes
        self._modified = modified
        named = _BY_HASH.search(url_path)
        self._hash = hashlib.new(_ALGORITHMS[named[1]], usedforsecurity=False) if named else None
        self._wanted = named[2] if named else ""
        self._file: BinaryIO | None = None
        self._path = Path()
        with contextlib.suppress(OSError):
            handle, name = tempfile.mkstemp(dir=place.parent, prefix=".part-")
            self._path = Path(name)
            self._file = os.fdopen(handle, "wb")

    def write(self, block: bytes) -> None:
        """Take the next bytes."""
        if self._file is None:
            return
        try:
            self._file.write(block)
        except OSError:  # a full disk costs the cache, not the download
            self.drop()
            return
        self._left_bytes -= len(block)
        if self._hash is not None:
            self._hash.update(block)

    def seal(self) -> Callable[[], bool] | None:
        """No more bytes come: what is left to do, in a thread, to have it in its place; it says whether it is."""
        file, self._file = self._file, None
        if file is None:
            return None
        whole = self._left_bytes == 0 and (self._hash is None or self._hash.hexdigest() == self._wanted)
        return lambda: self._finish(file, whole)

    def drop(self) -> None:
        """Forget it; no trouble when it was sealed."""
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                file.close()
            self._path.unlink(missing_ok=True)

    def _finish(self, file: BinaryIO, whole: bool) -> bool:
        try:
            with file:
                if whole:
                    file.flush()
                    os.fsync(file.fileno())  # or a crash of the host may leave a name with nothing behind it
            if whole:
                os.utime(self._path, (time.time(), self._modified))
                self._path.rename(self.place)
                return True
        except OSError:
            pass
        self._path.unlink(missing_ok=True)
        return False


class DownloadCache:
    """A directory of files, each named by the SHA-256 of its URL, the longest unused of them removed first."""

    def __init__(self, directory: Path, kept_bytes: int = KEPT_BYTES) -> None:
        self._directory = directory
        self._kept_bytes = kept_bytes
        self._room_bytes = 0
        self._keeping: dict[Path, asyncio.Task[None]] = {}

    @staticmethod
    def may_keep(request: Request, path: str) -> bool:
        """Whether a request's answer could be kept, or come from here: a plain GET of what never changes."""
        plain = request.method == "GET" and not any(
            name.lower() in ("range", "authorization", "cookie") or name.lower().startswith("if-")
            for name, _ in request.fields
        )
        return plain and "?" not in path and "/../" not in path and ("/pool/" in path or "/by-hash/" in path)

    async def find(self, target: Target, path: str, request: Request) -> Kept | None:
        """The kept file, unless the request insists on a new one."""
        if "no-cache" in request.value("cache-control").lower():
            return None
        place = self._place(target, path)
        if (keeping := self._keeping.get(place)) is not None:
            await asyncio.wait((keeping,))
        try:
            file = place.open("rb")
        except OSError:
            return None
        status = os.fstat(file.fileno())
        with contextlib.suppress(OSError):  # when it was last used, on file systems that do not note it, too
            os.utime(place, (time.time(), status.st_mtime))
        return Kept(file, status.st_size, status.st_mtime)

    def begin(self, target: Target, path: str, response: Response) -> Part | None:
        """A file to fill while the response passes; None when it is not one to keep."""
        length = response.length_bytes
        if response.status != 200 or response.chunked or not length or length > FILE_LIMIT_BYTES:
            return None
        if response.value("content-encoding") or length > self._kept_bytes // 2:
            return None
        try:
            modified = parsedate_to_datetime(response.value("last-modified")).timestamp()
        except (ValueError, OverflowError, OSError):
            modified = time.time()
        with contextlib.suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True)
        return Part(self._place(target, path), length, path, modified)

    async def keep(self, part: Part, size_bytes: int) -> None:
        """Have a part kept; the disk is waited for only when too many wait for it."""
        work = part.seal()
        if work is None:
            return
        task = asyncio.create_task(self._keep(work, size_bytes))
        self._keeping[part.place] = task
        task.add_done_callback(lambda _: self._kept(part.place, task))
        if len(self._keeping) > KEEPING_AT_ONCE:
            await asyncio.wait(self._keeping.values(), return_when=asyncio.FIRST_COMPLETED)

    def _kept(self, place: Path, task: asyncio.Task[None]) -> None:
        if self._keeping.get(place) is task:
            del self._keeping[place]

    async def _keep(self, work: Callable[[], bool], size_bytes: int) -> None:
        if not await in_thread(work):
            return
        self._room_bytes -= size_bytes
        if self._room_bytes < 0:
            await in_thread(self.make_room)

    def make_room(self) -> None:
        """Remove the longest unused until nine tenths of the limit are left; parts that nobody fills go, too."""
        files = []
        now = time.time()
        with contextlib.suppress(OSError), os.scandir(self._directory) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if not entry.name.startswith("."):
                        files.append((status.st_atime, status.st_size, entry.path))
                    elif entry.name.startswith(".part-") and now - status.st_mtime > DEAD_PART_S:
                        Path(entry.path).unlink(missing_ok=True)
        total = sum(size for _, size, _ in files)
        if total > self._kept_bytes:
            for _, size, path in sorted(files):
                if total <= self._kept_bytes * 9 // 10:
                    break
                with contextlib.suppress(OSError):
                    Path(path).unlink(missing_ok=True)
                total -= size
        # Others fill it as well: look again after a part of what is free.
        self._room_bytes = max(0, self._kept_bytes - total) // 4

    def _place(self, target: Target, path: str) -> Path:
        return self._directory / hashlib.sha256(f"http://{target}{path}".encode()).hexdigest()


async def read_block(kept: Kept, count: int) -> bytes:
    """The next bytes of a kept file; the others on the loop have their turn in between."""
    await asyncio.sleep(0)
    return kept.file.read(count)
