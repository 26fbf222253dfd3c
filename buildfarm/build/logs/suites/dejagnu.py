"""DejaGnu's runtest: ``FAIL: name`` after ``Test run by``, and ``# of unexpected failures`` at the end."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import Result, Suite

_TEST = re.compile(r"^(PASS|FAIL|XFAIL|KFAIL|XPASS|KPASS|UNRESOLVED|UNSUPPORTED|UNTESTED): (\S.*)$")
_COUNT = re.compile(r"^# of ([a-z ]+?)\s+(\d+)$")
_WORDS: dict[str, Result] = {
    "PASS": "passed",
    "XFAIL": "passed",
    "KFAIL": "passed",
    "FAIL": "failed",
    "XPASS": "failed",
    "KPASS": "failed",
    "UNRESOLVED": "failed",
    "UNSUPPORTED": "skipped",
    "UNTESTED": "skipped",
}
_COUNTED: dict[str, Result] = {
    "expected passes": "passed",
    "expected failures": "passed",
    "known failures": "passed",
    "unexpected failures": "failed",
    "unexpected successes": "failed",
    "unknown successes": "failed",
    "unresolved testcases": "failed",
    "unsupported tests": "skipped",
    "untested testcases": "skipped",
}


class DejaGnu(Suite):
    """A run begins where it says who runs it. Passes are told one by one only when asked for."""

    kind = "DejaGnu"
    needles: ClassVar[tuple[bytes, ...]] = (
        b"\nTest run by ",
        b"\nTest Run By ",
        *(f"\n{word}: ".encode() for word in _WORDS),
        b"\n# of ",
    )

    def read(self, line: Line) -> int:
        """Take the beginning, a test's line within a run, or a count."""
        if line.text.startswith(("Test run by ", "Test Run By ")):
            self.close()
            self.open(line)
        elif self.run is not None and (match := _TEST.match(line.text)):
            run = self.open(line)
            result = _WORDS[match[1]]
            run.count(result)
            if result == "failed":
                run.fail(match[2], line)
        elif self.run is not None and (match := _COUNT.match(line.text)) and match[1] in _COUNTED:
            run = self.open(line)
            result = _COUNTED[match[1]]
            run.state(result, run.stated.get(result, 0) + int(match[2][:12]))
        return 0
