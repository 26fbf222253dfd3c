"""Debian version order: a version's sort key, its parts, and whether it is one at all."""

from __future__ import annotations

import functools
import re

VERSION = re.compile(
    r"(?:(?P<epoch>[0-9]{1,9}):)?(?P<upstream>[0-9A-Za-z.+~-]*?)(?:-(?P<revision>[0-9A-Za-z.+~]+))?"
)
CHUNK = re.compile(r"([^0-9]*)([0-9]*)")
OTHERS_AFTER_LETTERS = 256
LONGEST = 255  # more fits no file name, and numbers without end take time without end

VersionKey = tuple[int, tuple[int, ...], tuple[int, ...]]


def split_version(version: str) -> tuple[int, str, str]:
    """Epoch, upstream version and revision ("" for none); raises ValueError for what is no Debian version.

    The rule is deb-version(7): the upstream part begins with a digit.
    """
    if len(version) > LONGEST:
        raise ValueError(f"{version[:20]!r}... is no Debian version: it has more than {LONGEST} characters")
    match = VERSION.fullmatch(version)
    trailing_hyphen = match is not None and match["revision"] is None and "-" in match["upstream"]
    if match is None or trailing_hyphen or not match["upstream"][:1].isdigit():
        raise ValueError(f"{version!r} is no Debian version")
    return int(match["epoch"] or 0), match["upstream"], match["revision"] or ""


def without_epoch(version: str) -> str:
    """The version as file names have it."""
    return version.partition(":")[2] or version


@functools.lru_cache(maxsize=65536)
def version_key(version: str) -> VersionKey:
    """A key that sorts as ``dpkg --compare-versions`` does; equal keys are equal versions ("1" and "1-0").

    Raises ValueError for what is no Debian version.
    """
    epoch, upstream, revision = split_version(version)
    return epoch, _part_key(upstream), _part_key(revision)


def _part_key(part: str) -> tuple[int, ...]:
    """Letters, then the digits' value, in turn. A 0 ends each run of letters: ``~`` sorts before it."""
    key: list[int] = []
    for letters, digits in CHUNK.findall(part or "0"):
        if letters or digits:
            key += [_order(character) for character in letters]
            key += [0, int(digits or 0)]
    return (*key, 0)


def _order(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + OTHERS_AFTER_LETTERS
