"""Where every upload is judged, whichever way it came: accepted and published, or refused and noted.

A refusal is told to whoever sent the upload, to the log, to the PPA's record of refusals, and, when the signature
held, to the uploader whose key it was: never to somebody that only the upload names. Whoever has not signed as an
uploader of a private PPA is told no more of it than of one that is not there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ppa_tools import openpgp
from ppa_tools.address import Address
from ppa_tools.archives.administration import SERIES_NAME
from ppa_tools.archives.control import Changes
from ppa_tools.archives.errors import ArchiveError, NoPlace, UnknownPPA, UploadRefused
from ppa_tools.archives.local import LocalArchive, Receipt, Uploader

WORKER = "farm worker"
DISTRIBUTION = re.compile(rb"^Distribution:[ \t]*(\S+)[ \t]*\r?$", re.MULTILINE)


@dataclass(frozen=True)
class Sent:
    """A .changes as it came; ``via`` is ftp, sftp, put or http.

    ``series`` is "" where nothing says it, ``architecture`` is "" for a source.
    """

    address: Address
    series: str
    name: str
    text: bytes
    via: str
    architecture: str = ""

    @property
    def sha256(self) -> str:
        """Names the upload."""
        return hashlib.sha256(self.text).hexdigest()


@dataclass(frozen=True)
class Notice:
    """What became of an upload, for the uploader whose key signed it; ``reason`` is "" when it was accepted."""

    uid: str
    fingerprint: str
    sent: Sent
    reason: str


class Notifier(Protocol):
    """Tells uploaders; ``tell`` neither waits nor raises."""

    def tell(self, notice: Notice) -> None:
        """Tell one uploader of one upload."""


@dataclass(frozen=True)
class Desk:
    """Judges for one archive; ``say`` writes a line to the log. All of it may wait for disk, gpg and locks."""

    archive: LocalArchive
    say: Callable[[str], None]
    notifier: Notifier | None = None

    def read(self, sent: Sent) -> Changes:
        """What a .changes says, once a source's signature holds; raises UploadRefused and UnknownPPA."""
        is_source = not sent.architecture
        try:
            return self.archive.read_changes(sent.address, sent.series, sent.text, sent.name, source=is_source)
        except (UploadRefused, UnknownPPA) as error:
            if is_source and self._is_hidden_from(sent):
                raise NoPlace(sent.address, str(error)) from error
            raise

    def find_earlier(self, address: Address, series: str, changes_sha256: str) -> Receipt | None:
        """As ``LocalArchive.find_upload``; None for a place that is not there, too, as for one that is hidden."""
        try:
            return self.archive.find_upload(address, series, changes_sha256)
        except UnknownPPA:
            return None

    def accept(self, sent: Sent, directory: Path) -> Receipt:
        """Accept and publish a whole upload; raises UploadRefused and UnknownPPA.

        ``directory`` is on the archive's file system, and only the archive writes to it. An upload that was
        accepted before needs none of its files.
        """
        where = (sent.address, sent.series)
        receipt = self.archive.find_upload(*where, sent.sha256)
        if receipt is None and sent.architecture:
            receipt = self.archive.accept_binaries_here(*where, sent.architecture, directory, sent.name, WORKER)
        elif receipt is None:
            receipt = self.archive.accept_source_here(*where, directory, sent.name)
        self.archive.publish(sent.address)
        self.say(f"{words_for(receipt)} (by {sent.via})")
        if not receipt.already:
            self._tell(sent, self.find_signer(sent), "")
        return receipt

    def refuse(self, sent: Sent, why: ArchiveError) -> None:
        """Note that an upload is refused, and why."""
        reason = why.reason if isinstance(why, NoPlace) else str(why)
        self.say(f"refused {sent.name} for {sent.address} {sent.series} (by {sent.via}): {reason}")
        try:
            signer = self.find_signer(sent)
            by = signer.fingerprint if signer else ""
            self.archive.note_refusal(sent.address, sent.series, sent.name, reason, by=by, via=sent.via)
        except (ArchiveError, openpgp.OpenPGPError) as error:
            self.say(f"cannot note that {sent.name} was refused: {error}")
            return
        self._tell(sent, signer, reason)

    def find_signer(self, sent: Sent) -> Uploader | None:
        """The uploader whose key signed a .changes; None when the signature does not hold."""
        try:
            known = self.archive.uploaders(sent.address)
            keyring = b"".join(uploader.public_key for uploader in known)
            signed = openpgp.verify_clearsigned(sent.text, keyring) if known else None
        except (openpgp.SignatureRefused, UnknownPPA):
            return None
        return next((one for one in known if signed and one.fingerprint == signed.fingerprint), None)

    def _is_hidden_from(self, sent: Sent) -> bool:
        """Whether a PPA is not there, or is private and none of its uploaders sent this."""
        try:
            ppa = self.archive.ppa(sent.address)
        except UnknownPPA:
            return True
        return ppa.settings.private and self.find_signer(sent) is None

    def _tell(self, sent: Sent, signer: Uploader | None, reason: str) -> None:
        if signer is not None and self.notifier is not None:
            self.notifier.tell(Notice(signer.uid, signer.fingerprint, sent, reason))


def distribution_of(text: bytes) -> str:
    """The series that a .changes says it is for, by its text alone; "" when it says nothing that could be one.

    Nothing may rest on it before the signature holds: ``Desk.read`` compares it with what was signed.
    """
    found = DISTRIBUTION.search(text)
    word = found[1].decode("ascii", "replace") if found else ""
    return word if SERIES_NAME.fullmatch(word) else ""


def words_for(receipt: Receipt) -> str:
    """What a person is told of an upload that was accepted."""
    what = f"{receipt.source} {receipt.version} ({receipt.architecture})"
    if receipt.already:
        return f"already there: {what} in {receipt.archive} {receipt.series}; nothing has changed"
    return "; ".join((f"accepted: {what} into {receipt.archive} {receipt.series}", *receipt.notes))
