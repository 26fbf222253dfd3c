"""A commit's content as files: what is refused before it is written, and its digest afterwards."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from buildfarm.errors import PackageFault
from buildfarm.files import sha256_of

TREE_LIMIT_BYTES = 2 * 1024**3
TREE_LIMIT_FILES = 200_000
NAME_LIMIT_BYTES = 255
PATH_LIMIT_BYTES = 3000
CONTROL_DIRECTORIES = (b".git", b".bzr")
REGULAR_MODE = {False: 0o644, True: 0o755}


@dataclass(frozen=True)
class Entry:
    """One thing in a tree: its path as bytes, relative, slashes between names; a submodule has no content."""

    path: bytes
    kind: Literal["file", "directory", "symlink", "submodule"]
    size_bytes: int = 0


@dataclass(frozen=True)
class TreeSummary:
    """A tree on disk: hex SHA-256 of all of it, how many files and bytes."""

    sha256: str
    files: int
    size_bytes: int


def check_entries(entries: Iterable[Entry]) -> None:
    """Raise PackageFault when a tree must not be written: too big, or with names that mean something else."""
    files = size_bytes = 0
    seen: dict[bytes, str] = {b"": "directory"}
    for entry in entries:
        _check_name(entry)
        files += entry.kind != "directory"
        size_bytes += entry.size_bytes
        if seen.setdefault(entry.path, entry.kind) != entry.kind:
            raise _hostile(entry.path, "stands for two things")
        parent = entry.path
        while parent := parent.rpartition(b"/")[0]:
            known = seen.setdefault(parent, "directory")
            if known != "directory":
                raise _hostile(entry.path, f"lies below {show_path(parent)}, which is no directory")
    check_size(files, size_bytes)


def check_size(files: int, size_bytes: int) -> None:
    """Raise PackageFault when a tree has too many files or bytes."""
    for number, limit, unit in (
        (files, TREE_LIMIT_FILES, "files"),
        (size_bytes, TREE_LIMIT_BYTES, "bytes"),
    ):
        if number > limit:
            raise PackageFault(
                f"the tree has {number} {unit}, more than the limit of {limit}",
                resolution="Take what is no source out of the branch, or split the package.",
            )


def settle_tree(root: Path, inside: Path) -> None:
    """Give what was written plain modes, and refuse links that leave ``inside``; raises PackageFault.

    A link is followed as the kernel does it, through other links and names that are not there.
    """
    boundary = inside.resolve()
    for path in walk(root):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            if not Path(os.path.realpath(path)).is_relative_to(boundary):
                raise PackageFault(
                    "a symbolic link points out of the tree",
                    where=show_path(os.fsencode(path.relative_to(root))),
                    details=f"it points to {show_path(os.fsencode(path.readlink()))}",
                    resolution="Replace the link by a file, or by a link that stays inside the branch.",
                )
            continue
        wanted = 0o755 if stat.S_ISDIR(found.st_mode) else REGULAR_MODE[bool(found.st_mode & stat.S_IXUSR)]
        if stat.S_IMODE(found.st_mode) != wanted:
            path.chmod(wanted)


def summarize_tree(root: Path) -> TreeSummary:
    """Read a whole tree; raises PackageFault when it is too big.

    The digest is over ``MODE PATH\\0CONTENT\\n`` for every path in byte order: git's modes, and the SHA-256 of a
    file's content or of a link's target; a device or a pipe, which no checkout makes, counts with its kind.
    """
    digest = hashlib.sha256()
    files = size_bytes = 0
    for name, path in sorted((os.fsencode(path.relative_to(root)), path) for path in walk(root)):
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode):
            mode, content = b"040000", ""
        elif stat.S_ISLNK(found.st_mode):
            mode, content = b"120000", hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
            files += 1
        elif not stat.S_ISREG(found.st_mode):
            mode, content = b"%06o" % stat.S_IFMT(found.st_mode), ""
        else:
            mode = b"100755" if found.st_mode & stat.S_IXUSR else b"100644"
            content = sha256_of(path)
            files += 1
            size_bytes += found.st_size
        digest.update(b"%s %s\0%s\n" % (mode, name, content.encode()))
    check_size(files, size_bytes)
    return TreeSummary(digest.hexdigest(), files, size_bytes)


def walk(root: Path) -> Iterator[Path]:
    """Every path below ``root``, directories too, links not followed."""
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            yield Path(directory, name)


def show_path(path: bytes | str) -> str:
    """A path as people can read it: what is unprintable is escaped."""
    text = path.decode("utf-8", "backslashreplace") if isinstance(path, bytes) else path
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _check_name(entry: Entry) -> None:
    names = entry.path.split(b"/")
    if b"\0" in entry.path or any(name in (b"", b".", b"..") for name in names):
        raise _hostile(entry.path, "is no path inside the tree")
    if any(name.lower() in CONTROL_DIRECTORIES for name in names):
        raise _hostile(entry.path, "is named like version control's own files")
    if len(entry.path) > PATH_LIMIT_BYTES or any(len(name) > NAME_LIMIT_BYTES for name in names):
        raise _hostile(entry.path[:NAME_LIMIT_BYTES] + b"...", "is longer than a file system takes")
    if entry.kind == "symlink" and not 0 < entry.size_bytes < PATH_LIMIT_BYTES:
        raise _hostile(entry.path, f"is a link with a target of {entry.size_bytes} bytes")


def _hostile(path: bytes, why: str) -> PackageFault:
    return PackageFault(
        f"the tree cannot be written: {show_path(path)} {why}",
        where=show_path(path),
        resolution="Rename or remove it in the branch.",
    )
