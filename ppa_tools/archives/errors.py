"""What goes wrong with an archive, in words for whoever asked."""

from __future__ import annotations

from collections.abc import Sequence

from ppa_tools.address import Address
from ppa_tools.archives.words import in_a_line

REASON_LIMIT = 1000


class ArchiveError(Exception):
    """The archive cannot do what it was asked; the message says why."""


class UnknownPPA(ArchiveError):
    """There is no such PPA, or it has no such series."""


class NoPlace(UnknownPPA):
    """No PPA that whoever sent an upload may know of: none is there, or a private one that does not know them.

    ``reason`` is what really is wrong: for the log and the record, not for whoever sent it.
    """

    def __init__(self, address: Address, reason: str) -> None:
        super().__init__(f"there is no {address} here, or it is private and none of its uploaders has signed this")
        self.reason = reason


class TokenWanted(ArchiveError):
    """A PPA is private, or not there, which only those with a token learn."""

    def __init__(self, owner: str, name: str) -> None:
        super().__init__(
            f"there is no public PPA local:{owner}/{name} here; for a private one a token is wanted as password"
        )
        self.realm = f"{owner}/{name}"


class ArchiveTrouble(ArchiveError):
    """The machine is in the way: a full disk, a database that does not answer, a port in use."""


class UploadRefused(ArchiveError):
    """An upload breaks a rule; the message is the reason. Sending it again changes nothing.

    A reason may quote what strangers wrote: whoever shows it gets a line of a bounded length.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(in_a_line(reason, REASON_LIMIT))


class UploadNotOpen(ArchiveError):
    """A file came before the .changes that names it, or after its upload was forgotten."""


class ChangeRefused(ArchiveError):
    """A change to a PPA breaks rules, and nothing was done; ``reasons`` are one a line, for people."""

    def __init__(self, what: str, reasons: Sequence[str]) -> None:
        super().__init__("\n  ".join([f"{what}:", *reasons]) if reasons else what)
        self.reasons = tuple(reasons)


class VersionNotNewer(UploadRefused):
    """A source's version is not higher than ``than``, which the series has."""

    def __init__(self, message: str, than: str) -> None:
        super().__init__(message)
        self.than = than


class ArchiveUnreachable(ArchiveError):
    """The archive did not answer, or answered that it is in trouble itself; trying again may help."""
