"""Writing a series' indexes so that a reader sees the publication before or after, never between.

1. Take the PPA's lock. In one view of the history: render the blocks of each index that have changed since it was
   last written, and link the files of pending publications into the PPA's pool.
2. Put each index together from its blocks under a temporary name, and hash it.
3. Sign the Release that names these hashes. Meanwhile sync the indexes, give each the name of its hash, and sync
   the directories of the pool and of the indexes: nobody is told of them yet.
4. Touch the by-hash files of the publication that is there now: they are superseded from now on.
5. Write and sync Release, Release.gpg and InRelease under temporary names; replace the plain names of the indexes,
   then Release and Release.gpg, and InRelease last of all; sync the directories.
6. Tell the history which generation stands. Killed before this, the series is still dirty and all is done again.
7. Keep the tables of blocks for the next time; remove blocks that no table names any more, and by-hash files that
   were superseded longer ago than they are kept.

Each step may be done again, and a crash or a full disk after any of them leaves a publication that apt can read.
Indexes lie on disk compressed only. Release names the plain ones too, with sizes and hashes, as apt demands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ppa_tools.archives import block_store, dists, incremental
from ppa_tools.archives import history as h
from ppa_tools.archives.block_store import DamagedBlock, PlainSums, Sum
from ppa_tools.archives.compression import PLAIN
from ppa_tools.archives.durable import new_file, sync_directories
from ppa_tools.archives.errors import ArchiveError
from ppa_tools.archives.incremental import Update
from ppa_tools.archives.indexes import Index, Listed, render_release
from ppa_tools.archives.pool import Pool

Sign = Callable[[bytes], tuple[bytes, bytes]]
"""Release text -> InRelease, Release.gpg."""

THREADS = 4
"""Hashing, compressing, reading and writing let other threads run: these are enough for two processors."""


@dataclass(frozen=True)
class Published:
    """A series as it was published; ``in_release_sha256`` names the publication."""

    series: str
    generation: int
    in_release_sha256: str


@dataclass(frozen=True)
class Target:
    """Where a publication goes: the PPA's directory as served; what is kept of its indexes, on disk and here."""

    directory: Path
    cache: Path
    sums: PlainSums


@dataclass(frozen=True)
class View:
    """What the history says at one moment of what is to be published."""

    series: h.Series
    source_ids: Sequence[int]
    binary_ids: Sequence[int]
    files: Sequence[tuple[str, str]]
    updates: tuple[Update, ...]


@dataclass(frozen=True)
class Assembled:
    """A whole index in one form; ``temporary`` is where it was written, None where that was not needed."""

    listed: Listed
    temporary: Path | None


def publish_series(
    history: h.History,
    pool: Pool,
    target: Target,
    ppa: h.PPA,
    series_name: str,
    sign: Sign,
    now: float,
    keep_by_hash_s: float,
    *,
    contents: Sequence[Listed] | None = None,
    fresh: bool = False,
) -> Published:
    """Publish a series; the caller holds the PPA's lock.

    ``contents`` are new Contents indexes, which lie under their hashes already; None keeps those that stand.
    ``fresh`` renders all, whatever was kept. Raises ArchiveError when kept blocks do not last from one moment to
    the next, and OSError as the disk does.
    """
    directory = target.directory / "dists" / series_name
    standing = dists.standing(directory)
    with ThreadPoolExecutor(THREADS) as beside:
        view, assembled = _render(history, target, ppa, series_name, beside, fresh=fresh)
        listed = [one.listed for one in assembled]
        listed += dists.standing_contents(directory, standing) if contents is None else contents
        release = render_release(
            f"{ppa.address.owner}/{ppa.address.name}",
            ppa.description,
            series_name,
            view.series.architectures,
            listed,
            max(now, standing.date_s),  # apt refuses a Release that is older than the one it has
            ppa.settings.valid_for_s,
        )
        signing = beside.submit(sign, release)
        changed = pool.link_into(target.directory, view.files)
        written = ((one.temporary, one.listed) for one in assembled if one.temporary is not None)
        sync_directories(changed | dists.name_by_hash(directory, written))
        in_release, release_gpg = signing.result()
    dists.touch(directory, standing.listed, now)
    # If-Modified-Since counts whole seconds: two publications in one second must not look like one.
    mtime_s = max(int(now), standing.mtime_s + 1)
    dists.replace_names(directory, listed, release, release_gpg, in_release, mtime_s)
    with history.write() as conn:
        h.mark_published(conn, view.series.id, view.series.generation, view.source_ids, view.binary_ids, now)
    _keep(view.updates, [one.listed for one in assembled])
    dists.remove_old(directory, {*listed, *standing.listed}, now - keep_by_hash_s)
    return Published(series_name, view.series.generation, hashlib.sha256(in_release).hexdigest())


def _render(
    history: h.History, target: Target, ppa: h.PPA, series_name: str, beside: Executor, *, fresh: bool
) -> tuple[View, list[Assembled]]:
    """All indexes of a series, whole; what was kept of them and is damaged is rendered again, once."""
    directory, cache = target.directory / "dists" / series_name, target.cache / series_name
    for attempt in range(2):
        if fresh or attempt:
            block_store.forget(cache)
        view = _view(history, ppa, series_name, cache, beside)
        futures = [
            beside.submit(_assemble, target.sums, directory, update, number)
            for update in view.updates
            for number in range(len(update.forms))
        ]
        try:
            return view, [future.result() for future in futures]
        except DamagedBlock as error:
            damage = error
    raise ArchiveError(
        f"{damage}, though it was just written: the disk that holds {cache} does not keep what it is given"
    )


def _view(history: h.History, ppa: h.PPA, series_name: str, cache: Path, beside: Executor) -> View:
    forms = (PLAIN, *ppa.settings.compressions)
    with history.read() as conn:
        series = h.find_series(conn, ppa, series_name)
        assert series is not None, series_name
        begun = [
            incremental.begin_update(conn, series, index, cache / index.name, forms, beside)
            for index in (*map(Index, series.architectures), Index(None))
        ]
        pending = *h.pending_ids(conn, series.id), h.pending_files(conn, ppa, series.id)
    return View(series, *pending, tuple(incremental.finish_update(one) for one in begun))


def _assemble(sums: PlainSums, directory: Path, update: Update, number: int) -> Assembled:
    """One form of an index, from its blocks; it is not written when it is there already, nor when it is plain."""
    form = update.forms[number]
    path = f"{update.index.path}.{form}" if form else update.index.path
    if update.sums is not None:
        known = Listed(path, update.sums[number].size_bytes, update.sums[number].sha256)
        if form == PLAIN or dists.holds(directory, known):
            return Assembled(known, None)
    if form == PLAIN:
        whole = sums.sum(update.directory, update.blocks)
        return Assembled(Listed(path, whole.size_bytes, whole.sha256), None)
    with new_file(dists.by_hash_directory(directory, path)) as (temporary, file):
        whole = block_store.assemble(update.directory, update.blocks, number, form, file)
    return Assembled(Listed(path, whole.size_bytes, whole.sha256), temporary)


def _keep(updates: Iterable[Update], listed: Sequence[Listed]) -> None:
    sums = {one.path: Sum(one.size_bytes, one.sha256) for one in listed}
    for update in updates:
        if update.sums is None:
            paths = (f"{update.index.path}.{form}" if form else update.index.path for form in update.forms)
            incremental.keep(update, [sums[path] for path in paths])
