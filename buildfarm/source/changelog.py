"""The packaging's changelog: the heading of its newest entry, and the entry the farm puts on top."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from buildfarm.source.version import DebianVersion, parse_version

CHANGELOG = "debian/changelog"

# The heading of deb-changelog(5), piece by piece, so that an error can name its column.
_HEADING = (
    (re.compile(r"[a-z0-9][a-z0-9+.-]+(?= |\()"), "the source package's name (lower case letters, digits, + . -)"),
    (re.compile(r" \("), "a space and the version in parentheses"),
    (re.compile(r"[^() \t]+(?=\))"), "a version without spaces"),
    (re.compile(r"\)"), "a closing parenthesis"),
    (re.compile(r"(?: +[A-Za-z0-9][A-Za-z0-9+.-]*)+"), "the distribution, as in 'unstable' or 'UNRELEASED'"),
    (re.compile(r"; *"), "a semicolon"),
)
_URGENCY = re.compile(r"urgency=([A-Za-z]+)", re.IGNORECASE)


class ChangelogError(ValueError):
    """The changelog's newest entry has no heading that can be read; line and column count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


@dataclass(frozen=True)
class Heading:
    """The first line of a changelog entry; ``line`` counts from 1."""

    source: str
    version: DebianVersion
    urgency: str
    line: int


def read_heading(content: bytes) -> Heading:
    """The heading of the newest entry; raises ChangelogError. Only this line needs to be UTF-8."""
    lines = content.split(b"\n")
    number = next((n for n, line in enumerate(lines) if line.strip()), None)
    if number is None:
        raise ChangelogError("it has no entry", 1, 1)
    line = lines[number].decode("utf-8", "backslashreplace").rstrip()
    pieces, column = [], 0
    for pattern, wanted in _HEADING:
        match = pattern.match(line, column)
        if match is None:
            raise ChangelogError(f"here should be {wanted}", number + 1, column + 1)
        pieces.append(match[0])
        column = match.end()
    try:
        version = parse_version(pieces[2])
    except ValueError as error:
        raise ChangelogError(str(error), number + 1, line.index("(") + 2) from error
    urgency = _URGENCY.search(line, column)
    return Heading(pieces[0], version, urgency[1].lower() if urgency else "medium", number + 1)


@dataclass(frozen=True)
class Entry:
    """A changelog entry to be written; ``changed_at`` in seconds since the epoch, UTC.

    ``changes`` has who changed something ("" for nobody in particular) with what, one line each.
    """

    source: str
    version: str
    distribution: str
    urgency: str
    changes: tuple[tuple[str, tuple[str, ...]], ...]
    changed_by: str
    changed_at: int

    def quoted(self) -> str:
        """Heading and changes, without the trailer, as a .changes file quotes them."""
        lines = [f"{self.source} ({self.version}) {self.distribution}; urgency={self.urgency}"]
        for author, changes in self.changes:
            lines += ["", *([f"  [ {one_line(author)} ]"] if author else [])]
            lines += [f"  * {one_line(change)}" for change in changes]
        return "\n".join(lines)

    def __str__(self) -> str:
        return f"{self.quoted()}\n\n -- {self.changed_by}  {rfc2822(self.changed_at)}\n"


def one_line(text: str, limit: int = 400) -> str:
    """A commit's words on one printable line: they come from anybody."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words if len(words) <= limit else words[: limit - 1] + "…"


def rfc2822(seconds: int) -> str:
    """A time as changelogs write it, in UTC."""
    return time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(seconds))
