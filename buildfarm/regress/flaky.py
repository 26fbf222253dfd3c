"""How often a package fails by chance: an estimate out of the results of one input, and when failures are news."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Z_95 = 1.959964  # of the normal distribution: 95 % lie within so many standard deviations
SIGNIFICANCE = 0.05


class Rate(NamedTuple):
    """How often an input fails, from 0 to 1: what was seen, and where the truth lies with 95 % confidence."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.0%} ({self.low:.0%} to {self.high:.0%})"


def failure_rate(results: Sequence[bool]) -> Rate:
    """The rate at which results (True is a pass) are failures, by Wilson's interval; nothing known is 0 to 1."""
    total = len(results)
    if not total:
        return Rate(0.0, 0.0, 1.0)
    share = sum(not passed for passed in results) / total
    scale = 1 + Z_95**2 / total
    centre = (share + Z_95**2 / (2 * total)) / scale
    half = Z_95 * math.sqrt(share * (1 - share) / total + Z_95**2 / (4 * total**2)) / scale
    return Rate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def is_flaky(results: Sequence[bool]) -> bool:
    """Whether there are both results."""
    return len(set(results)) == 2


def before_row(results: Sequence[bool]) -> Sequence[bool]:
    """Results (oldest first) without the row of failures that they end with."""
    end = len(results)
    while end and not results[end - 1]:
        end -= 1
    return results[:end]


def may_be_chance(results: Sequence[bool]) -> bool:
    """Whether the failures that results (oldest first) end with can be those of a package that was flaky before.

    The rate is that of the results before this row of failures: a row that went into its own estimate would
    excuse itself. One that never had both results is not flaky, and nothing is chance.
    """
    before = before_row(results)
    return is_flaky(before) and failure_rate(before).estimate ** (len(results) - len(before)) >= SIGNIFICANCE
