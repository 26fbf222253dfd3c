"""A saying for each day, from a list."""

import datetime
from collections.abc import Sequence
from pathlib import Path


def sayings() -> list[str]:
    """The sayings in their order, without comments and empty lines."""
    lines = Path(__file__).with_name("sayings.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def saying_of(day: datetime.date, choices: Sequence[str]) -> str:
    """The saying of a day, each day the next of ``choices``; raises ValueError when there is none."""
    if not choices:
        raise ValueError("there is no saying to choose from")
    return choices[day.toordinal() % len(choices)]
