"""Collecting what the archive no longer needs: names past their time, files that nobody serves, and leftovers.

1. In the history: names that nothing needs are removed, then files are marked as no longer kept. Each batch is a
   transaction of its own that asks again whether nothing needs them.
2. On disk: the links of removed names, each batch under its PPA's lock, which whoever makes links holds too; then
   blobs, each batch inside a writing transaction, which whoever adopts files holds too. A name or a file that was
   brought back in between stays.

A crash leaves links and blobs that the history does not want. They are found by looking at the disk, and go the
next time. The history's queries and what lies on disk decide what goes; a dry run ends before anything is done.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppa_tools.address import Address
from ppa_tools.archives import history as h
from ppa_tools.archives import leftovers
from ppa_tools.archives.durable import locked
from ppa_tools.archives.history import KeptFile, ServedName
from ppa_tools.archives.history.rows import chunks
from ppa_tools.archives.layout import Layout
from ppa_tools.archives.leftovers import Kind, Leftover


@dataclass(frozen=True)
class CollectedNames:
    """The file names that a PPA serves no longer, and what they weigh together."""

    address: Address
    names: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True)
class GarbageReport:
    """What was collected, or would be by a dry run.

    ``freed_bytes`` is what ``files`` weigh, which no PPA needs any more; a file that another PPA serves is not
    among them. ``leftovers`` are what crashes and ended uploads have left.
    """

    dry_run: bool
    ppas: tuple[CollectedNames, ...]
    files: int
    freed_bytes: int
    leftovers: tuple[Leftover, ...]


@dataclass(frozen=True)
class _Plan:
    names: tuple[ServedName, ...]
    files: tuple[KeptFile, ...]
    leftovers: tuple[Leftover, ...]


def collect(
    history: h.History, layout: Layout, clock: Callable[[], float], keep_by_hash_s: float, *, dry_run: bool
) -> GarbageReport:
    """Collect all PPAs' garbage; safe beside readers and writers, and after being killed at any moment."""
    now = clock()
    with history.read() as conn:
        names, files = h.unneeded_names(conn, now), h.unneeded_files(conn, now)
    plan = _Plan(names, files, tuple(leftovers.find(history, layout, now, keep_by_hash_s)))
    if not dry_run:
        plan = _mark(history, plan, now)
        _remove_links(history, layout, plan)
        _remove_blobs(history, layout, plan)
        _remove_others(history, layout, plan.leftovers, now, keep_by_hash_s)
    return _report(history, plan, dry_run=dry_run)


def _mark(history: h.History, plan: _Plan, now: float) -> _Plan:
    """Let go of names and files in the history; what was really unneeded."""
    by_ppa: dict[int, list[ServedName]] = defaultdict(list)
    for name in plan.names:
        by_ppa[name.ppa_id].append(name)
    names = tuple(
        one
        for ppa_id, its in by_ppa.items()
        for some in chunks(its, h.AMONG_AT_MOST)
        for one in _mark_names(history, ppa_id, some, now)
    )
    files = tuple(one for some in chunks(plan.files, h.AMONG_AT_MOST) for one in _mark_files(history, some, now))
    return _Plan(names, files, plan.leftovers)


def _mark_names(history: h.History, ppa_id: int, some: Sequence[ServedName], now: float) -> list[ServedName]:
    wanted = {one.name for one in some}
    with history.write() as conn:
        still = h.unneeded_names(conn, now, [one.sha256 for one in some])
        going = [one for one in still if one.ppa_id == ppa_id and one.name in wanted]
        h.remove_names(conn, ppa_id, [one.name for one in going], now)
    return going


def _mark_files(history: h.History, some: Sequence[KeptFile], now: float) -> tuple[KeptFile, ...]:
    with history.write() as conn:
        still = h.unneeded_files(conn, now, [one.sha256 for one in some])
        return h.expire_files(conn, [one.sha256 for one in still], now)


def _remove_links(history: h.History, layout: Layout, plan: _Plan) -> None:
    """Unlink removed names from the PPAs' pools."""
    with history.read() as conn:
        addresses = h.addresses_of(conn, {one.ppa_id for one in plan.names})
    paths: dict[Address, list[str]] = defaultdict(list)
    for one in plan.names:
        paths[addresses[one.ppa_id]].append(one.pool_path)
    for left in plan.leftovers:
        if left.kind is Kind.LINK and left.address is not None:
            paths[left.address].append(left.path_in_ppa)
    for address, its in sorted(paths.items()):
        for some in chunks(its, h.AMONG_AT_MOST):
            remove_links(history, layout, address, some)


def remove_links(history: h.History, layout: Layout, address: Address, paths: Sequence[str]) -> list[str]:
    """Unlink files of a PPA's pool, except those whose names it serves; those that went."""
    with locked(layout.lock_file(address)):
        with history.read() as conn:
            ppa = h.find_ppa(conn, address)
            if ppa is None:
                return []  # it was deleted, and all of its directory with it
            served = h.served_paths(conn, ppa.id, paths)
        directory = layout.served(address, private=ppa.settings.private)
        gone = [path for path in paths if path not in served]
        for path in gone:
            (directory / path).unlink(missing_ok=True)
        _remove_empty({(directory / path).parent for path in gone}, directory)
    return gone


def _remove_empty(directories: Iterable[Path], top: Path) -> None:
    for directory in directories:
        with contextlib.suppress(OSError):  # it is not empty
            while directory != top:
                directory.rmdir()
                directory = directory.parent


def _remove_blobs(history: h.History, layout: Layout, plan: _Plan) -> None:
    left = [one.path.name for one in plan.leftovers if one.kind is Kind.BLOB]
    for some in chunks([*(one.sha256 for one in plan.files), *left], h.AMONG_AT_MOST):
        remove_blobs(history, layout, some)


def remove_blobs(history: h.History, layout: Layout, sha256s: Sequence[str]) -> None:
    """Unlink blobs, except those that the history keeps."""
    with history.write() as conn:
        kept = h.kept_among(conn, sha256s)
        for sha256 in sha256s:
            if sha256 not in kept:
                layout.pool.blob(sha256).unlink(missing_ok=True)


def _remove_others(
    history: h.History, layout: Layout, found: Sequence[Leftover], now: float, keep_by_hash_s: float
) -> None:
    """Remove what else was left; what belongs to a PPA is looked at once more, under its lock."""
    for address in sorted({one.address for one in found if one.kind is Kind.INDEX and one.address is not None}):
        with locked(layout.lock_file(address)):
            for one in leftovers.of_ppa(history, layout, address, now, keep_by_hash_s):
                _remove(layout.root / one.path)
    for one in found:
        if one.kind is Kind.UPLOAD:
            _remove(layout.root / one.path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _report(history: h.History, plan: _Plan, *, dry_run: bool) -> GarbageReport:
    with history.read() as conn:
        addresses = h.addresses_of(conn, {one.ppa_id for one in plan.names})
    by_ppa: dict[Address, list[ServedName]] = defaultdict(list)
    for one in plan.names:
        by_ppa[addresses[one.ppa_id]].append(one)
    ppas = tuple(
        CollectedNames(address, tuple(one.name for one in its), sum(one.size_bytes for one in its))
        for address, its in sorted(by_ppa.items())
    )
    freed_bytes = sum(one.size_bytes for one in plan.files)
    return GarbageReport(dry_run, ppas, len(plan.files), freed_bytes, plan.leftovers)
