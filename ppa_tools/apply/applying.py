"""Applying a plan: what makes room is deleted, all copies are asked for and waited for, then the rest is deleted.

Each step is in the journal before it is taken, so a run that was cut at any moment is taken up by planning and
applying again: what was asked for is waited for, not asked again. What may or may not have been taken, as the
connection broke, is asked for again when nothing of its batch has come within a settling time. A deletion follows
the copy that it belongs to (a move) only when that has arrived.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ppa_tools.address import Address
from ppa_tools.apply import copies, deleting
from ppa_tools.apply.journal import Journal, State, item_of
from ppa_tools.apply.reasons import likely_reasons
from ppa_tools.apply.report import Outcome, Progress, Report, Tell
from ppa_tools.apply.run import Run, Stopped
from ppa_tools.archives.door import Archive, CopyBatch, NoRights
from ppa_tools.plan.actions import Action, Kind, Plan
from ppa_tools.plan.copying import ALREADY_THERE

SETTLE_S = 300.0
LIMIT_S = 2700.0
"""Launchpad tries a copy that another one is in the way of again after 6 to 8 minutes, at most five times."""

Transfer = Callable[[Archive, Archive, CopyBatch], None]
"""Carries a batch from one archive to another of a different kind; raises as ``Archive.ask_copies``."""


def nobody(_: Progress) -> None:
    """Tell nobody how far it is."""


def apply_plan(
    plan: Plan,
    archives: Mapping[Address, Archive],
    journal: Journal,
    *,
    settle_s: float = SETTLE_S,
    limit_s: float = LIMIT_S,
    wait_s: float = math.inf,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    progress: Tell = nobody,
    transfer: Transfer | None = None,
    why: str = "",
) -> Report:
    """Do what the plan says and tell what became of each action; Ctrl-C ends it with a report, too.

    ``archives`` are open, by their addresses. After ``settle_s`` something of a batch that was taken has come;
    after ``limit_s`` what has not come never will. This run waits for ``wait_s`` at most, and leaves what may
    still come to a later one. ``transfer`` is needed where the two are of different kinds. Raises JournalError.
    """
    run = Run(plan, archives, journal, settle_s, limit_s, wait_s, clock, sleep, progress, transfer, why=why)
    stopped, no_rights, interrupted = "", False, False
    try:
        _apply(run)
    except Stopped as error:
        stopped, no_rights = str(error.cause), isinstance(error.cause, NoRights)
    except KeyboardInterrupt:
        stopped, interrupted = "interrupted; running it again takes it up where it was left", True
    _settle_the_rest(run)
    results = tuple(run.results[action] for action in plan.pending)
    return Report(plan, results, stopped, no_rights, interrupted)


def _apply(run: Run) -> None:
    _note_what_came(run)
    wanted, goners = run.plan.of(Kind.COPY), run.plan.of(Kind.DELETE)
    places = {(one.archive, one.to_series, one.source) for one in wanted}
    first = [one for one in goners if (one.archive, one.to_series, one.source) in places]
    deleting.delete(run, first)
    stuck = {(one.archive, one.to_series, one.source): one for one in first if not run.results[one].is_good}
    for one in wanted:
        if (obstacle := stuck.get((one.archive, one.to_series, one.source))) is not None:
            run.settle([one], Outcome.NOT_TRIED, f"{obstacle.version} could not be deleted first")
    lost = copies.copy(run, [one for one in wanted if one not in run.results])
    if lost:
        reasons, arrived = likely_reasons(lost, run.plan, run.archives)
        run.settle(arrived, Outcome.DONE)
        for action, reason in reasons.items():
            run.settle([action], Outcome.NEVER_APPEARED, reason)
    deleting.delete(run, _free_to_go(run, wanted, [one for one in goners if one not in first]))


def _note_what_came(run: Run) -> None:
    """The plan saw what earlier runs asked for and did not see arrive."""
    skipped = [replace(one, kind=Kind.COPY) for one in run.plan.of(Kind.SKIP)]
    stood_open = [one for one in skipped if run.journal.standing(item_of(one)) is not None]
    run.note(State.ARRIVED, [one for one in stood_open if one.reason.startswith(ALREADY_THERE)])
    run.note(State.GIVEN_UP, [one for one in stood_open if not one.reason.startswith(ALREADY_THERE)])


def _free_to_go(run: Run, wanted: Sequence[Action], goners: Sequence[Action]) -> list[Action]:
    """The deletions that may be asked for now; those whose copy has not arrived stay."""
    waited_for = {(run.plan.source, one.key): one for one in wanted if not run.results[one].is_good}
    free = []
    for one in goners:
        if (its_copy := waited_for.get((one.archive, one.key))) is not None:
            run.settle(
                [one],
                Outcome.NOT_TRIED,
                f"it stays until its copy is in {its_copy.to_series} of {its_copy.archive}",
            )
        else:
            free.append(one)
    return free


def _settle_the_rest(run: Run) -> None:
    """What has no result when a run ends early: it was asked for and is not seen yet, or it was not asked for."""
    for action in run.plan.pending:
        if action not in run.results:
            is_open = run.journal.standing(item_of(action)) is not None
            outcome = Outcome.UNKNOWN if is_open else Outcome.NOT_TRIED
            run.settle([action], outcome, "asked for, not seen yet" if is_open else "")
