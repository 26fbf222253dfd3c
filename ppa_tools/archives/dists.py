"""The files below dists/SERIES: indexes by hash and by name, Release and its signatures, and what may go again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ppa_tools.archives.compression import FORMS, PLAIN
from ppa_tools.archives.durable import TEMPORARY_PREFIX, new_file, sync_directories, sync_files
from ppa_tools.archives.indexes import Listed, release_date, release_listed

BY_HASH = "by-hash"
CONTENTS_PREFIX = "Contents-"


@dataclass(frozen=True)
class Standing:
    """The publication that readers see now: its files, its Date, and the modification time it is served with."""

    listed: tuple[Listed, ...]
    date_s: float
    mtime_s: int

    @property
    def contents(self) -> tuple[Listed, ...]:
        """The Contents indexes that it vouches for."""
        return tuple(one for one in self.listed if PurePosixPath(one.path).name.startswith(CONTENTS_PREFIX))


def form_of(path: str) -> str:
    """The form that the name of an index tells."""
    ending = PurePosixPath(path).suffix.removeprefix(".")
    return ending if ending in FORMS else PLAIN


def lies_on_disk(listed: Listed) -> bool:
    """Whether a file is kept as such: plain indexes are vouched for, and made from compressed ones by apt."""
    return form_of(listed.path) != PLAIN


def standing(dists: Path) -> Standing:
    """What InRelease says; nothing, where there is none yet."""
    try:
        text = (dists / "InRelease").read_bytes()
        mtime_s = int((dists / "InRelease").stat().st_mtime)
    except FileNotFoundError:
        return Standing((), 0.0, 0)
    return Standing(release_listed(text), release_date(text) or 0.0, mtime_s)


def holds(dists: Path, listed: Listed) -> bool:
    """Whether a file lies under its hash already, with its size."""
    try:
        return (dists / listed.by_hash_path).stat().st_size == listed.size_bytes
    except FileNotFoundError:
        return False


def standing_contents(dists: Path, standing: Standing) -> tuple[Listed, ...]:
    """The Contents indexes that may be vouched for again; none when one of them is lost."""
    there = all(holds(dists, one) for one in standing.contents if lies_on_disk(one))
    return standing.contents if there else ()


def by_hash_directory(dists: Path, path: str) -> Path:
    """Where the files of an index lie under their hashes; made where missing."""
    directory = (dists / path).parent / BY_HASH / "SHA256"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def name_by_hash(dists: Path, written: Iterable[tuple[Path, Listed]]) -> set[Path]:
    """Sync files and give them the names of their hashes; the directories to sync before anybody is told."""
    written = list(written)
    sync_files(path for path, _ in written)
    for path, listed in written:
        path.replace(dists / listed.by_hash_path)
    return {dists, *(parent for _, listed in written for parent in _directories(dists, listed))}


def touch(dists: Path, superseded: Iterable[Listed], now: float) -> None:
    """From now on these are superseded: by-hash files are kept for their time from here."""
    for listed in superseded:
        with contextlib.suppress(FileNotFoundError):
            os.utime(dists / listed.by_hash_path, (now, now))


def replace_names(
    dists: Path, listed: Iterable[Listed], release: bytes, release_gpg: bytes, in_release: bytes, mtime_s: int
) -> None:
    """Make this the publication that readers see; durable when this returns. InRelease is renamed last of all."""
    directories = {dists}
    temporaries = []
    for name, content in (("Release", release), ("Release.gpg", release_gpg), ("InRelease", in_release)):
        with new_file(dists) as (temporary, file):
            file.write(content)
            file.flush()
            os.utime(file.fileno(), (mtime_s, mtime_s))
        temporaries.append((temporary, dists / name))
    sync_files(temporary for temporary, _ in temporaries)
    for one in listed:
        if lies_on_disk(one):
            _replace_by_link(dists / one.path, dists / one.by_hash_path)
            directories.add((dists / one.path).parent)
    for temporary, path in temporaries:
        temporary.replace(path)
    sync_directories(directories)


def remove_old(dists: Path, kept: Iterable[Listed], before: float) -> None:
    """Remove what ``find_old`` finds."""
    for path in list(find_old(dists, kept, before)):
        path.unlink(missing_ok=True)


def find_old(dists: Path, kept: Iterable[Listed], before: float) -> Iterator[Path]:
    """By-hash files last named before then, names that no Release has, and what a killed process left.

    ``kept`` are of this publication and the one before it; the caller holds the PPA's lock.
    """
    by_hash = {one.by_hash_path for one in kept}
    names = {one.path for one in kept}
    for entry in _files(dists / "main") if (dists / "main").is_dir() else ():
        path = os.path.relpath(entry.path, dists)
        if entry.name.startswith(TEMPORARY_PREFIX):
            gone = True
        elif f"/{BY_HASH}/" in path:
            gone = path not in by_hash and entry.stat().st_mtime < before
        else:
            gone = path not in names or not lies_on_disk(Listed(path, 0, ""))
        if gone:
            yield Path(entry.path)
    yield from dists.glob(f"{TEMPORARY_PREFIX}*")


def _files(directory: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield entry


def _directories(dists: Path, listed: Listed) -> Iterator[Path]:
    """The directories from a by-hash file up to dists/SERIES."""
    directory = (dists / listed.by_hash_path).parent
    while directory != dists:
        yield directory
        directory = directory.parent


def _replace_by_link(path: Path, content: Path) -> None:
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    temporary.unlink(missing_ok=True)
    os.link(content, temporary)
    temporary.replace(path)
    temporary.unlink(missing_ok=True)  # rename does nothing when both are the same file already
