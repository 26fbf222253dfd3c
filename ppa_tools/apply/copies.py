"""Copying: what may still come of earlier runs is waited for, the rest is asked for, and all is seen to arrive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ppa_tools.apply.asking import Flight, ask_all
from ppa_tools.apply.journal import Item, State, item_of
from ppa_tools.apply.report import Outcome, Progress, Step
from ppa_tools.apply.run import CLOCK_SLACK_S, Run, Stopped
from ppa_tools.archives.door import DoorError, Unreachable
from ppa_tools.debversion import version_key
from ppa_tools.plan.actions import Action, in_order
from ppa_tools.publication import Publication

FAILED_LOOKS = 6
ASKED_AT_MOST = 3
FIRST_LOOK_S = 0.3
LONGEST_PAUSE_S = 30.0

Rows = Mapping[tuple[str, str], Sequence[Publication]]
"""Publications by series and source."""


def copy(run: Run, actions: Sequence[Action]) -> list[Action]:
    """Ask for the copies, once each, and wait for all; returns what never appeared, for its reason to be found.

    Raises Stopped when the archive cannot be asked any more.
    """
    flights = _of_earlier_runs(run, actions)
    if flights:
        _look_first(run, flights)
        flights, _ = _ask_overdue(run, flights)
    in_the_air = {action for flight in flights for action in flight.waiting}
    to_ask = [action for action in actions if action not in in_the_air and action not in run.results]
    flights += ask_all(run, to_ask, attempt=1)
    return _wait(run, flights, len(actions))


def _of_earlier_runs(run: Run, actions: Iterable[Action]) -> list[Flight]:
    """What the journal knows to have been asked for, by the batches in which it was."""
    batches: dict[tuple[str, float, bool], dict[Item, Action]] = defaultdict(dict)
    for action in actions:
        if (standing := run.journal.standing(item_of(action))) is not None:
            key = (standing.batch, standing.at, standing.state is State.ASKED)
            batches[key][item_of(action)] = action
    return [
        Flight(at, certain, set(members.values()), frozenset(run.journal.open_members(batch)) - members.keys())
        for (batch, at, certain), members in batches.items()
    ]


def _look_first(run: Run, flights: list[Flight]) -> None:
    """See what has come of what earlier runs asked for; what came and went, or never will, is asked for anew."""
    try:
        rows = _look(run, flights)
    except DoorError as error:
        raise Stopped(error) from error
    for flight in list(flights):
        over = {action for action in flight.waiting if _came_and_went(rows, action, flight.at)}
        run.note(State.ARRIVED, over)
        flight.waiting -= over
        if flight.certain and run.clock() - flight.at > run.limit_s:
            run.note(State.GIVEN_UP, flight.waiting)
            flights.remove(flight)


def _wait(run: Run, flights: list[Flight], total: int) -> list[Action]:
    """Look until all have come, or the limit passes; what is then still lacking was not done by the archive."""
    pause_s = 0.0 if run.destination.is_immediate else FIRST_LOOK_S
    deadline = run.clock() + min(run.limit_s, run.wait_s)
    failed_looks = 0
    while flights := [flight for flight in flights if flight.waiting]:
        lacking = sum(len(flight.waiting) for flight in flights)
        run.tell(Progress(Step.WAITING, total - lacking, total))
        if not run.destination.is_immediate and run.clock() >= deadline:
            break
        if pause_s:
            run.sleep(min(pause_s, _next_moment(run, flights, deadline)))
        pause_s = min(max(pause_s * 2, FIRST_LOOK_S), LONGEST_PAUSE_S)
        try:
            _look(run, flights)
        except Unreachable as error:
            failed_looks += 1
            if failed_looks == FAILED_LOOKS:
                raise Stopped(error) from error
            run.tell(Progress(Step.WAITING, total - lacking, total, f"{error.args[0]}; trying again"))
            continue
        except DoorError as error:
            raise Stopped(error) from error
        failed_looks = 0
        flights, asked_again = _ask_overdue(run, flights)
        if run.clock() >= deadline or (run.destination.is_immediate and not asked_again):
            break
    lost = _given_up(run, flights)
    run.tell(Progress(Step.WAITING, total - len(lost), total))
    return lost


def _next_moment(run: Run, flights: Iterable[Flight], deadline: float) -> float:
    """How long it is until something must be decided."""
    now = run.clock()
    settled = [flight.at + run.settle_s - now for flight in flights if not flight.certain]
    return max(min([deadline - now, *(left_s for left_s in settled if left_s > 0)]), FIRST_LOOK_S)


def _ask_overdue(run: Run, flights: Iterable[Flight]) -> tuple[list[Flight], bool]:
    """Ask again for what was not taken, so far as a look has told; whether there was any."""
    overdue: list[Flight] = []
    kept: list[Flight] = []
    for flight in flights:
        (overdue if _may_ask_again(run, flight) else kept).append(flight)
    for flight in overdue:
        run.note(State.NOT_TAKEN, flight.waiting)
        kept += ask_all(run, in_order(list(flight.waiting)), attempt=flight.asked + 1)
    return kept, bool(overdue)


def _may_ask_again(run: Run, flight: Flight) -> bool:
    """Whether nothing has come of a batch that may not have been taken, in the time in which something would."""
    settle_s = 0.0 if run.destination.is_immediate else run.settle_s
    overdue = run.clock() >= flight.at + settle_s
    return bool(flight.waiting) and not flight.certain and overdue and flight.asked < ASKED_AT_MOST


def _given_up(run: Run, flights: Iterable[Flight]) -> list[Action]:
    """What was taken and never came; of what may still come, or may not have been taken, a later run can tell."""
    lost: list[Action] = []
    for flight in flights:
        if flight.certain and run.wait_s < run.limit_s and run.clock() - flight.at < run.limit_s:
            run.settle(flight.waiting, Outcome.UNKNOWN, "asked for, not seen yet; running this again looks for it")
        elif flight.certain:
            lost += in_order(list(flight.waiting))
        else:
            why = "the connection broke while it was asked for, and it is not there; run this again"
            run.settle(flight.waiting, Outcome.UNKNOWN, why)
    run.note(State.GIVEN_UP, lost)
    return lost


def _look(run: Run, flights: Iterable[Flight]) -> Rows:
    """See what has come, in one request; raises as ``Archive.publications``."""
    flights = [flight for flight in flights if flight.waiting]
    if not flights:
        return {}
    waiting = {action for flight in flights for action in flight.waiting}
    names = {action.source for action in waiting} | {item.source for one in flights for item in one.witnesses}
    found = run.destination.publications(
        names=names,
        series={action.to_series for action in waiting},
        since=min(flight.at for flight in flights) - CLOCK_SLACK_S,
    )
    rows: dict[tuple[str, str], list[Publication]] = defaultdict(list)
    for row in found:
        rows[row.series, row.source].append(row)
    for flight in flights:
        _land(run, flight, rows)
    return rows


def _land(run: Run, flight: Flight, rows: Rows) -> None:
    """What has come of a flight, and what will not as something newer came in its place."""
    here, overtaken = [], {}
    for action in flight.waiting:
        mine = rows.get((action.to_series, action.source), ())
        active = [row for row in mine if row.is_active]
        came = [row.version for row in active if row.created_at is None or row.created_at >= flight.at]
        newer = [version for version in came if version_key(version) > version_key(action.version)]
        if any(row.version == action.version for row in active):
            here.append(action)
        elif newer:
            overtaken[action] = newer[-1]
    outcome = Outcome.ALREADY if flight.of_earlier_run else Outcome.DONE
    run.settle(here, outcome, "asked for by the run before" if flight.of_earlier_run else "")
    run.note(State.ARRIVED, here)
    for action, version in overtaken.items():
        run.settle([action], Outcome.FAILED, f"{version} came in its place, which is newer; plan anew")
    run.note(State.GIVEN_UP, overtaken)
    flight.waiting -= {*here, *overtaken}
    if not flight.certain and (here or overtaken or any(_is_there(rows, item) for item in flight.witnesses)):
        flight.certain = True
        run.note(State.ASKED, flight.waiting)


def _is_there(rows: Rows, item: Item) -> bool:
    return any(row.is_active and row.version == item.version for row in rows.get((item.series, item.source), ()))


def _came_and_went(rows: Rows, action: Action, asked_at: float) -> bool:
    """Whether what was asked for has come since, and has ended since."""
    return any(
        row.version == action.version
        and row.key != action.key
        and row.created_at is not None
        and row.created_at >= asked_at
        and not row.is_active
        for row in rows.get((action.to_series, action.source), ())
    )
