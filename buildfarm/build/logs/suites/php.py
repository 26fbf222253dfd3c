"""PHP's run-tests: ``FAIL title [tests/a.phpt]``, ``Tests failed : 2``, and a FAILED TEST SUMMARY."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import Result, Suite

_TEST = re.compile(
    r"^(?P<result>(?:PASS|FAIL|SKIP|XFAIL|XLEAK|BORK|LEAK|WARN)(?:&\w+)*) .*\[(?P<path>\S+\.phpt)\]"
)
_COUNT = re.compile(r"^(?P<what>Tests \w+|Expected fail|Number of tests) +: +(?P<number>\d+)")
_COUNTED: dict[str, Result] = {
    "Tests passed": "passed",
    "Expected fail": "passed",
    "Tests failed": "failed",
    "Tests skipped": "skipped",
}
_SEEN: dict[str, Result] = {
    "PASS": "passed",
    "XFAIL": "passed",
    "XLEAK": "passed",
    "WARN": "passed",
    "SKIP": "skipped",
}


class PhpRunTests(Suite):
    """A failing test is named by the path of its .phpt file: titles are not unique."""

    kind = "PHP run-tests"
    needles: ClassVar[tuple[bytes, ...]] = (
        b".phpt]",
        b"\nTests ",
        b"\nExpected fail",
        b"\nNumber of tests",
        b"\nTime taken",
    )

    def read(self, line: Line) -> int:
        """Take a test's line, or one of the summary's."""
        if match := _TEST.match(line.text):
            run = self.open(line)
            words = match["result"].split("&")
            result: Result = "failed" if "FAIL" in words else _SEEN.get(words[0], "failed")
            if result != "failed" or run.fail(_relative(match["path"]), line):
                run.count(result)
        elif line.text.startswith("Time taken"):
            self.close()
        elif (match := _COUNT.match(line.text)) and self.run is not None:
            run = self.open(line)
            if match["what"] in _COUNTED:
                result = _COUNTED[match["what"]]
                run.state(result, run.stated.get(result, 0) + int(match["number"][:12]))
        return 0


def _relative(path: str) -> str:
    """Without the build's own directory, where the path is a whole one."""
    return re.sub(r"^/(?:<<\w+>>|build/[^/]+/[^/]+)/", "", path)
