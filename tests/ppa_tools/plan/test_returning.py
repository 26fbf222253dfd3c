"""What an archive held at a moment, the difference of two, and the plan that goes back there."""

from __future__ import annotations

from dataclasses import replace

from ppa_tools.plan.choosing import SeriesPair
from ppa_tools.plan.comparing import active_at, compare
from ppa_tools.plan.facts import Facts
from ppa_tools.plan.guard import ALLOW_DELETIONS, guards
from ppa_tools.plan.returning import plan_return, to_bring_back
from ppa_tools.publication import Build, BuildState, File, Publication, Status
from tests.ppa_tools.plan.sides import lines, pub, side

OLD = pub("hello=1.0", status=Status.SUPERSEDED, created_at=10, ended_at=30)
NEW = pub("hello=2.0", created_at=30)
LOST = pub("lost=1.0", status=Status.DELETED, created_at=10, ended_at=40)
CAME = pub("came=1.0", created_at=35)
STAYS = pub("stays=1.0", created_at=5)
BRIEF = pub("brief=1.0", status=Status.DELETED, created_at=32, ended_at=38)
PAST = side("ppa:o/p", OLD, NEW, LOST, CAME, STAYS, BRIEF)
KEPT = (File("x", "", "x", 1),)


def facts(*kept: Publication, gone: tuple[Publication, ...] = (), states: tuple[BuildState, ...] = ()) -> Facts:
    built = tuple(Build("amd64", state) for state in states or (BuildState.BUILT,))
    files = {one.key: KEPT for one in kept} | {one.key: () for one in gone}
    return Facts({one.key: built for one in (*kept, *gone)}, files, files)


def names(rows: tuple[Publication, ...]) -> set[str]:
    return {str(one) for one in rows}


def test_what_was_active_at_a_moment_is_known() -> None:
    assert names(active_at(PAST.publications, 20)) == {"hello 1.0", "lost 1.0", "stays 1.0"}
    assert names(active_at(PAST.publications, 30)) == {"hello 2.0", "lost 1.0", "stays 1.0"}
    assert names(active_at(PAST.publications, 33)) == {"hello 2.0", "lost 1.0", "stays 1.0", "brief 1.0"}
    assert names(active_at(PAST.publications, None)) == {"hello 2.0", "came 1.0", "stays 1.0"}


def test_what_has_ended_nobody_knows_when_is_not_brought_back() -> None:
    assert active_at([pub("a=1", status=Status.SUPERSEDED, created_at=1)], 20) == ()


def test_two_moments_of_an_archive_differ_by_what_came_and_went() -> None:
    found = compare(PAST, PAST, left_at=20)
    assert [(one.source, str(one.change), one.left, one.right) for one in found] == [
        ("came", "added", (), ("1.0",)),
        ("hello", "newer", ("1.0",), ("2.0",)),
        ("lost", "removed", ("1.0",), ()),
    ]
    assert [str(one.change) for one in compare(PAST, PAST, right_at=20)] == ["removed", "older", "added"]
    assert compare(PAST, PAST) == ()


def test_series_of_other_names_are_compared_as_told() -> None:
    left, right = side("ppa:o/p", "a=1"), side("ppa:o/q", pub("a=2", "jammy"), pub("b=1", "noble"))
    (found,) = compare(left, right, [SeriesPair("noble", "jammy")])
    assert (found.series, found.source, found.left, found.right) == ("jammy", "a", ("1",), ("2",))


def test_a_return_deletes_what_came_and_brings_back_what_went() -> None:
    assert {str(one.publication) for one in to_bring_back(PAST, 20)} == {"hello 1.0", "lost 1.0"}
    plan = plan_return(PAST, 20, facts(OLD, LOST))
    assert lines(plan) == [
        "delete came=1.0 noble: it came since",
        "copy hello=1.0 noble over 2.0: it was there then",
        "delete hello=2.0 noble: it came since; 1.0 comes back",
        "copy lost=1.0 noble: it was there then",
    ]


def test_what_cannot_come_back_is_blocked_and_what_replaced_it_stays() -> None:
    plan = plan_return(PAST, 20, facts(LOST, gone=(OLD,)))
    assert lines(plan)[1:3] == [
        "skip hello=2.0 noble: it stays, as 1.0 cannot come back",
        "blocked hello=1.0 noble over 2.0: its files are no longer kept; 2.0 stays",
    ]


def test_what_was_not_built_everywhere_comes_back_as_it_was() -> None:
    plan = plan_return(PAST, 20, facts(OLD, LOST, states=(BuildState.BUILT, BuildState.FAILED)))
    assert not [line for line in lines(plan) if line.startswith("blocked")]


def test_a_return_to_a_higher_version_deletes_nothing() -> None:
    was = pub("hello=2.0", status=Status.DELETED, created_at=10, ended_at=30)
    is_now = pub("hello=1.0", created_at=40)
    plan = plan_return(side("ppa:o/p", was, is_now), 20, facts(was))
    assert lines(plan) == ["copy hello=2.0 noble over 1.0: it was there then"]


def test_a_return_may_be_narrowed_to_names_and_series() -> None:
    assert lines(plan_return(PAST, 20, facts(OLD, LOST), names={"came"})) == [
        "delete came=1.0 noble: it came since"
    ]
    assert lines(plan_return(PAST, 20, facts(OLD, LOST), series={"jammy"})) == []


def test_a_return_before_the_beginning_is_guarded() -> None:
    plan = plan_return(PAST, 1, facts())
    assert [one.option for one in guards(plan)] == [ALLOW_DELETIONS]
    assert guards(plan_return(PAST, 20, facts(OLD, LOST))) == ()


def test_of_several_versions_kept_the_newest_counts() -> None:
    first = pub("a=1.0", status=Status.SUPERSEDED, created_at=1, ended_at=30)
    second, third = pub("a=1.1", created_at=5), pub("a=1.2", created_at=30)
    plan = plan_return(replace(side("local:o/p", first, second, third), versions=2), 20, facts(first))
    assert lines(plan) == [
        "delete a=1.2 noble: it came since",
        "blocked a=1.0 noble over 1.2: 1.1 is there, which is newer, and stays",
    ]


def test_what_stood_beside_a_newer_version_until_that_was_published_does_not_count() -> None:
    """Launchpad supersedes a version when the publisher next runs: until then both are active."""
    first = pub("a=1.0", status=Status.SUPERSEDED, created_at=1, ended_at=22)
    second = pub("a=1.1", status=Status.SUPERSEDED, created_at=19, ended_at=30)
    third = pub("a=1.2", created_at=28)
    past = side("ppa:o/p", first, second, third)
    assert lines(plan_return(past, 20, facts(first, second))) == [
        "copy a=1.1 noble over 1.2: it was there then",
        "delete a=1.2 noble: it came since; 1.1 comes back",
    ]
    assert compare(past, past, left_at=20, right_at=25) == ()
    now = side("ppa:o/p", pub("a=1.0", created_at=1), pub("a=1.1", created_at=10))
    assert plan_return(now, 20, facts()).actions == ()
    assert lines(plan_return(now, 5, facts())) == ["delete a=1.1 noble: it came since"]
