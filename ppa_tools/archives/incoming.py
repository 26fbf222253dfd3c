"""Uploads on their way in: a private directory each, named by what is being sent and where to.

The SHA-256 of its .changes names an upload, so that one that was cut off is found again and only the rest is sent.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppa_tools.address import Address
from ppa_tools.archives.durable import digests_of
from ppa_tools.archives.errors import ArchiveError, UploadRefused

UPLOAD_KEY = re.compile(r"[0-9a-f]{64}")
KEEP_S = 24 * 3600.0


@dataclass(frozen=True)
class Limits:
    """What an upload may be; sizes in bytes. ``open_uploads`` counts all that have not ended."""

    file_bytes: int = 2 << 30
    upload_bytes: int = 8 << 30
    files: int = 100
    open_uploads: int = 200


@dataclass(frozen=True)
class Destination:
    """What is being sent and where to; ``architecture`` is "source" for a source."""

    address: Address
    series: str
    architecture: str
    changes_sha256: str


@dataclass(frozen=True)
class Incoming:
    """The directory that holds them."""

    root: Path
    limits: Limits = Limits()

    def directory(self, destination: Destination) -> Path:
        """The upload's directory, whether it is there or not."""
        words = f"{destination.address} {destination.series} {destination.architecture}"
        where = hashlib.sha256(words.encode()).hexdigest()[:16]
        return self.root / f"{where}-{destination.changes_sha256}"

    def place(self, destination: Destination, name: str, received: Path) -> Path:
        """Put a received file in its upload's directory, in place of one with its name; raises UploadRefused."""
        directory = self.directory(destination)
        if not directory.is_dir():
            if sum(1 for path in self.root.iterdir() if path.is_dir()) >= self.limits.open_uploads:
                raise ArchiveError("too many uploads are under way; try again later")
            directory.mkdir(mode=0o700, exist_ok=True)
        others = [path for path in directory.iterdir() if path.name != name]
        if len(others) >= self.limits.files:
            raise UploadRefused(f"an upload may have {self.limits.files} files")
        size_bytes = received.stat().st_size + sum(path.stat().st_size for path in others)
        if size_bytes > self.limits.upload_bytes:
            raise UploadRefused(f"an upload may have {self.limits.upload_bytes >> 20} MiB")
        return received.rename(directory / name)

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
        shutil.rmtree(self.directory(destination), ignore_errors=True)

    def clean(self, now: float | None = None) -> None:
        """Remove what nobody has added to for a day."""
        before = (time.time() if now is None else now) - KEEP_S
        for path in self.root.iterdir():
            try:
                if path.stat().st_mtime >= before:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
            except FileNotFoundError:
                continue  # whoever it belonged to has ended
