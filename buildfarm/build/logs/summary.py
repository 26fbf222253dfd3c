"""The end of a log as sbuild writes it, ``Key: value`` lines after the last Summary box; where the build began."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from buildfarm.build.logs.lines import Line

SUMMARY_KEYS = frozenset(
    (
        "Autopkgtest",
        "Build Architecture",
        "Build Type",
        "Build-Space",
        "Build-Time",
        "Distribution",
        "Fail-Stage",
        "Host Architecture",
        "Install-Time",
        "Job",
        "Lintian",
        "Machine Architecture",
        "Package",
        "Package-Time",
        "Piuparts",
        "Source-Version",
        "Space",
        "Status",
        "Version",
    )
)
SUMMARY_LINES = 100

_BOX = re.compile(r"^\| Summary +\|$")
_BUILD_BOX = re.compile(r"^\| Build +\|$")


@dataclass(frozen=True)
class Summary:
    """The end of a log: its ``Key: value`` lines after the last Summary box."""

    values: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """``successful``, ``attempted``, ``given-back``, ...; "" when there is none."""
        return self.values.get("Status", "")

    @property
    def fail_stage(self) -> str:
        """Where it failed; "" when it did not say."""
        return self.values.get("Fail-Stage", "")

    def seconds(self, key: str) -> int | None:
        """A time of the summary in seconds: ``Build-Time``, ``Install-Time``, ``Package-Time``."""
        value = self.values.get(key, "")
        return int(value) if value.isascii() and value.isdigit() else None


class SummaryReader:
    """Keeps the keys after the last Summary box: the output of a build may have boxes, too, but only before it."""

    needles = (b"\n| Summary ", b"\n| Build ")

    def __init__(self) -> None:
        self.values: dict[str, str] | None = None
        self.build_began = False

    def read(self, line: Line) -> int:
        """Begin anew at a box; take the keys after it."""
        if _BOX.match(line.text):
            self.values = {}
            return SUMMARY_LINES
        self.build_began = self.build_began or bool(_BUILD_BOX.match(line.text))
        if self.values is not None:
            key, colon, value = line.text.partition(": ")
            if colon and key in SUMMARY_KEYS:
                self.values[key] = value.strip()
        return 0

    def summary(self) -> Summary | None:
        """The summary; None for a log that ends without."""
        return Summary(self.values) if self.values else None
