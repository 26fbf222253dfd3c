"""Verifying files: the pool's blobs against their names and sizes, and what PPAs serve against the history."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ppa_tools.archives import history as h
from ppa_tools.archives import leftovers
from ppa_tools.archives.findings import Finding, Kind, Severity
from ppa_tools.archives.history.rows import chunks
from ppa_tools.archives.layout import Layout

THREADS = 4
"""Hashing lets other threads run; more than these only fight for the disk."""

SAID = {
    Kind.BLOB_MISSING: "is missing",
    Kind.BLOB_DAMAGED: "is not what its name says",
    Kind.BLOB_UNKNOWN: "is not known to the history",
    Kind.LOST: "has no copy left: upload the same again, and it is kept and served again",
    Kind.NAME_MISSING: "is missing",
    Kind.NAME_DAMAGED: "is not the file that this name stands for",
    Kind.ORPHAN: "is not known to the history: repairing removes it when it is an hour old",
}
PREFIXES = [f"{number:02x}" for number in range(256)]


@dataclass(frozen=True)
class _Suspects:
    """Blobs that look wrong: ``kept`` ones that are missing or not what they should be, and unknown ones."""

    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Seen:
    """A file of a PPA's pool, by its path there, that is not as it should be."""

    kind: Kind
    path: str
    sha256: str = ""


def check_blobs(
    history: h.History, layout: Layout, ppas: Sequence[h.PPA] | None, now: float, *, deep: bool
) -> list[Finding]:
    """Compare blobs with the history: those that PPAs publish, or (None) all that there are."""
    with ThreadPoolExecutor(THREADS) as pool:
        if ppas is None:
            looks = pool.map(lambda prefix: _look_below(history, layout, prefix, now, deep=deep), PREFIXES)
        else:
            wanted = _published(history, ppas)
            some = [dict(pairs) for pairs in chunks(sorted(wanted.items()), h.AMONG_AT_MOST)]
            looks = pool.map(lambda kept: _look_at(layout, kept, deep=deep), some)
        found = list(looks)
    missing = {sha256 for one in found for sha256 in one.missing}
    damaged = {sha256 for one in found for sha256 in one.damaged}
    unknown = {sha256 for one in found for sha256 in one.unknown}
    if not (missing or damaged or unknown):
        return []
    with history.write() as conn:  # whoever adds or removes blobs holds this, too
        kept = h.kept_among(conn, missing | damaged | unknown)
        missing = {sha256 for sha256 in (missing | damaged) & kept.keys() if not _is_there(layout, sha256)}
        damaged = (damaged & kept.keys()) - missing
        unknown = {sha256 for sha256 in unknown - kept.keys() if _is_there(layout, sha256)}
    with history.read() as conn:
        needed_by = h.dependants(conn, missing | damaged)
    return [
        *(_blob(layout, Kind.BLOB_MISSING, one, needed_by.get(one, ())) for one in sorted(missing)),
        *(_blob(layout, Kind.BLOB_DAMAGED, one, needed_by.get(one, ())) for one in sorted(damaged)),
        *(_blob(layout, Kind.BLOB_UNKNOWN, one, ()) for one in sorted(unknown)),
    ]


def check_pool(history: h.History, layout: Layout, ppa: h.PPA, *, deep: bool) -> list[Finding]:
    """Compare what a PPA serves from its pool with the history; true only while nobody publishes."""
    with history.read() as conn:
        current = h.find_ppa(conn, ppa.address)
        if current is None:
            return []  # deleted meanwhile
        published = sorted(h.published_files(conn, current), key=lambda one: one.pool_path)
    directory = layout.served(ppa.address, private=current.settings.private)
    there = set(leftovers.pool_files(directory))
    seen = [
        *(_Seen(Kind.LOST, one.pool_path, one.sha256) for one in published if one.expired),
        *(
            _Seen(Kind.NAME_MISSING, one.pool_path, one.sha256)
            for one in published
            if one.pool_path not in there and not one.expired
        ),
        *_look_through(history, layout, current, directory, there, deep=deep),
    ]
    with history.read() as conn:
        needed_by = h.dependants(conn, {one.sha256 for one in seen})
    return [
        *(_name(layout, ppa, directory, one, needed_by.get(one.sha256, ())) for one in seen),
        *_exposed(layout, current),
    ]


def _look_through(
    history: h.History, layout: Layout, ppa: h.PPA, directory: Path, there: Collection[str], *, deep: bool
) -> Iterator[_Seen]:
    """What lies in a PPA's pool and should not, or not so."""
    for some in chunks(sorted(there), h.AMONG_AT_MOST):
        with history.read() as conn:
            named = h.names_in_ppa(conn, ppa.id, {Path(path).name for path in some})
        for path in some:
            name = named.get(Path(path).name)
            if name is None or name.pool_path != path:
                yield _Seen(Kind.ORPHAN, path)
            elif name.removed:
                continue  # it waits for garbage to be collected
            elif not _is_same(directory / path, layout.pool.blob(name.sha256), name, deep=deep):
                yield _Seen(Kind.NAME_DAMAGED, path, name.sha256)


def _name(layout: Layout, ppa: h.PPA, directory: Path, seen: _Seen, needed_by: Iterable[h.Dependant]) -> Finding:
    path = str((directory / seen.path).relative_to(layout.root))
    return Finding(
        seen.kind,
        Severity.WARNING if seen.kind is Kind.ORPHAN else Severity.ERROR,
        path,
        f"{path} {SAID[seen.kind]}",
        seen.kind is not Kind.LOST,
        ppa.address,
        "",
        seen.sha256,
        tuple(str(one) for one in needed_by if one.address == ppa.address),
    )


def _exposed(layout: Layout, ppa: h.PPA) -> list[Finding]:
    """Files of a private PPA where public ones are, or the other way round."""
    private = ppa.settings.private
    other = layout.served(ppa.address, private=not private)
    if not other.is_dir():
        return []
    path = str(other.relative_to(layout.root))
    what = f"{path} is left from when {ppa.address} was {'public' if private else 'private'}"
    severity = Severity.ERROR if private else Severity.WARNING
    return [Finding(Kind.EXPOSED, severity, path, what, True, ppa.address)]


def sha256_of(path: Path) -> str | None:
    """The hash of a file; None where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _published(history: h.History, ppas: Iterable[h.PPA]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for ppa in ppas:
        with history.read() as conn:
            files = h.published_files(conn, ppa)
            sizes |= {one.sha256: one.size_bytes for one in files if not one.expired}
    return sizes


def _look_below(history: h.History, layout: Layout, prefix: str, now: float, *, deep: bool) -> _Suspects:
    """Blobs whose names begin so."""
    directory = layout.pool.root / prefix
    there = set(os.listdir(directory)) if directory.is_dir() else set()  # noqa: PTH208 (they may be many)
    with history.read() as conn:
        known = h.files_from(conn, prefix)
    kept = {one.sha256: one.size_bytes for one in known if one.expired_at is None}
    strangers = there - {one.sha256 for one in known}
    unknown = [
        name for name in strangers if leftovers.SHA256.fullmatch(name) and leftovers.is_old(directory / name, now)
    ]
    seen = _look_at(layout, kept, deep=deep)
    return _Suspects(seen.missing, seen.damaged, tuple(unknown))


def _look_at(layout: Layout, kept: Mapping[str, int], *, deep: bool) -> _Suspects:
    missing, damaged = [], []
    for sha256, size_bytes in kept.items():
        path = layout.pool.blob(sha256)
        try:
            is_sound = path.stat().st_size == size_bytes and (not deep or sha256_of(path) == sha256)
        except FileNotFoundError:
            missing.append(sha256)
            continue
        if not is_sound:
            damaged.append(sha256)
    return _Suspects(tuple(missing), tuple(damaged))


def _is_there(layout: Layout, sha256: str) -> bool:
    return layout.pool.blob(sha256).is_file()


def _is_same(path: Path, blob: Path, name: h.NameInPPA, *, deep: bool) -> bool:
    """Whether a served file is its blob, or (put back from a copy, where links were not kept) has its content."""
    try:
        status = path.lstat()
        if blob.is_file() and path.is_file() and blob.samefile(path) and not path.is_symlink():
            return True
    except FileNotFoundError:
        return False
    return path.is_file() and status.st_size == name.size_bytes and (not deep or sha256_of(path) == name.sha256)


def _blob(layout: Layout, kind: Kind, sha256: str, needed_by: Iterable[h.Dependant]) -> Finding:
    path = str(layout.pool.blob(sha256).relative_to(layout.root))
    affected = tuple(str(one) for one in needed_by)
    unknown = kind is Kind.BLOB_UNKNOWN
    severity = Severity.NOTE if unknown else Severity.ERROR if affected else Severity.WARNING
    return Finding(kind, severity, path, f"{path} {SAID[kind]}", True, None, "", sha256, affected)
