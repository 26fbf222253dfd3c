"""Addresses of the pages: written relative to the page that has them, and read with limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from buildfarm.regress.model import Subject
from buildfarm.web.answers import BadRequest, NotFound

NUMBER = re.compile(r"[1-9][0-9]{0,17}")  # what SQLite takes
LONGEST = 200
CHOOSE = "Choose it in the form above the matrix."


@dataclass(frozen=True)
class Links:
    """Addresses as a page ``depth`` directories below the first one has them: a proxy may put it all anywhere."""

    depth: int = 0

    @property
    def root(self) -> str:
        """The first page."""
        return "../" * self.depth or "./"

    @property
    def buildbot(self) -> str:
        """Buildbot's own pages."""
        return "../" * (self.depth + 1)

    def matrix(self, **query: object) -> str:
        """The matrix; what is empty is left out."""
        return self.root + _query(query)

    def night(self, number: int) -> str:
        """A night."""
        return f"{self.root}nights/{number}"

    def build(self, number: int, part: str = "", **query: object) -> str:
        """A build, or a part of it."""
        return f"{self.root}builds/{number}{f'/{quote(part)}' if part else ''}{_query(query)}"

    def file(self, number: int, name: str) -> str:
        """A file that a build left."""
        return f"{self.root}builds/{number}/files/{quote(name, safe='')}"

    def package(self, subject: Subject) -> str:
        """A package's history."""
        words = (subject.package, subject.series, subject.architecture)
        return f"{self.root}packages/{'/'.join(quote(one, safe='') for one in words)}"

    def cause(self, fingerprint: str) -> str:
        """A cause."""
        return f"{self.root}causes/{quote(fingerprint, safe='')}"

    def at(self, path: str, **query: object) -> str:
        """Anything else that is served here."""
        return self.root + path + _query(query)


def _query(query: Mapping[str, object]) -> str:
    said = {key: str(value) for key, value in query.items() if value not in (None, "")}
    return f"?{urlencode(said)}" if said else ""


def number_of(text: str, what: str) -> int:
    """A number in an address; raises NotFound."""
    if not NUMBER.fullmatch(text):
        raise NotFound(
            f"There is no {what} of that number.", "Numbers have digits only: follow a link of the matrix."
        )
    return int(text)


@dataclass(frozen=True)
class Query:
    """What stands behind the question mark, of each word the first value."""

    said: Mapping[str, str]

    def text(self, key: str) -> str:
        """A word, "" where it is not said; raises BadRequest for what is too long."""
        value = self.said.get(key, "")
        if len(value) > LONGEST:
            raise BadRequest(f"{key} is longer than {LONGEST} characters.", CHOOSE)
        return value

    def number(self, key: str) -> int | None:
        """A number, None where none is said; raises BadRequest."""
        value = self.text(key)
        if not value:
            return None
        if not NUMBER.fullmatch(value):
            raise BadRequest(f"{key} is no number.", "Digits only are wanted.")
        return int(value)

    def choice(self, key: str, *choices: str) -> str:
        """One of some words, the first where none is said; raises BadRequest."""
        value = self.text(key) or choices[0]
        if value not in choices:
            raise BadRequest(f"{key} is none of {', '.join(choices)}.", CHOOSE)
        return value
