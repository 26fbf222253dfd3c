"""Keys as GnuPG lists them (``--with-colons``, doc/DETAILS of GnuPG)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

PRIMARY = ("pub", "sec")
SUBKEY = ("sub", "ssb")
UNUSABLE = ("r", "e", "i", "d")  # revoked, expired, invalid, disabled
ALGORITHMS = {"1": "rsa", "17": "dsa", "22": "ed"}


@dataclass(frozen=True)
class Key:
    """A key by its primary fingerprint (40 upper-case hex digits); times are seconds since the epoch, UTC.

    ``expires_at`` is None for a key that never expires. ``algorithm`` reads ``ed25519`` or ``rsa4096``.
    ``signs_with`` is the fingerprint of what makes its signatures here: its newest signing subkey that is at hand,
    or itself; "" where nothing can.
    """

    fingerprint: str
    created_at: int
    expires_at: int | None
    uid: str
    algorithm: str
    signs_with: str = ""


def parse_keys(listing: bytes) -> Iterator[Key]:
    """The keys of a listing; revoked ones are left out."""
    records = [line.split(":") for line in listing.decode("utf-8", "backslashreplace").splitlines()]
    starts = [n for n, record in enumerate(records) if record[0] in PRIMARY]
    for start, end in itertools.pairwise([*starts, len(records)]):
        primary = records[start]
        if primary[1] == "r":
            continue
        found = {kind: next((r[9] for r in records[start:end] if r[0] == kind), "") for kind in ("fpr", "uid")}
        curve = primary[16] if len(primary) > 16 else ""
        yield Key(
            fingerprint=found["fpr"],
            created_at=int(primary[5]),
            expires_at=int(primary[6]) if primary[6] else None,
            uid=re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), found["uid"]),
            algorithm=curve or f"{ALGORITHMS.get(primary[3], primary[3])}{primary[2]}",
            signs_with=_find_signing(records[start:end]),
        )


def _find_signing(records: Sequence[Sequence[str]]) -> str:
    """The part of a key that signs, as gpg chooses it: a primary key is often kept elsewhere."""
    able = [
        (record[0] in SUBKEY, int(record[5]), mark[9])
        for record, mark in itertools.pairwise(records)
        if record[0] in (*PRIMARY, *SUBKEY) and mark[0] == "fpr"
        if "s" in record[11] and record[1] not in UNUSABLE and "#" not in record[14:15]
    ]
    return max(able)[2] if able else ""
