"""Sizes, times and moments as people write and read them, and their text in a line; moments are UTC."""

from __future__ import annotations

import datetime
import re
import time

DAY_S = 86400.0
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?) ?([KMGT]?)(?:i?B)?", re.IGNORECASE)
WHOLE_SECOND_S = 0.999999


def in_a_line(text: str, limit: int) -> str:
    """What somebody wrote, fit for a log and a terminal: a line of at most ``limit`` printable characters."""
    line = " ".join(text[: 4 * limit].split())
    shown = line if len(line) <= limit and len(text) <= 4 * limit else f"{line[: limit - 3]}..."
    return "".join(character if character.isprintable() else "?" for character in shown)


def size_in_words(size_bytes: int) -> str:
    """A size with the unit that leaves three digits or fewer before the point: 1.5 GiB."""
    value, unit = float(size_bytes), 0
    while value >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {UNITS[unit]}"


def read_size(text: str) -> int:
    """Bytes, from 500M, 20G, 1.5 TiB or a plain number, all by 1024; raises ValueError."""
    found = SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size: 500M, 20G or a number of bytes is wanted")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def days_in_words(seconds: float) -> str:
    """A time to keep something, in days."""
    days = seconds / DAY_S
    return f"{days:g} day{'' if days == 1 else 's'}"


def moment_in_words(at: float) -> str:
    """A moment (seconds since the epoch) as 2026-11-01 12:00:00, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


def read_moment(text: str) -> float:
    """Seconds since the epoch, from an ISO date or time, in UTC where it names no zone; raises ValueError.

    A time to the second means the end of that second, so that what ``moment_in_words`` printed of a change
    names the moment after it.
    """
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date: 2026-11-01 or 2026-11-01T12:00:00 is wanted") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    try:
        moment = moment.astimezone(datetime.UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is before the first year, or after the last") from None
    return moment.timestamp() + (0 if moment.microsecond else WHOLE_SECOND_S)
