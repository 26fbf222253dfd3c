"""meson test: ``2/7 suite / name  FAIL  0.01s``, and its list of counts."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.suites.base import LineSuite, Result

_WORDS: dict[str, Result] = {
    "OK": "passed",
    "EXPECTEDFAIL": "passed",
    "SKIP": "skipped",
    "FAIL": "failed",
    "TIMEOUT": "failed",
    "ERROR": "failed",
    "INTERRUPT": "failed",
    "UNEXPECTEDPASS": "failed",
}


class Meson(LineSuite):
    """A run ends where its log is named. The lines of failing tests come again in a list before the counts."""

    kind = "meson test"
    runs_others = True
    needles: ClassVar[tuple[bytes, ...]] = (*(f" {word} ".encode() for word in _WORDS), b"\nFull log written to ")
    results = re.compile(
        r"^ *(?P<index>\d+)/\d+ +(?P<name>\S.*?) +(?P<result>" + "|".join(_WORDS) + r") +\d+\.\d+ ?s\b"
    )
    ends = re.compile(r"^Full log written to ")
    words = _WORDS
