"""What verifying an archive may find: each in words for people, with what repairing it needs to know."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ppa_tools.address import Address


class Kind(enum.StrEnum):
    """What sort of thing is wrong."""

    DATABASE = "database"  # the history itself is damaged
    KEY = "key"  # a key that signs is not there, or has expired
    WEIGHT = "weight"  # the history counts a PPA's bytes wrongly
    LAGS = "lags"  # a change waits long for its publication
    BLOB_MISSING = "blob missing"
    BLOB_DAMAGED = "blob damaged"
    BLOB_UNKNOWN = "blob unknown"
    LOST = "file lost"  # no copy is left of a file that indexes name
    NAME_MISSING = "name missing"  # a published file is not in its PPA's pool
    NAME_DAMAGED = "name damaged"  # what is served by a name is not what it stands for
    ORPHAN = "orphan"  # served, though the history knows nothing of it
    EXPOSED = "exposed"  # files of a private PPA lie where public ones do, or the other way round
    INDEX_DAMAGED = "index damaged"  # not what Release vouches for
    INDEX_DIFFERS = "index differs"  # not what the history says
    SIGNATURE = "signature"  # apt will not believe it


class Severity(enum.StrEnum):
    """How much it matters."""

    ERROR = "error"  # readers meet it, or something is lost
    WARNING = "warning"  # it may become an error
    NOTE = "note"  # nothing is wrong with what is served


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    ``path`` is below the archive's root, "" where it is not about a file. ``affected`` are the packages that
    suffer, in words. ``repairable`` says whether repairing mends it; where it does not, ``what`` says what to do.
    """

    kind: Kind
    severity: Severity
    path: str
    what: str
    repairable: bool
    address: Address | None = None
    series: str = ""
    sha256: str = ""
    affected: tuple[str, ...] = ()
