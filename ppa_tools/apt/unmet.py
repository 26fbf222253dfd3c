"""What apt says when its solver finds no way, as values: who wants what, and what stands against it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

HEADING = "The following packages have unmet dependencies:"
WHO = re.compile(r" (\S+) : (.*)")
WHAT = re.compile(r"(\w+): (.+?)(?: but (.*))?")
BUILD_PREFIX = "builddeps:"
CANNOT = "it cannot be installed itself"
"""The words for what apt did not say, as it follows from what it said."""


@dataclass(frozen=True)
class Unmet:
    """A relation that apt could not keep; ``words`` are apt's own after it, such as "2.0 is to be installed".

    ``package`` is a source where ``is_build`` is true. ``there`` is the version that apt would take of what the
    relation names first, "" where nobody has it.
    """

    package: str
    field: str
    relation: str
    words: str
    there: str = ""
    is_build: bool = False

    @property
    def target(self) -> str:
        """The name of what the relation names first."""
        return re.split(r"[ :(|]", self.relation, maxsplit=1)[0]

    def __str__(self) -> str:
        is_told = self.there in self.words or self.words == CANNOT
        there = f", {self.there} is there" if self.there and not is_told else ""
        words = f" but {self.words}" if self.words else ""
        return f"{self.package}: {self.field}: {self.relation}{words}{there}"


def read_unmet(output: str) -> tuple[Unmet, ...]:
    """The unmet relations that apt-get names in its output, in its order."""
    lines = iter(output.splitlines())
    for line in lines:
        if line.strip() == HEADING:
            return tuple(_read(_joined(lines)))
    return ()


def read_errors(output: str) -> str:
    """The errors that apt-get names, in one line."""
    return "; ".join(line.removeprefix("E: ") for line in output.splitlines() if line.startswith("E: "))


def _joined(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each package with each of its statements; alternatives on lines of their own are put together."""
    package, statement = "", ""
    for line in lines:
        if not line.startswith(" "):
            break
        if match := WHO.fullmatch(line):
            package, part = match[1], match[2]
        else:
            part = line.strip()
        statement = f"{statement}{part.strip()}"
        if statement.endswith(" or"):
            statement = f"{statement.removesuffix(' or')} | "
        else:
            yield package, statement
            statement = ""


def _read(statements: Iterable[tuple[str, str]]) -> Iterator[Unmet]:
    for package, statement in statements:
        if match := WHAT.fullmatch(statement):
            # Each alternative may have its own words; the last one's tell enough.
            relation = re.sub(r" but [^|]*(?=\|)", " ", match[2])
            name = package.removeprefix(BUILD_PREFIX)
            field = {"PreDepends": "Pre-Depends"}.get(match[1], match[1])
            yield Unmet(name, field, relation.strip(), match[3] or "", is_build=package.startswith(BUILD_PREFIX))
