"""CTest: ``3/10 Test #3: name ....***Failed  0.00 sec``."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.suites.base import LineSuite, Result


class CTest(LineSuite):
    """CTest's own lines, whatever the tests below it print."""

    kind = "CTest"
    runs_others = True
    needles: ClassVar[tuple[bytes, ...]] = (b" #", b"\nTest project ", b"\nTotal Test time ")
    begins = re.compile(r"^Test project /")
    results = re.compile(
        r"^ *\d+/\d+ +(?:Test|MemCheck) +#\d+: (?P<name>\S.*?) \.*(?: ?[A-Z][\w ]*)?(?:\*{3}| +)"
        r"(?P<result>Passed|Failed|Timeout|Exception|Skipped|Not Run|Required)\b"
    )
    ends = re.compile(r"^Total Test time ")
    words: ClassVar[dict[str, Result]] = {
        "Passed": "passed",
        "Failed": "failed",
        "Timeout": "failed",
        "Exception": "failed",
        "Required": "failed",
        "Not Run": "failed",
        "Skipped": "skipped",
    }
