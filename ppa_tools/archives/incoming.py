"""Uploads on their way in: a private directory each, named by what is being sent and where to.

The SHA-256 of its .changes names an upload, so that one that was cut off is found again and only the rest is sent.
The .changes comes first: it says which files may follow, and who vouches for them. Nothing else is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppa_tools.address import Address
from ppa_tools.archives.control import NamedFile
from ppa_tools.archives.durable import digests_of
from ppa_tools.archives.errors import ArchiveError, UploadNotOpen, UploadRefused

UPLOAD_KEY = re.compile(r"[0-9a-f]{64}")
KEEP_S = 24 * 3600.0
IDLE_S = 600.0


@dataclass(frozen=True)
class Limits:
    """What an upload may be; sizes in bytes. ``open_uploads`` have not ended, ``open_bodies`` are on their way."""

    file_bytes: int = 2 << 30
    upload_bytes: int = 8 << 30
    files: int = 100
    open_uploads: int = 200
    open_bodies: int = 32


@dataclass(frozen=True)
class Destination:
    """What is being sent and where to; ``architecture`` is "source" for a source."""

    address: Address
    series: str
    architecture: str
    changes_sha256: str


@dataclass(frozen=True, eq=False)
class Incoming:
    """The directory that holds them."""

    root: Path
    limits: Limits = Limits()
    _open: dict[Destination, dict[str, NamedFile]] = field(default_factory=dict)
    _opening: threading.Lock = field(default_factory=threading.Lock)

    def directory(self, destination: Destination) -> Path:
        """The upload's directory, whether it is there or not."""
        words = f"{destination.address} {destination.series} {destination.architecture}"
        where = hashlib.sha256(words.encode()).hexdigest()[:16]
        return self.root / f"{where}-{destination.changes_sha256}"

    def open(self, destination: Destination, name: str, received: Path, named: Iterable[NamedFile]) -> Path:
        """Begin an upload, or go on with it, by its .changes, which was checked; raises UploadRefused."""
        files = {file.name: file for file in named}
        if len(files) >= self.limits.files:
            raise UploadRefused(f"an upload may have {self.limits.files} files")
        if any(file.size_bytes > self.limits.file_bytes for file in files.values()):
            raise UploadRefused(f"a file may have {self.limits.file_bytes >> 20} MiB")
        if sum(file.size_bytes for file in files.values()) > self.limits.upload_bytes:
            raise UploadRefused(f"an upload may have {self.limits.upload_bytes >> 20} MiB")
        directory = self.directory(destination)
        with self._opening:
            if not directory.is_dir():
                self._make_room()
                directory.mkdir(mode=0o700)
            self._open[destination] = files
        return received.rename(directory / name)

    def check_expected(self, destination: Destination, name: str, size_bytes: int) -> NamedFile:
        """What the upload's .changes says of a file; raises UploadNotOpen and UploadRefused."""
        named = self._open.get(destination)
        if named is None:
            raise UploadNotOpen("send the .changes first: it says which files may come")
        if name not in named:
            raise UploadRefused(f"the .changes does not name {name}")
        if size_bytes != named[name].size_bytes:
            raise UploadRefused(f"{name} has {size_bytes} bytes; {named[name].size_bytes} are promised")
        return named[name]

    def place(self, destination: Destination, name: str, received: Path) -> Path:
        """Put a received file in its upload's directory; raises UploadNotOpen and UploadRefused."""
        digests = digests_of(received)
        promised = self.check_expected(destination, name, digests.size_bytes).sha256
        if digests.sha256 != promised:
            raise UploadRefused(f"{name} has sha256 {digests.sha256}; {promised} is promised")
        return received.rename(self.directory(destination) / name)

    def missing(self, destination: Destination) -> list[str]:
        """What has to come yet of an open upload, by name."""
        directory = self.directory(destination)
        return sorted(name for name in self._open.get(destination, {}) if not (directory / name).is_file())

    def held(self, destination: Destination) -> dict[str, dict[str, Any]]:
        """What has come of an upload: name -> size_bytes, sha256."""
        try:
            paths = sorted(self.directory(destination).iterdir())
        except FileNotFoundError:
            return {}
        found = {path.name: digests_of(path) for path in paths}
        return {name: {"size_bytes": one.size_bytes, "sha256": one.sha256} for name, one in found.items()}

    def forget(self, destination: Destination) -> None:
        """Remove an upload that has ended."""
        self._open.pop(destination, None)
        shutil.rmtree(self.directory(destination), ignore_errors=True)

    def stale(self, now: float) -> list[Path]:
        """What nobody has added to for a day."""
        found = []
        for path in sorted(self.root.iterdir()):
            with contextlib.suppress(FileNotFoundError):  # whoever it belonged to has ended
                if path.stat().st_mtime < now - KEEP_S:
                    found.append(path)
        return found

    def clean(self, now: float | None = None) -> None:
        """Remove what is stale."""
        for path in self.stale(time.time() if now is None else now):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        for destination in list(self._open):
            if not self.directory(destination).is_dir():
                self._open.pop(destination, None)

    def _make_room(self) -> None:
        """For one more upload; the one that was idle longest goes when there is none."""
        uploads = [path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith(".")]
        if len(uploads) < self.limits.open_uploads:
            return
        idlest = min(uploads, key=lambda path: path.stat().st_mtime)
        if idlest.stat().st_mtime > time.time() - IDLE_S:
            raise ArchiveError("too many uploads are under way; try again later")
        shutil.rmtree(idlest, ignore_errors=True)
        for destination in [one for one in self._open if self.directory(one) == idlest]:
            self._open.pop(destination, None)
