"""Writing a series' indexes so that a reader sees the publication before or after, never between.

1. Take the PPA's lock; read the generation and its stanzas in one view of the history.
2. Link the files of pending publications into the PPA's pool, and sync.
3. Write every index under its hash, and sync: nobody is told of them yet.
4. Touch the by-hash files of the publication that is there now: they are superseded from now on.
5. Replace the plain index names, then Release and Release.gpg, and InRelease last of all.
6. Tell the history which generation stands. Killed before this, the series is still dirty and all is done again.
7. Remove by-hash files that were superseded longer ago than they are kept.

Each step may be done again, and a crash after any of them leaves a publication that apt can read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ppa_tools.archives import history as h
from ppa_tools.archives import indexes
from ppa_tools.archives.durable import replace_file, sync_directories
from ppa_tools.archives.pool import Pool

Sign = Callable[[bytes], tuple[bytes, bytes]]
"""Release text -> InRelease, Release.gpg."""


@dataclass(frozen=True)
class Published:
    """A series as it was published; ``in_release_sha256`` names the publication."""

    series: str
    generation: int
    in_release_sha256: str


def publish_series(
    history: h.History,
    pool: Pool,
    directory: Path,
    ppa: h.PPA,
    series_name: str,
    sign: Sign,
    now: float,
    keep_by_hash_s: float,
) -> Published:
    """Publish a series below ``directory``, the PPA's; the caller holds the PPA's lock."""
    with history.read() as conn:
        series = h.find_series(conn, ppa, series_name)
        assert series is not None, series_name
        sources = h.source_stanzas(conn, series.id)
        packages = {arch: h.binary_stanzas(conn, series.id, arch) for arch in series.architectures}
        source_ids, binary_ids = h.pending_ids(conn, series.id)
        files = h.pending_files(conn, ppa, series.id)
    pool.link_into(directory, files)
    written = indexes.render_indexes(packages, sources)
    dists = directory / "dists" / series_name
    _write_by_hash(dists, written)
    origin = f"{ppa.address.owner}/{ppa.address.name}"
    release = indexes.render_release(origin, ppa.description, series_name, series.architectures, written, now)
    in_release, release_gpg = sign(release)
    superseded = _named_by_hash(dists / "InRelease")
    for path in superseded:
        with contextlib.suppress(FileNotFoundError):
            os.utime(dists / path, (now, now))
    _replace_names(dists, written, release, release_gpg, in_release, now)
    with history.write() as conn:
        h.mark_published(conn, series.id, series.generation, source_ids, binary_ids, now)
    _remove_old(dists, {index.by_hash_path for index in written} | superseded, now - keep_by_hash_s)
    return Published(series_name, series.generation, hashlib.sha256(in_release).hexdigest())


def _write_by_hash(dists: Path, written: Iterable[indexes.IndexFile]) -> None:
    directories = set()
    for index in written:
        path = dists / index.by_hash_path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            replace_file(path, index.content)
        directories |= {path.parent, path.parent.parent, path.parent.parent.parent, dists}
    sync_directories(directories)


def _replace_names(
    dists: Path,
    written: Iterable[indexes.IndexFile],
    release: bytes,
    release_gpg: bytes,
    in_release: bytes,
    now: float,
) -> None:
    # If-Modified-Since counts whole seconds: two publications in one second must not look like one.
    mtime_s = max(int(now), _mtime_s(dists / "InRelease") + 1)
    for index in written:
        _replace_by_link(dists / index.path, dists / index.by_hash_path)
    replace_file(dists / "Release", release, mtime_s=mtime_s)
    replace_file(dists / "Release.gpg", release_gpg, mtime_s=mtime_s)
    sync_directories([dists, *((dists / index.path).parent for index in written)])
    replace_file(dists / "InRelease", in_release, mtime_s=mtime_s)
    sync_directories([dists])


def _replace_by_link(path: Path, content: Path) -> None:
    temporary = path.with_name(f".new-{path.name}")
    temporary.unlink(missing_ok=True)
    os.link(content, temporary)
    temporary.replace(path)
    temporary.unlink(missing_ok=True)  # rename does nothing when both are the same file already


def _named_by_hash(in_release: Path) -> set[str]:
    """The by-hash files that the publication on disk names."""
    try:
        named = indexes.release_indexes(in_release.read_bytes())
    except FileNotFoundError:
        return set()
    return {indexes.by_hash_path(path, sha256) for path, sha256 in named.items()}


def _mtime_s(path: Path) -> int:
    try:
        return int(path.stat().st_mtime)
    except FileNotFoundError:
        return 0


def _remove_old(dists: Path, kept: set[str], before: float) -> None:
    """Remove by-hash files last named before then, and what a killed publisher left half written."""
    for directory in dists.glob("main/*/by-hash/SHA256"):
        for path in directory.iterdir():
            if path.relative_to(dists).as_posix() not in kept and path.stat().st_mtime < before:
                path.unlink(missing_ok=True)
    for pattern in (".new-*", "main/*/.new-*"):
        for path in dists.glob(pattern):
            path.unlink(missing_ok=True)
