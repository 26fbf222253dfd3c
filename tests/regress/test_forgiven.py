"""What the tests of a build that passes are held to, night after night."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildfarm.regress import lookups
from buildfarm.regress.forgiven import WatchedTests, key_of_test
from buildfarm.regress.model import TestCounts
from buildfarm.regress.orders import order_for
from buildfarm.regress.records import NightRules
from tests.regress.rounds import Farm, job

COUNTS = TestCounts(40, 1, 0)


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return Farm(tmp_path)


def watch(farm: Farm) -> WatchedTests | None:
    """What the build that is first in the queue is held to."""
    night, rebuild, build = farm.due()[0]
    return order_for(farm.nights, night, rebuild, build).watch


def passed(farm: Farm, *failing: str, environment: str = "e1", **rules: bool) -> None:
    """A night in which php passes although these tests fail."""
    farm.begin("php", **rules)
    farm.step(environment=environment, failing_tests=failing, tests=COUNTS)
    farm.nights.end_nights()


def broke(farm: Farm, *names: str, environment: str = "", known: tuple[str, ...] = ()) -> None:
    """The build that is first in the queue fails by these tests alone."""
    farm.step(outcome="fail", environment=environment, failing_tests=(*names, *known), broken_tests=names)


def test_the_first_build_of_all_is_held_to_nothing(farm: Farm) -> None:
    farm.begin("php")
    assert watch(farm) is None


def test_what_failed_in_passes_may_fail(farm: Farm) -> None:
    passed(farm, "ext/b.phpt")
    passed(farm, "ext/a.phpt", environment="e2")
    farm.begin("php")
    assert watch(farm) == WatchedTests(known=("ext/a.phpt", "ext/b.phpt"))


def test_a_set_may_leave_it_to_the_rules_of_its_packages(farm: Farm) -> None:
    passed(farm, "ext/a.phpt")
    farm.begin("php", watch_tests=False)
    assert watch(farm) is None


def test_what_follows_a_test_that_broke_asks_for_that_test_alone(farm: Farm) -> None:
    passed(farm, "old.phpt")
    farm.begin("php")
    broke(farm, "new.phpt", known=("old.phpt",), environment="e2")
    _night, _rebuild, again = farm.due()[0]
    assert (again.kind, watch(farm)) == ("again", WatchedTests(only=("new.phpt",)))
    broke(farm, "new.phpt", known=("old.phpt",))
    _night, _rebuild, search = farm.due()[0]
    assert (search.kind, watch(farm)) == ("culprit", WatchedTests(only=("new.phpt",)))


def test_after_a_failure_by_the_rules_a_pass_is_held_to_the_tests_and_the_search_is_not(farm: Farm) -> None:
    passed(farm, "old.phpt")
    farm.begin("php")
    farm.step(outcome="fail", environment="e2")
    _night, _rebuild, again = farm.due()[0]
    assert (again.kind, watch(farm)) == ("again", WatchedTests(known=("old.phpt",)))
    farm.step(outcome="fail")
    _night, _rebuild, search = farm.due()[0]
    assert (search.kind, watch(farm)) == ("culprit", None)


def test_a_control_is_held_to_nothing(farm: Farm) -> None:
    farm.round("php", "hello")
    farm.begin("php")
    broke(farm, "new.phpt", environment="e2")
    broke(farm, "new.phpt")
    _night, _rebuild, control = farm.due()[0]
    assert (control.kind, watch(farm)) == ("control", None)


@pytest.mark.parametrize("environment", ["e1", "e2"])
def test_a_test_that_breaks_stays_broken_however_long_and_is_never_taken_for_known(
    farm: Farm, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "TESTS_LOOK_BACK", 3)
    passed(farm, "old.phpt")
    night = farm.begin("php", culprit=False)
    broke(farm, "new.phpt", environment=environment)
    broke(farm, "new.phpt")
    farm.nights.end_nights()
    assert farm.verdicts(night) == {"php": "new failure"}
    for _ in range(6):
        night = farm.begin("php", culprit=False)
        assert watch(farm) == WatchedTests(known=("old.phpt",))
        broke(farm, "new.phpt", environment=environment)
        farm.nights.end_nights()
        assert farm.verdicts(night) == {"php": "still failing"}


def broken(farm: Farm) -> None:
    """Nights until php is failing by a test."""
    passed(farm)
    farm.begin("php", culprit=False)
    broke(farm, "new.phpt", environment="e2")
    broke(farm, "new.phpt")
    farm.nights.end_nights()


def test_what_falls_by_chance_beside_a_broken_test_is_no_other_cause(farm: Farm) -> None:
    broken(farm)
    night = farm.begin("php")
    broke(farm, "new.phpt", "dice.phpt", environment="e3")
    assert watch(farm) == WatchedTests(only=("dice.phpt",))
    farm.step()
    farm.nights.end_nights()
    rebuild = farm.rebuild(night, "php")
    assert (rebuild.verdict, rebuild.cause_changed) == ("still failing", False)
    assert rebuild.decided_by is not None
    decided = farm.nights.build(rebuild.decided_by)
    assert decided is not None
    assert decided.report is not None
    assert decided.report.outcome == "fail"

    night = farm.begin("php")
    broke(farm, "new.phpt", "dice.phpt", environment="e4")
    farm.nights.end_nights()
    assert not farm.rebuild(night, "php").cause_changed, "it was seen before"


def test_another_test_that_breaks_twice_beside_a_broken_one_is_another_cause(farm: Farm) -> None:
    broken(farm)
    night = farm.begin("php")
    broke(farm, "new.phpt", "other.phpt", environment="e3")
    broke(farm, "other.phpt", known=("new.phpt",))
    farm.nights.end_nights()
    rebuild = farm.rebuild(night, "php")
    assert (rebuild.verdict, rebuild.cause_changed) == ("still failing", True)


def test_chance_after_a_mended_test_is_flakiness(farm: Farm) -> None:
    broken(farm)
    night = farm.begin("php")
    broke(farm, "dice.phpt", environment="e3")
    farm.step()
    farm.nights.end_nights()
    assert farm.verdicts(night) == {"php": "flaky"}


def test_chance_of_other_tests_excuses_none_that_breaks(farm: Farm) -> None:
    for number in range(4):
        passed(farm)
        farm.begin("php")
        broke(farm, f"dice{number}.phpt", environment="e2")
        farm.step()
        farm.nights.end_nights()
    night = farm.begin("php", culprit=False)
    broke(farm, "new.phpt", environment="e2")
    broke(farm, "new.phpt")
    farm.nights.end_nights()
    assert farm.verdicts(night) == {"php": "new failure"}


def test_where_no_pass_is_left_to_compare_with_it_is_held_to_what_is_broken(farm: Farm) -> None:
    broken(farm)
    with sqlite3.connect(farm.path) as connection:
        connection.execute("UPDATE builds SET report = json_set(report, '$.naming', 0)")
    farm.begin("php")
    assert watch(farm) == WatchedTests(only=("new.phpt",))


def test_a_failure_that_goes_on_is_not_published(farm: Farm) -> None:
    passed(farm)
    jobs = [replace(job("php"), publish="local:me/ppa")]
    for environment in ("e2", "e3"):
        night = farm.nights.open_night("nightly", jobs, driver="farm", reason="", rules=NightRules(culprit=False))
        broke(farm, "new.phpt", *(["dice.phpt"] if environment == "e3" else []), environment=environment)
        farm.step(outcome="fail" if environment == "e2" else "pass", broken_tests=("new.phpt",))
        farm.nights.end_nights()
    assert farm.verdicts(night) == {"php": "still failing"}
    assert farm.due() == ()


def test_a_test_that_fails_by_chance_is_known_from_then_on(farm: Farm) -> None:
    passed(farm)
    night = farm.begin("php")
    broke(farm, "dice.phpt", environment="e2")
    farm.step()
    farm.nights.end_nights()
    assert farm.verdicts(night) == {"php": "flaky"}
    farm.begin("php")
    assert watch(farm) == WatchedTests(known=("dice.phpt",))


def test_what_somebody_tries_by_hand_makes_nothing_known_to_the_nights(farm: Farm) -> None:
    passed(farm)
    passed(farm, "new.phpt", tell=False, watch_tests=False)
    farm.begin("php")
    assert watch(farm) == WatchedTests()


@pytest.mark.parametrize("report", [{"naming": 0}, {"tests": None}])
def test_passes_that_do_not_name_all_their_failing_tests_are_no_measure(
    farm: Farm, report: dict[str, Any]
) -> None:
    farm.begin("php")
    farm.step(**({"failing_tests": ("a.phpt",), "tests": COUNTS} | report))
    farm.nights.end_nights()
    farm.begin("php")
    assert watch(farm) is None
    farm.step()
    farm.nights.end_nights()
    farm.begin("php")
    assert watch(farm) == WatchedTests()


@pytest.mark.parametrize(
    "name",
    [
        "/build/tree/foo-1.2/t/a.t",
        "/build/tree/foo-1.2~regression20261127/t/a.t",
        "/build/tree/foo-1.2+dfsg/t/a.t",
        "/build/foo-AbC123/foo-1.2/t/a.t",
    ],
)
def test_the_place_of_a_build_is_no_part_of_a_name(name: str) -> None:
    assert WatchedTests(known=("t/a.t",)).broken((name, "t/b.t")) == ("t/b.t",)
    assert WatchedTests(only=("t/b.t",)).broken((name, "t/b.t")) == ("t/b.t",)


def test_nor_is_how_long_it_took() -> None:
    assert key_of_test("sorts (took 12 ms)") == key_of_test("sorts (took 3.5 s)")
    assert key_of_test("bug63000") != key_of_test("bug63447")
