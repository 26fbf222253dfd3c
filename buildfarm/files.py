"""Small certainties about files: content hashes, atomic writes, paths that stay inside."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

from buildfarm.verdict import FileRef


def sha256_of(path: Path) -> str:
    """The hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_ref(root: Path, relative: str) -> FileRef:
    """The file at ``root/relative``, by its content."""
    path = root / relative
    return FileRef(relative, sha256_of(path), path.stat().st_size)


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a whole file or none: a temporary file beside it, synced, then renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, data: Any) -> None:
    """Write plain values as indented JSON, atomically."""
    write_atomically(path, json.dumps(data, indent=2, sort_keys=True, ensure_ascii=True).encode() + b"\n")


def read_json(path: Path) -> Any:
    """The plain values of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def is_inside(root: Path, path: Path) -> bool:
    """Whether ``path``, symbolic links followed, is ``root`` or lies below it; links in a circle lead nowhere."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except RuntimeError:  # how Python before 3.13 says ELOOP
        return False


def empty_directory(path: Path) -> Path:
    """Make ``path`` an empty directory, whatever stood there, unreadable directories included."""
    remove_tree(path)
    path.mkdir(parents=True)
    return path


def remove_tree(path: Path) -> None:
    """Remove a file or a directory tree; what is not there is no error."""
    if not path.is_symlink() and path.is_dir():
        for directory, _, _ in os.walk(path):
            mode = stat.S_IMODE(Path(directory).lstat().st_mode)
            if mode & stat.S_IRWXU != stat.S_IRWXU:
                Path(directory).chmod(mode | stat.S_IRWXU)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
