"""Sending sources of the embedded archive on to Launchpad: signed by whoever asks, by FTP, each once.

An upload is prepared in a directory of its own, with new signatures, before any of it is sent; a ledger beside it
says what was acknowledged. So one that was cut off is sent again as it was, and one that was handed over is not,
until Launchpad has had its time to look at it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppa_tools import openpgp
from ppa_tools.address import Address
from ppa_tools.archives.control import NamedFile, SourceControl, parse_dsc
from ppa_tools.archives.door import DoorError, NoRights, Refused, Uncertain, Unreachable
from ppa_tools.archives.durable import digests_of, write_durably
from ppa_tools.archives.errors import ArchiveError, ArchiveUnreachable, UploadRefused
from ppa_tools.archives.launchpad_upload import send_to_launchpad
from ppa_tools.archives.ledger import open_ledger
from ppa_tools.archives.source_changes import Sender, changelog_entry, changes_text
from ppa_tools.debversion import without_epoch
from ppa_tools.publication import File, Publication

SETTLED_S = 3600.0  # Launchpad looks at uploads every few minutes
LEDGER = "ledger.json"
READY = "ready"
UNLOCK = "Can `gpg --clear-sign` sign here? Unlock the key, or name another one by $DEBSIGN_KEYID."


@dataclass(frozen=True)
class Uplink:
    """How sources get to Launchpad.

    ``directory`` keeps what is on its way. ``key`` is a fingerprint, or part of a key's name; "" is the only one
    that the GnuPG home ``key_home`` has.
    """

    directory: Path
    key_home: Path
    key: str = ""
    host: str = "upload.ppa.launchpad.net"
    port: int = 21
    timeout_s: float = 120.0
    clock: Callable[[], float] = time.time


@dataclass(frozen=True)
class Upload:
    """A source that is to be sent to a series of a PPA, without the files named in ``left_out``."""

    destination: Address
    series: str
    publication: Publication
    files: tuple[File, ...]
    left_out: Collection[str]
    why: str


def send(upload: Upload, uplink: Uplink) -> None:
    """Hand a source to Launchpad, which says later, by mail, whether it takes it.

    Raises NoRights where it cannot be signed, Refused, Unreachable (nothing was taken), Uncertain.
    """
    _clean(uplink)
    room = uplink.directory / _name_of(upload)
    if not (room / READY).is_file():
        shutil.rmtree(room, ignore_errors=True)
        _prepare(upload, uplink, room)
    changes = room / "files" / _changes_name(upload.publication)
    files = [path for path in sorted(changes.parent.iterdir()) if path != changes]
    where = f"{upload.destination} {upload.series}"
    ledger = open_ledger(room / LEDGER, where, digests_of(changes).sha256)
    try:
        send_to_launchpad(
            upload.destination,
            upload.series,
            changes,
            files,
            ledger,
            host=uplink.host,
            port=uplink.port,
            timeout_s=uplink.timeout_s,
        )
    except ArchiveUnreachable as error:
        if len(ledger.sent) < len(files):
            raise Unreachable(str(error), resolution="Nothing was taken: run this again.") from error
        raise Uncertain(str(error), resolution="Its last file was on its way: it may have been taken.") from error
    except ArchiveError as error:
        raise Refused(str(error)) from error
    for path in files:
        path.unlink()  # the .changes and the ledger are enough to know it by


def _clean(uplink: Uplink) -> None:
    """Forget uploads that were prepared so long ago that Launchpad has looked at them, or never had them."""
    with contextlib.suppress(FileNotFoundError):
        for room in uplink.directory.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if uplink.clock() - (room / READY).stat().st_mtime > SETTLED_S:
                    shutil.rmtree(room, ignore_errors=True)


def _name_of(upload: Upload) -> str:
    words = f"{upload.destination} {upload.series} {upload.publication.source} {upload.publication.version}"
    return hashlib.sha256(words.encode()).hexdigest()[:32]


def _changes_name(publication: Publication) -> str:
    return f"{publication.source}_{without_epoch(publication.version)}_source.changes"


def _prepare(upload: Upload, uplink: Uplink, room: Path) -> None:
    """Put a signed upload together; it counts once its mark is there."""
    files = room / "files"
    files.mkdir(parents=True, mode=0o700)
    key = find_key(uplink.key_home, uplink.key, upload.destination)
    given = {file.name: Path(file.url) for file in upload.files}
    dsc = _sign_dsc(given, files, uplink, key)
    kept = sorted(name for name in given if not name.endswith(".dsc") and name not in upload.left_out)
    for name in kept:
        _link_or_copy(given[name], files / name)
    dsc_name = next(path.name for path in files.iterdir() if path.name.endswith(".dsc"))
    named = [_named(files / name) for name in (dsc_name, *kept)]
    entry = changelog_entry(dsc, given.values(), upload.why)
    text = changes_text(dsc, named, upload.series, Sender(key.uid, uplink.clock()), entry)
    write_durably(files / _changes_name(upload.publication), _signed(uplink, key, text.encode()))
    write_durably(room / READY, b"")
    now = uplink.clock()
    os.utime(room / READY, (now, now))


def _sign_dsc(given: dict[str, Path], files: Path, uplink: Uplink, key: openpgp.Key) -> SourceControl:
    """The .dsc, signed anew: Launchpad asks for a key that it knows."""
    found = [name for name in given if name.endswith(".dsc")]
    if len(found) != 1:
        raise Refused(f"{len(found)} .dsc files are there where one is wanted")
    try:
        payload = openpgp.text_of(given[found[0]].read_bytes())
        dsc = parse_dsc(payload, found[0])
    except (openpgp.SignatureRefused, UploadRefused) as error:
        raise Refused(f"{found[0]}: {error}") from error
    write_durably(files / found[0], _signed(uplink, key, payload))
    return dsc


def find_key(home: Path, wanted: str, destination: Address) -> openpgp.Key:
    """The key to sign with; raises NoRights, which names those that there are."""
    try:
        keys = openpgp.secret_keys(home)
    except openpgp.OpenPGPError as error:
        raise NoRights(f"{destination} takes signed sources only, and {error}", resolution=UNLOCK) from error
    bare = wanted.replace(" ", "").upper().removeprefix("0X").removesuffix("!")
    fitting = [one for one in keys if one.fingerprint.endswith(bare) or (wanted and wanted in one.uid)]
    if len(fitting) == 1:
        return fitting[0]
    there = ", ".join(f"{one.fingerprint} ({one.uid})" for one in keys) or "none"
    raise NoRights(
        f"{destination} takes signed sources only, and "
        + (f"{len(fitting)} keys are meant by {wanted!r}" if wanted else "it is not said by which key"),
        resolution=f"Name it by $DEBSIGN_KEYID, and let Launchpad know it; in {home} there are: {there}.",
    )


def _signed(uplink: Uplink, key: openpgp.Key, text: bytes) -> bytes:
    try:
        return openpgp.clearsign(uplink.key_home, [key.signs_with or key.fingerprint], text)
    except openpgp.OpenPGPError as error:
        raise NoRights(f"{key.uid} cannot sign now: {error}", resolution=UNLOCK) from error


def _named(path: Path) -> NamedFile:
    its = digests_of(path)
    return NamedFile(path.name, its.size_bytes, its.md5, its.sha1, its.sha256)


def _link_or_copy(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # another disk, or one without links
        try:
            shutil.copyfile(path, to)
        except OSError as error:
            raise DoorError(f"{to.name} cannot be put ready for sending: {error}") from error


def left_out(files: Sequence[File], there: Sequence[File]) -> frozenset[str]:
    """The upstream files that need not be sent; raises Refused where others by their names are there."""
    known = {one.name: one.sha256 for one in there}
    for one in files:
        if ".orig" in one.name and known.get(one.name, one.sha256) != one.sha256:
            raise Refused(
                f"{one.name} is, or was, there with other content, and a file name stands for the same for ever",
                resolution="Make a new upstream version, or package it on the tarball that is there.",
            )
    return frozenset(one.name for one in files if ".orig" in one.name and one.name in known)
