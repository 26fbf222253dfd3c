"""Mocha's usual report: ``2 passing``, ``1 failing``, then the failures, numbered, a line a level."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import Result, Suite

_COUNT = re.compile(r"^ *(?P<number>\d+) (?P<word>passing|failing|pending)(?: \([\d.]+\w+\))?$")
_FAILURE = re.compile(r"^ *(?P<index>\d+)\) (?P<name>.*)$")
_WORDS: dict[str, Result] = {"passing": "passed", "failing": "failed", "pending": "skipped"}
LOOK_AHEAD = 300
MAX_LEVELS = 6


class Mocha(Suite):
    """A failure's name is all its levels, up to the line that ends with a colon."""

    kind = "mocha"
    needles: ClassVar[tuple[bytes, ...]] = (b" passing (", b" failing\n", b" pending\n")

    def __init__(self) -> None:
        super().__init__()
        self.listing = False
        self.name: list[str] = []
        self.head: Line | None = None

    def read(self, line: Line) -> int:
        """Take counts; after ``failing`` the list of failures."""
        if match := _COUNT.match(line.text):
            if match["word"] == "passing":
                self.close()
                self.listing = False
            run = self.open(line)
            run.state(_WORDS[match["word"]], int(match["number"][:12]))
            self.listing = match["word"] == "failing"
            return LOOK_AHEAD if self.listing else 0
        return self._list(line) if self.listing else 0

    def _list(self, line: Line) -> int:
        if self.head is None:
            match = _FAILURE.match(line.text)
            if match is None:
                return 0
            self.head, self.name = line, [match["name"].strip()]
        else:
            self.name.append(line.text.strip())
        if self.name[-1].endswith(":") or len(self.name) >= MAX_LEVELS:
            self.open(line).fail(" ".join(self.name).rstrip(":"), self.head)
            self.head = None
        return LOOK_AHEAD
