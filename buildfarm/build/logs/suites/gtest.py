"""GoogleTest: ``[  FAILED  ] Suite.Name (0 ms)``."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.suites.base import LineSuite, Result


class GoogleTest(LineSuite):
    """A run begins and ends with ``[==========]``; the list of failures after it says nothing new."""

    kind = "GoogleTest"
    needles: ClassVar[tuple[bytes, ...]] = (
        b"\n[       OK ] ",
        b"\n[  FAILED  ] ",
        b"\n[  SKIPPED ] ",
        b"\n[==========] Running ",
    )
    begins = re.compile(r"^\[={10}\] Running \d+ tests?")
    results = re.compile(
        r"^\[ +(?P<result>OK|FAILED|SKIPPED) +\] (?P<name>[\w./]+)(?:, where .*)? \(\d+ ms(?: total)?\)$"
    )
    words: ClassVar[dict[str, Result]] = {"OK": "passed", "FAILED": "failed", "SKIPPED": "skipped"}
