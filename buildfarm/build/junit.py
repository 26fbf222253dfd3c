"""Reading JUnit XML that a commit's tests wrote: bounded, without entities, counted test by test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import PackageFault

FILE_LIMIT_BYTES = 64 << 20
ELEMENT_LIMIT = 1_000_000
FAILED_LIMIT = 200
MESSAGE_LIMIT = 500


@dataclass(frozen=True)
class FailedTest:
    """A test that failed: ``class.name``, and the first line of what it said."""

    name: str
    message: str


@dataclass(frozen=True)
class Report:
    """How many tests ran (skipped ones included), were skipped, failed; the first of those that failed."""

    tests: int
    skipped: int
    failed: int
    failures: tuple[FailedTest, ...]


def read_junit(path: Path, name: str) -> Report:
    """The report in ``path``; ``name`` is what errors call it. Raises PackageFault for anything but JUnit XML.

    The counts are of the testcase elements: the attributes of a testsuite are what somebody claims.
    """
    from xml.etree.ElementTree import Element, ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    tests = skipped = failed = elements = 0
    failures: list[FailedTest] = []
    stack: list[Element] = []
    try:
        for event, element in iterparse(path, events=("start", "end"), forbid_dtd=True):
            if event == "start":
                stack.append(element)
                elements += 1
                if elements > ELEMENT_LIMIT:
                    raise PackageFault(f"more than {ELEMENT_LIMIT} elements", where=name)
                continue
            stack.pop()
            if element.tag != "testcase":
                if element.tag == "testsuite" and stack:
                    stack[-1].remove(element)
                continue
            tests += 1
            bad = next((child for child in element if child.tag in ("failure", "error")), None)
            skipped += any(child.tag == "skipped" for child in element) and bad is None
            if bad is not None:
                failed += 1
                if len(failures) < FAILED_LIMIT:
                    failures.append(_failed_test(element, bad))
            element.clear()
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:  # the last two: its encoding
        raise PackageFault(
            f"no JUnit XML: {error}",
            where=name,
            resolution="Let the tests write plain JUnit XML, or name no file.",
        ) from error
    return Report(tests, skipped, failed, tuple(failures))


def _failed_test(case: object, bad: object) -> FailedTest:
    from xml.etree.ElementTree import Element

    assert isinstance(case, Element)
    assert isinstance(bad, Element)
    name = ".".join(part for part in (case.get("classname", ""), case.get("name", "")) if part)
    said = (bad.get("message") or bad.text or "").strip() or bad.get("type") or "no message"
    return FailedTest(name[:MESSAGE_LIMIT], said.splitlines()[0][:MESSAGE_LIMIT])
