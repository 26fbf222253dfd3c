"""What a request is answered with, as plain values, and the refusals that say what to do instead."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"

# Nothing of a page is a script, and nothing is loaded from elsewhere: whatever a package's name or its log says.
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'self'"
)
FILE_POLICY = "default-src 'none'; sandbox"


@dataclass(frozen=True)
class Answer:
    """A whole answer. By ``etag`` (with its quotes) and ``changed_at`` (epoch seconds) whoever has it knows."""

    body: bytes
    type: str = HTML
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str = ""
    changed_at: float | None = None


@dataclass(frozen=True)
class FileAnswer:
    """A file to send: as it lies there, unpacked from gzip, or (``growing``) on and on while it is written.

    ``packed``: it is gzip of what is asked for. ``name``: it is to be saved under this name ("": shown).
    """

    path: Path
    type: str = TEXT
    packed: bool = False
    growing: bool = False
    name: str = ""


@dataclass(frozen=True)
class Elsewhere:
    """Another address, relative to the one that was asked for."""

    location: str


class NotFound(Exception):
    """There is no such page; ``brief`` says what is missing, ``advice`` what to do."""

    def __init__(self, brief: str, advice: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.advice = advice


class BadRequest(NotFound):
    """What stands behind the question mark cannot be read."""


def etag_of(body: bytes) -> str:
    """A strong validator of a body, with its quotes."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'
