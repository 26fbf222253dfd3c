"""Which version apt would choose among several PPAs, and whose project did not expect it."""

from __future__ import annotations

import functools
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppa_tools.address import Address
from ppa_tools.apt.conflicting import Found, Held, Pin, find_conflicts
from ppa_tools.apt.stanzas import SOURCE
from ppa_tools.debversion import version_key

ONE, TWO, THREE = (Address("ppa", "team", name) for name in ("one", "two", "three"))


def held(
    package: str, version: str, *, series: str = "noble", architecture: str = "amd64", sha256: str = ""
) -> Held:
    return Held(package, version, series, architecture, package, version, sha256)


def test_the_highest_version_is_chosen_and_the_other_ppas_are_told() -> None:
    found = find_conflicts(
        [(ONE, [held("libfoo", "1.9")]), (TWO, [held("libfoo", "1.10")]), (THREE, [held("other", "1")])]
    )
    (conflict,) = found.conflicts
    assert conflict.chosen is not None
    assert (conflict.chosen.address, conflict.chosen.version) == (TWO, "1.10")
    assert [one.address for one in conflict.displaced] == [ONE]
    assert set(found.displaced_by_ppa()) == {ONE}


def test_of_the_same_version_the_first_listed_is_taken_and_other_contents_are_told() -> None:
    here, there = held("libfoo", "1.0", sha256="aa"), held("libfoo", "1.0", sha256="bb")
    found = find_conflicts([(TWO, [there]), (ONE, [here])])
    assert not found.conflicts
    assert [one.addresses for one in found.twins] == [(TWO, ONE)]


def test_the_same_version_in_other_words_is_no_conflict() -> None:
    assert find_conflicts([(ONE, [held("libfoo", "1.0")]), (TWO, [held("libfoo", "1.0-0")])]).conflicts == ()


def test_series_and_sources_are_told_apart_and_architectures_are_put_together() -> None:
    def both(version: str) -> list[Held]:
        return [
            held("foo", version),
            held("foo", version, architecture="arm64"),
            held("foo", version, architecture=SOURCE),
            held("foo", version, series="jammy"),
        ]

    found = find_conflicts([(ONE, both("1")), (TWO, both("2"))])
    assert [(one.series, one.architectures) for one in found.conflicts] == [
        ("jammy", ("amd64",)),
        ("noble", ("amd64", "arm64")),
        ("noble", (SOURCE,)),
    ]
    assert find_conflicts([(ONE, both("1")), (TWO, both("2"))], series=["jammy"]).conflicts == found.conflicts[:1]


def test_of_several_versions_in_one_ppa_its_highest_counts() -> None:
    assert find_conflicts([(ONE, [held("foo", "1"), held("foo", "2")]), (TWO, [held("foo", "2")])]).conflicts == ()


@pytest.mark.parametrize(
    ("pins", "chosen"),
    [
        ([Pin(ONE, 600)], "1"),
        ([Pin(ONE, 600), Pin(ONE, 100, "f*")], "2"),
        ([Pin(TWO, -1, "foo")], "1"),
        ([Pin(TWO, -1, "bar")], "2"),
        ([Pin(ONE, -1), Pin(TWO, -1)], None),
    ],
)
def test_pins_go_before_versions(pins: list[Pin], chosen: str | None) -> None:
    found = find_conflicts([(ONE, [held("foo", "1")]), (TWO, [held("foo", "2")])], pins=pins)
    (conflict,) = found.conflicts
    assert (conflict.chosen.version if conflict.chosen else None) == chosen


versions = st.from_regex(r"(1:)?[0-9]\.[0-9]{1,2}(~rc1|\+b1)?(-[01])?", fullmatch=True)
archives = st.lists(st.dictionaries(st.sampled_from("abc"), versions), min_size=2, max_size=4)


def find(held_by: list[dict[str, str]]) -> Found:
    return find_conflicts(
        [
            (Address("ppa", "team", f"n{number}"), [held(name, version) for name, version in one.items()])
            for number, one in enumerate(held_by)
        ]
    )


@given(archives)
def test_nothing_offered_is_higher_than_what_is_chosen_and_every_difference_is_told(
    held_by: list[dict[str, str]],
) -> None:
    found = {one.package: one for one in find(held_by).conflicts}
    for name in "abc":
        offered = {version_key(one[name]) for one in held_by if name in one}
        assert (name in found) == (len(offered) > 1)
        if name in found:
            conflict = found[name]
            assert conflict.chosen is not None
            assert version_key(conflict.chosen.version) == max(offered)
            assert len(conflict.displaced) + sum(
                version_key(one.version) == max(offered) for one in conflict.offers
            ) == len(conflict.offers)


@given(versions, versions)
def test_the_order_is_that_of_dpkg(one: str, other: str) -> None:
    chosen = find([{"a": one}, {"a": other}]).conflicts
    if chosen:
        assert chosen[0].chosen is not None
        higher = chosen[0].chosen.version
        lower = next(v for v in (one, other) if v != higher)
        assert dpkg_says(higher, "gt", lower)
    else:
        assert dpkg_says(one, "eq", other)


@functools.cache
def dpkg_says(one: str, relation: str, other: str) -> bool:
    return subprocess.run(["dpkg", "--compare-versions", one, relation, other], check=False).returncode == 0
