"""What goes wrong with an archive, in words for whoever asked."""

from __future__ import annotations

from collections.abc import Sequence


class ArchiveError(Exception):
    """The archive cannot do what it was asked; the message says why."""


class UnknownPPA(ArchiveError):
    """There is no such PPA, or it has no such series."""


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
    """An upload breaks a rule; the message is the reason. Sending it again changes nothing."""


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
