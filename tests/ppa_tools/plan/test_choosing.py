"""What is meant by names, versions, globs and series; and what is said of what is not there."""

from __future__ import annotations

import pytest

from ppa_tools.plan.choosing import (
    ChoiceError,
    Chosen,
    Selection,
    SeriesPair,
    Wanted,
    choose,
    pair_series,
    parse_wanted,
)
from ppa_tools.publication import Side, Status
from tests.ppa_tools.plan.sides import pub, side

HELD = side(
    "ppa:o/p",
    pub("hello=1.0", status=Status.SUPERSEDED),
    pub("hello=1.1"),
    pub("hello=0.9", "jammy"),
    pub("qtbase=6.0"),
    pub("qtsvg=6.0"),
    pub("old=1.0", status=Status.DELETED),
)
NOBLE = (SeriesPair("noble", "noble"),)


def picked(chosen: Chosen) -> list[str]:
    return [f"{one.publication.source}={one.publication.version}>{one.to_series}" for one in chosen.picks]


def chosen(*names: str, held: Side = HELD, pairs: tuple[SeriesPair, ...] = NOBLE, **how: object) -> Chosen:
    wanted = tuple(parse_wanted(name) for name in names)
    return choose(held, Selection(wanted, **how), pairs)  # type: ignore[arg-type]


def test_a_name_means_its_newest_active_version() -> None:
    (pick,) = chosen("hello").picks
    assert (pick.publication.version, pick.latest) == ("1.1", True)


def test_a_version_means_that_publication_even_one_that_has_ended() -> None:
    (pick,) = chosen("hello=1.0").picks
    assert (pick.publication.version, pick.latest) == ("1.0", False)


def test_the_newest_by_its_version_can_be_asked_for_in_bulk_as_well() -> None:
    (pick,) = chosen("hello=1.1").picks
    assert pick.latest


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"everything": True}, ["hello=1.1>noble", "qtbase=6.0>noble", "qtsvg=6.0>noble"]),
        ({"include": ("qt*",)}, ["qtbase=6.0>noble", "qtsvg=6.0>noble"]),
        ({"everything": True, "include": ("qt*",)}, ["qtbase=6.0>noble", "qtsvg=6.0>noble"]),
        ({"everything": True, "exclude": ("qt*",)}, ["hello=1.1>noble"]),
        ({"include": ("qt*",), "exclude": ("*svg",)}, ["qtbase=6.0>noble"]),
    ],
)
def test_globs_narrow_what_is_meant(how: dict[str, object], expected: list[str]) -> None:
    assert picked(chosen(**how)) == expected


def test_names_and_globs_add_up_each_package_once() -> None:
    assert picked(chosen("qtsvg", "hello", include=("qt*",))) == [
        "qtsvg=6.0>noble",
        "hello=1.1>noble",
        "qtbase=6.0>noble",
    ]


def test_exclusion_is_stronger_than_a_name_and_is_told() -> None:
    found = chosen("hello", exclude=("hel*",))
    assert found.picks == ()
    assert found.notes == ("hello is left out, as it is excluded",)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("helo", "ppa:o/p (noble) has no package helo; there is hello"),
        ("svg", "ppa:o/p (noble) has no package svg; there is qtsvg"),
        ("hello=7", "ppa:o/p (noble) has no publication of hello=7; there is 1.1 and 1.0"),
        ("old", "ppa:o/p (noble) has no active version of old; there is 1.0 (deleted; ask for it by old=1.0)"),
        ("zzzzzz", "ppa:o/p (noble) has no package zzzzzz"),
    ],
)
def test_what_is_not_there_is_told_with_the_nearest_that_is(name: str, said: str) -> None:
    (missing,) = chosen(name).missing
    assert str(missing) == said


def test_a_package_of_another_series_is_said_to_be_there() -> None:
    (missing,) = chosen("qtsvg", pairs=(SeriesPair("jammy", "jammy"),)).missing
    assert str(missing) == "ppa:o/p (jammy) has no package qtsvg; there is one in noble"


def test_a_glob_that_fits_nothing_is_missing_too() -> None:
    (missing,) = chosen(include=("gtk*",)).missing
    assert str(missing).startswith("ppa:o/p (noble) has no package that fits gtk*")


def test_a_package_that_only_one_of_several_series_has_is_found_with_a_note() -> None:
    found = chosen("qtsvg", pairs=(SeriesPair("noble", "noble"), SeriesPair("jammy", "jammy")))
    assert picked(found) == ["qtsvg=6.0>noble"]
    assert found.missing == ()
    assert found.notes == ("qtsvg is not in jammy of ppa:o/p, only in noble",)


@pytest.mark.parametrize(
    ("froms", "tos", "pairs"),
    [
        ([], [], ["jammy", "noble"]),
        (["noble"], [], ["noble"]),
        (["noble"], ["jammy"], ["noble to jammy"]),
        (["noble"], ["jammy", "noble", "jammy"], ["noble to jammy", "noble"]),
        (["noble", "jammy"], ["jammy", "noble"], ["noble to jammy", "jammy to noble"]),
    ],
)
def test_series_are_paired(froms: list[str], tos: list[str], pairs: list[str]) -> None:
    assert [str(one) for one in pair_series(HELD, froms, tos)] == pairs


def test_a_sync_covers_series_that_only_the_destination_holds() -> None:
    pairs = pair_series(side("ppa:o/p", "hello=1"), (), (), in_step=side("ppa:o/q", pub("hello=1", "jammy")))
    assert [str(one) for one in pairs] == ["jammy", "noble"]


def test_one_series_held_need_not_be_named() -> None:
    assert pair_series(side("ppa:o/p", "hello=1"), [], ["jammy"]) == (SeriesPair("noble", "jammy"),)


@pytest.mark.parametrize(
    ("froms", "tos", "said"),
    [
        ([], ["noble"], "--from-series"),
        (["jammy", "noble"], ["noble"], "as many of both"),
    ],
)
def test_series_that_are_not_plain_are_asked_about(froms: list[str], tos: list[str], said: str) -> None:
    with pytest.raises(ChoiceError, match=said):
        pair_series(HELD, froms, tos)


def test_packages_are_read_with_versions() -> None:
    assert parse_wanted("hello") == Wanted("hello")
    assert parse_wanted("hello=1:2.0-1~x") == Wanted("hello", "1:2.0-1~x")


@pytest.mark.parametrize("text", ["", "=1.0", "hello=", "hello=x_1", "two words"])
def test_what_names_no_package_is_said(text: str) -> None:
    with pytest.raises(ChoiceError, match="PACKAGE"):
        parse_wanted(text)
