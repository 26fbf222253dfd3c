"""pytest: ``FAILED path::name - why`` in its short summary or its verbose lines; the last line has the counts."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import Run, Suite

_SUMMARY = re.compile(r"^(?:FAILED|ERROR) (?P<name>[^\s:]+\.py(?:::.+?)?)(?: - .*)?$")
_VERBOSE = re.compile(r"^(?P<name>\S+\.py::.+?) (?:FAILED|ERROR) +(?:\[ *\d+%\])?$")
_COUNTS = re.compile(r"^(?:=+ )?(?P<counts>\d+ \w+(?:, \d+ \w+)*) in \d[\d.:]*s?\b")
_WORDS = frozenset(
    (
        "failed",
        "passed",
        "skipped",
        "deselected",
        "xfailed",
        "xpassed",
        "warning",
        "warnings",
        "error",
        "errors",
        "rerun",
    )
)


class Pytest(Suite):
    """A run ends with the line of counts. A test that breaks in its fixtures (``error``) counts as failed."""

    kind = "pytest"
    needles: ClassVar[tuple[bytes, ...]] = (
        b"\nFAILED ",
        b"\nERROR ",
        b"\n=",
        b" passed",
        b" failed",
    )

    def read(self, line: Line) -> int:
        """Note names that failed, and the counts."""
        if line.text.startswith("=") and " test session starts " in line.text:
            self.close()
            self.open(line)
        elif match := (_SUMMARY.match(line.text) or _VERBOSE.match(line.text)):
            run = self.open(line)
            if run.fail(match["name"], line):
                run.count("failed")
        elif match := _COUNTS.match(line.text):
            self._sum_up(line, match["counts"])
        return 0

    def _sum_up(self, line: Line, counts: str) -> None:
        said: dict[str, int] = {}
        for part in counts.split(", "):
            number, _, word = part.partition(" ")
            if word not in _WORDS:
                return
            said[word.rstrip("s") if word.startswith("error") else word] = int(number[:12])
        run: Run = self.open(line)
        run.state("failed", said.get("failed", 0) + said.get("error", 0))
        run.state("passed", said.get("passed", 0) + said.get("xfailed", 0) + said.get("xpassed", 0))
        run.state("skipped", said.get("skipped", 0))
        self.close()
