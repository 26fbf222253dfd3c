"""The pool: one copy of every file, by its SHA-256, hard-linked under its name into each PPA that holds it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ppa_tools.archives.durable import sync_directories, sync_file


@dataclass(frozen=True)
class Pool:
    """The directory of blobs."""

    root: Path

    def blob(self, sha256: str) -> Path:
        """Where a file with this content lies."""
        return self.root / sha256[:2] / sha256

    def adopt(self, files: Iterable[tuple[Path, str]]) -> None:
        """Keep files, given with their SHA-256, as blobs; durable when this returns.

        They are linked, not moved: until the history knows them the upload they came with stays whole. A blob
        is linked only after its content is synced, so one that exists is sound.
        """
        directories = set()
        for path, sha256 in files:
            blob = self.blob(sha256)
            if blob.exists():
                continue
            path.chmod(0o644)
            sync_file(path)
            blob.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.link(path, blob)
            directories |= {blob.parent, self.root}
        sync_directories(directories)

    def link_into(self, directory: Path, files: Iterable[tuple[str, str]]) -> None:
        """Give blobs their names below ``directory``: (relative path, SHA-256); durable when this returns."""
        directories = set()
        for relative, sha256 in files:
            path = directory / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.link(self.blob(sha256), path)
            directories.add(path.parent)
        sync_directories(directories)


def pool_directory(source: str) -> str:
    """Where a source package's files go, in a PPA as in Debian: pool/main/h/hello, pool/main/libf/libfoo."""
    prefix = source[:4] if source.startswith("lib") and len(source) > 3 else source[:1]
    return f"pool/main/{prefix}/{source}"
