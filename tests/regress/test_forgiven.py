"""What the tests of a build that passes are held to, night after night."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildfarm.regress.forgiven import WatchedTests
from buildfarm.regress.model import TestCounts
from buildfarm.regress.orders import order_for
from tests.regress.rounds import Farm

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


def test_what_follows_a_failure_by_the_rules_is_left_to_them(farm: Farm) -> None:
    passed(farm, "old.phpt")
    farm.begin("php")
    farm.step(outcome="fail", environment="e2")
    _night, _rebuild, again = farm.due()[0]
    assert (again.kind, watch(farm)) == ("again", None)


def test_a_control_is_held_to_nothing(farm: Farm) -> None:
    farm.round("php", "hello")
    farm.begin("php")
    broke(farm, "new.phpt", environment="e2")
    broke(farm, "new.phpt")
    _night, _rebuild, control = farm.due()[0]
    assert (control.kind, watch(farm)) == ("control", None)


def test_a_test_that_breaks_stays_broken_and_is_never_taken_for_known(farm: Farm) -> None:
    passed(farm, "old.phpt")
    night = farm.begin("php")
    broke(farm, "new.phpt", environment="e2")
    broke(farm, "new.phpt")
    farm.step()  # the search
    farm.nights.end_nights()
    assert farm.verdicts(night) == {"php": "new failure"}
    farm.begin("php")
    assert watch(farm) == WatchedTests(known=("old.phpt",))


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


def test_more_failing_tests_than_the_record_holds_are_no_measure(farm: Farm) -> None:
    passed(farm, *(f"{number}.phpt" for number in range(500)))
    farm.begin("php")
    assert watch(farm) is None


def test_names_that_hold_a_place_of_their_build_are_the_same_in_the_next() -> None:
    known = WatchedTests(known=("t/a.t",))
    assert known.broken(("/build/tree/foo-1.2/t/a.t", "t/b.t")) == ("t/b.t",)
    only = WatchedTests(only=("t/b.t",))
    assert only.broken(("t/a.t", "/tmp/xyz/t/b.t", "t/b.t")) == ("t/b.t",)
