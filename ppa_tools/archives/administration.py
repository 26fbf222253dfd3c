"""Making and configuring PPAs: the rules for names and settings, keys, series and tokens."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence

from sqlalchemy.engine import Connection

from ppa_tools import openpgp
from ppa_tools.address import Address
from ppa_tools.archives import history as h
from ppa_tools.archives.accept import over_the_limit, spread_to_architectures
from ppa_tools.archives.compression import FORMS, PLAIN
from ppa_tools.archives.control import ARCHITECTURE
from ppa_tools.archives.errors import ArchiveError, UnknownPPA
from ppa_tools.archives.outcomes import Wanted
from ppa_tools.archives.words import in_a_line

SERIES_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,62}")
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
RESERVED_OWNERS = ("api", "upload", "upload-binaries", "put")
COMPRESSIONS = tuple(form for form in FORMS if form != PLAIN)
NAME_LIMIT = 80  # both, and a series, go into the name of one file
TOKEN_BYTES = 24
UID_LIMIT = 300


def find(conn: Connection, address: Address) -> h.PPA:
    """The PPA at an address; raises UnknownPPA."""
    ppa = h.find_ppa(conn, address)
    if ppa is None:
        raise UnknownPPA(f"there is no {address} here")
    return ppa


def find_series(conn: Connection, ppa: h.PPA, name: str) -> h.Series:
    """A series of a PPA; raises UnknownPPA."""
    found = h.find_series(conn, ppa, name)
    if found is None:
        known = ", ".join(one.name for one in h.list_series(conn, ppa)) or "none"
        raise UnknownPPA(f"{ppa.address} has no series {name}; it has {known}")
    return found


def check_names(address: Address, series: Sequence[str], architectures: Sequence[str]) -> None:
    """Raise ArchiveError for names that cannot be used."""
    if address.backend != "local":
        raise ArchiveError(f"{address} is no PPA of the embedded archive: local:owner/name is wanted")
    if len(address.owner) > NAME_LIMIT or len(address.name) > NAME_LIMIT:
        raise ArchiveError(f"the names of owners and PPAs may have {NAME_LIMIT} characters, {address} has more")
    if address.owner in RESERVED_OWNERS:
        raise ArchiveError(f"{address.owner!r} cannot own PPAs: the archive's own addresses begin with it")
    for name in series:
        if not SERIES_NAME.fullmatch(name):
            raise ArchiveError(f"{name!r} is no name for a series")
    for name in architectures:
        if not ARCHITECTURE.fullmatch(name) or name in ("all", "any", "source"):
            raise ArchiveError(f"{name!r} is no architecture")
    if series and not architectures:
        raise ArchiveError("a series needs at least one architecture")


def check_label(name: str, what: str) -> None:
    """Raise ArchiveError for what cannot name a snapshot or a token."""
    if not LABEL.fullmatch(name):
        raise ArchiveError(f"{name!r} cannot name a {what}: letters, digits, and . _ + - inside")


def check_settings(settings: h.Settings, before: h.Settings, *, consent: bool) -> None:
    """Raise ArchiveError for settings that cannot be; a private PPA becomes public only with ``consent``."""
    if unknown := [one for one in settings.compressions if one not in COMPRESSIONS]:
        raise ArchiveError(f"unknown compression {unknown[0]!r}; known are {', '.join(COMPRESSIONS)}")
    if "gz" not in settings.compressions:
        raise ArchiveError("gz is what every apt reads: it cannot be left out")
    if settings.versions < 1:
        raise ArchiveError("at least one version of a package is published")
    if min(settings.quota_bytes, settings.keep_ended_s, settings.valid_for_s) < 0:
        raise ArchiveError("a quota, or a time to keep, cannot be negative")
    if before.private and not settings.private and not consent:
        raise ArchiveError(
            "all that this private PPA holds, and held, would be public: say so with your consent (--unembargo)"
        )


def ensure_series(
    conn: Connection, ppa: h.PPA, name: str, architectures: Sequence[str], now: float, by: str
) -> None:
    """Make a series, or add to it the architectures it lacks."""
    found = h.find_series(conn, ppa, name)
    if found is None:
        h.add_series(conn, ppa, name, tuple(dict.fromkeys(architectures)), now, by)
        return
    missing = [arch for arch in dict.fromkeys(architectures) if arch not in found.architectures]
    if missing:
        change = h.begin_change(conn, found, now, by, "architectures", f"and {' '.join(missing)}")
        spread_to_architectures(conn, ppa, change, missing)
        h.set_architectures(conn, found, (*found.architectures, *missing))


def remove_architecture(
    conn: Connection, ppa: h.PPA, series: h.Series, architecture: str, now: float, by: str
) -> None:
    """End what a series publishes for an architecture; raises ArchiveError when it is not there, or the last."""
    rest = tuple(one for one in series.architectures if one != architecture)
    if rest == series.architectures:
        raise ArchiveError(f"{series.name} of {ppa.address} has no {architecture}")
    if not rest:
        raise ArchiveError(f"{series.name} of {ppa.address} has only {architecture}: delete the series instead")
    why = f"{series.name} has no {architecture} from now on"
    change = h.begin_change(conn, series, now, by, "architectures", why)
    rows = h.select_binary_publications(conn, ppa, series=series.name, active=True)
    ended = [row.id for row in rows if row.index_architecture == architecture]
    h.end_binaries(conn, change, ended, h.Status.DELETED, why)
    h.set_architectures(conn, series, rest)


def surplus_versions(conn: Connection, ppa: h.PPA, series: h.Series, keep: int) -> list[Wanted]:
    """The versions that are published in a series beyond the newest ``keep`` of each source."""
    by_name: dict[str, list[h.SourcePublication]] = {}
    for one in h.select_source_publications(conn, ppa, series=series.name, active=True):
        by_name.setdefault(one.source, []).append(one)
    return [
        Wanted(one.source, one.version)
        for rows in by_name.values()
        for one in rows
        if one.id in over_the_limit(rows, keep)
    ]


def read_uploaders(data: bytes) -> tuple[h.Uploader, ...]:
    """The uploaders that public keys (armored or binary) stand for; raises ArchiveError when there is none."""
    try:
        keys = openpgp.read_keys(data)
    except openpgp.OpenPGPError as error:
        raise ArchiveError(f"an uploader's public key is wanted, and this is none: {error}") from error
    if not keys:
        raise ArchiveError("an uploader's key is wanted, and this holds none that can be used")
    return tuple(h.Uploader(key.fingerprint, in_a_line(key.uid, UID_LIMIT), data) for key in keys)


def touch_all_series(conn: Connection, ppa: h.PPA, now: float, by: str, what: str, why: str) -> None:
    """Have every series of a PPA published anew."""
    for one in h.list_series(conn, ppa):
        h.begin_change(conn, one, now, by, what, why)


def make_token(conn: Connection, ppa: h.PPA, name: str, *, may_upload: bool, now: float, by: str) -> str:
    """A new token's secret, which is kept nowhere; raises ArchiveError when the name is taken."""
    check_label(name, "token")
    if any(one.name == name for one in h.list_tokens(conn, ppa)):
        raise ArchiveError(f"{ppa.address} has a token {name} already; revoke it first")
    secret = secrets.token_urlsafe(TOKEN_BYTES)
    h.add_token(conn, ppa, name, _hash_of(secret), may_upload=may_upload, now=now, by=by)
    return secret


def match_token(tokens: Sequence[h.AccessToken], secret: str) -> h.AccessToken | None:
    """The token whose secret this is, compared in constant time."""
    given = _hash_of(secret)
    matching = [one for one in tokens if hmac.compare_digest(one.secret_sha256, given)]
    return matching[0] if matching else None


def _hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
