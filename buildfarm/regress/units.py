"""Durations, sizes and times of day as people write them: 4h, 90min, 8 GiB, 02:30."""

from __future__ import annotations

import re

from buildfarm.recipe.problem import RuleError

DURATION_PATTERN = r"[0-9]+(\.[0-9]+)? ?(s|min|h|d)( ?[0-9]+(\.[0-9]+)? ?(s|min|h|d))*"
SIZE_PATTERN = r"[0-9]+(\.[0-9]+)? ?(MiB|GiB|TiB)"
TIME_PATTERN = r"([01][0-9]|2[0-3]):[0-5][0-9]"
SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
MEBIBYTES = {"MiB": 1, "GiB": 1024, "TiB": 1024 * 1024}
LONGEST = 40

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(s|min|h|d)")
_SLIPS = {
    "m": "min",
    "mins": "min",
    "minutes": "min",
    "minute": "min",
    "sec": "s",
    "secs": "s",
    "seconds": "s",
    "hours": "h",
    "hour": "h",
    "hrs": "h",
    "days": "d",
    "day": "d",
    **dict.fromkeys(("M", "MB", "Mi", "mb", "m"), "MiB"),
    **dict.fromkeys(("G", "GB", "Gi", "gb", "g"), "GiB"),
    **dict.fromkeys(("T", "TB", "Ti", "tb", "t"), "TiB"),
}


def parse_duration(text: str) -> int:
    """Seconds of a duration such as ``4h``, ``1h 30min``, ``45s``; raises RuleError saying what would be right."""
    if len(text) > LONGEST or not re.fullmatch(DURATION_PATTERN, text, re.ASCII):
        raise RuleError(
            f"{text[:LONGEST]!r} is no duration",
            _meant(text, SECONDS) or "For example 45s, 90min, 4h or 1h 30min.",
        )
    return round(sum(float(number) * SECONDS[unit] for number, unit in _PART.findall(text)))


def parse_size(text: str) -> int:
    """MiB of a size such as ``8 GiB`` or ``500MiB``; raises RuleError saying what would be right."""
    if len(text) > LONGEST or not re.fullmatch(SIZE_PATTERN, text, re.ASCII):
        raise RuleError(
            f"{text[:LONGEST]!r} is no size", _meant(text, MEBIBYTES) or "For example 500 MiB or 8 GiB."
        )
    return round(float(text[:-3]) * MEBIBYTES[text[-3:]])


def check_time_of_day(text: str) -> str:
    """``HH:MM``, from 00:00 to 23:59; raises RuleError."""
    if not re.fullmatch(TIME_PATTERN, text, re.ASCII):
        short = re.fullmatch(r"([0-9]):([0-5][0-9])", text, re.ASCII)
        hint = f'Write "0{text}".' if short else 'Hours and minutes are wanted, as in "02:30".'
        raise RuleError(f"{text[:LONGEST]!r} is no time of day", hint)
    return text


def _meant(text: str, units: dict[str, int]) -> str:
    """A hint for a number with a unit that is nearly one of ``units``, or with none; "" where nothing is near."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)", text[:LONGEST], re.ASCII)
    if match is None:
        return ""
    number, unit = match.groups()
    if not unit:
        *some, last = (f"{number} {name}" for name in units)
        return f"It needs a unit: {', '.join(some)} or {last}."
    folded = {name.lower(): name for name in units}
    found = folded.get(unit.lower()) or next(
        (_SLIPS[word] for word in (unit, unit.lower()) if _SLIPS.get(word) in units), ""
    )
    return f"Write {number} {found}." if found else ""
