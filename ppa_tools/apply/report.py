"""What became of a plan: each action's result, and what a run tells while it goes on."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ppa_tools.plan.actions import Action, Kind, Plan

DONE_STATUS = 0
FAILED_STATUS = 1
NO_RIGHTS_STATUS = 5


class Outcome(enum.StrEnum):
    """What became of an action.

    ``ALREADY``: an earlier run asked for it, and it has come. ``NEVER_APPEARED``: the archive took it, and did
    nothing. ``UNKNOWN``: it was asked for, and is not seen yet; running again waits for it.
    """

    DONE = "done"
    ALREADY = "already"
    FAILED = "failed"
    NEVER_APPEARED = "never appeared"
    UNKNOWN = "unknown"
    NOT_TRIED = "not tried"


GOOD = (Outcome.DONE, Outcome.ALREADY)


@dataclass(frozen=True)
class Result:
    """What became of one action, and why where it is not done."""

    action: Action
    outcome: Outcome
    why: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the archive is as the action wants it."""
        return self.outcome in GOOD


@dataclass(frozen=True)
class Report:
    """What became of a plan; ``stopped`` says why a run ended early, and what to do."""

    plan: Plan
    results: tuple[Result, ...]
    stopped: str = ""
    no_rights: bool = False
    interrupted: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """How many of each outcome there are."""
        found = Counter(one.outcome for one in self.results)
        return {str(outcome): found[outcome] for outcome in Outcome}

    @property
    def bad(self) -> tuple[Result, ...]:
        """What is not as it was planned."""
        return tuple(one for one in self.results if not one.is_good)

    @property
    def exit_status(self) -> int:
        """0: all is as wanted; 5: the rights were lacking; 1: something is not, or was blocked in the plan."""
        if self.no_rights:
            return NO_RIGHTS_STATUS
        incomplete = self.bad or self.stopped or self.interrupted or self.plan.of(Kind.BLOCKED)
        return FAILED_STATUS if incomplete else DONE_STATUS


class Step(enum.StrEnum):
    """What a run is doing."""

    DELETING = "deleting"
    COPYING = "copying"
    WAITING = "waiting"


@dataclass(frozen=True)
class Progress:
    """How far a step has come; ``note`` is for people: trouble that is being waited out."""

    step: Step
    done: int
    total: int
    note: str = ""


Tell = Callable[[Progress], None]
