"""Contents indexes: which package installs which file, for apt-file. They follow behind the others.

1. List the files of published packages that nobody has listed yet; each list is kept for ever.
2. Write the Contents of each architecture beside the archive, in the time that this takes.
3. Under the PPA's lock give them the names of their hashes, and publish a Release that names them.

A publication in between goes on naming the Contents that stand.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ppa_tools.archives import dists
from ppa_tools.archives import history as h
from ppa_tools.archives.compression import GZIP_LEVEL
from ppa_tools.archives.debfile import list_deb_paths
from ppa_tools.archives.durable import sync_directories
from ppa_tools.archives.errors import ArchiveError, UploadRefused
from ppa_tools.archives.history.contents import Installed, installed_packages, keep_paths, unlisted_packages
from ppa_tools.archives.indexes import Listed
from ppa_tools.archives.pool import Pool

PACKAGES_AT_ONCE = 50
SORT_MEMORY = "64M"


@dataclass(frozen=True)
class Written:
    """The Contents of a series at a generation: files as Release names them; ``listed`` has plain forms too."""

    generation: int
    files: tuple[tuple[Path, Listed], ...]
    listed: tuple[Listed, ...]


def list_files(history: h.History, pool: Pool, series_id: int, until: Callable[[], bool]) -> tuple[str, ...]:
    """List the files of packages that were not listed; why some cannot be, in words. These have no lines then.

    Stops before its end when ``until`` says so; what is listed by then is kept.
    """
    with history.read() as conn:
        wanted = unlisted_packages(conn, series_id)
    problems = list[str]()
    for start in range(0, len(wanted), PACKAGES_AT_ONCE):
        found = dict[int, Sequence[str]]()
        for one in wanted[start : start + PACKAGES_AT_ONCE]:
            if until():
                break
            try:
                found[one.release_id] = list_deb_paths(pool.blob(one.sha256))
            except UploadRefused as error:
                problems.append(f"{one.file_name}: {error}")
                found[one.release_id] = ()
            except FileNotFoundError:  # it is listed once it is back
                problems.append(f"{one.file_name}: it is lost; verify the archive, and repair it")
        with history.write() as conn:
            keep_paths(conn, found)
    return tuple(problems)


def make_room(directory: Path) -> Path:
    """An empty directory for ``write_contents``: what a killed process left in it is gone."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    return directory


def write_contents(history: h.History, series: h.Series, directory: Path) -> Written:
    """Write the Contents of a series' architectures into ``directory``, which is the caller's."""
    files, listed = list[tuple[Path, Listed]](), list[Listed]()
    with history.read() as conn:
        for architecture in series.architectures:
            path = f"main/{dists.CONTENTS_PREFIX}{architecture}"
            target = directory / f"{series.name}-{architecture}.gz"
            plain, packed = _write_one(installed_packages(conn, series.id, architecture), target)
            listed += [Listed(path, *plain), Listed(f"{path}.gz", *packed)]
            files.append((target, listed[-1]))
    return Written(series.generation, tuple(files), tuple(listed))


def stand(directory: Path, written: Written) -> bool:
    """Whether the Release in ``directory``, dists/SERIES, names these already."""
    return dists.standing(directory).contents == written.listed


def place_contents(directory: Path, written: Written) -> None:
    """Give the files the names of their hashes in ``directory``, dists/SERIES; durable when this returns."""
    for _, listed in written.files:
        dists.by_hash_directory(directory, listed.path)
    sync_directories(dists.name_by_hash(directory, written.files))


def _write_one(packages: Iterable[Installed], target: Path) -> tuple[tuple[int, str], tuple[int, str]]:
    """Write one Contents; size and SHA-256 of its plain text, and of the file."""
    with target.open("wb") as file:
        packed = _Hashing(file)
        with gzip.GzipFile("", "wb", GZIP_LEVEL, packed, mtime=0) as squeezing:
            plain = _Hashing(squeezing)
            for line in _lines(packages, target.parent):
                plain.write(line)
    return (plain.size_bytes, plain.digest.hexdigest()), (packed.size_bytes, packed.digest.hexdigest())


def _lines(packages: Iterable[Installed], scratch: Path) -> Iterator[bytes]:
    """The lines of a Contents: a path, and the packages that install it as SECTION/NAME with commas between."""
    for path, pairs in itertools.groupby(_sorted_pairs(packages, scratch), key=lambda pair: pair[0]):
        yield path.ljust(55) + b" " + b",".join(name for _, name in pairs) + b"\n"


def _sorted_pairs(packages: Iterable[Installed], scratch: Path) -> Iterator[tuple[bytes, bytes]]:
    """Each path with each package that installs it, sorted by sort(1): they may be more than fit into memory."""
    with tempfile.TemporaryFile(dir=scratch) as unsorted:
        for one in packages:
            ending = f"\t{one.section}/{one.package}\n"
            unsorted.write("".join(f"{path}{ending}" for path in one.paths).encode())
        unsorted.seek(0)
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TMPDIR": str(scratch)}
        argv = ["sort", "--unique", f"--buffer-size={SORT_MEMORY}"]
        with subprocess.Popen(argv, stdin=unsorted, stdout=subprocess.PIPE, env=environment) as sorting:
            assert sorting.stdout is not None
            for line in sorting.stdout:
                path, _, name = line.rstrip(b"\n").rpartition(b"\t")
                yield path, name
        if sorting.returncode:
            raise ArchiveError(f"sort exited {sorting.returncode}: is the disk with {scratch} full?")


class _Hashing:
    """A file that is written to, with the size and the hash of what was written."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        """Write as a file does."""
        self.digest.update(data)
        self.size_bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Flush as a file does."""
        self._file.flush()
