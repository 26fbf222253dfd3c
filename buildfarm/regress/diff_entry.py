"""A changelog entry added within the diff of a source package in format 1.0, which is never applied for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HUNK = re.compile(rb"@@ -(\d{1,10})(?:,(\d{1,10}))? \+(\d{1,10})(?:,(\d{1,10}))? @@(.*)", re.DOTALL)
_PATH = re.compile(rb"[^/]+/debian/changelog")


class UnfitDiff(ValueError):
    """A diff that the entry cannot be added to."""


@dataclass(frozen=True)
class Hunk:
    """The head of a hunk: the number of its line in the diff, where it begins in the old file and in the new one,
    how many lines of each it has, and what follows its numbers."""

    line: int
    old: int
    old_count: int
    new: int
    new_count: int
    rest: bytes

    def __bytes__(self) -> bytes:
        return b"@@ -%d,%d +%d,%d @@%s" % (self.old, self.old_count, self.new, self.new_count, self.rest)


def add_to_diff(diff: bytes, added: bytes) -> bytes:
    """The diff with lines added at the beginning of debian/changelog.

    Raises UnfitDiff where it does not write that beginning: upstream's own tarball has a debian/changelog, then.
    """
    lines = diff.split(b"\n")
    hunks = list(_hunks_of_changelog(lines))
    if not hunks:
        raise UnfitDiff("it does not write debian/changelog")
    first = hunks[0]
    if first.new > 1 or first.old > 1:
        raise UnfitDiff("it does not write the beginning of debian/changelog")
    new_lines = [b"+" + line for line in added.rstrip(b"\n").split(b"\n")] + [b"+"]
    count = len(new_lines)
    for hunk in hunks[1:]:
        moved = Hunk(hunk.line, hunk.old, hunk.old_count, hunk.new + count, hunk.new_count, hunk.rest)
        lines[hunk.line] = bytes(moved)
    head = Hunk(first.line, first.old, first.old_count, 1, first.new_count + count, first.rest)
    lines[first.line : first.line + 1] = [bytes(head), *new_lines]
    return b"\n".join(lines)


def _hunks_of_changelog(lines: list[bytes]) -> Iterator[Hunk]:
    number, in_changelog = 0, False
    while number < len(lines):
        line = lines[number]
        if line.startswith(b"--- ") and number + 1 < len(lines) and lines[number + 1].startswith(b"+++ "):
            name = lines[number + 1][4:].partition(b"\t")[0].strip()
            in_changelog = _PATH.fullmatch(name) is not None
            number += 2
            continue
        match = _HUNK.fullmatch(line)
        if match is None:
            number += 1
            continue
        old, old_count, new, new_count = (int(one) if one is not None else 1 for one in match.groups()[:4])
        if in_changelog:
            yield Hunk(number, old, old_count, new, new_count, match[5])
        number = _end_of_hunk(lines, number + 1, old_count, new_count)


def _end_of_hunk(lines: list[bytes], number: int, old: int, new: int) -> int:
    while number < len(lines) and (old > 0 or new > 0):
        kind = lines[number][:1]
        if kind not in (b" ", b"+", b"-", b"\\", b""):
            raise UnfitDiff(f"line {number + 1} does not belong to its hunk")
        old -= kind in (b" ", b"-", b"")
        new -= kind in (b" ", b"+", b"")
        number += 1
    return number
