"""Packages from Launchpad to the embedded archive, and sources the other way.

What comes from Launchpad is downloaded into the archive's incoming, compared with what Launchpad says of it, and
imported with its origin in the history. What goes there is a source, signed anew and uploaded: Launchpad builds
it, and takes no binaries.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppa_tools.archives.control import check_file_name
from ppa_tools.archives.door import Archive, CopyBatch, DoorError, NotThere, Refused, Unreachable
from ppa_tools.archives.durable import locked
from ppa_tools.archives.embedded import EmbeddedArchive
from ppa_tools.archives.errors import ArchiveTrouble, UploadRefused
from ppa_tools.archives.importing import Origin, Parcel
from ppa_tools.archives.layout import Layout
from ppa_tools.archives.words import size_in_words
from ppa_tools.debversion import split_version
from ppa_tools.publication import Build, BuildState, File, Publication

if TYPE_CHECKING:
    from ppa_tools.archives.downloading import Fetched, Limits, Wanted
    from ppa_tools.archives.opening import Options
    from ppa_tools.archives.uploading import Uplink

UPLOAD_HOST_VARIABLE = "PPA_UPLOAD_HOST"
KEY_VARIABLE = "DEBSIGN_KEYID"
STATE = "ppa-tools/uploads"
FTP_PORT = 21
LAST_PORT = 65535
PORT = re.compile(r"[0-9]{1,5}")
PACKAGES = (".deb", ".ddeb")
KEEP_FREE_BYTES = 256 << 20
ROOM = ".transfer-"  # below incoming, where what nobody goes on with is removed after a day


@dataclass(frozen=True)
class Means:
    """What a transfer has to hand; without an ``uplink`` nothing can be sent to Launchpad.

    ``limits`` None are those of ``downloading``; ``tell`` hears of every piece that has come.
    """

    uplink: Uplink | None = None
    limits: Limits | None = None
    tell: Callable[[Fetched], None] = lambda _fetched: None


def ask_transfer(source: Archive, destination: Archive, batch: CopyBatch, means: Means) -> None:
    """Have a batch go from one kind of archive to the other.

    In the embedded archive it is there when this returns: all of it, or none. To Launchpad it has been handed
    over, source by source, and is taken once its publication appears; asking again within the hour sends nothing
    twice.
    Raises Refused, NotThere, NoRights, Unreachable (nothing was taken of what is named), Uncertain.
    """
    _check_consent(source, destination, batch)
    if isinstance(destination, EmbeddedArchive) and source.address.backend == "ppa":
        _bring(source, destination, batch, means)
    elif destination.address.backend == "ppa" and source.address.backend == "local":
        _send(source, destination, batch, means)
    else:
        raise Refused(f"{source.address} and {destination.address} are of one kind: they copy, nothing is moved")


def means_of(options: Options) -> Means:
    """What the machine and its environment give; raises DoorError for an upload host that cannot be."""
    from ppa_tools.archives.uploading import Uplink

    environment = options.environment
    home = Path(environment.get("HOME") or Path.home())
    state = Path(environment.get("XDG_STATE_HOME") or home / ".local/state")
    key_home = Path(environment.get("GNUPGHOME") or home / ".gnupg")
    key = environment.get(KEY_VARIABLE, "")
    uplink = Uplink(state / STATE, key_home, key)
    if named := environment.get(UPLOAD_HOST_VARIABLE):
        host, _, port = named.rpartition(":") if ":" in named else (named, "", str(FTP_PORT))
        if not host or not PORT.fullmatch(port) or int(port) > LAST_PORT:
            raise DoorError(f"${UPLOAD_HOST_VARIABLE} is {named!r}", resolution="HOST or HOST:PORT is wanted.")
        return Means(Uplink(state / STATE, key_home, key, host, int(port)))
    return Means(uplink if options.instance == "production" else None)


def _check_consent(source: Archive, destination: Archive, batch: CopyBatch) -> None:
    if batch.unembargo:
        return
    names = [one.source for one in batch.copies]
    here, there = (one.side(with_past=False, names=names) for one in (source, destination))
    if here.private and not there.private:
        raise Refused(
            f"{source.address} is private and {destination.address} is public",
            resolution="Say with --unembargo that these packages may be seen by everybody.",
        )


def _find(source: Archive, batch: CopyBatch) -> tuple[Publication, ...]:
    """The publications that are meant; raises NotThere."""
    names = {one.source for one in batch.copies}
    rows = source.publications(names=names, series=[batch.from_series])
    by_key = {one.key: one for one in rows}
    by_version = {(one.source, one.version): one for one in rows}
    found = [by_key.get(one.key) or by_version.get((one.source, one.version)) for one in batch.copies]
    if lacking := [one for one, its in zip(batch.copies, found, strict=True) if its is None]:
        words = ", ".join(f"{one.source} {one.version}" for one in lacking)
        raise NotThere(f"{source.address} has no {words} in {batch.from_series}")
    return tuple(one for one in found if one is not None)


def _check_files(
    source: Archive, what: str, chosen: Iterable[Publication], files: Mapping[str, tuple[File, ...]]
) -> None:
    """Raise Refused where there are none of a publication, or one by a name that could lead out of its place."""
    if lost := [str(one) for one in chosen if not files.get(one.key)]:
        raise Refused(f"{source.address} keeps no {what} of {', '.join(lost)}")
    try:
        for one in chosen:
            for file in files[one.key]:
                check_file_name(file.name, str(source.address))
    except UploadRefused as error:
        raise Refused(str(error)) from error


# From Launchpad


def _bring(source: Archive, destination: EmbeddedArchive, batch: CopyBatch, means: Means) -> None:
    from ppa_tools.archives.downloading import AsksForLeave, Limits, Wanted, Way, fetch

    facts = destination.side(with_past=False, names=[batch.copies[0].source]).series
    if batch.to_series not in facts:
        raise NotThere(f"{destination.address} has no series {batch.to_series}")
    architectures = facts[batch.to_series].architectures
    chosen = _find(source, batch)
    files = dict(source.source_files(chosen))
    _check_files(source, "files", chosen, files)
    builds: Mapping[str, tuple[Build, ...]] = {}
    if batch.with_binaries:
        builds = source.builds(chosen)
        binaries = source.binary_files(chosen)
        _check_files(source, "binaries", chosen, binaries)
        for one in chosen:
            files[one.key] += tuple(file for file in binaries[one.key] if _is_for(file, architectures))
    archive = destination.archive
    rooms = {one.key: archive.incoming / f"{ROOM}{_digest(destination, batch, one)}" for one in chosen}
    wanted = [Wanted(file, rooms[one.key] / file.name) for one in chosen for file in files[one.key]]
    lock = Layout(archive.root).transfer_lock_file(destination.address)
    try:
        with locked(lock):
            for room in rooms.values():
                room.mkdir(mode=0o700, exist_ok=True)
            _check_disk(archive.incoming, wanted)
            way_to = source.way_to if isinstance(source, AsksForLeave) else Way
            limits = means.limits or Limits()
            fetch(wanted, limits=limits, stats=source.stats, way_to=way_to, tell=means.tell)
            parcels = [
                _parcel(one, [rooms[one.key] / file.name for file in files[one.key]], builds.get(one.key, ()))
                for one in chosen
            ]
            destination.import_parcels(batch, Origin(source.address, batch.from_series), parcels)
            for room in rooms.values():
                shutil.rmtree(room, ignore_errors=True)
    except (ArchiveTrouble, OSError) as error:
        raise Unreachable(f"{destination.address} cannot take files now: {error}") from error


def _parcel(one: Publication, files: Iterable[Path], builds: Sequence[Build]) -> Parcel:
    built = tuple(build.architecture for build in builds if build.state is BuildState.BUILT)
    ended = tuple(build.architecture for build in builds if not build.state.is_under_way)
    return Parcel(one.source, one.version, tuple(files), built, tuple(name for name in ended if name not in built))


def _digest(destination: Archive, batch: CopyBatch, one: Publication) -> str:
    words = f"{batch.source} {batch.from_series} {destination.address} {one.source} {one.version}"
    return hashlib.sha256(words.encode()).hexdigest()[:32]


def _is_for(file: File, architectures: Sequence[str]) -> bool:
    stem, dot, suffix = file.name.rpartition(".")
    return f"{dot}{suffix}" in PACKAGES and stem.rpartition("_")[2] in ("all", *architectures)


def _check_disk(directory: Path, wanted: Sequence[Wanted]) -> None:
    needed = sum(one.file.size_bytes for one in wanted) + KEEP_FREE_BYTES
    there = shutil.disk_usage(directory).free
    if there < needed:
        raise Unreachable(
            f"the disk of {directory} has {size_in_words(there)} left, and {size_in_words(needed)} are wanted",
            resolution="Make room, and run this again; or name fewer packages.",
        )


# To Launchpad


def _send(source: Archive, destination: Archive, batch: CopyBatch, means: Means) -> None:
    from ppa_tools.archives.uploading import Upload, left_out, send

    if batch.with_binaries:
        raise Refused(f"{destination.address} takes no binaries", resolution="--rebuild has it build the sources.")
    if means.uplink is None:
        raise Refused(
            f"it is not known where sources for {destination.address} are sent",
            resolution=f"${UPLOAD_HOST_VARIABLE} names the FTP server of this Launchpad.",
        )
    chosen = _find(source, batch)
    files = source.source_files(chosen)
    _check_files(source, "files", chosen, files)
    there = destination.publications(names={one.source for one in chosen})
    to_send = []
    for one in chosen:
        same = [other for other in there if (other.source, other.version) == (one.source, one.version)]
        if any(other.is_active and other.series == batch.to_series for other in same):
            continue
        if same:
            raise Refused(
                f"{destination.address} has, or had, {one} in {same[-1].series}: it takes a version once",
                resolution=f"Copy it from {same[-1].series} to {batch.to_series} there, or make a new version.",
            )
        to_send.append(one)
    upstream = {one.key: _upstream(one) for one in to_send}
    suspects = [other for other in there if any(_upstream(other) == its and its for its in set(upstream.values()))]
    known = destination.source_files(suspects) if suspects else {}
    origs = [file for its in known.values() for file in its]
    why = batch.why or f"Copied from {source.address} {batch.from_series}."
    uploads = [
        Upload(
            destination.address,
            batch.to_series,
            one,
            files[one.key],
            left_out(files[one.key], origs),
            why,
        )
        for one in to_send
    ]
    for upload in uploads:
        send(upload, means.uplink)


def _upstream(one: Publication) -> tuple[str, str]:
    """What names its upstream tarball: the source and its upstream version."""
    return one.source, split_version(one.version)[1]
