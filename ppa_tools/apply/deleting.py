"""Asking for deletions, each once: where it is not sure that one was taken, a look tells."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Sequence

from ppa_tools.address import Address
from ppa_tools.apply.journal import State, item_of
from ppa_tools.apply.report import Outcome, Progress, Step
from ppa_tools.apply.run import FIRST_PAUSE_S, TRIES, Run, Stopped
from ppa_tools.archives.door import DeletesTogether, DoorError, NotThere, Uncertain
from ppa_tools.plan.actions import Action
from ppa_tools.publication import Publication, Status

CHUNK = 50
IN_FLIGHT_S = 5.0
"""A request whose sender was killed may still be carried out for as long as this."""


def delete(run: Run, actions: Sequence[Action]) -> None:
    """Delete what the actions say, in their order. Raises Stopped."""
    doubtful = {
        action: standing.at
        for action in actions
        if (standing := run.journal.standing(item_of(action))) is not None
    }
    gone = _gone(run, [*doubtful]) if doubtful else set()
    rest_s = max(doubtful.values(), default=0.0) + IN_FLIGHT_S - run.clock()
    if len(gone) < len(doubtful) and rest_s > 0:
        run.sleep(min(rest_s, IN_FLIGHT_S))
        gone = _gone(run, [*doubtful])
    run.note(State.ARRIVED, gone)
    run.settle(gone, Outcome.ALREADY, "deleted by the run before")
    rest = [action for action in actions if action not in gone]
    for at in range(0, len(rest), CHUNK):
        _delete_chunk(run, rest[at : at + CHUNK], at, len(rest))


def _delete_chunk(run: Run, chunk: Sequence[Action], before: int, total: int) -> None:
    """The journal is told of a chunk at once: what was taken of it, the archive itself tells for certain."""
    run.journal.begin([item_of(action) for action in chunk], run.clock())
    try:
        _delete_together(run, chunk)
        for number, action in enumerate(chunk, before + 1):
            if action in run.results:
                continue
            run.tell(Progress(Step.DELETING, number - 1, total))
            _delete_one(run, action)
            run.tell(Progress(Step.DELETING, number, total))
    finally:
        results = {action: run.results[action] for action in chunk if action in run.results}
        run.note(State.ARRIVED, [action for action, one in results.items() if one.is_good])
        run.note(State.NOT_TAKEN, [action for action, one in results.items() if one.outcome is Outcome.FAILED])


def _delete_together(run: Run, actions: Sequence[Action]) -> None:
    """Have archives that can delete what they can together; what they do not take is asked for one by one."""
    groups: dict[tuple[Address, str], list[Action]] = defaultdict(list)
    for action in actions:
        groups[action.archive, run.why or action.reason].append(action)
    for (address, why), members in groups.items():
        archive = run.archives[address]
        if isinstance(archive, DeletesTogether) and len(members) > 1:
            gone: frozenset[str] = frozenset()
            with contextlib.suppress(DoorError):
                gone = archive.ask_deletions([_publication(one) for one in members], why)
            run.settle([one for one in members if one.key in gone], Outcome.DONE)
            if doubtful := [one for one in members if one.key not in gone]:
                run.settle(_gone(run, doubtful), Outcome.DONE)


def _publication(action: Action) -> Publication:
    return Publication(action.key, action.source, action.version, action.to_series, Status.PUBLISHED)


def _delete_one(run: Run, action: Action) -> None:
    archive = run.archives[action.archive]
    publication = _publication(action)
    for attempt in range(TRIES):
        try:
            run.patiently(lambda: archive.ask_deletion(publication, run.why or action.reason), Step.DELETING)
        except NotThere:
            return run.settle([action], Outcome.ALREADY, "it was gone")
        except Uncertain as error:
            if _gone(run, [action]):
                return run.settle([action], Outcome.DONE)
            if attempt == TRIES - 1:
                return run.settle([action], Outcome.UNKNOWN, str(error))
            run.sleep(FIRST_PAUSE_S * 2**attempt)
        except DoorError as error:
            return run.settle([action], Outcome.FAILED, str(error))
        else:
            return run.settle([action], Outcome.DONE)
    return None


def _gone(run: Run, actions: Sequence[Action]) -> set[Action]:
    """Those whose publications have ended, as their archives tell; raises Stopped where they cannot be asked."""
    found = set()
    for address in {action.archive for action in actions}:
        mine = [action for action in actions if action.archive == address]
        try:
            rows = run.archives[address].publications(
                names={action.source for action in mine}, series={action.to_series for action in mine}
            )
        except DoorError as error:
            raise Stopped(error) from error
        ended = {row.key for row in rows if not row.is_active}
        found |= {action for action in mine if action.key in ended}
    return found
