"""Repairing what verifying has found, as far as it can be, and saying what is left and what to do about it.

A damaged blob is moved to the quarantine. A served copy that is still right takes its place; where there is none,
the file is lost: nothing serves it any more, the history says so, and it comes back when the same content is
uploaded again. Names are linked to their blobs again, indexes are published anew from the history.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Connection

from ppa_tools.address import Address
from ppa_tools.archives import garbage, leftovers
from ppa_tools.archives import history as h
from ppa_tools.archives.checks import UploadedFile
from ppa_tools.archives.durable import TEMPORARY_PREFIX, locked, sync_directories
from ppa_tools.archives.errors import ArchiveError
from ppa_tools.archives.findings import Finding, Kind
from ppa_tools.archives.layout import Layout
from ppa_tools.archives.verify_files import sha256_of
from ppa_tools.openpgp import OpenPGPError

PUBLISHED_ANEW = (Kind.LAGS, Kind.INDEX_DAMAGED, Kind.INDEX_DIFFERS, Kind.SIGNATURE, Kind.EXPOSED)


@dataclass(frozen=True)
class Repaired:
    """What was done, in words, and what is still wrong."""

    done: tuple[str, ...]
    left: tuple[Finding, ...]


@dataclass(frozen=True)
class _Served:
    """Where a PPA serves a file."""

    address: Address
    path_in_ppa: str
    sha256: str
    path: Path


def repair(
    history: h.History,
    layout: Layout,
    findings: Sequence[Finding],
    now: float,
    publish: Callable[[Address], object],
) -> tuple[str, ...]:
    """Mend what can be; what was done, in words. ``publish`` writes a PPA's indexes anew."""
    done = list[str]()
    for one in _of(findings, Kind.BLOB_MISSING, Kind.BLOB_DAMAGED):
        done += _mend_blob(history, layout, one, now)
    for one in _of(findings, Kind.NAME_MISSING, Kind.NAME_DAMAGED):
        done += _link_again(history, layout, [one.sha256])
    for one in _of(findings, Kind.ORPHAN):
        done += _remove_orphan(history, layout, one, now)
    for one in _of(findings, Kind.BLOB_UNKNOWN):
        garbage.remove_blobs(history, layout, [one.sha256])
        done.append(f"removed {one.path}, which nothing needs")
    for address in sorted({one.address for one in _of(findings, Kind.WEIGHT) if one.address is not None}):
        with history.write() as conn:
            h.weigh_again(conn, address)
        done.append(f"counted the bytes of {address} again")
    for address in sorted({one.address for one in _of(findings, *PUBLISHED_ANEW) if one.address is not None}):
        try:
            publish(address)
        except (ArchiveError, OpenPGPError) as error:
            done.append(f"{address} cannot be published: {error}")
        else:
            done.append(f"published {address} anew")
    return tuple(done)


def lost_of(conn: Connection, layout: Layout, upload: h.Upload, now: float) -> set[str]:
    """The files of an upload, by their SHA-256, that are needed, and that the pool has no more."""
    missing = {sha256 for sha256 in h.files_of_upload(conn, upload.id) if not layout.pool.blob(sha256).exists()}
    return h.needed_files(conn, now, missing) if missing else set()


def bring_back(history: h.History, layout: Layout, files: Iterable[UploadedFile], now: float) -> tuple[str, ...]:
    """An upload that was accepted before has come again: keep and serve what was lost of it; in words."""
    lost = {one.digests.sha256: one for one in files if not layout.pool.blob(one.digests.sha256).exists()}
    if not lost:
        return ()
    with history.write() as conn:
        needed = h.needed_files(conn, now, lost)
        layout.pool.adopt((lost[sha256].path, sha256) for sha256 in sorted(needed))
        for sha256 in needed:
            h.add_file(conn, lost[sha256].digests)
    return tuple(_link_again(history, layout, needed))


def _of(findings: Iterable[Finding], *kinds: Kind) -> Iterator[Finding]:
    return (one for one in findings if one.kind in kinds and one.repairable)


def _mend_blob(history: h.History, layout: Layout, finding: Finding, now: float) -> Iterator[str]:
    sha256, blob = finding.sha256, layout.pool.blob(finding.sha256)
    served = _served(history, layout, [sha256])
    copy = next((one.path for one in served if sha256_of(one.path) == sha256), None)
    with history.write() as conn:  # whoever adopts blobs holds this, too
        if sha256 not in h.kept_among(conn, [sha256]):
            return  # let go of meanwhile
        if blob.exists():
            layout.quarantine.mkdir(exist_ok=True)
            blob.replace(layout.quarantine / sha256)
            yield f"moved {finding.path} to {layout.quarantine.name}/{sha256}"
        if copy is None:
            h.lose_file(conn, sha256, now)
        else:
            blob.parent.mkdir(parents=True, exist_ok=True)
            os.link(copy, blob)
            sync_directories([blob.parent])
            yield f"put back {finding.path} from {copy.relative_to(layout.root)}"
    yield from _link_again(history, layout, [sha256])


def _link_again(history: h.History, layout: Layout, sha256s: Collection[str]) -> list[str]:
    """Have every name that is served of these contents be its blob, or nothing where that is lost."""
    done = []
    for one in _served(history, layout, sha256s):
        with locked(layout.lock_file(one.address)):
            with history.read() as conn:
                ppa = h.find_ppa(conn, one.address)
                if ppa is None or one.path_in_ppa not in h.served_paths(conn, ppa.id, [one.path_in_ppa]):
                    continue  # removed meanwhile
            if (what := _settle(layout.pool.blob(one.sha256), one.path)) is not None:
                done.append(f"{what} {one.path.relative_to(layout.root)}")
    return done


def _settle(blob: Path, path: Path) -> str | None:
    """Have a name be its blob; what was done."""
    if not blob.exists():
        if not path.exists():
            return None
        path.unlink()
        return "serve no more the damaged"
    if path.exists() and path.samefile(blob):
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    temporary.unlink(missing_ok=True)
    os.link(blob, temporary)
    temporary.replace(path)
    sync_directories([path.parent])
    return "linked again"


def _remove_orphan(history: h.History, layout: Layout, finding: Finding, now: float) -> list[str]:
    if finding.address is None or not leftovers.is_old(layout.root / finding.path, now):
        return []
    path_in_ppa = str(Path(*Path(finding.path).parts[3:]))
    gone = garbage.remove_links(history, layout, finding.address, [path_in_ppa])
    return [f"removed {finding.path}"] if gone else []


def _served(history: h.History, layout: Layout, sha256s: Collection[str]) -> list[_Served]:
    with history.read() as conn:
        rows = h.serving(conn, sha256s)
        private = {
            address: ppa.settings.private
            for address in {address for address, _, _ in rows}
            if (ppa := h.find_ppa(conn, address)) is not None
        }
    return [
        _Served(address, path, sha256, layout.served(address, private=private[address]) / path)
        for address, path, sha256 in rows
        if address in private
    ]
