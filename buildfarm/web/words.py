"""How pages write verdicts, times and sizes: a mark and a word for each, so that colour is never alone."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from buildfarm.regress.entries import ORDER
from buildfarm.regress.model import Outcome, RebuildVerdict
from buildfarm.web.lookups import Hit

UNSEEN = re.compile(  # what would be no character in HTML, or turn the text around it
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
ESCAPE = re.compile(r"\x1b\[[0-9;:?]{0,32}[ -/]?[@-~]")
KIBIBYTE = 1024


@dataclass(frozen=True)
class Mark:
    """How a verdict looks: ``css`` is a class, ``sign`` what stands in a cell, ``words`` what it means."""

    css: str
    sign: str
    words: str


MARKS = {
    RebuildVerdict.NEW_FAILURE: Mark("new", "N", "new failure"),
    RebuildVerdict.STILL_FAILING: Mark("failing", "F", "still failing"),
    RebuildVerdict.FIXED: Mark("fixed", "✓", "fixed"),
    RebuildVerdict.STILL_PASSING: Mark("passing", "·", "still passing"),
    RebuildVerdict.FLAKY: Mark("flaky", "~", "flaky"),
    RebuildVerdict.INFRASTRUCTURE: Mark("farm", "i", "infrastructure"),
    RebuildVerdict.DEPENDENCY_WAIT: Mark("wait", "d", "dependency wait"),
}
CHANGED = Mark("changed", "C", "failing, of another cause than before")
RUNNING = Mark("running", "…", "not ended yet")
ABSENT = Mark("none", "", "not in this night")
LEGEND = (*(MARKS[one] for one in ORDER), CHANGED, RUNNING)
OUTCOMES: dict[Outcome, tuple[str, str]] = {
    "pass": ("passing", "passed"),
    "fail": ("new", "failed"),
    "dependency-wait": ("wait", "waits for dependencies"),
    "error": ("farm", "ended by the farm's own trouble"),
}
KINDS = {
    "first": "first build",
    "again": "the same again",
    "control": "control package",
    "culprit": "search for the cause",
    "publish": "publication",
}


def mark_of(verdict: RebuildVerdict | None, *, cause_changed: bool = False) -> Mark:
    """How a verdict looks; None goes on."""
    if verdict is None:
        return RUNNING
    return CHANGED if cause_changed and verdict is RebuildVerdict.STILL_FAILING else MARKS[verdict]


def is_news(hit: Hit) -> bool:
    """Whether people would be told of it."""
    return hit.cause_changed or hit.verdict in (RebuildVerdict.NEW_FAILURE, RebuildVerdict.FIXED)


def clean(text: str) -> str:
    """Text without what a terminal would have coloured, and without characters that are none."""
    return UNSEEN.sub("\N{REPLACEMENT CHARACTER}", ESCAPE.sub("", text))


def clock(at: float) -> str:
    """A time as this machine has it, to the minute."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")


def zone() -> str:
    """The name of this machine's time zone, now."""
    return time.strftime("%Z")


def size(size_bytes: float) -> str:
    """A size for people, in units of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < KIBIBYTE:
            return f"{size_bytes:.0f} {unit}" if unit == "B" or size_bytes >= 10 else f"{size_bytes:.1f} {unit}"
        size_bytes /= KIBIBYTE
    return f"{size_bytes:.1f} TiB"


def count(number: int, what: str, plural: str = "") -> str:
    """A number with its noun: ``1 build``, ``2 builds``."""
    return f"{number:,} {what if number == 1 else plural or f'{what}s'}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def listed(words: Iterable[str]) -> str:
    """Words with commas between them."""
    return ", ".join(words)
