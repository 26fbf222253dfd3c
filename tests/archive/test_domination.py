"""What arriving binaries end: the table of Launchpad's rule."""

from __future__ import annotations

import pytest

from ppa_tools.archives.domination import Arrival, Build, Plan, Standing, builds_for, plan_arrival
from ppa_tools.archives.errors import UploadRefused


def standing(
    number: int, index: str, package: str, version: str = "1", arch: str = "", source: str = "s"
) -> Standing:
    return Standing(number, index, package, version, arch or index, source, version)


def plan(
    rows: list[Standing],
    arriving: list[tuple[str, str, str]],
    *,
    version: str = "2",
    built_on: str = "amd64",
    words: str = "any all",
) -> Plan:
    arrivals = [Arrival(index, package, version, arch) for index, package, arch in arriving]
    return plan_arrival(Build("s", version, (built_on,), tuple(words.split())), arrivals, rows)


def ended(one: Plan) -> list[int]:
    return sorted(row.id for row in one.ended)


BOTH = [
    standing(1, "amd64", "bin"),
    standing(2, "amd64", "data", arch="all"),
    standing(3, "i386", "bin"),
    standing(4, "i386", "data", arch="all"),
]
NEW = [("amd64", "bin", "amd64"), ("amd64", "data", "all"), ("i386", "data", "all")]


def test_old_binaries_stay_where_the_new_ones_are_still_being_built() -> None:
    assert ended(plan(BOTH, NEW)) == [1, 2]


def test_they_end_when_the_last_architecture_arrives() -> None:
    rows = [*BOTH[2:], standing(5, "i386", "data", "2", "all")]
    assert ended(plan(rows, [("i386", "bin", "i386")], built_on="i386")) == [3, 4]


def test_a_package_for_all_ends_at_once_where_nothing_else_needs_it() -> None:
    rows = [BOTH[1], BOTH[3]]
    assert ended(plan(rows, [("amd64", "data", "all"), ("i386", "data", "all")], words="all")) == [2, 4]


def test_a_source_that_builds_no_more_for_an_architecture_ends_there_too() -> None:
    assert ended(plan(BOTH, [("amd64", "data", "all"), ("i386", "data", "all")], words="all")) == [1, 2, 3, 4]


def test_binaries_of_an_architecture_that_the_new_source_drops_end_with_its_first_build() -> None:
    rows = [standing(1, "amd64", "bin"), standing(2, "i386", "bin"), standing(3, "i386", "data", arch="all")]
    assert ended(plan(rows, [("amd64", "bin", "amd64")], words="amd64")) == [1, 2, 3]


def test_there_a_package_for_all_waits_for_the_build_that_brings_the_new_one() -> None:
    rows = [standing(1, "i386", "bin"), standing(2, "i386", "data", arch="all")]
    assert ended(plan(rows, [("arm64", "bin", "arm64")], words="amd64 arm64 all", built_on=("arm64",))) == [1]


def test_late_binaries_end_nothing_where_their_source_does_not_build() -> None:
    rows = [standing(1, "i386", "bin"), standing(2, "amd64", "bin", "3")]
    assert ended(plan(rows, [("amd64", "bin", "amd64")], words="amd64")) == []


def test_a_package_the_new_source_drops_ends_with_it() -> None:
    rows = [standing(1, "amd64", "bin"), standing(2, "amd64", "dropped")]
    assert ended(plan(rows, [("amd64", "bin", "amd64")])) == [1, 2]


def test_binaries_of_an_older_source_that_come_too_late_are_not_shown() -> None:
    one = plan([standing(1, "amd64", "bin", "3")], [("amd64", "bin", "amd64")])
    assert (one.visible, ended(one)) == ((), [])
    assert [over.id for _, over in one.outdated] == [1]


def test_late_binaries_are_shown_on_the_architecture_that_has_nothing_newer() -> None:
    rows = [standing(1, "amd64", "bin", "3"), standing(2, "i386", "data", "3", "all")]
    one = plan(rows, [("i386", "bin", "i386")], built_on="i386")
    assert [arrival.package for arrival in one.visible] == ["bin"]


def test_a_package_moves_from_one_source_to_another() -> None:
    assert ended(plan([standing(1, "amd64", "bin", "1", source="other")], [("amd64", "bin", "amd64")])) == [1]


def test_a_package_never_goes_down_in_version() -> None:
    with pytest.raises(UploadRefused, match=r"bin 2 is not newer than 9 \(from other 9\)"):
        plan([standing(1, "amd64", "bin", "9", source="other")], [("amd64", "bin", "amd64")])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("any", True),
        ("all", False),
        ("any all", True),
        ("amd64 arm64", True),
        ("arm64", False),
        ("linux-any", True),
    ],
)
def test_which_sources_build_for_amd64(words: str, expected: bool) -> None:
    assert builds_for(words.split(), "amd64") is expected
