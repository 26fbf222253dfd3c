"""What the archive accepts and what it refuses, through its public interface."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ppa_tools import openpgp
from ppa_tools.address import Address
from ppa_tools.archives.durable import locked
from ppa_tools.archives.errors import ArchiveError, UnknownPPA, UploadRefused
from ppa_tools.archives.local import LocalArchive, Publication, Receipt, Status
from tests.archive.conftest import (
    PPA,
    SERIES,
    Signer,
    architecture,
    changes_text,
    file_lists,
    index_text,
    make_binaries,
    make_source,
)


def accept(archive: LocalArchive, changes: Path) -> Receipt:
    receipt = archive.accept_source(PPA, SERIES, changes.parent, changes.name)
    archive.publish(PPA)
    return receipt


def accept_debs(archive: LocalArchive, changes: Path, arch: str = "") -> Receipt:
    receipt = archive.accept_binaries(
        PPA, SERIES, arch or architecture(), changes.parent, changes.name, "worker-1"
    )
    archive.publish(PPA)
    return receipt


def find_publication(archive: LocalArchive, version: str) -> Publication:
    found = archive.publications(PPA, series=SERIES, source="hello", version=version)
    assert len(found) == 1
    return found[0]


def state(archive: LocalArchive) -> Any:
    """All that a refused upload must leave as it was."""
    dists = archive.public_directory(PPA) / "dists" / SERIES
    return (
        archive.history(PPA),
        archive.publications(PPA),
        sorted(path.name for path in archive.incoming.iterdir()),
        sorted(path.name for path in (archive.root / "blobs").rglob("*")),
        sorted(str(path) for path in archive.public_directory(PPA).rglob("pool/*")),
        (dists / "InRelease").read_bytes(),
    )


def edit(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


def resign(changes: Path, signer: Signer, old: str, new: str) -> None:
    """Change what a .changes says, and sign it again."""
    text = changes.read_text().partition("\n\n")[2].partition("\n-----BEGIN PGP SIGNATURE")[0]
    assert old in text
    changes.write_bytes(signer.sign(text.replace(old, new).rstrip() + "\n"))


def add_named_file(changes: Path, signer: Signer, name: str, data: bytes = b"x") -> None:
    """Name one more file in a .changes, with true sums."""
    text = changes.read_text().partition("\n\n")[2].partition("\n-----BEGIN PGP SIGNATURE")[0]
    for field, digest, more in (
        ("Files", hashlib.md5(data).hexdigest(), "misc optional "),
        ("Checksums-Sha1", hashlib.sha1(data).hexdigest(), ""),
        ("Checksums-Sha256", hashlib.sha256(data).hexdigest(), ""),
    ):
        text = text.replace(f"{field}:\n", f"{field}:\n {digest} {len(data)} {more}{name}\n")
    changes.write_bytes(signer.sign(text.rstrip() + "\n"))


def replace_dsc(changes: Path, signer: Signer, dsc: bytes) -> None:
    """Give an upload another .dsc, with a .changes that fits."""
    directory = changes.parent
    path = next(directory.glob("*.dsc"))
    path.write_bytes(dsc)
    names = sorted(p.name for p in directory.iterdir() if p != changes)
    changes.write_bytes(signer.sign(changes_text(directory, names, source="hello", version="1.0-1")))


def add_unknown_file(changes: Path, signer: Signer, _stranger: Signer) -> None:
    (changes.parent / "hello_extra.tar.gz").write_bytes(b"x")
    add_named_file(changes, signer, "hello_extra.tar.gz")


def take_names(changes: Path, signer: Signer, _stranger: Signer) -> None:
    (changes.parent / "hello_1.0.orig.tar.gz").rename(changes.parent / "bash_1.0.orig.tar.gz")
    text = "Format: 3.0 (quilt)\nSource: hello\nArchitecture: any\nVersion: 1.0-1\n" + file_lists(
        changes.parent, ["bash_1.0.orig.tar.gz", "hello_1.0-1.debian.tar.gz"], changes=False
    )
    replace_dsc(changes, signer, signer.sign(text))


def write_latin1(changes: Path, signer: Signer, _stranger: Signer) -> None:
    replace_dsc(changes, signer, openpgp.clearsign(signer.home, [signer.fingerprint], b"Source: h\xff\n"))


Break = Callable[[Path, Signer, Signer], None]

BAD_SOURCES: dict[str, tuple[Break, str]] = {
    "unsigned": (
        lambda c, s, x: c.write_text(c.read_text().partition("\n\n")[2].partition("\n-----BEGIN")[0] + "\n"),
        "it is not signed",
    ),
    "signed by a stranger": (
        lambda c, s, x: resign(c, x, "Urgency", "Urgency"),
        "is not known here",
    ),
    "changed after signing": (lambda c, s, x: edit(c, b"A change", b"Another"), "changed after it was signed"),
    "text before the signature": (
        lambda c, s, x: c.write_bytes(b"Source: evil\n" + c.read_bytes()),
        "outside the signed part",
    ),
    "unsigned .dsc": (
        lambda c, s, x: replace_dsc(
            c,
            s,
            next(c.parent.glob("*.dsc")).read_bytes().partition(b"\n\n")[2].partition(b"\n-----BEGIN")[0] + b"\n",
        ),
        "hello_1.0-1.dsc: it is not signed",
    ),
    "wrong size": (
        lambda c, s, x: (c.parent / "hello_1.0-1.debian.tar.gz").write_bytes(b"short"),
        "has 5 bytes",
    ),
    "wrong sum": (
        lambda c, s, x: (c.parent / "hello_1.0.orig.tar.gz").write_bytes(
            (c.parent / "hello_1.0.orig.tar.gz").read_bytes()[:-1] + b"\xff"
        ),
        "has md5",
    ),
    "wrong sha256 only": (
        lambda c, s, x: resign(
            c, s, f"{hashlib.sha256((c.parent / 'hello_1.0.orig.tar.gz').read_bytes()).hexdigest()}", "0" * 64
        ),
        "has sha256",
    ),
    "missing file": (lambda c, s, x: (c.parent / "hello_1.0-1.debian.tar.gz").unlink(), "did not come"),
    "file nobody named": (lambda c, s, x: (c.parent / "extra.txt").write_text("x"), "does not name it"),
    "a directory": (lambda c, s, x: (c.parent / "dir").mkdir(), "no plain file"),
    "a symbolic link": (lambda c, s, x: (c.parent / "link").symlink_to("/etc/passwd"), "no plain file"),
    "a path for a name": (lambda c, s, x: add_named_file(c, s, "../../evil"), "no name for a file"),
    "an absolute name": (lambda c, s, x: add_named_file(c, s, "/etc/passwd"), "no name for a file"),
    "a hidden name": (lambda c, s, x: add_named_file(c, s, ".hidden"), "no name for a file"),
    "another series": (
        lambda c, s, x: resign(c, s, "Distribution: bookworm", "Distribution: trixie"),
        "Distribution: trixie; it was sent to bookworm",
    ),
    "binaries in it": (
        lambda c, s, x: resign(c, s, "Architecture: source", "Architecture: source amd64"),
        "only sources are uploaded here",
    ),
    "another version than its .dsc": (
        lambda c, s, x: resign(c, s, "Version: 1.0-1", "Version: 1.0-2"),
        "its .dsc about hello 1.0-1",
    ),
    "no version": (lambda c, s, x: resign(c, s, "Version: 1.0-1\n", ""), "has no Version field"),
    "a version that is none": (
        lambda c, s, x: resign(c, s, "Version: 1.0-1", "Version: ../1"),
        "is no Debian version",
    ),
    "a field twice": (
        lambda c, s, x: resign(c, s, "Urgency: medium", "Urgency: medium\nSource: evil"),
        "stands there twice",
    ),
    "two paragraphs": (
        lambda c, s, x: resign(c, s, "Urgency: medium", "Urgency: medium\n\nX: y"),
        "a second paragraph",
    ),
    "lists that differ": (
        lambda c, s, x: resign(c, s, "Files:\n", "Files:\n " + "0" * 32 + " 1 misc optional more.txt\n"),
        "lists of files differ",
    ),
    "a file its .dsc does not know": (add_unknown_file, "the .dsc does not name hello_extra.tar.gz"),
    "a .dsc that takes another source's names": (take_names, "must begin with hello_"),
    "an unknown source format": (
        lambda c, s, x: replace_dsc(
            c,
            s,
            s.sign(
                "Format: 4.0 (evil)\nSource: hello\nArchitecture: any\nVersion: 1.0-1\n"
                + file_lists(c.parent, ["hello_1.0.orig.tar.gz", "hello_1.0-1.debian.tar.gz"], changes=False)
            ),
        ),
        "Format: 4.0",
    ),
    "not UTF-8": (write_latin1, "is not UTF-8"),
    "an endless .changes": (lambda c, s, x: c.write_bytes(b"x" * (5 << 20)), "larger than 4 MiB"),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_a_bad_source_is_refused_with_its_reason_and_leaves_nothing(
    archive: LocalArchive, signer: Signer, stranger: Signer, tmp_path: Path, name: str
) -> None:
    changes = make_source(tmp_path / "s", signer)
    spoil, reason = BAD_SOURCES[name]
    spoil(changes, signer, stranger)
    before = state(archive)
    with pytest.raises(UploadRefused) as refused:
        accept(archive, changes)
    assert reason in str(refused.value)
    assert state(archive) == before


def test_the_same_changes_again_changes_nothing(archive: LocalArchive, signer: Signer, tmp_path: Path) -> None:
    changes = make_source(tmp_path / "s", signer)
    assert not accept(archive, changes).already
    before = state(archive)
    assert accept(archive, changes).already
    assert state(archive) == before


def test_the_same_source_signed_again_is_already_there(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    accept(archive, make_source(tmp_path / "s1", signer))
    before = state(archive)
    again = make_source(tmp_path / "s2", signer)
    edit(again.parent / "hello_1.0-1.dsc", b"", b"")
    dsc = (again.parent / "hello_1.0-1.dsc").read_bytes()
    payload = dsc.partition(b"\n\n")[2].partition(b"\n-----BEGIN PGP SIGNATURE")[0].rstrip() + b"\n"
    replace_dsc(again, signer, signer.sign(payload.decode()))
    resign(again, signer, "A change", "A change, told otherwise")
    assert accept(archive, again).already
    assert state(archive) == before


def test_the_same_version_with_other_content_is_refused(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    accept(archive, make_source(tmp_path / "s1", signer))
    before = state(archive)
    with pytest.raises(UploadRefused, match=r"hello 1.0-1 is already in local:demo/trunk with other content"):
        accept(archive, make_source(tmp_path / "s2", signer, content=b"other"))
    assert state(archive) == before


def test_a_lower_version_is_refused_and_both_are_named(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    accept(archive, make_source(tmp_path / "s1", signer, version="1.10-1"))
    before = state(archive)
    with pytest.raises(UploadRefused, match=r"hello 1.9-1 is not newer than 1.10-1"):
        accept(archive, make_source(tmp_path / "s2", signer, version="1.9-1"))
    assert state(archive) == before


def test_a_file_name_stands_for_the_same_bytes_for_ever(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    accept(archive, make_source(tmp_path / "s1", signer))
    changes = make_source(tmp_path / "s2", signer, version="1.0-2")
    orig = tmp_path / "s2/hello_1.0.orig.tar.gz"
    orig.write_bytes(orig.read_bytes() + b"\0")
    dsc = "Format: 3.0 (quilt)\nSource: hello\nArchitecture: any\nVersion: 1.0-2\n" + file_lists(
        orig.parent, [orig.name, "hello_1.0-2.debian.tar.gz"], changes=False
    )
    (tmp_path / "s2/hello_1.0-2.dsc").write_bytes(signer.sign(dsc))
    names = [path.name for path in orig.parent.iterdir() if path != changes]
    changes.write_bytes(signer.sign(changes_text(orig.parent, names, source="hello", version="1.0-2")))
    before = state(archive)
    with pytest.raises(UploadRefused, match=r"hello_1.0.orig.tar.gz is already in .* with other content"):
        accept(archive, changes)
    assert state(archive) == before


def test_a_version_that_differs_in_its_epoch_alone_has_no_file_name_left(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    accept(archive, make_source(tmp_path / "s1", signer))
    before = state(archive)
    with pytest.raises(UploadRefused, match=r"hello_1.0-1.dsc is already in .* with other content"):
        accept(archive, make_source(tmp_path / "s2", signer, version="1:1.0-1"))
    assert state(archive) == before


def test_a_package_that_goes_down_in_version_is_refused_and_leaves_nothing(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    accept(archive, make_source(tmp_path / "s1", signer, source="big", version="9-1"))
    accept_debs(
        archive, make_binaries(tmp_path / "b1", source="big", version="9-1", packages={"hello": architecture()})
    )
    accept(archive, make_source(tmp_path / "s2", signer))
    changes = make_binaries(tmp_path / "b2")
    before = state(archive)
    with pytest.raises(UploadRefused, match=r"hello 1.0-1 is not newer than 9-1 \(from big 9-1\)"):
        accept_debs(archive, changes)
    assert state(archive) == before


def test_an_orig_tarball_left_out_is_taken_from_the_ppa(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    with pytest.raises(UploadRefused, match=r"hello_1.0.orig.tar.gz, which did not come and is not in"):
        accept(archive, make_source(tmp_path / "s0", signer, with_orig=False))
    accept(archive, make_source(tmp_path / "s1", signer))
    accept(archive, make_source(tmp_path / "s2", signer, version="1.0-2", with_orig=False))
    sources = index_text(archive, "source/Sources")
    assert "Version: 1.0-2" in sources
    assert "hello_1.0.orig.tar.gz" in sources
    assert "Version: 1.0-1\n" not in sources


def test_one_version_belongs_to_one_series(archive: LocalArchive, signer: Signer, tmp_path: Path) -> None:
    archive.ensure_ppa(PPA, series=["trixie"], architectures=[architecture()])
    accept(archive, make_source(tmp_path / "s1", signer))
    changes = make_source(tmp_path / "s2", signer, series="trixie")
    with pytest.raises(UploadRefused, match="already in bookworm"):
        archive.accept_source(PPA, "trixie", changes.parent, changes.name)


def test_binaries_of_the_older_source_stay_until_the_newer_ones_arrive(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    packages = f"binary-{architecture()}/Packages"
    both = {"hello": architecture(), "hello-data": "all"}
    accept(archive, make_source(tmp_path / "s1", signer))
    accept_debs(archive, make_binaries(tmp_path / "b1", packages=both))
    accept(archive, make_source(tmp_path / "s2", signer, version="1.1-1"))
    assert index_text(archive, packages).count("Version: 1.0-1") == 2
    accept_debs(archive, make_binaries(tmp_path / "b2", version="1.1-1", packages=both))
    assert index_text(archive, packages).count("Version: 1.1-1") == 2
    assert "1.0-1" not in index_text(archive, packages)
    old = find_publication(archive, "1.0-1")
    assert old.source.span.status is Status.SUPERSEDED
    assert {one.span.status for one in old.binaries} == {Status.SUPERSEDED}
    assert {one.span.end_why for one in old.binaries} == {"hello 1.1-1 has come"}
    new = find_publication(archive, "1.1-1")
    assert new.built_on == (architecture(),)
    assert old.source.span.superseded_by_id == new.source.id


def test_binaries_that_come_after_newer_ones_are_kept_but_not_shown(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    accept(archive, make_source(tmp_path / "s1", signer))
    accept(archive, make_source(tmp_path / "s2", signer, version="1.1-1"))
    accept_debs(archive, make_binaries(tmp_path / "b2", version="1.1-1"))
    late = accept_debs(archive, make_binaries(tmp_path / "b1"))
    assert late.notes == ("hello 1.0-1 is superseded already: hello 1.1-1 was built before it",)
    found = find_publication(archive, "1.0-1")
    assert [one.span.status for one in found.binaries] == [Status.SUPERSEDED]


def test_a_series_that_gets_an_architecture_has_the_packages_for_all_there(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    accept(archive, make_source(tmp_path / "s1", signer))
    accept_debs(archive, make_binaries(tmp_path / "b1", packages={"hello": architecture(), "hello-data": "all"}))
    archive.ensure_ppa(PPA, series=[SERIES], architectures=["riscv64"])
    text = index_text(archive, "binary-riscv64/Packages")
    assert text.startswith("Package: hello-data\n")
    assert "Package: hello\n" not in text


def bomb(directory: Path) -> Path:
    """A .deb whose control part is small and unpacks to 64 MiB of nothing."""
    raw = directory / "control.tar"
    with tarfile.open(raw, "w") as tar:
        info = tarfile.TarInfo("./md5sums")
        info.size = 0
        tar.addfile(info, io.BytesIO())
    with raw.open("r+b") as file:
        header = tarfile.TarInfo("./md5sums")
        header.size = 64 << 20
        file.write(header.tobuf())
        file.truncate(64 << 20)
    subprocess.run(["xz", "-0", "-T1", str(raw)], check=True)
    control = (directory / "control.tar.xz").read_bytes()
    (directory / "control.tar.xz").unlink()
    deb = directory / f"hello_1.0-1_{architecture()}.deb"
    deb.write_bytes(ar({"debian-binary": b"2.0\n", "control.tar.xz": control, "data.tar": b""}))
    return deb


def ar(members: dict[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        out += data + b"\n" * (len(data) % 2)
    return out


def remake(changes: Path, **those: str) -> None:
    names = sorted(path.name for path in changes.parent.iterdir() if path != changes)
    values = {"source": "hello", "version": "1.0-1", "architectures": architecture()} | those
    changes.write_text(changes_text(changes.parent, names, **values))


def rename(changes: Path, name: str) -> None:
    next(changes.parent.glob("*.deb")).rename(changes.parent / name)
    remake(changes)


def put_bomb(changes: Path) -> None:
    bomb(changes.parent)
    remake(changes)


BAD_BINARIES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no .deb": (
        lambda c: (next(c.parent.glob("*.deb")).write_bytes(b"not a package"), remake(c)),
        "no Debian package",
    ),
    "a name that lies": (lambda c: rename(c, f"bash_1.0-1_{architecture()}.deb"), "has hello 1.0-1 for"),
    "a version that lies": (lambda c: rename(c, f"hello_9.0-1_{architecture()}.deb"), "has hello 1.0-1 for"),
    "another source": (lambda c: remake(c, source="bash"), "the .changes about bash 1.0-1"),
    "an architecture the .changes lacks": (lambda c: remake(c, architectures="all"), "does not have"),
    "a source in it": (lambda c: remake(c, architectures="source all"), "has a source in it"),
    "another series": (lambda c: remake(c, series="sid"), "Distribution: sid"),
    "a bomb": (put_bomb, "unpacks to more than 32 MiB"),
    "a wrong sum": (
        lambda c: edit(c, b"Checksums-Sha256:\n ", b"Checksums-Sha256:\n 0"),
        "where a hash is wanted",
    ),
    "a stray file": (lambda c: ((c.parent / "x.sh").write_text("x"), remake(c)), "no binary package"),
}


@pytest.mark.parametrize("name", BAD_BINARIES)
def test_bad_binaries_are_refused_with_their_reason_and_leave_nothing(
    archive: LocalArchive, signer: Signer, tmp_path: Path, name: str
) -> None:
    accept(archive, make_source(tmp_path / "s", signer))
    changes = make_binaries(tmp_path / "b")
    spoil, reason = BAD_BINARIES[name]
    spoil(changes)
    before = state(archive)
    with pytest.raises(UploadRefused) as refused:
        accept_debs(archive, changes)
    assert reason in str(refused.value)
    assert state(archive) == before


def test_binaries_need_their_source(archive: LocalArchive, tmp_path: Path) -> None:
    before = state(archive)
    with pytest.raises(UploadRefused, match=r"has no hello 1.0-1 in bookworm: its source comes first"):
        accept_debs(archive, make_binaries(tmp_path / "b"))
    assert state(archive) == before


def test_binaries_again_are_already_there_and_other_bytes_are_refused(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    accept(archive, make_source(tmp_path / "s", signer))
    changes = make_binaries(tmp_path / "b1")
    assert not accept_debs(archive, changes).already
    before = state(archive)
    assert accept_debs(archive, changes).already
    with pytest.raises(UploadRefused, match="with other content"):
        accept_debs(archive, make_binaries(tmp_path / "b2", content="other"))
    assert state(archive) == before


def test_what_a_package_says_of_itself_cannot_forge_the_index(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    accept(archive, make_source(tmp_path / "s", signer))
    root = tmp_path / "tree"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        f"Package: hello\nVersion: 1.0-1\nArchitecture: {architecture()}\nMaintainer: x <x@example.com>\n"
        "Filename: ../../evil.deb\nSHA256: 00\nSize: 1\nDescription: x\n y\n .\n Package: evil\n"
    )
    directory = tmp_path / "b"
    directory.mkdir()
    deb = directory / f"hello_1.0-1_{architecture()}.deb"
    subprocess.run(["dpkg-deb", "--build", str(root), str(deb)], check=True, capture_output=True)
    changes = directory / "hello.changes"
    remake(changes)
    accept_debs(archive, changes)
    text = index_text(archive, f"binary-{architecture()}/Packages")
    assert "evil.deb" not in text
    assert text.count("SHA256:") == 1
    assert [line for line in text.splitlines() if line.startswith("Package:")] == ["Package: hello"]


def test_old_by_hash_files_are_kept_for_their_hour_and_no_longer(signer: Signer, tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    archive = LocalArchive(tmp_path / "archive", clock=lambda: now[0])
    archive.ensure_ppa(PPA, series=[SERIES], architectures=["amd64"], uploaders=[signer.public])
    by_hash = archive.public_directory(PPA) / f"dists/{SERIES}/main/source/by-hash/SHA256"

    def upload(n: int) -> str:
        """Publish one more version; the name by hash of its Sources."""
        changes = make_source(tmp_path / f"s{n}", signer, version=f"1.{n}-1")
        accept(archive, changes)
        sources = archive.public_directory(PPA) / f"dists/{SERIES}/main/source/Sources.gz"
        return hashlib.sha256(sources.read_bytes()).hexdigest()

    first = upload(1)
    now[0] += 7200
    upload(2)
    assert (by_hash / first).exists(), "superseded only now, however old it is"
    now[0] += 3000
    upload(3)
    assert (by_hash / first).exists()
    now[0] += 700
    upload(4)
    assert not (by_hash / first).exists()
    archive.stop_agents()
    archive.close()


def test_one_copy_of_a_file_serves_every_ppa(archive: LocalArchive, signer: Signer, tmp_path: Path) -> None:
    other = Address("local", "demo", "stable")
    archive.ensure_ppa(other, series=[SERIES], architectures=[architecture()], uploaders=[signer.public])
    changes = make_source(tmp_path / "s", signer)
    for address in (PPA, other):
        archive.accept_source(address, SERIES, changes.parent, changes.name)
        archive.publish(address)
    places = [archive.public_directory(a) / "pool/main/h/hello/hello_1.0.orig.tar.gz" for a in (PPA, other)]
    assert len({path.stat().st_ino for path in places}) == 1
    assert places[0].stat().st_nlink == 3


def test_a_ppa_is_created_once_and_keeps_its_key(archive: LocalArchive, signer: Signer) -> None:
    before = archive.ppa(PPA)
    again = archive.ensure_ppa(PPA, series=[SERIES], architectures=[architecture()], uploaders=[signer.public])
    assert again == before
    assert len(archive.uploaders(PPA)) == 1
    assert ((archive.root / "keys/demo/trunk").stat().st_mode & 0o777) == 0o700


@pytest.mark.parametrize(
    ("address", "series", "architectures"),
    [
        (Address("ppa", "demo", "trunk"), [], []),
        (Address("local", "api", "trunk"), [], []),
        (Address("local", "upload", "trunk"), [], []),
        (Address("local", "demo", "x" * 81), [], []),
        (PPA, ["../x"], ["amd64"]),
        (PPA, ["sid"], ["all"]),
        (PPA, ["sid"], []),
    ],
)
def test_names_that_cannot_be_used_are_refused(
    archive: LocalArchive, address: Address, series: list[str], architectures: list[str]
) -> None:
    with pytest.raises(ArchiveError):
        archive.ensure_ppa(address, series=series, architectures=architectures)


def test_an_unknown_ppa_or_series_is_named(archive: LocalArchive, tmp_path: Path) -> None:
    with pytest.raises(UnknownPPA, match="no local:no/such"):
        archive.publications(Address("local", "no", "such"))
    with pytest.raises(UnknownPPA, match="no series sid; it has bookworm"):
        archive.accept_source(PPA, "sid", tmp_path, "x.changes")


def test_a_lock_that_is_never_released_is_told_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "locks/trunk"
    with locked(path), pytest.raises(ArchiveError, match=f"another process holds {path}"), locked(path, 0.1):
        pass
    with locked(path, 0.1):
        pass
