"""Nights over real builds: what broke is found, confirmed, and traced to the update that did it."""

from __future__ import annotations

import math

from buildfarm.regress.model import RebuildVerdict
from tests.regress.conftest import Here
from tests.regress.yard import Yard


def test_a_new_failure_is_confirmed_and_its_culprit_named_among_forty_updates(here: Here, yard: Yard) -> None:
    yard.state("before")
    jobs = [yard.job("victim"), yard.job("steady")]
    first = here.night(jobs)
    assert here.verdicts(first) == {"victim": "still passing", "steady": "still passing"}

    yard.state("after")
    second = here.night(jobs, control="steady")

    rebuild = here.rebuild(second, "victim")
    assert rebuild.verdict is RebuildVerdict.NEW_FAILURE, rebuild
    kinds = [one.kind for one in here.builds(second, "victim")]
    assert kinds == ["first", "again", "control", "culprit"]
    again = here.builds(second, "victim")[1].report
    assert again is not None
    assert again.environment == here.report(second, "victim").environment, "the very same environment"
    assert rebuild.culprit is not None
    assert [one.source for one in rebuild.culprit.suspects] == ["libd17"], rebuild.culprit
    assert rebuild.culprit.confirmed
    assert rebuild.culprit.changed == 40
    assert rebuild.culprit.builds <= math.ceil(math.log2(40)) + 4
    assert "because of libd17 1.0 to 1.1" in rebuild.culprit.words
    assert "undefined symbol frobnicate in libd17" in "\n".join(here.report(second, "victim").first_error)

    third = here.night(jobs, control="steady")
    assert here.rebuild(third, "victim").verdict is RebuildVerdict.STILL_FAILING
    assert here.rebuild(third, "victim").since == rebuild.since
    assert len(here.builds(third, "victim")) == 1, "a known failure is not built twice"

    yard.state("before")
    assert here.verdicts(here.night(jobs))["victim"] == "fixed"


def test_two_updates_that_break_it_only_together_are_both_named(here: Here, yard: Yard) -> None:
    yard.state("before")
    jobs = [yard.job("victim-pair")]
    here.night(jobs)

    yard.state("after")
    rebuild = here.rebuild(here.night(jobs), "victim-pair")

    assert rebuild.culprit is not None
    assert {one.source for one in rebuild.culprit.suspects} == {"libd09", "libd31"}, rebuild.culprit
    assert rebuild.culprit.confirmed
    assert rebuild.culprit.builds <= 2 * math.ceil(math.log2(40)) + 8


def test_a_test_that_breaks_is_a_failure_although_the_package_forgives_it(here: Here, yard: Yard) -> None:
    yard.state("before")
    jobs = [yard.job("forgiving"), yard.job("steady")]
    first = here.night(jobs)
    assert here.verdicts(first)["forgiving"] == "still passing"
    assert here.report(first, "forgiving").failing_tests == ("never worked",)

    yard.state("after")
    rebuild = here.rebuild(here.night(jobs, control="steady"), "forgiving")

    assert rebuild.verdict is RebuildVerdict.NEW_FAILURE, rebuild
    builds = here.nights.builds(rebuild)
    assert [one.kind for one in builds] == ["first", "again", "control", "culprit"]
    said = builds[0].report
    assert said is not None
    assert "the package's rules forgive it: frobnicates" in said.reason
    assert said.broken_tests == ("frobnicates",)
    assert said.failing_tests == ("frobnicates", "never worked")
    assert any("not ok 2 - frobnicates" in line for line in said.first_error), said.first_error
    assert rebuild.culprit is not None
    assert [one.source for one in rebuild.culprit.suspects] == ["libd17"], rebuild.culprit
    assert rebuild.culprit.confirmed
    assert here.verdicts(here.night(jobs))["forgiving"] == "still failing"

    yard.state("before")
    assert here.verdicts(here.night(jobs))["forgiving"] == "fixed"


def test_a_forgiven_failure_that_a_night_took_for_a_pass_is_known_from_then_on(here: Here, yard: Yard) -> None:
    jobs = [yard.job("forgiving")]
    yard.state("before")
    here.night(jobs)
    yard.state({"libd02": "1.1", "libd17": "1.1"})
    assert here.verdicts(here.night(jobs, watch_tests=False))["forgiving"] == "still passing"

    yard.state({"libd17": "1.1"})
    night = here.night(jobs)

    assert here.verdicts(night)["forgiving"] == "still passing"
    assert here.report(night, "forgiving").failing_tests == ("never worked", "frobnicates")
