"""Control files read strictly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from buildfarm.source.control import (
    ControlError,
    checksum_fields,
    describe_file,
    read_fields,
    read_listed,
    replace_checksums,
)


def listing(name: str, *, size: int = 1, other_size: int = 1) -> dict[str, str]:
    return {
        "files": f"\n {'a' * 32} {size} misc optional {name}",
        "checksums-sha1": f"\n {'b' * 40} {size} {name}",
        "checksums-sha256": f"\n {'c' * 64} {other_size} {name}",
    }


def test_the_first_paragraph_is_read_with_its_continued_lines() -> None:
    text = "# a comment\n\nSource: hello\nBuild-Depends: a,\n# another\n b\nEmpty:\n\nPackage: x\n"
    assert read_fields(text) == {"source": "hello", "build-depends": "a,\n b", "empty": ""}


@pytest.mark.parametrize(
    ("text", "line"), [("Source: x\nsource: y\n", 2), (" Source: x\n", 1), ("Source: x\nno field\n", 2)]
)
def test_a_paragraph_that_can_be_read_in_two_ways_is_refused(text: str, line: int) -> None:
    with pytest.raises(ControlError) as caught:
        read_fields(text)
    assert caught.value.line == line


@pytest.mark.parametrize("name", ["../x.dsc", "/etc/passwd", ".hidden", "-rf", "a/b"])
def test_only_bare_file_names_are_listed(name: str) -> None:
    with pytest.raises(ControlError, match="names no file"):
        read_listed(listing(name))


def test_lists_that_disagree_are_refused() -> None:
    assert read_listed(listing("x.dsc"))["x.dsc"].size_bytes == 1
    with pytest.raises(ControlError, match="do not list the same"):
        read_listed(listing("x.dsc", other_size=2))
    with pytest.raises(ControlError, match="lists no file"):
        read_listed({})


def test_new_checksums_touch_nothing_but_the_files_own_lines(tmp_path: Path) -> None:
    (tmp_path / "x.dsc").write_text("one")
    before = describe_file(tmp_path / "x.dsc")
    neighbour = dataclasses.replace(before, name="ax.dsc")
    (tmp_path / "x.dsc").write_text("another")
    after = describe_file(tmp_path / "x.dsc")

    def text(file: object) -> str:
        quoted = [f" {before.sha256} 3 x.dsc"]
        return "\n".join(["Changes:", *quoted, *checksum_fields([file, neighbour]), ""])  # type: ignore[list-item]

    assert replace_checksums(text(before), after) == text(after)
