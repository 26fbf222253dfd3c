"""Importing packages that another archive has published: the rules of a copy, for files that came from outside.

No signature is asked for: whoever imports owns the archive's directory, and the files are what the other archive
says they are, by their SHA-256. What they say of themselves is checked as that of an upload.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Connection

from ppa_tools import openpgp
from ppa_tools.address import Address
from ppa_tools.archives import history as h
from ppa_tools.archives.checks import (
    PACKAGE_SUFFIXES,
    TEXT_LIMIT_BYTES,
    Deb,
    UploadedFile,
    check_source_names,
    read_deb,
)
from ppa_tools.archives.control import NamedFile, SourceControl, parse_dsc
from ppa_tools.archives.copying import Candidate, settle, words_of_origin
from ppa_tools.archives.durable import Digests, digests_of
from ppa_tools.archives.errors import ChangeRefused, UploadRefused
from ppa_tools.archives.outcomes import Outcome, Place
from ppa_tools.archives.pool import Pool, pool_directory
from ppa_tools.archives.releases import add_release, keep_deb


@dataclass(frozen=True)
class Parcel:
    """A source version, and its binaries, as another archive has them.

    ``files`` lie where only the archive writes; they are whole, and their SHA-256 was compared. ``built_on`` are
    the architectures whose builds all these binaries are; none for a source alone. ``failed`` are those of which
    there will be none.
    """

    source: str
    version: str
    files: tuple[Path, ...]
    built_on: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Origin:
    """Where parcels come from."""

    address: Address
    series: str


@dataclass(frozen=True)
class Checked:
    """A parcel that is sound by itself; ``files`` by their names."""

    parcel: Parcel
    dsc: SourceControl
    dsc_file: NamedFile
    payload_sha256: str
    files: Mapping[str, UploadedFile]
    debs: tuple[Deb, ...]


def check_parcels(parcels: Iterable[Parcel]) -> tuple[Checked, ...]:
    """Parcels that are sound by themselves; raises ChangeRefused with what is wrong with each."""
    checked, refused = [], []
    for one in parcels:
        try:
            checked.append(_check(one))
        except UploadRefused as error:
            refused.append(f"{one.source} {one.version}: {error}")
    if refused:
        raise ChangeRefused("nothing was imported", refused)
    return tuple(checked)


def import_parcels(
    conn: Connection,
    pool: Pool,
    place: Place,
    origin: Origin,
    parcels: Sequence[Checked],
    *,
    now: float,
    by: str,
    why: str,
) -> tuple[Outcome, ...]:
    """Publish parcels in the caller's transaction: all of them, or none; those that are there stay as they are.

    Raises ChangeRefused with every package that stands in the way, and why.
    """
    because = words_of_origin(origin.address, origin.series, why)
    candidates = _candidates(conn, place, parcels, because)
    architectures = place.series.architectures
    change, done = settle(
        conn,
        place,
        candidates,
        architectures,
        binaries=any(one.debs for one in parcels),
        because=because,
        now=now,
        by=by,
    )
    if change is not None:
        _keep_builds(conn, change, place, zip(parcels, candidates, strict=True))
    named = {file.sha256 for one in candidates for file in one.files.values()}
    come = {file.digests.sha256: file.path for one in parcels for file in one.files.values()}
    pool.adopt((path, sha256) for sha256, path in come.items() if sha256 in named)
    return done


def _check(parcel: Parcel) -> Checked:
    files = {path.name: UploadedFile(path, digests_of(path)) for path in parcel.files}
    found = [name for name in files if name.endswith(".dsc")]
    if len(found) != 1:
        raise UploadRefused(f"it has {len(found)} .dsc files; one is wanted")
    dsc_file = _named(files[found[0]])
    if dsc_file.size_bytes > TEXT_LIMIT_BYTES:
        raise UploadRefused(f"{dsc_file.name} is larger than {TEXT_LIMIT_BYTES >> 20} MiB")
    try:
        payload = openpgp.text_of(files[dsc_file.name].path.read_bytes())
    except openpgp.SignatureRefused as error:
        raise UploadRefused(f"{dsc_file.name}: {error}") from error
    dsc = parse_dsc(payload, dsc_file.name)
    if (dsc.source, dsc.version) != (parcel.source, parcel.version):
        raise UploadRefused(f"{dsc_file.name} is about {dsc.source} {dsc.version}")
    check_source_names(dsc, dsc_file)
    for wanted in dsc.files:
        if wanted.name not in files:
            raise UploadRefused(f"{dsc_file.name} names {wanted.name}, which did not come")
        digests = files[wanted.name].digests
        if digests != Digests(wanted.size_bytes, wanted.md5, wanted.sha1, wanted.sha256):
            raise UploadRefused(f"{wanted.name} is not what {dsc_file.name} says")
    debs = [Deb(read_deb(file), file) for name, file in sorted(files.items()) if name.endswith(PACKAGE_SUFFIXES)]
    parts = {dsc_file.name, *(file.name for file in dsc.files), *(deb.file.name for deb in debs)}
    if surplus := files.keys() - parts:
        raise UploadRefused(f"{', '.join(sorted(surplus))} is no part of it")
    for deb in debs:
        its = (deb.control.source, deb.control.source_version)
        if its != (dsc.source, dsc.version):
            raise UploadRefused(f"{deb.file.name} is from {' '.join(its)}")
    return Checked(parcel, dsc, dsc_file, hashlib.sha256(payload).hexdigest(), files, tuple(debs))


def _named(file: UploadedFile) -> NamedFile:
    its = file.digests
    return NamedFile(file.name, its.size_bytes, its.md5, its.sha1, its.sha256)


def _candidates(conn: Connection, place: Place, parcels: Sequence[Checked], because: str) -> list[Candidate]:
    found, refused = [], []
    for one in parcels:
        try:
            found.append(_candidate(conn, place, one, because))
        except UploadRefused as error:
            refused.append(f"{one.dsc.source} {one.dsc.version}: {error}")
    if refused:
        raise ChangeRefused(f"nothing was imported to {place.ppa.address}", refused)
    return found


def _candidate(conn: Connection, place: Place, one: Checked, because: str) -> Candidate:
    source, version = one.dsc.source, one.dsc.version
    release_id = _release_of(conn, place.ppa, one)
    debs = _fitting(one, place.series.architectures)
    for deb in debs:
        h.add_file(conn, deb.file.digests)
    names = [*h.files_of_sources(conn, [release_id])[release_id]]
    names += [(deb.file.name, deb.file.digests.sha256) for deb in debs]
    return Candidate(
        h.NewSource(release_id, source, version, because),
        h.source_architectures(conn, [release_id])[release_id],
        (*one.parcel.built_on, *one.parcel.failed),  # nothing more is to come
        tuple(
            h.NewBinary(
                deb.control.architecture,
                keep_deb(conn, deb, release_id),
                deb.control.package,
                deb.control.version,
                deb.control.architecture,
                source,
                version,
                because,
            )
            for deb in debs
        ),
        _files(conn, place.ppa, one, names),
    )


def _release_of(conn: Connection, ppa: h.PPA, one: Checked) -> int:
    """The release that a parcel's source is: one that the PPA knows, or a new one; raises UploadRefused.

    One that it knows keeps its own .dsc, whose signature may be another.
    """
    source, version = one.dsc.source, one.dsc.version
    own = h.find_source_release(conn, ppa.id, source, version)
    there = h.select_source_publications(conn, ppa, source=source, version=version)
    known = sorted({pub.release_id for pub in there} | ({own.id} if own is not None else set()))
    its = {(file.name, file.sha256) for file in one.dsc.files}
    for release_id, files in h.files_of_sources(conn, known).items():
        if its == {(name, sha256) for name, sha256 in files if not name.endswith(".dsc")}:
            return release_id
    if known:
        raise UploadRefused(f"it is, or was, in {ppa.address} with other content")
    for name in (one.dsc_file.name, *(file.name for file in one.dsc.files)):
        h.add_file(conn, one.files[name].digests)
    return add_release(conn, ppa, one.dsc, one.dsc_file, one.payload_sha256)


def _fitting(one: Checked, architectures: Collection[str]) -> list[Deb]:
    """The binaries that the series has an index for; raises UploadRefused when there are some, and none fits."""
    fitting = [deb for deb in one.debs if deb.control.architecture in ("all", *architectures)]
    if one.debs and not fitting:
        their = ", ".join(sorted({deb.control.architecture for deb in one.debs}))
        raise UploadRefused(f"its binaries are for {their}, and this series has {', '.join(architectures)}")
    return fitting


def _files(conn: Connection, ppa: h.PPA, one: Checked, names: Iterable[tuple[str, str]]) -> dict[str, h.NameInPPA]:
    """The names that a parcel needs: files that came with it, or that the PPA has of its source."""
    directory = pool_directory(one.dsc.source)
    come = {file.digests.sha256: file.digests for file in one.files.values()}
    wanted = dict(names)
    there = h.names_in_ppa(conn, ppa.id, [name for name, sha256 in wanted.items() if sha256 not in come])
    return {
        name: h.NameInPPA(
            name, sha256, f"{directory}/{name}", come[sha256].size_bytes, removed=False, expired=False
        )
        if sha256 in come
        else there[name]
        for name, sha256 in wanted.items()
    }


def _keep_builds(
    conn: Connection, change: h.Change, place: Place, imported: Iterable[tuple[Checked, Candidate]]
) -> None:
    """The builds that came count as those of this series; each is known by what it brought."""
    series = place.series.name
    for one, candidate in imported:
        release_id = candidate.source.release_id
        built = h.built_architectures(conn, place.ppa, series=series, release_ids=[release_id])
        known = built.get((series, release_id), ())
        for architecture in [name for name in place.series.architectures if name in one.parcel.built_on]:
            names = sorted(
                (deb.file.name, deb.file.digests.sha256)
                for deb in one.debs
                if deb.control.architecture in (architecture, "all")
            )
            text = "\n".join([candidate.source.why, architecture, *map(" ".join, names)])
            if names and architecture not in known:
                digest = hashlib.sha256(text.encode()).hexdigest()
                h.add_upload(conn, change, architecture, digest, release_id, names)
