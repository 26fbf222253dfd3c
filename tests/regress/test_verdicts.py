"""What follows from a rebuild's builds, rule by rule."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.regress.flaky import failure_rate, may_be_chance
from buildfarm.regress.model import Outcome, RebuildVerdict
from buildfarm.regress.verdicts import (
    AGAIN_LIMIT,
    Next,
    Past,
    Ran,
    Settled,
    Situation,
    Word,
    decide,
    retry_delay_s,
)

NEW, STILL, FIXED = RebuildVerdict.NEW_FAILURE, RebuildVerdict.STILL_FAILING, RebuildVerdict.FIXED
PASSING, FLAKY = RebuildVerdict.STILL_PASSING, RebuildVerdict.FLAKY
TROUBLE, WAITS = RebuildVerdict.INFRASTRUCTURE, RebuildVerdict.DEPENDENCY_WAIT
TONIGHT, BEFORE = 5000.0, 1000.0


def first(outcome: Outcome, **those: str) -> Ran:
    return Ran(
        "first", outcome, **({"worker": "w1", "environment": "e1", "fingerprint": "f", "reason": "so"} | those)
    )  # type: ignore[arg-type]


def again(outcome: Outcome, **those: str) -> Ran:
    return Ran(
        "again", outcome, **({"worker": "w1", "environment": "e1", "fingerprint": "f", "reason": "so"} | those)
    )  # type: ignore[arg-type]


def control(outcome: Outcome) -> Ran:
    return Ran("control", outcome, "w1", "e0", reason="said so")


def was(verdict: RebuildVerdict, *, results: str = "", seen: str = "f", like: str = "") -> Past:
    word = Word(verdict, BEFORE)
    return Past(word, word, frozenset({seen} - {""}), passes(results), passes(like))


def passes(text: str) -> tuple[bool, ...]:
    return tuple(one == "+" for one in text)


NOTHING = Past()
ONE_MORE = Next("again", "e1", "w1", alone=True)
TRY_WORKER = Next("control", worker="w1", alone=True)
TABLE: dict[str, tuple[tuple[Ran, ...], Past, str, Next | RebuildVerdict]] = {
    "it begins with one build": ((), NOTHING, "known", Next("first")),
    "the first pass ever": ((first("pass"),), NOTHING, "known", PASSING),
    "a pass after passes": ((first("pass"),), was(PASSING), "known", PASSING),
    "a pass after failures": ((first("pass"),), was(STILL), "known", FIXED),
    "a pass after a new failure": ((first("pass"),), was(NEW), "known", FIXED),
    "a pass of an input that failed": ((first("pass"),), was(NEW, results="--"), "known", FLAKY),
    "a pass of an input that passed": ((first("pass"),), was(PASSING, results="++"), "known", PASSING),
    "a pass in another environment than the flaky one's": (
        (first("pass"),),
        was(FLAKY, like="+-+"),
        "known",
        PASSING,
    ),
    "dependencies that are not there": ((first("dependency-wait"),), was(PASSING), "known", WAITS),
    "trouble to the end": ((first("error"),), was(PASSING), "known", TROUBLE),
    "a failure of one that failed": ((first("fail"),), was(NEW), "known", STILL),
    "a first failure": ((first("fail"),), was(PASSING), "known", ONE_MORE),
    "a first failure ever": ((first("fail"),), NOTHING, "known", ONE_MORE),
    "a failure of one that was flaky": ((first("fail"),), was(FLAKY), "known", ONE_MORE),
    "a failure, then a pass": ((first("fail"), again("pass")), was(PASSING), "known", FLAKY),
    "a failure, then trouble": ((first("fail"), again("error")), was(PASSING), "known", TROUBLE),
    "two failures": ((first("fail"), again("fail")), was(PASSING), "known", TRY_WORKER),
    "two failures, a control passed": ((first("fail"), again("fail")), was(PASSING), "passed", NEW),
    "two failures, no control": ((first("fail"), again("fail")), was(PASSING), "unknown", NEW),
    "the control passes": ((first("fail"), again("fail"), control("pass")), was(PASSING), "known", NEW),
    "two failures in two environments": (
        (first("fail"), again("fail", environment="e2")),
        was(PASSING),
        "known",
        Next("again", "e2", "w1", alone=True),
    ),
    "an environment that never stands twice": (
        (first("fail"), *(again("fail", environment=f"e{n}") for n in range(2, 6))),
        was(PASSING),
        "known",
        TROUBLE,
    ),
    "two failures of one that fails half the time": (
        (first("fail"), again("fail")),
        was(FLAKY, results="-+-+"),
        "known",
        ONE_MORE,
    ),
    "five failures of one that fails half the time": (
        (first("fail"), *[again("fail")] * 4),
        was(FLAKY, results="-+-+"),
        "known",
        TRY_WORKER,
    ),
    "five failures of one that fails most of the time": (
        (first("fail"), *[again("fail")] * 4),
        was(FLAKY, results="---+---+"),
        "known",
        FLAKY,
    ),
    "two failures after one in the night before, of one that failed a third of the time": (
        (first("fail"), again("fail")),
        was(FLAKY, results="+-+-"),
        "known",
        TRY_WORKER,
    ),
    "two failures in an environment that is new, of one that fails half the time": (
        (first("fail"), again("fail")),
        was(FLAKY, like="-+-+"),
        "known",
        ONE_MORE,
    ),
    "two failures of one that fails seldom": (
        (first("fail"), again("fail")),
        was(FLAKY, results="-" + "+" * 19),
        "known",
        TRY_WORKER,
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_table(case: str) -> None:
    ran, past, known, wanted = TABLE[case]
    got = decide(Situation(TONIGHT, ran, past, known))  # type: ignore[arg-type]
    assert (got.verdict if isinstance(got, Settled) else got) == wanted
    if isinstance(got, Settled):
        assert got.reason


def test_a_worker_on_which_a_control_fails_is_taken_out_and_the_rebuild_starts_again() -> None:
    ran = (first("fail"), again("fail"), control("fail"))
    got = decide(Situation(TONIGHT, ran, was(PASSING), left=("w0",)))
    assert isinstance(got, Next)
    assert (got.kind, got.avoid, got.restart, got.environment) == ("first", ("w0", "w1"), True, "")
    assert "said so" in got.take_out


def test_a_control_that_meets_trouble_takes_no_worker_out() -> None:
    ran = (first("fail"), again("fail"), control("error"))
    assert decide(Situation(TONIGHT, ran, was(PASSING), "known")) == TRY_WORKER
    got = decide(Situation(TONIGHT, ran, was(PASSING), "unknown"))
    assert isinstance(got, Settled)
    assert (got.verdict, got.take_out) == (NEW, "")
    assert "assumed: w1 is sound, as no control came to a result there: said so" in got.reason


def test_where_three_controls_met_trouble_the_rebuild_starts_again_elsewhere() -> None:
    ran = (first("fail"), again("fail"), *[control("error")] * 3)
    got = decide(Situation(TONIGHT, ran, was(PASSING), "known"))
    assert isinstance(got, Next)
    assert (got.kind, got.avoid, got.restart, got.take_out) == ("first", ("w1",), True, "")


def test_a_control_on_a_worker_that_went_out_of_service_meanwhile_does_not_count() -> None:
    ran = (first("fail"), again("fail"), control("error"))
    got = decide(Situation(TONIGHT, ran, was(PASSING), out=frozenset({"w1"})))
    assert isinstance(got, Next)
    assert (got.kind, got.avoid, got.restart, got.take_out) == ("first", ("w1",), True, "")


def test_after_three_workers_it_is_infrastructure() -> None:
    ran = (first("fail"), again("fail"), control("fail"))
    got = decide(Situation(TONIGHT, ran, was(PASSING), left=("w3", "w2")))
    assert isinstance(got, Settled)
    assert got.verdict is TROUBLE
    assert got.take_out
    assert "w3, w2, w1" in got.reason


def test_where_there_is_no_other_worker_it_ends_too() -> None:
    left: tuple[str, ...] = ()
    for _ in range(2):
        again_first = decide(Situation(TONIGHT, (first("fail"),), was(PASSING), left=left, out=frozenset({"w1"})))
        assert isinstance(again_first, Next)
        left = again_first.avoid
    got = decide(Situation(TONIGHT, (first("fail"),), was(PASSING), left=left, out=frozenset({"w1"})))
    assert isinstance(got, Settled)
    assert got.verdict is TROUBLE


@pytest.mark.parametrize("outcome", ["fail", "error", "dependency-wait"])
def test_what_a_worker_said_that_was_taken_out_since_does_not_count(outcome: Outcome) -> None:
    for past in (NOTHING, was(STILL), was(PASSING)):
        got = decide(Situation(TONIGHT, (first(outcome),), past, out=frozenset({"w1"})))
        assert isinstance(got, Next)
        assert (got.restart, got.avoid, got.take_out) == (True, ("w1",), "")


def test_a_pass_counts_even_on_a_worker_that_was_taken_out() -> None:
    got = decide(Situation(TONIGHT, (first("pass"),), was(STILL), out=frozenset({"w1"})))
    assert isinstance(got, Settled)
    assert got.verdict is FIXED


def test_without_confirmation_one_failure_is_new_and_it_is_said() -> None:
    got = decide(Situation(TONIGHT, (first("fail"),), was(PASSING), confirm=False))
    assert isinstance(got, Settled)
    assert got.verdict is NEW
    assert "once" in got.reason


def test_an_assumption_is_said() -> None:
    got = decide(Situation(TONIGHT, (first("fail"), again("fail")), was(PASSING), "unknown"))
    assert isinstance(got, Settled)
    assert "assumed" in got.reason


@pytest.mark.parametrize(
    ("fingerprint", "seen", "changed"), [("f", "f", False), ("g", "f", True), ("", "f", False), ("g", "", False)]
)
def test_another_cause_is_told_where_both_are_known(fingerprint: str, seen: str, changed: bool) -> None:
    got = decide(Situation(TONIGHT, (first("fail", fingerprint=fingerprint),), was(STILL, seen=seen)))
    assert isinstance(got, Settled)
    assert (got.verdict, got.cause_changed, got.fingerprint) == (STILL, changed, fingerprint)


@pytest.mark.parametrize(
    ("outcome", "before", "since"),
    [
        ("fail", NEW, BEFORE),
        ("fail", STILL, BEFORE),
        ("pass", STILL, TONIGHT),
        ("pass", FIXED, BEFORE),
        ("pass", PASSING, BEFORE),
        ("pass", FLAKY, TONIGHT),
        ("dependency-wait", WAITS, BEFORE),
        ("dependency-wait", PASSING, TONIGHT),
        ("error", WAITS, TONIGHT),
    ],
)
def test_since_is_when_the_state_began(outcome: Outcome, before: RebuildVerdict, since: float) -> None:
    got = decide(Situation(TONIGHT, (first(outcome),), was(before)))
    assert isinstance(got, Settled)
    assert got.since == since


def test_trouble_in_between_does_not_make_a_failure_new() -> None:
    past = Past(Word(STILL, BEFORE), Word(TROUBLE, 4000.0), frozenset({"f"}))
    got = decide(Situation(TONIGHT, (first("fail"),), past))
    assert isinstance(got, Settled)
    assert (got.verdict, got.since) == (STILL, BEFORE)


def test_trouble_is_tried_again_three_times() -> None:
    assert [retry_delay_s(errors) for errors in range(6)] == [None, 10.0, 60.0, 300.0, None, None]


RESULTS = st.lists(st.booleans(), max_size=60)


@given(RESULTS)
def test_the_interval_is_wilsons(results: list[bool]) -> None:
    estimate, low, high = failure_rate(results)
    assert 0 <= low <= estimate <= high <= 1
    n = len(results)
    for bound in (low, high):  # each bound is a rate whose own spread just reaches the estimate
        if n and 0 < bound < 1 and bound != estimate:
            assert math.isclose(abs(estimate - bound), 1.959964 * math.sqrt(bound * (1 - bound) / n), rel_tol=1e-6)


def test_an_interval_by_the_book() -> None:
    estimate, low, high = failure_rate([False] * 3 + [True] * 7)
    assert (round(estimate, 3), round(low, 4), round(high, 4)) == (0.3, 0.1078, 0.6032)


@given(RESULTS)
def test_failures_that_may_be_chance_become_news_when_they_go_on(results: list[bool]) -> None:
    if not may_be_chance([*results, False]):
        assert not may_be_chance([*results, False, False])
    assert not may_be_chance([*results, *[False] * 200])


@given(
    st.lists(st.tuples(st.sampled_from(["pass", "fail"]), st.sampled_from(["e1", "e2"])), max_size=AGAIN_LIMIT),
    RESULTS,
    RESULTS,
    st.sampled_from([None, *RebuildVerdict]),
    st.sampled_from(["unknown", "known", "passed"]),
)
def test_a_failure_is_new_only_after_two_in_one_environment(ends, results, like, before, known) -> None:
    ran = [first("fail"), *(again(outcome, environment=environment) for outcome, environment in ends)]
    word = Word(before, BEFORE) if before else None
    past = Past(word, word, frozenset("f"), tuple(results), tuple(like))
    got = decide(Situation(TONIGHT, tuple(ran), past, known))
    if isinstance(got, Settled) and got.verdict is NEW:
        assert known != "known"
        last = ran[-1].environment
        assert sum(one.outcome == "fail" and one.environment == last for one in ran) >= 2
        assert before not in (NEW, STILL)
