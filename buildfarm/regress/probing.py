"""The builds that a search for a culprit asks for: their results, their limits, and what is remembered of them."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Result = Literal["pass", "fail", "unresolved"]
Earlier = frozenset[str]
"""The suspects, by their sources' names, that are taken back to their earlier versions."""
Probe = Callable[[Earlier], Result]


@dataclass(frozen=True)
class Probed:
    """A build of the search: what was taken back, its result, and how long it took in seconds."""

    earlier: Earlier
    result: Result
    duration_s: float = 0.0


@dataclass(frozen=True)
class SearchLimits:
    """What a search may cost: builds, and seconds, those of an interrupted search counted in."""

    builds: int = 24
    duration_s: float = math.inf


class LimitReached(Exception):
    """The search may cost no more; ``str()`` says which limit it was."""


class Flips(Exception):
    """A set of suspects taken back gave one result, and then the other."""

    def __init__(self, earlier: Earlier) -> None:
        super().__init__()
        self.earlier = earlier


@dataclass
class Memory:
    """Answers: those of an interrupted search first, in their order, then the probe's; counted and limited."""

    probe: Probe
    known: Sequence[Probed]
    limits: SearchLimits
    clock: Callable[[], float]
    told: dict[Earlier, list[Result]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self._waiting: dict[Earlier, deque[Probed]] = defaultdict(deque)
        for one in self.known:
            self._waiting[one.earlier].append(one)
        self._began = self.clock()
        self.builds = len(self.known)

    @property
    def duration_s(self) -> float:
        """What the search took until now, that of an interrupted one counted in."""
        return sum(one.duration_s for one in self.known) + self.clock() - self._began

    def answer(self, earlier: Earlier) -> Result:
        """A result that was not used yet; raises LimitReached, and Flips where an earlier one was another."""
        if self._waiting[earlier]:
            result = self._waiting[earlier].popleft().result
        else:
            if self.builds >= self.limits.builds:
                raise LimitReached(f"limit of {self.limits.builds} builds reached")
            if self.duration_s >= self.limits.duration_s:
                raise LimitReached(f"limit of {self.limits.duration_s / 60:.0f} minutes reached")
            self.builds += 1
            result = self.probe(earlier)
        self.told[earlier].append(result)
        if {"pass", "fail"} <= set(self.told[earlier]):
            raise Flips(earlier)
        return result

    def result(self, earlier: Earlier) -> Result | None:
        """What was told of a set; "unresolved" only where nothing better was, None where nothing was at all."""
        told = self.told.get(earlier, [])
        return next((one for one in told if one != "unresolved"), told[-1] if told else None)
