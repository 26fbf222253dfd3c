"""What a build says it made is taken only when it is that, and lies where it was made."""

import hashlib

import pytest

from buildfarm.build.sbuild import check_artifacts
from buildfarm.errors import FarmTrouble, PackageFault


def make(directory, name, listed, content=b"a package"):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(content)
    lines = "".join(f" {hashlib.sha256(content).hexdigest()} {len(content)} {one}\n" for one in listed)
    (directory / "a_1_amd64.changes").write_text(f"Format: 1.8\nChecksums-Sha256:\n{lines}Files:\n")


def test_the_files_a_build_lists_are_taken(tmp_path):
    make(tmp_path, "a_1_amd64.deb", ["a_1_amd64.deb"])
    assert [path.name for path in check_artifacts(tmp_path)] == ["a_1_amd64.changes", "a_1_amd64.deb"]


def test_a_file_outside_the_build_is_refused_even_where_its_hash_is_known(tmp_path):
    make(tmp_path / "out", "own.deb", ["../other.deb"])
    (tmp_path / "other.deb").write_bytes(b"a package")
    with pytest.raises(PackageFault, match=r"other\.deb"):
        check_artifacts(tmp_path / "out")


def test_a_file_that_changed_after_it_was_listed_is_refused(tmp_path):
    make(tmp_path, "a_1_amd64.deb", ["a_1_amd64.deb"])
    (tmp_path / "a_1_amd64.deb").write_bytes(b"another")
    with pytest.raises(PackageFault, match=r"a_1_amd64\.deb"):
        check_artifacts(tmp_path)


def test_a_build_that_left_nothing_is_the_farms_trouble(tmp_path):
    with pytest.raises(FarmTrouble, match=r"left 0 \.changes"):
        check_artifacts(tmp_path)
