"""A report in its three forms: a table for a terminal, JSON, and JUnit XML."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal
from xml.etree import ElementTree as ET

from buildfarm.regress.entries import Entry, Report
from buildfarm.regress.model import LeftOut, RebuildVerdict, TestCounts
from buildfarm.regress.records import Night
from ppa_tools.plain_text import plain_line

Form = Literal["table", "json", "junit"]
FORMS: tuple[Form, ...] = ("table", "json", "junit")
JSON_SCHEMA = 1
TESTS_SHOWN = 20
LEFT_OUT_SHOWN = 20
UNPRINTABLE = re.compile(r"[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

STYLES = {  # of ANSI terminals
    RebuildVerdict.NEW_FAILURE: "1;31",
    RebuildVerdict.STILL_FAILING: "31",
    RebuildVerdict.FIXED: "1;32",
    RebuildVerdict.STILL_PASSING: "32",
    RebuildVerdict.FLAKY: "35",
    RebuildVerdict.INFRASTRUCTURE: "33",
    RebuildVerdict.DEPENDENCY_WAIT: "33",
}
VERDICT = 2
RIGHT = (4, 5, 6, 7)
CAUSE_WIDTH = 40


# Table


def as_table(report: Report, width: int = 0, *, colour: bool = False) -> str:
    """The report's table with its summary below.

    Causes stand in the last column; where ``width`` leaves them less than 40 columns they stand below their rows.
    """
    names = ("package", "series-arch", "verdict", "since", "duration", "tests", "build", "night", "cause")
    rows = [tuple(plain_line(cell) for cell in (*_cells(one), one.words)) for one in report.shown]
    widths = [max(len(row[number]) for row in (names, *rows)) for number in range(len(names) - 1)]
    if len(report.nights) < 2:
        widths[names.index("night")] = 0
    left = sum(one + 2 for one in widths if one)
    beside = not width or width - left >= CAUSE_WIDTH
    lines = [_row(names, widths) + (names[-1] if beside else "")] if rows else []
    for one, row in zip(report.shown, rows, strict=True):
        text = _row(row, widths, STYLES.get(one.verdict, "") if one.verdict and colour else "")
        indent = left if beside else 4
        wrapped = textwrap.wrap(row[-1], width - indent) if width else [row[-1]]
        if beside:
            text += wrapped.pop(0) if wrapped else ""
        lines += [text, *(f"{'':{indent}}{more}" for more in wrapped)]
    text = "\n".join(line.rstrip() for line in ([*lines, ""] if lines else []))
    text = f"{text}\n{plain_line(report.summary)}\n".lstrip("\n")
    left_out = ("\n".join(left_out_lines(night, width)) for night in report.nights)
    return text + "".join(f"\n{lines}\n" for lines in left_out if lines)


def left_out_lines(night: Night, width: int = 0) -> list[str]:
    """What a night leaves out, under a line that says so; nothing where it leaves out nothing."""
    if not night.left_out:
        return []
    shown = [plain_line(str(one)) for one in night.left_out[:LEFT_OUT_SHOWN]]
    more = len(night.left_out) - len(shown)
    lines = [f"Left out of night {night.number} of {plain_line(night.set)}:"]
    for text in [*shown, *([f"and {more} more"] if more else [])]:
        lines += (
            textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="    ") if width else [f"  {text}"]
        )
    return lines


def _row(cells: Sequence[str], widths: Sequence[int], style: str = "") -> str:
    text = ""
    for number, width in enumerate(widths):
        if width:
            cell = f"{cells[number]:>{width}}" if number in RIGHT else f"{cells[number]:<{width}}"
            text += f"\x1b[{style}m{cell}\x1b[0m  " if style and number == VERDICT else f"{cell}  "
    return text


def _cells(one: Entry) -> tuple[str, ...]:
    verdict = "not ended" if one.verdict is None else str(one.verdict)
    if one.news == "cause changed":
        verdict += ", cause changed"
    return (
        one.subject.package,
        f"{one.subject.series}-{one.subject.architecture}",
        verdict,
        day(one.since) if one.since is not None else "",
        duration_words(one),
        tests_words(one.tests),
        f"#{one.build}" if one.build is not None else "",
        str(one.night),
    )


def day(at: float) -> str:
    """A time as this machine's date."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d")


def seconds_words(seconds: float) -> str:
    """A duration in the two largest units that matter: ``8 s``, ``12 min 5 s``, ``3 h 2 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def duration_words(one: Entry) -> str:
    """How long the package's own build took, and how much longer than usual where that compares."""
    if one.build is None:
        return ""
    change = f" ({one.slower:+.0%})" if one.slower is not None else ""
    return seconds_words(one.build_s or one.total_s) + change


def tests_words(tests: TestCounts | None) -> str:
    """Counts of tests: ``2 of 43 failed``, ``43 passed``; "" when none were counted."""
    if tests is None or not (ran := tests.passed + tests.failed):
        return ""
    return f"{tests.failed} of {ran} failed" if tests.failed else f"{ran} passed"


# JSON


def as_json_text(report: Report) -> str:
    """The report as JSON."""
    return json.dumps(as_json(report), indent=2) + "\n"


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain values; times are in UTC as RFC 3339 has them, durations in seconds."""
    return {
        "schema": JSON_SCHEMA,
        "made_at": utc(report.made_at),
        "summary": report.summary,
        "workers_out": [
            {"worker": worker, "reason": reason, "since": utc(since)}
            for worker, (reason, since) in sorted(report.workers_out.items())
        ],
        "nights": [_night_json(night, report) for night in report.nights],
    }


def utc(at: float) -> str:
    """A time in UTC, to the second: ``2025-11-20T03:00:00Z``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _night_json(night: Night, report: Report) -> dict[str, Any]:
    return {
        "night": night.number,
        "set": night.set,
        "reason": night.reason,
        "started_at": utc(night.started_at),
        "ended_at": utc(night.ended_at) if night.ended_at is not None else None,
        "rebuilds": [entry_json(one) for one in report.of(night)],
        "left_out": [left_out_json(one) for one in night.left_out],
    }


def left_out_json(one: LeftOut) -> dict[str, Any]:
    """What is not rebuilt, and why, as plain values."""
    return {**asdict(one.subject), "reason": one.reason}


def entry_json(one: Entry) -> dict[str, Any]:
    """An entry as plain values."""
    return {
        "package": one.subject.package,
        "version": one.version,
        "series": one.subject.series,
        "architecture": one.subject.architecture,
        "verdict": one.verdict.value if one.verdict else None,
        "news": one.news or None,
        "since": utc(one.since) if one.since is not None else None,
        "reason": one.reason,
        "build": one.build,
        "worker": one.worker,
        "page": one.page,
        "environment": one.environment,
        "stage": one.stage,
        "build_s": one.build_s,
        "total_s": one.total_s,
        "usual_s": one.usual_s,
        "tests": asdict(one.tests) if one.tests else None,
        "failing_tests": list(one.failing_tests),
        "first_error": list(one.first_error),
        "fingerprint": one.fingerprint,
        "cause": one.cause,
        "label": {"text": one.label.text, "url": one.label.url} if one.label else None,
        "culprit": asdict(one.culprit) if one.culprit else None,
        "flaky_rate": one.flaky_rate._asdict() if one.flaky_rate else None,
    }


# JUnit XML


def as_junit(report: Report) -> str:
    """A testsuite for each night, a testcase for each of its rebuilds; nothing that XML cannot have."""
    root = ET.Element("testsuites")
    for night in report.nights:
        root.append(_suite(night, report.of(night)))
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    root.set("time", f"{sum(float(suite.get('time', '0')) for suite in root):.3f}")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(night: Night, entries: tuple[Entry, ...]) -> ET.Element:
    suite = ET.Element("testsuite", name=clean(f"{night.set} night {night.number}"))
    cases = [_case(one) for one in sorted(entries, key=lambda one: str(one.subject))]
    cases += [_left_out_case(night, one) for one in night.left_out]
    suite.extend(cases)
    counted = {"failures": "failure", "skipped": "skipped"}
    attributes = {"tests": str(len(cases)), "errors": "0"}
    attributes |= {name: str(sum(case.find(tag) is not None for case in cases)) for name, tag in counted.items()}
    attributes["time"] = f"{sum(one.total_s for one in entries):.3f}"
    attributes["timestamp"] = utc(night.started_at).removesuffix("Z")
    for name, value in attributes.items():
        suite.set(name, value)
    return suite


def _left_out_case(night: Night, one: LeftOut) -> ET.Element:
    where = clean(f"{night.set}.{one.subject.series}-{one.subject.architecture}")
    case = ET.Element("testcase", classname=where, name=clean(one.subject.package), time="0.000")
    ET.SubElement(case, "skipped", message=clean(f"left out: {one.reason}"))
    return case


def _case(one: Entry) -> ET.Element:
    subject = one.subject
    case = ET.Element(
        "testcase",
        classname=clean(f"{one.set}.{subject.series}-{subject.architecture}"),
        name=clean(subject.package),
        time=f"{one.total_s:.3f}",
    )
    if one.verdict in (RebuildVerdict.NEW_FAILURE, RebuildVerdict.STILL_FAILING):
        since = f" since {day(one.since)}" if one.since is not None else ""
        failure = ET.SubElement(case, "failure", type=one.verdict.value)
        failure.set("message", clean(f"{one.verdict}{since}: {one.words}"))
        failure.text = clean(failure_text(one))
    elif one.verdict in (RebuildVerdict.INFRASTRUCTURE, RebuildVerdict.DEPENDENCY_WAIT):
        ET.SubElement(case, "skipped", message=clean(f"{one.verdict}: {one.words}"))
    elif one.verdict is None:
        ET.SubElement(case, "skipped", message="it has not ended")
    elif one.verdict is RebuildVerdict.FLAKY:
        ET.SubElement(case, "system-out").text = clean(f"flaky: {one.words}")
    return case


def failure_text(one: Entry) -> str:
    """What people read of a failure: where, the first error in its context, the failing tests, the culprit."""
    parts = [f"{one.subject} {one.version}: {one.reason}"]
    if one.stage:
        parts.append(f"It failed in the stage {one.stage}" + (f", build #{one.build}." if one.build else "."))
    parts.append("\n".join(one.first_error))
    parts.append("\n".join(failing_test_lines(one, TESTS_SHOWN)))
    parts.append(one.culprit.words if one.culprit else "")
    return "\n\n".join(part for part in parts if part)


def failing_test_lines(one: Entry, limit: int) -> list[str]:
    """The names of so many failing tests, and how many there are more."""
    if not one.failing_tests:
        return []
    lines = [f"  {' '.join(name.split())}" for name in one.failing_tests[:limit]]
    more = len(one.failing_tests) - limit
    return ["Failing tests:", *lines, *([f"  and {more} more"] if more > 0 else [])]


def clean(text: str) -> str:
    """Text without the characters that XML 1.0 cannot have."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
