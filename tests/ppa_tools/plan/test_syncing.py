"""Plans that make one archive hold what another holds, and the guards before those that delete a lot."""

from __future__ import annotations

import pytest

from ppa_tools.plan.actions import Plan
from ppa_tools.plan.choosing import Selection, SeriesPair, choose, pair_series
from ppa_tools.plan.copying import plan_copy
from ppa_tools.plan.facts import Facts, Terms
from ppa_tools.plan.guard import ALLOW_DELETIONS, ALLOW_EMPTY_SOURCE, guards
from ppa_tools.plan.syncing import plan_sync
from ppa_tools.publication import Side
from tests.ppa_tools.plan.sides import lines, pub, side

SOURCE = side("ppa:o/from", "new=1.0", "newer=2.0", "same=1.0", "ahead=1.0")
DESTINATION = side("ppa:o/to", "newer=1.0", "same=1.0", "ahead=1.1", "gone=1.0", pub("there=1.0", "jammy"))
ALL = Selection(everything=True)


def sync(
    source: Side = SOURCE,
    destination: Side = DESTINATION,
    selection: Selection = ALL,
    *,
    pairs: tuple[SeriesPair, ...] = (),
    facts: Facts = Facts(),  # noqa: B008
    **how: object,
) -> Plan:
    pairs = pairs or pair_series(source, (), (), in_step=destination)
    return plan_sync(source, destination, selection, pairs, facts, Terms(), **how)  # type: ignore[arg-type]


def test_a_sync_copies_what_is_missing_or_older_and_deletes_what_is_gone() -> None:
    assert lines(sync()) == [
        "delete there=1.0 jammy: ppa:o/from does not hold it",
        "skip ahead=1.0 noble: 1.1 is there, which is newer; left as it is",
        "delete gone=1.0 noble: ppa:o/from does not hold it",
        "copy new=1.0 noble",
        "copy newer=2.0 noble over 1.0",
        "skip same=1.0 noble: already there",
    ]


def test_a_sync_of_one_series_leaves_the_others_alone() -> None:
    assert "there=1.0" not in " ".join(lines(sync(pairs=(SeriesPair("noble", "noble"),))))


def test_what_is_excluded_is_neither_copied_nor_deleted() -> None:
    plan = sync(selection=Selection(everything=True, exclude=("new*", "gone", "there")))
    assert {one.source for one in plan.actions} == {"same", "ahead"}


def test_what_is_not_included_is_left_alone() -> None:
    plan = sync(selection=Selection(everything=True, include=("g*", "new")))
    assert [(str(one.kind), one.source) for one in plan.actions] == [("delete", "gone"), ("copy", "new")]


def test_what_is_protected_is_copied_and_never_deleted() -> None:
    plan = sync(protect=("gone", "new"))
    assert "skip gone=1.0 noble: ppa:o/from does not hold it; protected" in lines(plan)
    assert "copy new=1.0 noble" in lines(plan)


def test_nothing_is_deleted_where_that_is_not_wanted() -> None:
    plan = sync(no_delete=True)
    assert not [line for line in lines(plan) if line.startswith("delete")]
    assert "skip gone=1.0 noble: ppa:o/from does not hold it; nothing is to be deleted" in lines(plan)


def test_what_a_blocked_copy_would_replace_stays() -> None:
    plan = sync(
        side("ppa:o/from", "hello=2.0"), side("ppa:o/to", "hello=1.0"), facts=Facts({"hello=2.0@noble": ()})
    )
    assert [line.partition(":")[0] for line in lines(plan)] == ["blocked hello=2.0 noble over 1.0"]


def test_series_may_have_other_names_there() -> None:
    plan = sync(
        side("ppa:o/from", "hello=2.0"),
        side("ppa:o/to", pub("hello=1.0", "jammy"), pub("gone=1.0", "jammy"), "other=1.0"),
        pairs=(SeriesPair("noble", "jammy"),),
    )
    assert [line.partition(":")[0] for line in lines(plan)] == [
        "delete gone=1.0 jammy",
        "copy hello=2.0 jammy over 1.0",
    ]


# Guards


def three(*names: str, address: str = "ppa:o/to") -> Side:
    return side(address, *(f"{name}=1" for name in names))


@pytest.mark.parametrize(
    ("there", "here", "options"),
    [
        ("a b c", "a b c", []),
        ("a b c", "a b", []),
        ("a b c", "a", [ALLOW_DELETIONS]),
        ("a b c d e f", "c d e f g", []),
        ("a b c d e f", "d e f", [ALLOW_DELETIONS]),
        ("a b c", "d", [ALLOW_DELETIONS]),
        ("a", "b", [ALLOW_DELETIONS]),
        ("a b c", "", [ALLOW_EMPTY_SOURCE, ALLOW_DELETIONS]),
        ("", "", []),
        ("", "a", []),
    ],
)
def test_a_plan_that_deletes_more_than_a_third_is_stopped(there: str, here: str, options: list[str]) -> None:
    source = three(*here.split(), address="ppa:o/from")
    plan = sync(source, three(*there.split()))
    assert [one.option for one in guards(plan, source)] == options


def test_the_guard_counts_the_series_concerned_alone() -> None:
    destination = side("ppa:o/to", "a=1", *(pub(f"p{number}=1", "jammy") for number in range(50)))
    plan = sync(three("b", address="ppa:o/from"), destination, pairs=(SeriesPair("noble", "noble"),))
    assert [one.reason for one in guards(plan)] == ["everything in ppa:o/to (1) would be deleted"]


def test_what_moves_to_another_series_of_an_archive_does_not_go() -> None:
    one = side("ppa:o/p", "a=1", "b=1")
    chosen = choose(one, ALL, pair_series(one, ["noble"], ["jammy"]))
    plan = plan_copy(chosen, one, one, Facts(), Terms(), move=True)
    assert len(plan.pending) == 4
    assert guards(plan) == ()
