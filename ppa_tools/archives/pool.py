"""The pool: one copy of every file, by its SHA-256, hard-linked under its name into each PPA that holds it."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ppa_tools.archives.durable import sync_directories, sync_files
from ppa_tools.archives.errors import ArchiveError


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
        new = [(path, self.blob(sha256)) for path, sha256 in files if not self.blob(sha256).exists()]
        for path, _ in new:
            path.chmod(0o644)
        sync_files(path for path, _ in new)
        for path, blob in new:
            blob.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.link(path, blob)
        sync_directories({self.root, *(blob.parent for _, blob in new)} if new else ())

    def link_into(self, directory: Path, files: Iterable[tuple[str, str]]) -> set[Path]:
        """Give blobs their names below ``directory``: (relative path, SHA-256).

        Returns the directories to sync before anybody is told of them.
        """
        changed = set[Path]()
        for relative, sha256 in files:
            path = directory / relative
            if path.parent not in changed:
                changed |= _make_directory(path.parent)
            try:
                os.link(self.blob(sha256), path)
            except FileExistsError:
                continue
            except FileNotFoundError as error:
                raise ArchiveError(
                    f"{path.name} is lost: {self.blob(sha256)} is missing; verify the archive, and repair it"
                ) from error
        return changed


def _make_directory(path: Path) -> set[Path]:
    """Make a directory where it is missing; the directories to sync for it, itself among them."""
    missing = list(itertools.takewhile(lambda one: not one.exists(), (path, *path.parents)))
    path.mkdir(parents=True, exist_ok=True)
    return {path, *(one.parent for one in missing)}


def pool_directory(source: str) -> str:
    """Where a source package's files go, in a PPA as in Debian: pool/main/h/hello, pool/main/libf/libfoo."""
    prefix = source[:4] if source.startswith("lib") and len(source) > 3 else source[:1]
    return f"pool/main/{prefix}/{source}"
