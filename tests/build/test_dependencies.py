"""Reading build-dependencies from a debian/control that may be anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.build.dependencies import parse_relations, read_build_dependencies
from buildfarm.errors import PackageFault

CONTROL = """\
# a comment
Source: tally
Build-Depends: debhelper-compat (= 13),
 python3-all:any,
# another
 libfoo-dev [linux-any !armhf] <!nocheck> <cross>,
 a | b (>> 1:2~rc1)
Build-Depends-Indep: sphinx

Package: tally
Build-Depends: not-this
"""


def write_control(tree: Path, text: str) -> None:
    (tree / "debian").mkdir()
    (tree / "debian/control").write_text(text)


def test_all_three_fields_of_the_source_paragraph_are_read(tmp_path: Path) -> None:
    write_control(tmp_path, CONTROL)

    assert read_build_dependencies(tmp_path) == (
        "debhelper-compat (= 13)",
        "python3-all:any",
        "libfoo-dev [linux-any !armhf] <!nocheck> <cross>",
        "a | b (>> 1:2~rc1)",
        "sphinx",
    )


def test_no_control_file_is_no_error(tmp_path: Path) -> None:
    assert read_build_dependencies(tmp_path) is None


@pytest.mark.parametrize("text", ["", "Package: x\n", "garbage", "\x00\xff"])
def test_a_control_file_without_a_source_paragraph_is_refused(tmp_path: Path, text: str) -> None:
    write_control(tmp_path, text)

    with pytest.raises(PackageFault, match="Source:"):
        read_build_dependencies(tmp_path)


def test_a_control_file_outside_the_tree_is_refused(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "debian").mkdir(parents=True)
    (tmp_path / "control").write_text("Source: x\n")
    (tree / "debian/control").symlink_to(tmp_path / "control")

    with pytest.raises(PackageFault, match="no file of the tree"):
        read_build_dependencies(tree)


@pytest.mark.parametrize(
    "text",
    ["--reinstall", "-o Dir::Etc=/x", "a; rm -rf /", "${misc:Depends}", "a (== 1)", "a b", "./local.deb", "a |"],
)
def test_what_is_no_dependency_is_refused(text: str) -> None:
    with pytest.raises(PackageFault, match="is no dependency"):
        parse_relations(text, "debian/control")


@given(st.text(max_size=60))
def test_nothing_that_apt_reads_as_an_option_or_a_file_gets_through(text: str) -> None:
    try:
        found = parse_relations(text, "x")
    except PackageFault:
        return
    assert all(relation[0].isalnum() and "\n" not in relation and "/" not in relation for relation in found)
