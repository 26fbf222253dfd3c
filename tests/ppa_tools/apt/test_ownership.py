"""Files that two packages both own, from real .debs and from Contents."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ppa_tools.apt.indexes import Reader
from ppa_tools.apt.ownership import Ownership, find_clashes
from ppa_tools.apt.repositories import Repository
from tests.ppa_tools.apt.conftest import ARCH, build_deb, package, write_repository


def clashes(reader: Reader, tmp_path: Path, *repositories: Repository, **more: int) -> Ownership:
    held = list(reader.read_all(repositories, [ARCH]).items())
    return find_clashes(held, ARCH, reader=reader, cache=tmp_path / "cache", **more)


def two(tmp_path: Path, here: tuple[str, ...], there: tuple[str, ...], preinst: str = "") -> list[Repository]:
    """foo 1 in one PPA and bar 1 in another; each from the files and fields that are given."""
    found = []
    for name, head, words, script in (("one", "foo 1", here, ""), ("two", "bar 1", there, preinst)):
        files, fields = [word for word in words if ":" not in word], [word for word in words if ":" in word]
        stanza = build_deb(tmp_path / name, head, files, *fields, preinst=script)
        found.append(write_repository(tmp_path / name, "s", [stanza]))
    return found


def test_a_file_of_two_packages_is_told_with_both_owners(tmp_path: Path, reader: Reader) -> None:
    found = clashes(reader, tmp_path, *two(tmp_path, ("usr/bin/tool", "usr/share/a"), ("usr/bin/tool",)))
    (clash,) = found.clashes
    assert (str(clash.one), str(clash.other)) == ("bar 1 (two)", "foo 1 (one)")
    assert clash.paths == ("usr/bin/tool",)
    assert (clash.may_divert, clash.unread, clash.is_within_one) == ((), (), False)


def test_a_file_below_bin_is_the_same_below_usr_bin(tmp_path: Path, reader: Reader) -> None:
    (clash,) = clashes(reader, tmp_path, *two(tmp_path, ("bin/tool",), ("usr/bin/tool",))).clashes
    assert clash.paths == ("usr/bin/tool",)


@pytest.mark.parametrize(
    ("field", "permitted"),
    [
        ("Conflicts: bar", True),
        ("Conflicts: bar (<< 1)", False),
        ("Conflicts: virtual", True),
        ("Breaks: bar (<= 1)", True),
        ("Replaces: bar (<< 2)", True),
        ("Replaces: bar (<< 1)", False),
        ("Replaces: virtual", False),
    ],
)
def test_what_the_packages_declare_is_no_clash(
    tmp_path: Path, reader: Reader, field: str, permitted: bool
) -> None:
    repositories = two(tmp_path, ("usr/bin/tool", field), ("usr/bin/tool", "Provides: virtual"))
    assert (clashes(reader, tmp_path, *repositories).clashes == ()) == permitted


def test_a_package_that_may_divert_files_is_named(tmp_path: Path, reader: Reader) -> None:
    repositories = two(tmp_path, ("usr/bin/tool",), ("usr/bin/tool",), "dpkg-divert --add --rename /usr/bin/tool")
    assert clashes(reader, tmp_path, *repositories).clashes[0].may_divert == ("bar",)


def test_the_version_that_apt_would_take_counts(tmp_path: Path, reader: Reader) -> None:
    old = write_repository(tmp_path / "one", "s", [build_deb(tmp_path / "one", "foo 1", ["usr/bin/tool"])])
    stanzas = [
        build_deb(tmp_path / "two", "foo 2", ["usr/bin/foo"]),
        build_deb(tmp_path / "two", "tool 1", ["usr/bin/tool"]),
    ]
    assert clashes(reader, tmp_path, old, write_repository(tmp_path / "two", "s", stanzas)).clashes == ()


def test_what_a_deb_told_is_kept_by_its_contents(tmp_path: Path, reader: Reader) -> None:
    repositories = two(tmp_path, ("usr/bin/tool",), ("usr/bin/tool",))
    clashes(reader, tmp_path, *repositories)
    for name in ("one", "two"):
        shutil.rmtree(tmp_path / name / "pool")
    (clash,) = clashes(reader, tmp_path, *repositories).clashes
    assert clash.paths == ("usr/bin/tool",)
    assert clash.unread == ("bar", "foo")  # whether their scripts divert is not known now


def test_contents_are_believed_and_packages_without_files_at_hand_are_told(tmp_path: Path, reader: Reader) -> None:
    lines = "usr/bin/tool    utils/foo,misc/bar\nusr/bin/a b  misc/bar\n"
    one = write_repository(tmp_path / "one", "s", [package("foo 1"), package("bar 1")], contents=lines)
    two = write_repository(
        tmp_path / "two", "s", [package("hidden 1"), package("evil 1").replace("pool", "../pool")]
    )
    found = clashes(reader, tmp_path, one, two)
    assert [(clash.paths, clash.is_within_one) for clash in found.clashes] == [(("usr/bin/tool",), True)]
    assert {owner.package for owner, _ in found.unseen} == {"hidden", "evil"}


def test_contents_of_versions_before_are_held_against_the_debs(tmp_path: Path, reader: Reader) -> None:
    stanzas = [build_deb(tmp_path / "one", f"{name} 1", [f"usr/bin/{name}"]) for name in ("foo", "bar")]
    lines = "usr/bin/foo  utils/foo,misc/bar\n"
    one = write_repository(tmp_path / "one", "s", stanzas, contents=lines)
    assert clashes(reader, tmp_path, one).clashes == ()


def test_a_deb_that_is_not_what_its_index_says_is_not_believed(tmp_path: Path, reader: Reader) -> None:
    repositories = two(tmp_path, ("usr/bin/tool",), ("usr/bin/tool",))
    deb = tmp_path / "one/pool/foo_1.deb"
    deb.write_bytes(deb.read_bytes() + b"x")
    found = clashes(reader, tmp_path, *repositories)
    assert found.clashes == ()
    assert [owner.package for owner, _ in found.unseen] == ["foo"]
