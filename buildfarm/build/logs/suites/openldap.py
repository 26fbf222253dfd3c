"""OpenLDAP's own runner: ``>>>>> test000-rootdse failed for mdb after 2 seconds``."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import Result, Suite

_TEST = re.compile(r"^>>>>> (?P<name>\S+) (?P<result>completed OK|failed)(?: for (?P<backend>[\w+-]+))?")
_SKIPPED = re.compile(r"^>>>>> Skipping (?P<name>\S+)")
_RESULTS: dict[str, Result] = {"completed OK": "passed", "failed": "failed"}


class OpenLdap(Suite):
    """A run is all scripts for one backend; a script that failed is named with it."""

    kind = "OpenLDAP"
    needles: ClassVar[tuple[bytes, ...]] = (b"\n>>>>> ",)

    def read(self, line: Line) -> int:
        """Take the beginning of a run, or a script's end."""
        if line.text.startswith(">>>>> Executing "):
            self.close()
        elif _SKIPPED.match(line.text):
            self.open(line).count("skipped")
        elif match := _TEST.match(line.text):
            run = self.open(line)
            result = _RESULTS[match["result"]]
            run.count(result)
            if result == "failed":
                run.fail(f"{match['name']} for {match['backend']}" if match["backend"] else match["name"], line)
        return 0
