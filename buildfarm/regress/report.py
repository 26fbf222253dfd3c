"""Reports: what the nights since some time came to, as a table, JSON or JUnit XML."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import NamedTuple

from buildfarm.errors import UsageError
from buildfarm.regress.entries import Report, entries_of, order
from buildfarm.regress.record import Record
from buildfarm.regress.report_forms import FORMS, Form, as_json_text, as_junit, as_table

__all__ = ["FORMS", "Form", "Since", "make_report", "parse_since", "render"]

UNITS_S = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


class Since(NamedTuple):
    """From when on: a time (epoch seconds), or a night's number."""

    at: float
    night: int = 0


def make_report(nights: Record, since: str = "", set: str = "", now: float | None = None) -> Report:  # noqa: A002
    """What the nights since then came to, of one set or ("") of all.

    ``since`` is as ``parse_since`` reads it; "" is the newest night. ``now`` in epoch seconds; None is now.
    Raises UsageError for a time that cannot be read.
    """
    now = time.time() if now is None else now
    if since:
        from_then = parse_since(since, now)
    else:
        newest = nights.recent_nights(1, set)
        from_then = Since(0.0, newest[0].number if newest else 0)
    chosen = tuple(one for one in nights.nights_since(*from_then) if set in ("", one.set))
    labels = nights.labels()
    entries = [entry for night in chosen for entry in entries_of(nights, night, labels)]
    return Report(now, chosen, tuple(sorted(entries, key=order)), nights.workers_out())


def parse_since(text: str, now: float) -> Since:
    """What ``--since`` says: ``2025-11-20``, a date with a time, ``7d``, ``12h``, ``2w``, or a night's number.

    A date without a zone is of this machine's. Raises UsageError for anything else.
    """
    if found := re.fullmatch(r"([0-9]{1,6})([hdw])", text):
        return Since(now - int(found[1]) * UNITS_S[found[2]])
    if re.fullmatch(r"[0-9]{1,7}", text):
        return Since(0.0, int(text))
    try:
        return Since(datetime.fromisoformat(text).astimezone().timestamp())
    except (ValueError, OverflowError) as error:
        raise UsageError(
            "no time that can be read",
            where=repr(text[:40]),
            resolution="Give a date (2025-11-20), hours, days or weeks (12h, 7d, 2w), or a night's number.",
        ) from error


def render(report: Report, form: Form = "table", width: int = 0, *, colour: bool = False) -> str:
    """The report as text that ends with a newline. ``width`` of a table, in columns; 0 is as wide as it wants."""
    if form == "json":
        return as_json_text(report)
    return as_junit(report) if form == "junit" else as_table(report, width, colour=colour)
