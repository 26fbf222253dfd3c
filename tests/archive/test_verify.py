"""Verifying and repairing: every damage is found, nothing is found where none is, and what can be is mended."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ppa_tools import openpgp
from ppa_tools.address import Address
from ppa_tools.archives.durable import digests_of
from ppa_tools.archives.errors import ArchiveError, ChangeRefused
from ppa_tools.archives.findings import Finding, Kind, Severity
from tests.archive.conftest import PPA, SERIES, Apt, Signer
from tests.archive.shelf import ME, STABLE, Scene, Shelf
from tests.archive.upkeep import ARCH, Clock, files_below, open_scene

DEB = f"pool/main/h/hello/hello_1.0-1_{ARCH}.deb"
PACKAGES = f"dists/{SERIES}/main/binary-{ARCH}/Packages.gz"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"), signer)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scene(tmp_path: Path, shelf: Shelf, signer: Signer, clock: Clock) -> Iterator[Scene]:
    for one in open_scene(tmp_path / "archive", shelf, signer, clock):
        one.both()
        yield one


def served(scene: Scene, path: str, address: Address = PPA) -> Path:
    return scene.archive.public_directory(address) / path


def blob_of(scene: Scene, path: str) -> Path:
    sha256 = digests_of(served(scene, path)).sha256
    return scene.archive.root / "blobs" / sha256[:2] / sha256


def kinds(found: tuple[Finding, ...]) -> set[str]:
    return {one.kind.value for one in found}


def flip_a_byte(path: Path) -> None:
    """In the file itself: whoever has a hard link to it sees it, too."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(data)


def update_and_fetch(scene: Scene, root: Path) -> None:
    """Stock apt takes the indexes, the package and the source."""
    text = scene.archive.sources_text(PPA, SERIES)
    url = "http://archive.example/demo/trunk"
    apt = Apt(root, text.replace(url, f"copy:{scene.archive.public_directory(PPA)}"))
    apt.run("update")
    apt.run("install", "--download-only", "hello")
    apt.run("source", "--download-only", "hello")


# Where nothing is wrong


@pytest.mark.parametrize("deep", [True, False])
def test_an_archive_that_is_well_has_no_findings(scene: Scene, clock: Clock, *, deep: bool) -> None:
    scene.both(version="1.1-1")
    scene.copy("hello")
    scene.archive.snapshot(PPA, "one", by=ME)
    scene.archive.add_key(PPA, by=ME)
    scene.archive.configure(STABLE, private=True, by=ME)
    scene.archive.configure(PPA, compressions=("gz", "xz", "zst"), by=ME)
    scene.delete("hello", address=STABLE)
    clock.days(8)
    scene.archive.collect_garbage(dry_run=False)
    assert scene.archive.verify(deep=deep) == ()
    assert scene.archive.verify(PPA, deep=deep) == ()
    assert scene.archive.repair().done == ()


def test_nothing_is_found_beside_writers(scene: Scene, tmp_path: Path) -> None:
    stop, rounds = threading.Event(), []

    def write() -> None:
        while not stop.is_set():
            scene.copy("hello")
            scene.delete("hello", address=STABLE)
            scene.archive.configure(STABLE, keep_ended_s=0.0, by=ME)
            scene.archive.collect_garbage(dry_run=False)
            rounds.append(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = [scene.archive.verify() for _ in range(15)]
    finally:
        stop.set()
        writer.join()
    assert found == [()] * 15
    assert rounds


def test_what_waits_to_be_published_is_a_finding_only_once_it_has_waited(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.upload(version="1.1-1")
    assert scene.archive.verify() == ()
    clock.now += 61
    (one,) = scene.archive.verify()
    assert (one.kind, one.severity, one.address, one.series) == (Kind.LAGS, Severity.WARNING, PPA, SERIES)
    assert scene.archive.repair().left == ()
    assert scene.archive.verify() == ()


# Damage that a copy mends


def test_a_blob_that_lost_its_name_is_put_back_from_what_is_served(scene: Scene, tmp_path: Path) -> None:
    blob = blob_of(scene, DEB)
    blob.unlink()
    (one,) = scene.archive.verify()
    assert (one.kind, one.severity, one.path) == (
        *(Kind.BLOB_MISSING, Severity.ERROR, str(blob.relative_to(scene.archive.root))),
    )
    assert one.affected == (f"hello 1.0-1 ({ARCH}) in {PPA} {SERIES}",)
    assert scene.archive.repair().left == ()
    assert blob.samefile(served(scene, DEB))
    update_and_fetch(scene, tmp_path / "apt")


@pytest.mark.parametrize("is_private", [False, True])
def test_a_name_that_is_gone_is_linked_again(scene: Scene, *, is_private: bool) -> None:
    scene.archive.configure(PPA, private=is_private, by=ME)
    served(scene, DEB).unlink()
    (one,) = scene.archive.verify(PPA)
    assert (one.kind, one.address, one.repairable) == (Kind.NAME_MISSING, PPA, True)
    assert one.affected == (f"hello 1.0-1 ({ARCH}) in {PPA} {SERIES}",)
    assert scene.archive.repair(PPA).left == ()
    assert served(scene, DEB).samefile(blob_of(scene, DEB))


def test_a_name_that_stands_for_something_else_is_set_right(scene: Scene) -> None:
    blob = blob_of(scene, DEB)
    served(scene, DEB).unlink()
    served(scene, DEB).write_bytes(b"x" * blob.stat().st_size)
    assert kinds(scene.archive.verify(deep=False)) == set()  # its size is right
    assert kinds(scene.archive.verify()) == {"name damaged"}
    assert scene.archive.repair().left == ()
    assert served(scene, DEB).samefile(blob)


def test_a_damaged_blob_is_put_back_from_a_ppa_whose_copy_is_still_right(scene: Scene, tmp_path: Path) -> None:
    scene.copy("hello")
    blob = blob_of(scene, DEB)
    right = served(scene, DEB, STABLE)
    content = right.read_bytes()
    right.unlink()
    right.write_bytes(content)  # put back from a copy, where links were not kept
    assert scene.archive.verify() == ()
    flip_a_byte(blob)
    assert kinds(scene.archive.verify()) == {"blob damaged"}
    assert kinds(scene.archive.verify(deep=False)) == set()
    repaired = scene.archive.repair()
    assert repaired.left == ()
    assert (scene.archive.root / "quarantine" / blob.name).exists()
    assert blob.read_bytes() == content
    assert blob.samefile(served(scene, DEB))
    update_and_fetch(scene, tmp_path / "apt")


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda path: flip_a_byte(path / PACKAGES), "index damaged"),
        (lambda path: (path / PACKAGES).unlink(), "index damaged"),
        (lambda path: os.truncate(path / PACKAGES, 10), "index damaged"),
        (lambda path: shutil.rmtree(path / "dists"), "signature"),
        (lambda path: (path / f"dists/{SERIES}/InRelease").unlink(), "signature"),
        (lambda path: flip_a_byte(path / f"dists/{SERIES}/InRelease"), "signature"),
        (lambda path: flip_a_byte(path / f"dists/{SERIES}/Release"), "signature"),
        (lambda path: (path / f"dists/{SERIES}/Release.gpg").unlink(), "signature"),
    ],
    ids=["byte", "gone", "cut", "all", "no-inrelease", "inrelease", "release", "no-gpg"],
)
def test_damaged_indexes_are_found_and_published_anew(
    scene: Scene, tmp_path: Path, damage: Callable[[Path], object], kind: str
) -> None:
    damage(scene.archive.public_directory(PPA))
    found = scene.archive.verify(PPA)
    assert kind in kinds(found)
    assert all(one.repairable and one.severity is Severity.ERROR for one in found)
    assert scene.archive.repair().left == ()
    update_and_fetch(scene, tmp_path / "apt")


def test_damaged_blocks_of_indexes_do_no_harm(scene: Scene, tmp_path: Path) -> None:
    blocks = [path for path in (scene.archive.root / "index-blocks").rglob("*") if path.is_file()]
    for path in blocks:
        os.truncate(path, path.stat().st_size // 2)
    scene.both("other")
    assert scene.archive.verify() == ()
    update_and_fetch(scene, tmp_path / "apt")


def test_an_index_that_is_signed_and_is_not_what_the_history_says_is_found_and_made_again(scene: Scene) -> None:
    with sqlite3.connect(scene.archive.root / "history.sqlite") as database:
        database.execute("UPDATE binary_releases SET stanza = replace(stanza, 'It says', 'It sang')")
    database.close()
    (one,) = scene.archive.verify()
    assert one.kind is Kind.INDEX_DIFFERS
    assert "lacks hello and has too hello" in one.what
    assert scene.archive.repair().left == ()


def test_a_signature_by_a_key_that_the_ppa_does_not_have_is_found(scene: Scene, stranger: Signer) -> None:
    directory = served(scene, f"dists/{SERIES}")
    text = (directory / "Release").read_bytes()
    (directory / "InRelease").write_bytes(openpgp.clearsign(stranger.home, [stranger.fingerprint], text))
    assert kinds(scene.archive.verify()) == {"signature"}


# Damage that nothing mends


def test_a_damaged_file_without_a_copy_is_set_aside_named_and_healed_by_the_same_upload(
    scene: Scene, tmp_path: Path
) -> None:
    blob = blob_of(scene, DEB)
    content = blob.read_bytes()
    flip_a_byte(blob)
    (one,) = scene.archive.verify()
    assert one.kind is Kind.BLOB_DAMAGED
    repaired = scene.archive.repair()
    assert any("quarantine" in line for line in repaired.done)
    (left,) = repaired.left
    assert (left.kind, left.severity, left.repairable) == (Kind.LOST, Severity.ERROR, False)
    assert left.affected == (f"hello 1.0-1 ({ARCH}) in {PPA} {SERIES}",)
    assert "upload the same again" in left.what
    assert not served(scene, DEB).exists()
    with pytest.raises(ChangeRefused, match="no longer kept"):
        scene.copy("hello")
    sent = digests_of(scene.shelf.binaries(series=SERIES, arch=ARCH)).sha256
    assert scene.archive.find_upload(PPA, SERIES, sent) is None  # whoever sends it is asked for its files
    again = scene.build()
    assert scene.archive.find_upload(PPA, SERIES, sent) is not None
    assert again.already
    assert again.notes == (f"linked again public/demo/trunk/{DEB}",)
    assert scene.archive.verify() == ()
    assert blob.read_bytes() == content
    update_and_fetch(scene, tmp_path / "apt")
    scene.copy("hello")


def test_a_lost_source_is_healed_by_the_same_upload_and_others_go_on(scene: Scene, tmp_path: Path) -> None:
    for name in ("hello_1.0-1.dsc", "hello_1.0.orig.tar.gz"):
        flip_a_byte(blob_of(scene, f"pool/main/h/hello/{name}"))
    repaired = scene.archive.repair()
    assert kinds(repaired.left) == {"file lost"}
    scene.both("other")  # publishing goes on
    assert len(scene.archive.verify()) == 2
    scene.upload()
    assert scene.archive.verify() == ()
    update_and_fetch(scene, tmp_path / "apt")


def test_a_lost_file_does_not_come_back_once_nothing_needs_it(scene: Scene, clock: Clock) -> None:
    flip_a_byte(blob_of(scene, DEB))
    scene.archive.repair()
    scene.delete("hello")
    clock.days(8)
    scene.archive.collect_garbage(dry_run=False)
    sent = digests_of(scene.shelf.source(series=SERIES)).sha256
    assert scene.archive.find_upload(PPA, SERIES, sent) is not None
    assert scene.upload().already
    assert scene.archive.verify() == ()
    assert files_below(scene.archive.root / "blobs") == set()


def test_publishing_a_file_that_is_gone_says_so(scene: Scene) -> None:
    blob_of(scene, DEB).unlink()
    served(scene, DEB).unlink()
    with pytest.raises(ArchiveError, match=r"is lost: .* repair"):
        scene.copy("hello")
    scene.archive.repair()
    scene.archive.publish(STABLE)
    assert kinds(scene.archive.verify()) == {"file lost"}


# Too much, and the history itself


def test_orphans_are_told_and_go_when_nobody_can_be_at_work_on_them(scene: Scene, clock: Clock) -> None:
    orphan = served(scene, "pool/main/h/hello/hello_6.6-6_all.deb")
    orphan.write_bytes(b"who put it here?")
    stray = scene.archive.root / "blobs/00" / ("00" * 32)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"and this?")
    assert kinds(scene.archive.repair().left) == {"orphan"}
    clock.now += 3700
    assert kinds(scene.archive.verify()) == {"orphan", "blob unknown"}
    assert scene.archive.repair().left == ()
    assert not orphan.exists()
    assert not stray.exists()


def test_a_directory_of_no_ppa_is_told_and_left_alone(scene: Scene) -> None:
    strange = scene.archive.root / "public/somebody/else"
    strange.mkdir(parents=True)
    (one,) = scene.archive.repair().left
    assert (one.kind, one.repairable, one.path) == (Kind.ORPHAN, False, "public/somebody/else")
    assert strange.is_dir()


def test_files_of_a_private_ppa_among_the_public_ones_are_found_and_moved(scene: Scene) -> None:
    scene.archive.configure(PPA, private=True, by=ME)
    root = scene.archive.root
    (root / "public/demo").mkdir(parents=True, exist_ok=True)
    (root / "private/demo/trunk").rename(root / "public/demo/trunk")
    found = scene.archive.verify(PPA)
    assert {"exposed", "name missing"} <= kinds(found)
    assert scene.archive.repair().left == ()
    assert not (root / "public/demo/trunk").exists()


def test_wrong_weights_are_counted_again(scene: Scene) -> None:
    right = scene.archive.ppa(PPA).used_bytes
    with sqlite3.connect(scene.archive.root / "history.sqlite") as database:
        database.execute("UPDATE ppas SET used_bytes = 1 WHERE name = 'trunk'")
    database.close()
    (one,) = scene.archive.verify()
    assert one.kind is Kind.WEIGHT
    assert scene.archive.repair().left == ()
    assert scene.archive.ppa(PPA).used_bytes == right


def test_a_damaged_history_is_told(scene: Scene) -> None:
    with sqlite3.connect(scene.archive.root / "history.sqlite") as database:
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute("UPDATE source_publications SET release_id = 4711")
    database.close()
    found = [one for one in scene.archive.verify() if one.kind is Kind.DATABASE]
    assert found
    assert not found[0].repairable
    assert "last good copy" in found[0].what


def test_a_key_that_is_gone_is_told_with_what_to_do(scene: Scene) -> None:
    scene.archive.stop_agents()
    shutil.rmtree(scene.archive.root / "keys/demo/trunk")
    found = [one for one in scene.archive.verify(PPA) if one.kind is Kind.KEY]
    assert len(found) == 1
    assert "put back a copy of keys/demo/trunk" in found[0].what
    assert scene.archive.verify(STABLE) == ()
