"""Archives that whoever wrote: what GNU tar packs comes out, and no header gets more than the archive has."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.build.plain_tar import NotPlain, read_members
from buildfarm.build.results import unpack_results
from buildfarm.errors import PackageFault


def packed(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def named(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    return info


def test_what_tar_packs_comes_out_as_it_was(tmp_path: Path) -> None:
    names = ("a_1_all.deb", f"{'long-' * 30}name_1_all.deb", "b_1.changes")
    for name in names:
        (tmp_path / name).write_bytes(name.encode() * 1000)
    (tmp_path / "link.deb").symlink_to("a_1_all.deb")
    subprocess.run(["tar", "-cf", "results.tar", "--format=gnu", "."], cwd=tmp_path, check=False)
    (tmp_path / "out").mkdir()

    found = unpack_results(tmp_path / "results.tar", tmp_path / "out")

    assert sorted(path.name for path in found) == sorted(names)
    assert all(path.read_bytes() == path.name.encode() * 1000 for path in found)


def test_a_sparse_file_of_any_size_stays_in(tmp_path: Path) -> None:
    with (tmp_path / "vast.deb").open("wb") as file:
        file.truncate(1 << 42)
    for form in ("gnu", "pax"):
        words = ["tar", "-cSf", "results.tar", f"--format={form}", "vast.deb"]
        subprocess.run(words, cwd=tmp_path, check=True)
        out = tmp_path / form
        out.mkdir()

        unpack_results(tmp_path / "results.tar", out)

        assert sum(path.stat().st_blocks for path in out.iterdir()) * 512 < 1 << 20


@pytest.mark.parametrize(
    "content",
    [
        b"no archive at all" * 100,
        packed((named("a.deb"), b"x" * 5000))[:2048],
        packed((named("x" * 5000, tarfile.REGTYPE), b"")),
    ],
)
def test_what_is_no_archive_is_the_packages_fault(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "results.tar").write_bytes(content)

    with pytest.raises(PackageFault, match="cannot be read"):
        unpack_results(tmp_path / "results.tar", tmp_path)


def test_a_size_below_nothing_does_not_turn_the_reader_back() -> None:
    header = bytearray(packed((named("a.deb"), b"x"))[:512])
    header[124:136] = b"\xff" * 11 + b"\x00"  # -256, as GNU tar writes such numbers
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)

    with pytest.raises(NotPlain):
        list(read_members(io.BytesIO(bytes(header) * 4)))


@given(st.binary(max_size=4096), st.integers(0, 2047), st.binary(min_size=1, max_size=40))
def test_nothing_it_reads_raises_another_error(noise: bytes, at: int, change: bytes) -> None:
    spoilt = bytearray(packed((named("a.deb"), b"content"), (named("b"), b"")))
    spoilt[at : at + len(change)] = change
    for content in (noise, bytes(spoilt)):
        try:
            for member in read_members(io.BytesIO(content)):
                assert member.size_bytes >= 0
        except NotPlain:
            continue
