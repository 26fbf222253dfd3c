"""What one run of a plan carries along: its archives, its journal, its time, and the results so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ppa_tools.address import Address
from ppa_tools.apply.journal import Journal, State, item_of
from ppa_tools.apply.report import Outcome, Progress, Result, Step, Tell
from ppa_tools.archives.door import Archive, CopyBatch, DoorError, NoRights, Unreachable
from ppa_tools.plan.actions import Action, Plan

TRIES = 4
FIRST_PAUSE_S = 1.0
CLOCK_SLACK_S = 600.0
"""How far apart the clocks here and at an archive may be."""


class Stopped(Exception):
    """The run cannot go on; ``cause`` says why, and what to do."""

    def __init__(self, cause: DoorError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass
class Run:
    """One run. ``settle_s``, ``limit_s`` and ``wait_s`` as ``apply_plan`` has them."""

    plan: Plan
    archives: Mapping[Address, Archive]
    journal: Journal
    settle_s: float
    limit_s: float
    wait_s: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    tell: Tell
    transfer: Callable[[Archive, Archive, CopyBatch], None] | None = None
    results: dict[Action, Result] = field(default_factory=dict)
    why: str = ""

    @property
    def destination(self) -> Archive:
        """The archive that is copied to."""
        return self.archives[self.plan.destination]

    def settle(self, actions: Iterable[Action], outcome: Outcome, why: str = "") -> None:
        """Keep what became of actions."""
        self.results.update((action, Result(action, outcome, why)) for action in actions)

    def note(self, state: State, actions: Iterable[Action]) -> None:
        """Write to the journal what became of actions."""
        self.journal.note(state, [item_of(action) for action in actions], self.clock())

    def patiently(self, ask: Callable[[], None], step: Step) -> None:
        """Ask for something, and again while the archive cannot take it.

        Raises Stopped when it stays so, or the rights are lacking; other errors as they come.
        """
        for attempt in range(TRIES):
            try:
                return ask()
            except NoRights as error:
                raise Stopped(error) from error
            except Unreachable as error:
                if attempt == TRIES - 1:
                    raise Stopped(error) from error
                self.tell(Progress(step, 0, 0, f"{error.args[0]}; trying again"))
                self.sleep(FIRST_PAUSE_S * 2**attempt)
        return None
