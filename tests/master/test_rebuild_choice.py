"""Which of the due builds Buildbot is given, and which worker may take them."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from buildfarm.master.rebuild_choice import (
    AHEAD,
    BEHIND_ALL,
    BEHIND_COMMITS,
    Wish,
    Workers,
    choose_due,
    may_run_on,
    priority_of,
)
from buildfarm.regress.model import RebuildJob
from buildfarm.regress.records import Build, Night, NightRules, Rebuild

JOB = RebuildJob("nightly", "hello", "1.0", "bookworm", "amd64", ())
NAMES = ("worker-1", "worker-2", "worker-3")


def build(number, kind="first", wanted=""):
    return Build(
        id=number,
        rebuild=number,
        kind=kind,
        state="waiting",
        attempts=0,
        tries=(),
        wanted_worker=wanted,
        avoid_workers=(),
        alone=kind in ("again", "control"),
        environment="",
        not_before=0.0,
        priority=0,
        worker="",
        buildset=None,
        started_at=None,
        ended_at=None,
        counts=True,
        report=None,
        page="",
        job=JOB,
    )


def builds(kinds=("first", "again", "control", "culprit")):
    one = st.tuples(st.sampled_from(kinds), st.sampled_from(NAMES))
    return st.lists(one, max_size=30).map(
        lambda pairs: [
            build(number, kind, worker if kind in ("again", "control") else "")
            for number, (kind, worker) in enumerate(pairs, 1)
        ]
    )


workers = st.sets(st.sampled_from(NAMES)).map(lambda out: Workers(NAMES, dict.fromkeys(out, ("broken", 1000.0))))


@given(builds(), workers)
def test_buildbot_has_no_more_than_its_workers_soon_take_and_never_what_waits_in_vain(due, who):
    given_out = []
    while chosen := choose_due([one for one in due if one not in given_out], given_out, who):
        given_out += chosen
        places = [one.wanted_worker for one in given_out if one.kind != "culprit"]
        assert places.count("") <= AHEAD * len(who.in_service)
        assert all(places.count(name) <= AHEAD for name in NAMES)
        assert not set(places) - {"", *who.in_service}
    places = [one.wanted_worker for one in given_out if one.kind != "culprit"]
    for one in due:
        if one not in given_out and one.kind != "culprit":
            room = AHEAD * len(who.in_service) if not one.wanted_worker else AHEAD
            assert places.count(one.wanted_worker) == room or one.wanted_worker in who.out


@given(builds(), workers)
def test_what_is_given_keeps_the_order_of_the_record(due, who):
    chosen = choose_due(due, (), who)
    assert list(chosen) == sorted(chosen, key=due.index)


@given(builds())
def test_a_search_is_given_out_only_when_nothing_else_waits(due):
    chosen = choose_due(due, (), Workers(NAMES))
    if any(one.kind != "culprit" for one in due):
        assert not any(one.kind == "culprit" for one in chosen)
    else:
        assert len(chosen) == min(len(due), len(NAMES))


def test_what_waits_for_one_worker_does_not_keep_the_others_idle():
    due = [*(build(number, "again", "worker-1") for number in range(1, 20)), build(20), build(21)]
    chosen = choose_due(due, (), Workers(("worker-1", "worker-2")))
    assert [one.id for one in chosen] == [1, 2, 20, 21]


def test_a_build_waits_for_the_worker_that_it_wants():
    who = Workers(NAMES)
    assert may_run_on(Wish("worker-2"), "worker-2", who, NAMES)
    assert not may_run_on(Wish("worker-2"), "worker-1", who, NAMES)


def test_a_worker_is_avoided_as_long_as_another_is_there():
    who = Workers(NAMES, {"worker-3": ("broken", 1.0)})
    wish = Wish(avoid=frozenset({"worker-1"}))
    assert not may_run_on(wish, "worker-1", who, NAMES)
    assert may_run_on(wish, "worker-2", who, NAMES)
    assert may_run_on(wish, "worker-1", who, ("worker-1", "worker-3")), "worker-3 is connected, and out"


@given(
    st.sampled_from(NAMES), st.builds(Wish, st.sampled_from(("", *NAMES)), st.frozensets(st.sampled_from(NAMES)))
)
def test_a_worker_that_is_out_gets_nothing(name, wish):
    assert not may_run_on(wish, name, Workers(NAMES, {name: ("broken", 1.0)}), NAMES)


def test_the_farm_is_hopeless_since_its_last_worker_went_out():
    out = {"worker-1": ("broken", 100.0), "worker-2": ("broken", 300.0)}
    assert Workers(("worker-1", "worker-2"), out).hopeless_since() == 300.0
    assert Workers(NAMES, out).hopeless_since() is None
    assert Workers((), out).hopeless_since() is None


def priority(kind="first", expected_s=None, of_set=0):
    night = Night(1, "nightly", "farm", "", 0.0, None, False, (), NightRules(priority=of_set))
    known = {field.name: None for field in dataclasses.fields(Rebuild)}
    rebuild = Rebuild(**known | {"id": 1, "night": 1, "job": JOB, "expected_s": expected_s})
    return priority_of(night, rebuild, build(1, kind))


def test_commits_go_before_rebuilds_and_these_by_set_by_failure_and_by_length():
    order = [
        priority("again", of_set=100),
        priority(of_set=100),
        priority(expected_s=7200, of_set=100),
        priority("control"),
        priority(),
        priority(expected_s=90_000),
        priority(expected_s=600),
        priority(expected_s=5),
        priority("again", of_set=-100),
        priority(expected_s=5, of_set=-100),
        priority("culprit", of_set=100),
        priority("culprit", of_set=-100),
    ]
    assert order == sorted(order, reverse=True)
    assert order[0] < 0, "a commit's build has priority 0"
    assert -(2**31) < BEHIND_ALL - 100 * 10_000 < BEHIND_COMMITS, "other databases' integers have 32 bits"
