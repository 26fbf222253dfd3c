"""JUnit's XML printed in a log: ``<testcase name=... classname=...>`` with or without ``<failure`` in it.

A log has it among other text, cut and hostile: tags are picked out one by one, nothing is parsed as a document.
"""

from __future__ import annotations

import html
import re
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import Result, Suite

_TAG = re.compile(rb"<(/?)(testsuites?|testcase|failure|error|skipped|rerunFailure)\b([^<>]*)")
_ATTRIBUTE = re.compile(r"""\b(name|classname)=(?:"([^"]*)"|'([^']*)')""")


class JUnit(Suite):
    """A run is one ``<testsuite>``."""

    kind = "JUnit XML"
    needles: ClassVar[tuple[bytes, ...]] = (
        b"<testsuite",
        b"<testcase",
        b"<failure",
        b"<error",
        b"<skipped",
    )

    def __init__(self) -> None:
        super().__init__()
        self.case = ""
        self.result: Result | None = None

    def read(self, line: Line) -> int:
        """Take the tags of one line."""
        for closing, tag, attributes in _TAG.findall(line.raw()):
            self._take(line, tag.decode(), bool(closing), attributes)
        return 0

    def _take(self, line: Line, tag: str, closing: bool, attributes: bytes) -> None:
        if tag.startswith("testsuite"):
            self._end_case(line)
            if not closing and tag == "testsuite":
                self.close()
                self.open(line)
        elif tag == "testcase":
            self._end_case(line)
            if not closing:
                self.case, self.result = _case(attributes), "passed"
                if attributes.rstrip().endswith(b"/"):
                    self._end_case(line)
        elif self.result is not None and not closing:
            self.result = "skipped" if tag == "skipped" else "failed"
            if self.result == "failed":
                self.open(line).fail(self.case, line, f"{self.case} failed")

    def _end_case(self, line: Line) -> None:
        if self.result is not None:
            self.open(line).count(self.result)
        self.result = None


def _case(attributes: bytes) -> str:
    found = {
        name: html.unescape(double or single)
        for name, double, single in _ATTRIBUTE.findall(attributes[:4096].decode("utf-8", "backslashreplace"))
    }
    return ".".join(part for part in (found.get("classname", ""), found.get("name", "")) if part) or "unnamed"
