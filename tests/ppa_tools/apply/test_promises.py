"""For any two archives: plans do what they promise, nothing is asked for twice, and what was cut is taken up."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ppa_tools.apply.report import Outcome
from ppa_tools.archives.door import Copy, CopyBatch, Unreachable
from ppa_tools.debversion import version_key
from ppa_tools.plan.actions import Kind, Plan
from ppa_tools.plan.comparing import active_at
from tests.ppa_tools.model import Fault, Killed, ModelArchive, World, archives
from tests.ppa_tools.tools import carry_out, copy_plan, return_plan, sync_plan
from tests.ppa_tools.worlds import histories, live_through

EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def two(first: list, second: list, *, immediate: bool = False) -> tuple[ModelArchive, ModelArchive, dict]:
    known = archives("ppa:o/from", "ppa:o/to", immediate=["ppa:o/from", "ppa:o/to"] if immediate else ())
    source, destination = known.values()
    live_through(source, first)
    live_through(destination, second)
    return source, destination, known


def blocked(plan: Plan) -> set[tuple[str, str]]:
    return {(one.to_series, one.source) for one in plan.of(Kind.BLOCKED)}


def check_in_step(source: ModelArchive, destination: ModelArchive, before: dict, plan: Plan) -> None:
    """The destination holds what the source holds, but where it was ahead, or the plan said that it cannot."""
    newest: dict[tuple[str, str], str] = {}
    for row in source.active():
        newest[row.series, row.source] = row.version
    held = destination.held()
    for place, version in newest.items():
        if place in blocked(plan):
            assert held.get(place) == before.get(place)
        elif place in before and version_key(before[place]) > version_key(version):
            assert held[place] == before[place]
        else:
            assert held.get(place) == version
    assert held.keys() <= newest.keys()


def run_all(plan: Plan, known: dict, world: World, **options: float) -> None:
    with tempfile.TemporaryDirectory() as state:
        report = carry_out(plan, known, Path(state), world, **options)
    assert [one for one in report.results if one.outcome is not Outcome.DONE] == []
    assert not report.stopped


@EXAMPLES
@given(histories, histories, st.booleans())
def test_a_sync_makes_the_destination_hold_what_the_source_holds(
    first: list, second: list, immediate: bool
) -> None:
    source, destination, known = two(first, second, immediate=immediate)
    before = destination.held()
    plan = sync_plan(source, destination)
    run_all(plan, known, source.world)
    check_in_step(source, destination, before, plan)
    assert destination.failed == []
    assert set(destination.taken.values()) <= {1}
    again = sync_plan(source, destination)
    assert again.pending == ()
    assert blocked(again) == blocked(plan)


@EXAMPLES
@given(histories, histories)
def test_what_a_plan_calls_blocked_the_archive_refuses(first: list, second: list) -> None:
    source, destination, _ = two(first, second)
    plan = copy_plan(source, destination)
    for action in plan.of(Kind.BLOCKED):
        if any(words in action.reason for words in ("not built yet", "no binaries yet", "--incomplete")):
            continue  # Launchpad takes these, and does what nobody wants
        asked = Copy(action.source, action.version)
        destination.ask_copies(CopyBatch(source.address, action.from_series, action.to_series, (asked,)))
        destination.world.sleep(destination.delay_s)
        before = len(destination.failed)
        destination.publications()
        assert len(destination.failed) == before + 1, action


@EXAMPLES
@given(histories, histories)
def test_a_move_leaves_nothing_behind_but_what_could_not_come(first: list, second: list) -> None:
    source, destination, known = two(first, second)
    before = source.held()
    plan = copy_plan(source, destination, move=True)
    run_all(plan, known, source.world)
    assert source.held() == {place: version for place, version in before.items() if place in blocked(plan)}
    for place, version in before.items():
        if place not in blocked(plan):
            assert destination.held()[place] == version
    assert set(source.taken.values()) | set(destination.taken.values()) <= {1}


@EXAMPLES
@given(histories, st.integers(0, 13), st.sets(st.integers(0, 13)))
def test_a_return_brings_back_what_was_there(history: list, at: int, lost: set[int]) -> None:
    known = archives("ppa:o/p")
    (archive,) = known.values()
    moments = live_through(archive, history)
    assume(at < len(moments))
    archive.expired = {f"{archive.address}#{number}" for number in lost}
    then = {(row.series, row.source): row.version for row in active_at(archive.rows, moments[at])}
    before = archive.held()
    plan = return_plan(archive, moments[at])
    run_all(plan, known, archive.world)
    for place in then.keys() | before.keys():
        wanted = before if place in blocked(plan) else then
        assert archive.held().get(place) == wanted.get(place), place
    assert archive.failed == []
    assert return_plan(archive, moments[at]).pending == ()


faults = st.builds(Fault, st.integers(1, 30), st.booleans(), st.booleans())


@settings(EXAMPLES, max_examples=120)
@given(histories, histories, faults, st.booleans())
def test_a_sync_cut_anywhere_is_taken_up_and_asks_nothing_twice(
    first: list, second: list, fault: Fault, immediate: bool
) -> None:
    source, destination, known = two(first, second, immediate=immediate)
    before, world = destination.held(), source.world
    world.fault = fault
    with tempfile.TemporaryDirectory() as state:
        for _ in range(2):
            with contextlib.suppress(Killed, Unreachable):
                carry_out(sync_plan(source, destination), known, Path(state), world)
        world.fault = None
        plan = sync_plan(source, destination)
    assert plan.pending == ()
    check_in_step(source, destination, before, plan)
    assert set(destination.taken.values()) <= {1}, destination.taken


@settings(EXAMPLES, max_examples=120)
@given(histories, histories, faults)
def test_a_move_cut_anywhere_is_taken_up_and_loses_nothing(first: list, second: list, fault: Fault) -> None:
    source, destination, known = two(first, second)
    before, world = source.held(), source.world
    world.fault = fault
    with tempfile.TemporaryDirectory() as state:
        for _ in range(2):
            with contextlib.suppress(Killed, Unreachable):
                carry_out(copy_plan(source, destination, move=True), known, Path(state), world)
    for place, version in before.items():
        assert source.held().get(place) == version or destination.held().get(place) == version
    assert set(source.taken.values()) | set(destination.taken.values()) <= {1}


@settings(EXAMPLES, max_examples=120)
@given(histories, st.integers(0, 13), faults)
def test_a_return_cut_anywhere_is_taken_up(history: list, at: int, fault: Fault) -> None:
    known = archives("ppa:o/p")
    (archive,) = known.values()
    moments = live_through(archive, history)
    assume(at < len(moments))
    then = {(row.series, row.source): row.version for row in active_at(archive.rows, moments[at])}
    archive.world.fault = fault
    with tempfile.TemporaryDirectory() as state:
        for _ in range(2):
            with contextlib.suppress(Killed, Unreachable):
                carry_out(return_plan(archive, moments[at]), known, Path(state), archive.world)
    archive.world.fault = None
    plan = return_plan(archive, moments[at])
    assert plan.pending == ()
    for place, version in then.items():
        assert place in blocked(plan) or archive.held()[place] == version
    assert set(archive.taken.values()) <= {1}
