"""Asking for copies, batch by batch, in the journal before and after; what is refused does not keep the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ppa_tools.apply.batching import Batch, in_batches
from ppa_tools.apply.journal import Item, State, item_of
from ppa_tools.apply.report import Outcome, Progress, Step
from ppa_tools.apply.run import Run, Stopped
from ppa_tools.archives.door import CopiesTogether, DoorError, NoRights, Refused, Uncertain, Unreachable
from ppa_tools.plan.actions import Action

AT_ONCE = 8
TRANSFER_BATCH = 10


@dataclass(eq=False)
class Flight:
    """What was asked for together and is waited for; ``certain`` that the archive has taken it.

    ``at`` is when, in UTC seconds. ``witnesses`` belong to the same batch, and are no part of this run: one of
    them that is there tells that all were taken. ``asked`` counts how often this run has asked for it.
    """

    at: float
    certain: bool
    waiting: set[Action]
    witnesses: frozenset[Item] = frozenset()
    asked: int = 0

    @property
    def of_earlier_run(self) -> bool:
        """Whether only a run before has asked for it."""
        return self.asked == 0


def ask_all(run: Run, actions: Sequence[Action], *, attempt: int) -> list[Flight]:
    """Ask for all, several batches at once where that is of use; what is refused, in smaller and smaller ones."""
    flights: list[Flight] = []
    todo = list(_batches(run, actions))
    is_one_kind = run.plan.source is None or run.plan.source.backend == run.plan.destination.backend
    at_once = AT_ONCE if is_one_kind and isinstance(run.destination, CopiesTogether) else 1
    while todo:
        asked = sum(len(flight.waiting) for flight in flights) + sum(action in run.results for action in actions)
        run.tell(Progress(Step.COPYING, asked, len(actions)))
        group = todo[:at_once]
        del todo[:at_once]
        in_trouble = []
        for batch, answer in zip(group, _ask(run, group, attempt), strict=True):
            if isinstance(answer, Flight):
                flights.append(answer)
            elif isinstance(answer, NoRights | Unreachable):
                in_trouble.append(batch)
            elif len(batch.actions) > 1:
                todo += batch.halves()
            else:
                run.settle(batch.actions, Outcome.FAILED, str(answer))
        if in_trouble:
            todo[:0] = in_trouble
            at_once = 1
    if actions:
        run.tell(Progress(Step.COPYING, len(actions), len(actions)))
    return flights


def _batches(run: Run, actions: Sequence[Action]) -> tuple[Batch, ...]:
    source = run.plan.source or run.plan.destination
    archive = run.destination
    size = archive.batch_size
    if source.backend != run.plan.destination.backend:
        size = min(size, TRANSFER_BATCH) if archive.is_immediate else 1
    return in_batches(
        source,
        actions,
        size=size,
        one_by_one=not archive.is_immediate,
        unembargo=run.plan.unembargo,
        why=run.why,
    )


def _ask(run: Run, batches: Sequence[Batch], attempt: int) -> list[Flight | DoorError]:
    """Ask for batches at once: a flight for each that was taken, or may have been, else why it was not.

    Raises Stopped, where one alone is in trouble that lasts.
    """
    began = run.clock()
    for batch in batches:
        run.journal.begin([item_of(action) for action in batch.actions], began)
    try:
        errors = _ask_together(run, batches) if len(batches) > 1 else [_ask_alone(run, batches[0])]
    except Stopped:
        run.note(State.NOT_TAKEN, batches[0].actions)
        raise
    answers: list[Flight | DoorError] = []
    for batch, error in zip(batches, errors, strict=True):
        if error is not None and not isinstance(error, Uncertain):
            run.note(State.NOT_TAKEN, batch.actions)
            answers.append(error)
            continue
        if error is None:
            run.note(State.ASKED, batch.actions)
        answers.append(Flight(began, certain=error is None, waiting=set(batch.actions), asked=attempt))
    return answers


def _ask_together(run: Run, batches: Sequence[Batch]) -> Sequence[DoorError | None]:
    assert isinstance(run.destination, CopiesTogether)
    try:
        return run.destination.ask_batches([batch.to_ask() for batch in batches])
    except NoRights as error:
        return [error] * len(batches)


def _ask_alone(run: Run, batch: Batch) -> DoorError | None:
    try:
        run.patiently(lambda: _ask_archive(run, batch), Step.COPYING)
    except DoorError as error:
        return error
    return None


def _ask_archive(run: Run, batch: Batch) -> None:
    wanted = batch.to_ask()
    if wanted.source.backend == run.plan.destination.backend:
        run.destination.ask_copies(wanted)
    elif run.transfer is None:
        raise Refused(
            f"{wanted.source} and {run.plan.destination} are of different kinds: nothing carries it over"
        )
    else:
        run.transfer(run.archives[wanted.source], run.destination, wanted)
