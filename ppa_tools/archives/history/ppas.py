"""PPAs in the publishing history: their settings, series, keys, uploaders and access tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ppa_tools.address import Address
from ppa_tools.archives.history import schema as t
from ppa_tools.archives.history.rows import insert


@dataclass(frozen=True)
class Settings:
    """What may be configured of a PPA.

    ``quota_bytes`` bounds what its files weigh together, 0 is no bound. ``versions`` is how many versions of a
    source stay published in a series; what is superseded or deleted keeps its files for ``keep_ended_s`` seconds.
    ``compressions`` are the forms its indexes come in. ``valid_for_s`` is how long after its publication apt
    believes a Release, 0 is for ever.
    """

    description: str = ""
    private: bool = False
    quota_bytes: int = 0
    versions: int = 1
    keep_ended_s: float = t.KEEP_ENDED_S
    compressions: tuple[str, ...] = ("gz",)
    valid_for_s: float = 0.0


@dataclass(frozen=True)
class PPA:
    """A PPA; ``key_fingerprints`` are the keys that sign it now, the oldest first. ``used_bytes`` it holds."""

    id: int
    address: Address
    settings: Settings
    key_fingerprints: tuple[str, ...]
    created_at: float
    deleted_at: float | None
    used_bytes: int

    @property
    def description(self) -> str:
        """What it is for, in its owner's words."""
        return self.settings.description


@dataclass(frozen=True)
class Series:
    """A series of a PPA; it is to be published while ``generation`` is ahead of ``published_generation``."""

    id: int
    ppa_id: int
    name: str
    architectures: tuple[str, ...]
    generation: int
    published_generation: int
    contents_generation: int
    published_at: float | None

    @property
    def is_dirty(self) -> bool:
        """Whether its indexes lag behind the history."""
        return self.generation != self.published_generation

    def is_due(self, settings: Settings, now: float) -> bool:
        """Whether it is to be published: its indexes lag behind, or half of their time to be valid is over."""
        aged = settings.valid_for_s and now - (self.published_at or 0.0) > settings.valid_for_s / 2
        return self.is_dirty or bool(aged)


@dataclass(frozen=True)
class Change:
    """A change to a series that is under way: what it creates and ends carries its ``generation``."""

    series: Series
    generation: int
    at: float
    by: str


@dataclass(frozen=True)
class Uploader:
    """Someone who may upload, by the primary fingerprint of their key."""

    fingerprint: str
    uid: str
    public_key: bytes


@dataclass(frozen=True)
class AccessToken:
    """Leave to read a private PPA, and with ``may_upload`` to send it sources; the secret itself is not kept."""

    id: int
    name: str
    secret_sha256: str
    may_upload: bool
    created_at: float
    created_by: str


def find_ppa(conn: Connection, address: Address, *, deleted: bool = False) -> PPA | None:
    """The PPA at an address; one that was deleted only when asked for."""
    query = sa.select(t.ppas).where(t.ppas.c.owner == address.owner, t.ppas.c.name == address.name)
    row = conn.execute(query).one_or_none()
    if row is None or (row.deleted_at is not None and not deleted):
        return None
    return _ppa(row, _fingerprints(conn, [row.id]).get(row.id, ()))


def list_ppas(conn: Connection) -> tuple[PPA, ...]:
    """All PPAs, by owner and name."""
    query = sa.select(t.ppas).where(t.ppas.c.deleted_at.is_(None)).order_by(t.ppas.c.owner, t.ppas.c.name)
    rows = conn.execute(query).all()
    keys = _fingerprints(conn, None)
    return tuple(_ppa(row, keys.get(row.id, ())) for row in rows)


def add_ppa(conn: Connection, address: Address, settings: Settings, now: float) -> PPA:
    """Create a PPA without series and keys; one that was deleted comes back, its names for ever taken."""
    known = find_ppa(conn, address, deleted=True)
    if known is None:
        values = {"owner": address.owner, "name": address.name, "created_at": now, **_columns(settings)}
        return PPA(insert(conn, t.ppas, **values), address, settings, (), now, None, 0)
    conn.execute(sa.update(t.ppas).where(t.ppas.c.id == known.id).values(deleted_at=None, **_columns(settings)))
    return replace(known, settings=settings, deleted_at=None)


def configure_ppa(conn: Connection, ppa: PPA, settings: Settings) -> None:
    """Change a PPA's settings."""
    conn.execute(sa.update(t.ppas).where(t.ppas.c.id == ppa.id).values(**_columns(settings)))


def mark_ppa_deleted(conn: Connection, ppa: PPA, now: float) -> None:
    """The PPA is no more, and nobody may read or upload to what comes back by its name; its history stays."""
    conn.execute(sa.update(t.ppas).where(t.ppas.c.id == ppa.id).values(deleted_at=now))
    conn.execute(sa.delete(t.uploader_keys).where(t.uploader_keys.c.ppa_id == ppa.id))
    tokens = t.access_tokens
    held = sa.and_(tokens.c.ppa_id == ppa.id, tokens.c.revoked_at.is_(None))
    conn.execute(sa.update(tokens).where(held).values(revoked_at=now))


def add_used_bytes(conn: Connection, ppa_id: int, size_bytes: int) -> None:
    """Count what a PPA's files weigh up, or down."""
    used = t.ppas.c.used_bytes + size_bytes
    conn.execute(sa.update(t.ppas).where(t.ppas.c.id == ppa_id).values(used_bytes=used))


# Keys that sign


def add_signing_key(conn: Connection, ppa: PPA, fingerprint: str, now: float) -> None:
    """Sign with one more key from now on; one that was retired signs again."""
    keys = t.signing_keys
    known = sa.and_(keys.c.ppa_id == ppa.id, keys.c.fingerprint == fingerprint)
    if conn.execute(sa.update(keys).where(known).values(retired_at=None, added_at=now)).rowcount == 0:
        insert(conn, keys, ppa_id=ppa.id, fingerprint=fingerprint, added_at=now)


def retire_signing_key(conn: Connection, ppa: PPA, fingerprint: str, now: float) -> None:
    """Sign with a key no more."""
    keys = t.signing_keys
    known = sa.and_(keys.c.ppa_id == ppa.id, keys.c.fingerprint == fingerprint)
    conn.execute(sa.update(keys).where(known).values(retired_at=now))


def _fingerprints(conn: Connection, ppa_ids: Sequence[int] | None) -> dict[int, tuple[str, ...]]:
    keys = t.signing_keys
    query = sa.select(keys.c.ppa_id, keys.c.fingerprint).where(keys.c.retired_at.is_(None))
    if ppa_ids is not None:
        query = query.where(keys.c.ppa_id.in_(ppa_ids))
    found: dict[int, tuple[str, ...]] = {}
    for ppa_id, fingerprint in conn.execute(query.order_by(keys.c.added_at, keys.c.id)):
        found[ppa_id] = (*found.get(ppa_id, ()), fingerprint)
    return found


# Series


def list_series(conn: Connection, ppa: PPA) -> tuple[Series, ...]:
    """The series of a PPA, by name."""
    s = t.series
    query = sa.select(s).where(s.c.ppa_id == ppa.id, s.c.deleted_at.is_(None)).order_by(s.c.name)
    return tuple(_series(row) for row in conn.execute(query))


def list_deleted_series(conn: Connection, ppa: PPA) -> tuple[Series, ...]:
    """The series that a PPA had once, by name."""
    s = t.series
    query = sa.select(s).where(s.c.ppa_id == ppa.id, s.c.deleted_at.is_not(None)).order_by(s.c.name)
    return tuple(_series(row) for row in conn.execute(query))


def find_series(conn: Connection, ppa: PPA, name: str) -> Series | None:
    """One series of a PPA, as it stands now."""
    s = t.series
    query = sa.select(s).where(s.c.ppa_id == ppa.id, s.c.name == name, s.c.deleted_at.is_(None))
    row = conn.execute(query).one_or_none()
    return _series(row) if row else None


def due_ppas(conn: Connection, now: float) -> tuple[PPA, ...]:
    """The PPAs that have a series to publish."""
    rows = conn.execute(sa.select(t.series).where(t.series.c.deleted_at.is_(None)))
    series = [_series(row) for row in rows]
    by_id = {ppa.id: ppa for ppa in list_ppas(conn)}
    due = {one.ppa_id for one in series if one.ppa_id in by_id and one.is_due(by_id[one.ppa_id].settings, now)}
    return tuple(ppa for ppa in by_id.values() if ppa.id in due)


def add_series(conn: Connection, ppa: PPA, name: str, architectures: Sequence[str], now: float, by: str) -> None:
    """Add a series, to be published; one that was removed comes back, empty."""
    s = t.series
    row = conn.execute(sa.select(s).where(s.c.ppa_id == ppa.id, s.c.name == name)).one_or_none()
    words = " ".join(architectures)
    if row is None:
        counted = {"generation": 0, "published_generation": 0}
        series_id = insert(conn, s, ppa_id=ppa.id, name=name, architectures=words, **counted)
    else:
        series_id = row.id
        conn.execute(sa.update(s).where(s.c.id == series_id).values(architectures=words, deleted_at=None))
    begin_change(conn, _series_by_id(conn, series_id), now, by, "create", f"for {words}")


def set_architectures(conn: Connection, one: Series, architectures: Sequence[str]) -> None:
    """Change which architectures a series has."""
    conn.execute(sa.update(t.series).where(t.series.c.id == one.id).values(architectures=" ".join(architectures)))


def mark_series_deleted(conn: Connection, one: Series, now: float) -> None:
    """The series is no more; its history stays."""
    conn.execute(sa.update(t.series).where(t.series.c.id == one.id).values(deleted_at=now))


def begin_change(conn: Connection, one: Series, now: float, by: str, what: str, why: str = "") -> Change:
    """Count a series' generation up: what it publishes changes, and this says who did what, when and why."""
    s = t.series
    conn.execute(sa.update(s).where(s.c.id == one.id).values(generation=s.c.generation + 1))
    generation = conn.execute(sa.select(s.c.generation).where(s.c.id == one.id)).scalar_one()
    values = {"at": now, "by": by, "what": what, "why": why}
    conn.execute(sa.insert(t.series_changes).values(series_id=one.id, generation=generation, **values))
    return Change(replace(one, generation=generation), generation, now, by)


def _series_by_id(conn: Connection, series_id: int) -> Series:
    return _series(conn.execute(sa.select(t.series).where(t.series.c.id == series_id)).one())


# Who may


def list_uploaders(conn: Connection, ppa: PPA) -> tuple[Uploader, ...]:
    """Who may upload to a PPA."""
    query = sa.select(t.uploader_keys).where(t.uploader_keys.c.ppa_id == ppa.id).order_by(t.uploader_keys.c.id)
    return tuple(Uploader(row.fingerprint, row.uid, row.public_key) for row in conn.execute(query))


def add_uploader(conn: Connection, ppa: PPA, uploader: Uploader, now: float) -> None:
    """Let someone upload; a key that is known already is replaced (a new expiry date, more subkeys)."""
    keys = t.uploader_keys
    known = sa.and_(keys.c.ppa_id == ppa.id, keys.c.fingerprint == uploader.fingerprint)
    values = {"uid": uploader.uid, "public_key": uploader.public_key}
    if conn.execute(sa.update(keys).where(known).values(**values)).rowcount == 0:
        insert(conn, keys, ppa_id=ppa.id, fingerprint=uploader.fingerprint, added_at=now, **values)


def remove_uploader(conn: Connection, ppa: PPA, fingerprint: str) -> bool:
    """Let someone upload no more; whether they could before."""
    keys = t.uploader_keys
    known = sa.and_(keys.c.ppa_id == ppa.id, keys.c.fingerprint == fingerprint)
    return conn.execute(sa.delete(keys).where(known)).rowcount > 0


def list_tokens(conn: Connection, ppa: PPA) -> tuple[AccessToken, ...]:
    """The tokens that hold now."""
    a = t.access_tokens
    query = sa.select(a).where(a.c.ppa_id == ppa.id, a.c.revoked_at.is_(None)).order_by(a.c.id)
    return tuple(
        AccessToken(row.id, row.name, row.secret_sha256, row.may_upload, row.created_at, row.created_by)
        for row in conn.execute(query)
    )


def add_token(
    conn: Connection, ppa: PPA, name: str, secret_sha256: str, *, may_upload: bool, now: float, by: str
) -> None:
    """Keep a token's hash."""
    values = {"secret_sha256": secret_sha256, "may_upload": may_upload, "created_at": now, "created_by": by}
    insert(conn, t.access_tokens, ppa_id=ppa.id, name=name, **values)


def revoke_token(conn: Connection, token: AccessToken, now: float) -> None:
    """The token holds no more."""
    conn.execute(sa.update(t.access_tokens).where(t.access_tokens.c.id == token.id).values(revoked_at=now))


def _columns(settings: Settings) -> dict[str, Any]:
    return {**vars(settings), "compressions": " ".join(settings.compressions)}


def _ppa(row: sa.Row[Any], fingerprints: tuple[str, ...]) -> PPA:
    settings = Settings(
        row.description,
        row.private,
        row.quota_bytes,
        row.versions,
        row.keep_ended_s,
        tuple(row.compressions.split()),
        row.valid_for_s,
    )
    address = Address("local", row.owner, row.name)
    return PPA(row.id, address, settings, fingerprints, row.created_at, row.deleted_at, row.used_bytes)


def _series(row: sa.Row[Any]) -> Series:
    return Series(
        row.id,
        row.ppa_id,
        row.name,
        tuple(row.architectures.split()),
        row.generation,
        row.published_generation,
        row.contents_generation,
        row.published_at,
    )
