"""A source package with one more changelog entry unpacks to what it was, with that entry on top; or is refused."""

from __future__ import annotations

import gzip
import io
import itertools
import lzma
import struct
import subprocess
import tarfile
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.regress.diff_entry import UnfitDiff, add_to_diff
from buildfarm.regress.new_entry import UnfitSource, add_entry
from buildfarm.source.changelog import Entry

CONTROL = """\
Source: foo
Maintainer: A <a@example.org>
Standards-Version: 4.6.2

Package: foo
Architecture: all
Description: x
 y
"""
# A line of the changelog that looks like the head of a file in a diff must not be taken for one.
CHANGELOG = """\
foo ({version}) bookworm; urgency=low

  * x
  +++ foo-1/debian/changelog

 -- A <a@example.org>  Thu, 01 Jan 2026 00:00:00 +0000
"""
LINES = st.lists(
    st.sampled_from(["a", "b", "--- x", "+++ y/debian/changelog", "@@ -1 +1 @@", "\\ No", ""]), max_size=30
)


def entry_for(version: str) -> Entry:
    changes = (("", ("Rebuilt.",)),)
    return Entry("foo", version, "bookworm", "medium", changes, "Farm <farm@example.org>", 1_790_000_000)


def make_source(where: Path, written: str, version: str, *, compression: str = "xz") -> Path:
    """The .dsc of a source package in that format, made by dpkg-source."""
    upstream = version.rpartition("-")[0] or version
    tree = where / f"foo-{upstream.partition(':')[2] or upstream}"
    (tree / "debian/source").mkdir(parents=True)
    (tree / "a.txt").write_text("a\n")
    if "-" in version:
        orig = tree.name.replace("-", "_") + ".orig.tar.gz"
        subprocess.run(["tar", "-czf", orig, f"{tree.name}/a.txt"], cwd=where, check=True)
    (tree / "debian/source/format").write_text(f"{written}\n")
    (tree / "debian/control").write_text(CONTROL)
    (tree / "debian/changelog").write_text(CHANGELOG.format(version=version))
    (tree / "debian" / ("n" * 150)).write_text("its name is too long for a plain header\n")
    options = [] if written == "1.0" else [f"-Z{compression}"]
    subprocess.run(["dpkg-source", *options, "-b", tree.name], cwd=where, check=True, capture_output=True)
    (dsc,) = where.glob("*.dsc")
    return dsc


def unpack(dsc: Path, where: Path) -> dict[str, bytes]:
    """What dpkg-source makes of a source package."""
    subprocess.run(["dpkg-source", "--no-check", "-x", dsc, where], check=True, capture_output=True)
    files = (path for path in where.rglob("*") if path.is_file() and ".pc" not in path.parts)
    return {str(path.relative_to(where)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("written", "version", "compression"),
    [
        ("3.0 (quilt)", "1.0-1", "xz"),
        ("3.0 (quilt)", "2:1.0-1", "gzip"),
        ("3.0 (quilt)", "1.0-1", "bzip2"),
        ("3.0 (native)", "1.0", "xz"),
        ("3.0 (native)", "1.0", "gzip"),
        ("1.0", "1.0-1", "gzip"),
        ("1.0", "1.0", "gzip"),
    ],
)
def test_nothing_but_the_changelog_changes_in_any_format(
    tmp_path: Path, written: str, version: str, compression: str
) -> None:
    (tmp_path / "old").mkdir()
    dsc = make_source(tmp_path / "old", written, version, compression=compression)
    entry = entry_for(f"{version}~regression20261127")

    made = add_entry(dsc, entry, tmp_path / "new")

    before, after = unpack(dsc, tmp_path / "before"), unpack(made, tmp_path / "after")
    assert after.pop("debian/changelog") == f"{entry}\n".encode() + before.pop("debian/changelog")
    assert after == before
    assert f"\nVersion: {entry.version}\n" in made.read_text()


def test_the_same_entry_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    dsc = make_source(tmp_path / "old", "3.0 (quilt)", "1.0-1")

    made = [add_entry(dsc, entry_for("1.0-1~regression20261127"), tmp_path / name) for name in ("one", "two")]

    one, two = ({path.name: path.read_bytes() for path in dsc.parent.iterdir()} for dsc in made)
    assert one == two
    assert "foo_1.0.orig.tar.gz" in one


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text.replace("3.0 (native)", "3.0 (git)"), "in the format '3.0 (git)'"),
        (lambda text: text.replace("Checksums-Sha256", "X-Sums"), "cannot be written anew"),
        (lambda text: "\xff" * 10, "cannot be written anew"),
    ],
)
def test_a_source_of_another_kind_is_refused(tmp_path: Path, damage: object, says: str) -> None:
    (tmp_path / "old").mkdir()
    dsc = make_source(tmp_path / "old", "3.0 (native)", "1.0")
    dsc.write_text(damage(dsc.read_text()), encoding="latin-1")  # type: ignore[operator]

    with pytest.raises(UnfitSource, match=says.replace("(", r"\(").replace(")", r"\)")):
        add_entry(dsc, entry_for("1.0~regression20261127"), tmp_path / "new")


@pytest.mark.parametrize("content", [b"", b"no tarball", b"\x1f\x8b\x08\x00garbage", bytes(10240)])
def test_a_damaged_tarball_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "old").mkdir()
    dsc = make_source(tmp_path / "old", "3.0 (native)", "1.0", compression="gzip")
    (tmp_path / "old/foo_1.0.tar.gz").write_bytes(content)

    with pytest.raises(UnfitSource):
        add_entry(dsc, entry_for("1.0~regression20261127"), tmp_path / "new")


def tarball(*members: tuple[str, bytes, bytes]) -> bytes:
    """A tarball of members: name, kind, content."""
    packed = io.BytesIO()
    for name, kind, content in members:
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, len(content)
        packed.write(info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE))
    packed.write(bytes(2 * tarfile.BLOCKSIZE))
    return packed.getvalue()


CHANGELOG_MEMBER = ("foo-1.0/debian/changelog", tarfile.REGTYPE, CHANGELOG.format(version="1.0").encode())


def with_tarball(tmp_path: Path, content: bytes) -> Path:
    """A native source package with that tarball."""
    (tmp_path / "old").mkdir()
    dsc = make_source(tmp_path / "old", "3.0 (native)", "1.0", compression="gzip")
    with gzip.open(tmp_path / "old/foo_1.0.tar.gz", "wb", 1) as file:
        file.write(content)
    return dsc


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g", b"X"])
def test_what_a_tarball_tells_of_a_member_takes_no_memory(tmp_path: Path, kind: bytes) -> None:
    dsc = with_tarball(tmp_path, tarball(("told", kind, b"x" * (64 << 20)), CHANGELOG_MEMBER))

    tracemalloc.start()
    try:
        with pytest.raises(UnfitSource, match="tells 67108864 bytes of a member"):
            add_entry(dsc, entry_for("1.0~regression20261127"), tmp_path / "new")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def with_packaging(tmp_path: Path, packed: bytes) -> Path:
    """A source package whose .debian.tar.xz is that."""
    (tmp_path / "old").mkdir()
    dsc = make_source(tmp_path / "old", "3.0 (quilt)", "1.0-1")
    (tmp_path / "old/foo_1.0-1.debian.tar.xz").write_bytes(packed)
    return dsc


def test_a_tarball_gets_no_dictionary_of_the_size_it_likes(tmp_path: Path) -> None:
    header = struct.pack("<BIq", 0x5D, 1536 << 20, -1)  # as xz --format=lzma writes it: the size of its dictionary
    dsc = with_packaging(tmp_path, header + bytes(64))

    with pytest.raises(UnfitSource, match="Memory usage limit exceeded"):
        add_entry(dsc, entry_for("1.0-1~regression20261127"), tmp_path / "new")


def test_a_tarball_in_several_streams_of_xz_gets_an_entry(tmp_path: Path) -> None:
    plain = tarball(
        ("debian/changelog", tarfile.REGTYPE, b"old\n"), ("debian/x", tarfile.REGTYPE, b"x" * (3 << 20))
    )
    packed = lzma.compress(plain[:700]) + bytes(8) + lzma.compress(plain[700:]) + bytes(4)
    dsc = with_packaging(tmp_path, packed)
    entry = entry_for("1.0-1~regression20261127")

    made = add_entry(dsc, entry, tmp_path / "new")

    with tarfile.open(made.parent / f"foo_{entry.version}.debian.tar.xz") as archive:
        changelog, other = (archive.extractfile(name) for name in ("debian/changelog", "debian/x"))
        assert changelog is not None
        assert changelog.read() == f"{entry}\nold\n".encode()
        assert other is not None
        assert other.read() == b"x" * (3 << 20)


def test_a_stream_of_xz_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    dsc = with_packaging(tmp_path, lzma.compress(tarball(CHANGELOG_MEMBER))[:-20])

    with pytest.raises(UnfitSource, match="cannot be read"):
        add_entry(dsc, entry_for("1.0-1~regression20261127"), tmp_path / "new")


@pytest.mark.parametrize("kind", [b"L", b"x"])
def test_a_member_may_be_told_of_again_and_again(tmp_path: Path, kind: bytes) -> None:
    told = b"foo-1.0/a\0" if kind == b"L" else b"18 path=foo-1.0/a\n"
    last = b"foo-1.0/debian/changelog\0" if kind == b"L" else b"33 path=foo-1.0/debian/changelog\n"
    dsc = with_tarball(
        tmp_path,
        tarball(*[("told", kind, told)] * 3000, ("told", kind, last), ("a", tarfile.REGTYPE, b"old\n")),
    )

    entry = entry_for("1.0~regression20261127")

    made = add_entry(dsc, entry, tmp_path / "new")

    with tarfile.open(made.parent / "foo_1.0~regression20261127.tar.gz") as archive:
        member = archive.next()
        assert member is not None
        content = archive.extractfile(member)
        assert content is not None
        assert member.name == "foo-1.0/debian/changelog"
        assert content.read() == f"{entry}\nold\n".encode()


@pytest.mark.parametrize(
    ("records", "says"),
    [
        (b"no records", "pax header that is none"),
        (b"0 path=x\n", "pax header that is none"),
        (b"12 size=512\n", "8 GiB or more"),
    ],
)
def test_a_pax_header_that_misleads_is_refused(tmp_path: Path, records: bytes, says: str) -> None:
    dsc = with_tarball(tmp_path, tarball(("told", b"x", records), CHANGELOG_MEMBER))

    with pytest.raises(UnfitSource, match=says):
        add_entry(dsc, entry_for("1.0~regression20261127"), tmp_path / "new")


@pytest.mark.parametrize(
    ("form", "top"),
    [
        *itertools.product(("gnu", "pax"), ("foo-1.0", f"foo-{'long' * 30}-1.0", "föö-1.0")),
        ("ustar", "foo-1.0"),
        ("ustar", f"foo-{'long' * 22}-1.0"),  # in two fields
        ("v7", "foo-1.0"),
    ],
)
def test_a_tarball_in_any_format_of_tar_gets_an_entry(tmp_path: Path, form: str, top: str) -> None:
    (tmp_path / "old").mkdir()
    dsc = make_source(tmp_path / "old", "3.0 (native)", "1.0", compression="gzip")
    (tmp_path / "old/foo-1.0").rename(tmp_path / "old" / top)
    if form in ("ustar", "v7"):
        (tmp_path / "old" / top / "debian" / ("n" * 150)).unlink()
    argv = ["tar", f"--format={form}", "-czf", "foo_1.0.tar.gz", top]
    subprocess.run(argv, cwd=tmp_path / "old", check=True)
    entry = entry_for("1.0~regression20261127")

    add_entry(dsc, entry, tmp_path / "new")

    for name, where in (("old/foo_1.0.tar.gz", "a"), (f"new/foo_{entry.version}.tar.gz", "b")):
        (tmp_path / where).mkdir()
        subprocess.run(["tar", "-xf", tmp_path / name, "-C", tmp_path / where], check=True)
    before, after = (
        {path.relative_to(where): path.read_bytes() for path in where.rglob("*") if path.is_file()}
        for where in (tmp_path / "a", tmp_path / "b")
    )
    changelog = Path(top, "debian/changelog")
    assert after.pop(changelog) == f"{entry}\n".encode() + before.pop(changelog)
    assert after == before


@given(before=LINES, after=LINES, other=LINES)
@settings(max_examples=60, deadline=None)
def test_a_diff_with_an_entry_gives_the_changelog_with_it_or_is_refused(
    before: list[str], after: list[str], other: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        where = Path(name)
        for top, changelog in (("foo.orig", before), ("foo", after)):
            (where / top / "debian").mkdir(parents=True)
            if changelog:
                (where / top / "debian/changelog").write_text("".join(f"{line}\n" for line in changelog))
        (where / "foo/debian/other").write_text("".join(f"{line}\n" for line in other))
        argv = ["diff", "-rNu", "foo.orig", "foo"]
        diff = subprocess.run(argv, cwd=where, capture_output=True, check=False).stdout
        try:
            changed = add_to_diff(diff, b"new\n\nentry\n")
        except UnfitDiff:
            assert not after or before[:1] == after[:1], "refused though the diff writes the beginning"
            return
        subprocess.run(["patch", "-p1", "-s", "-F0"], cwd=where / "foo.orig", input=changed, check=True)
        made = where / "foo.orig/debian/changelog"
        assert made.read_text() == "".join(f"{line}\n" for line in ["new", "", "entry", "", *after])
