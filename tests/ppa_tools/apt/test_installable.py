"""What PPAs put together break, as apt's own solver tells it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppa_tools.address import Address
from ppa_tools.apt.conflicting import Pin
from ppa_tools.apt.fetching import Fetcher
from ppa_tools.apt.indexes import Reader
from ppa_tools.apt.installable import Verdict, find_broken, lay_out
from ppa_tools.apt.repositories import Repository
from ppa_tools.apt.root import AptRoot
from tests.ppa_tools.apt.conftest import ARCH, package, source, write_repository

RELATIONS = st.sampled_from(["a", "b", "c", "a (= 1)", "b (<< 2)", "c (>= 2)", "d | a (>= 2)", "v", "a | b (= 1)"])
STANZA = st.tuples(
    st.sampled_from("abcdef"),
    st.sampled_from("12"),
    st.lists(RELATIONS, max_size=2),
    st.sampled_from(["", "Provides: v", "Conflicts: b", "Breaks: c (<< 2)"]),
)


def stanza_of(one: tuple[str, str, list[str], str]) -> str:
    name, version, depends, more = one
    fields = [f"Depends: {', '.join(depends)}"] if depends else []
    return package(f"{name} {version}", *fields, *([more] if more else []))


@given(st.lists(st.lists(STANZA, max_size=5, unique_by=lambda one: one[0]), min_size=2, max_size=3))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sets_and_what_follows_from_them_tell_what_trying_each_alone_tells(
    tmp_path_factory: pytest.TempPathFactory, ppas: list[list[tuple[str, str, list[str], str]]]
) -> None:
    room = tmp_path_factory.mktemp("room")
    reader = Reader(Fetcher(room / "cache"))
    repositories = [
        write_repository(room / f"r{at}", "s", [stanza_of(one) for one in ppa]) for at, ppa in enumerate(ppas)
    ]
    verdict = judge(reader, repositories)
    laid = [lay_out(reader, one, [ARCH], made(room / f"l{at}")) for at, one in enumerate(repositories)]
    root = AptRoot(made(room / "root"), laid, [ARCH])
    every = sorted({one[0] for ppa in ppas for one in ppa})
    failing = [name for name in every if not root.simulate_install([name]).installable]
    assert sorted(one.name for one in (*verdict.by_merge, *verdict.before)) == failing
    assert all(one.reasons or one.errors for one in (*verdict.by_merge, *verdict.before))


def made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def names(verdict: Verdict) -> tuple[list[str], list[str]]:
    return [one.name for one in verdict.by_merge], [one.name for one in verdict.before]


def judge(reader: Reader, ppas: Sequence[Repository], *base: Repository, pins: Sequence[Pin] = ()) -> Verdict:
    return find_broken(ppas, base, ARCH, reader=reader, pins=pins)


def test_what_only_the_merge_breaks_is_told_with_the_version_wanted_and_the_one_there(
    tmp_path: Path, reader: Reader
) -> None:
    base = write_repository(tmp_path / "base", "s", [package("libc6 2.36")])
    one = write_repository(
        tmp_path / "one", "s", [package("libfoo 1.0"), package("app 1", "Depends: libfoo (<< 2), libc6")]
    )
    two = write_repository(tmp_path / "two", "s", [package("libfoo 2.0"), package("other 1", "Depends: libfoo")])
    verdict = judge(reader, [one, two], base)
    assert names(verdict) == (["app"], [])
    (broken,) = verdict.by_merge
    (reason,) = broken.reasons
    assert (reason.package, reason.field, reason.relation, reason.there) == (
        "app",
        "Depends",
        "libfoo (< 2)",
        "2.0",
    )
    assert (broken.version, broken.repository, broken.fine_in) == ("1", "one", ("one",))
    assert verdict.tested == 3


def test_what_was_broken_before_is_told_apart(tmp_path: Path, reader: Reader) -> None:
    one = write_repository(tmp_path / "one", "s", [package("app 1", "Depends: libgone (>= 3)"), package("fine 1")])
    two = write_repository(tmp_path / "two", "s", [package("other 1")])
    verdict = judge(reader, [one, two])
    assert names(verdict) == ([], ["app"])
    assert "libgone" in str(verdict.before[0])


def test_the_culprit_deep_below_is_named(tmp_path: Path, reader: Reader) -> None:
    one = write_repository(
        tmp_path / "one",
        "s",
        [
            package("top 1", "Depends: middle"),
            package("middle 1", "Depends: bottom (= 1)"),
            package("bottom 1"),
        ],
    )
    two = write_repository(tmp_path / "two", "s", [package("bottom 2")])
    verdict = judge(reader, [one, two])
    assert names(verdict) == (["middle", "top"], [])
    top = verdict.by_merge[1]
    assert ("middle", "bottom (= 1)", "2") in [(why.package, why.relation, why.there) for why in top.reasons]


def test_packages_that_conflict_with_each_other_can_each_be_installed(tmp_path: Path, reader: Reader) -> None:
    one = write_repository(tmp_path / "one", "s", [package("mta-a 1", "Provides: mta", "Conflicts: mta")])
    two = write_repository(
        tmp_path / "two",
        "s",
        [package("mta-b 1", "Provides: mta", "Conflicts: mta"), package("user 1", "Depends: mta-b")],
    )
    assert names(judge(reader, [one, two])) == ([], [])


def test_hidden_conflicts_and_many_culprits_are_halved_down_to(tmp_path: Path, reader: Reader) -> None:
    """Two libraries that cannot be together lie below the packages: no package declares it itself."""
    good = [package(f"good-{number} 1") for number in range(60)]
    left = [package(f"left-{number} 1", "Depends: lib-l") for number in range(6)]
    right = [package(f"right-{number} 1", "Depends: lib-r") for number in range(6)]
    bad = [package(f"bad-{number} 1", "Depends: libfoo (= 1)") for number in range(9)]
    libraries = [package("lib-l 1", "Conflicts: lib-r"), package("lib-r 1"), package("libfoo 1")]
    one = write_repository(tmp_path / "one", "s", [*good, *left, *right, *bad, *libraries])
    two = write_repository(tmp_path / "two", "s", [package("libfoo 2")])
    verdict = judge(reader, [one, two])
    assert names(verdict) == ([f"bad-{number}" for number in range(9)], [])
    assert verdict.simulations < 60


def test_sources_whose_build_dependencies_the_merge_breaks_are_told(tmp_path: Path, reader: Reader) -> None:
    one = write_repository(
        tmp_path / "one",
        "s",
        [package("tool 1")],
        [source("app 1", "Build-Depends: tool (<< 2)"), source("fine 1", "Build-Depends: tool")],
    )
    two = write_repository(tmp_path / "two", "s", [package("tool 2")], [source("tool 2")])
    base = write_repository(tmp_path / "base", "s", [package("build-essential 1")])
    verdict = judge(reader, [one, two], base)
    (broken,) = verdict.by_merge
    assert (broken.name, broken.version, broken.is_source) == ("app", "1", True)
    assert [why.relation for why in broken.reasons] == ["tool (< 2)"]


def test_pins_change_what_is_broken(tmp_path: Path, reader: Reader) -> None:
    addresses = [Address("ppa", "team", name) for name in ("one", "two")]
    one = write_repository(
        tmp_path / "one", "s", [package("lib 1"), package("app 1", "Depends: lib (= 1)")], label=str(addresses[0])
    )
    two = write_repository(tmp_path / "two", "s", [package("lib 2")], label=str(addresses[1]))
    assert names(judge(reader, [one, two])) == (["app"], [])
    assert names(judge(reader, [one, two], pins=[Pin(addresses[0], 900, "lib")])) == ([], [])


def test_names_and_fields_of_a_hostile_archive_are_no_options_of_apt(tmp_path: Path, reader: Reader) -> None:
    hostile = package("--option=APT::Update::Pre-Invoke::=touch 1").replace(" 1\n", " 1\n")
    one = write_repository(tmp_path / "one", "s", [package("fine 1"), hostile, package("-y 1"), package("a- 1")])
    verdict = judge(reader, [one])
    assert "fine" not in [one.name for one in verdict.before]
