"""Archive addresses: ``ppa:owner/name`` on Launchpad, ``local:owner/name`` in the embedded archive."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*")


@dataclass(frozen=True, order=True)
class Address:
    """One archive. ``str()`` gives the text that ``parse_address`` reads."""

    backend: Literal["ppa", "local"]
    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.backend}:{self.owner}/{self.name}"


def parse_address(text: str) -> Address:
    """The archive that ``text`` names; raises ValueError saying what would be right.

    Names follow Launchpad's rule for PPAs and people: lower case letters, digits, ``+``, ``.`` and ``-``,
    the first a letter or a digit.
    """
    backend, colon, path = text.partition(":")
    owner, slash, name = path.partition("/")
    if not colon or backend not in ("ppa", "local") or not slash:
        raise ValueError(f"{text!r} is no archive: ppa:owner/name or local:owner/name is wanted")
    for part in (owner, name):
        if not NAME.fullmatch(part):
            raise ValueError(
                f"{text!r} is no archive: {part!r} may have only lower case letters, digits, + . and -"
            )
    return Address(backend, owner, name)  # type: ignore[arg-type]
