"""A PPA's keys, people, quota, privacy and end; and what is left when it comes back."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ppa_tools.archives.errors import ArchiveError, UnknownPPA, UploadRefused
from ppa_tools.archives.local import LocalArchive
from tests.archive.conftest import PPA, SERIES, Apt, Signer, architecture
from tests.archive.shelf import LATER, ME, Scene, Shelf
from tests.archive.soundness import check_archive, held_by_apt

ARCH = architecture()


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"), signer)


@pytest.fixture
def scene(archive: LocalArchive, shelf: Shelf) -> Scene:
    archive.url = f"file:{archive.root}/public"
    return Scene(archive, shelf)


def test_apt_accepts_a_rotating_key_with_either_key_alone_and_then_the_new_one(
    scene: Scene, tmp_path: Path
) -> None:
    scene.both()
    old = Apt(tmp_path / "old", scene.archive.sources_text(PPA, SERIES))
    (first,) = scene.archive.ppa(PPA).key_fingerprints
    second = scene.archive.add_key(PPA, by=ME)
    assert scene.archive.ppa(PPA).key_fingerprints == (first, second)
    both = Apt(tmp_path / "both", scene.archive.sources_text(PPA, SERIES))
    old.run("update")
    both.run("update")
    scene.archive.retire_key(PPA, first, by=ME)
    new = Apt(tmp_path / "new", scene.archive.sources_text(PPA, SERIES))
    assert held_by_apt(old, PPA).sources == {"hello": "1.0-1"}
    scene.both(version="1.1-1")
    for apt in (both, new):
        apt.run("update")
        assert held_by_apt(apt, PPA).sources == {"hello": "1.1-1"}
    with pytest.raises(AssertionError, match=r"NO_PUBKEY|not signed|couldn't be verified"):
        old.run("update")
    with pytest.raises(ArchiveError, match="is the only key of"):
        scene.archive.retire_key(PPA, second, by=ME)
    with pytest.raises(ArchiveError, match="is not signed by"):
        scene.archive.retire_key(PPA, first, by=ME)


def test_the_new_key_alone_accepts_what_both_sign(scene: Scene, tmp_path: Path) -> None:
    scene.both()
    (first,) = scene.archive.ppa(PPA).key_fingerprints
    scene.archive.add_key(PPA, by=ME)
    signed_by_both = (scene.archive.public_directory(PPA) / f"dists/{SERIES}/InRelease").read_bytes()
    scene.archive.retire_key(PPA, first, by=ME)
    only_new = scene.archive.sources_text(PPA, SERIES)
    in_release = scene.archive.public_directory(PPA) / f"dists/{SERIES}/InRelease"
    in_release.write_bytes(signed_by_both)
    Apt(tmp_path / "new", only_new).run("update")


def test_a_quota_refuses_what_is_too_much_and_deleting_makes_room_when_its_files_go(
    archive: LocalArchive, shelf: Shelf, signer: Signer, tmp_path: Path
) -> None:
    now = [1_700_000_000.0]
    small = LocalArchive(tmp_path / "small", clock=lambda: now[0])
    small.ensure_ppa(PPA, series=[SERIES], architectures=[ARCH], uploaders=[signer.public], by=ME)
    scene = Scene(small, shelf)
    scene.upload()
    used = small.ppa(PPA).used_bytes
    small.configure(PPA, quota_bytes=used + 100, by=ME)
    before = scene.everything()
    with pytest.raises(UploadRefused, match=f"holds {used} bytes of the {used + 100}"):
        scene.upload("other")
    assert scene.everything() == before
    scene.delete("hello")
    now[0] += 60 * 86400.0
    small.collect_garbage(dry_run=False)
    assert small.ppa(PPA).used_bytes == 0
    scene.upload("other")
    small.publish(PPA)
    check_archive(small)
    small.stop_agents()
    small.close()


def test_a_ppa_moves_between_public_and_private_with_all_its_files(scene: Scene) -> None:
    scene.both()
    root = scene.archive.root
    public, private = root / "public/demo/trunk", root / "private/demo/trunk"
    scene.archive.configure(PPA, private=True, by=ME)
    assert not public.exists()
    assert (private / f"pool/main/h/hello/hello_1.0-1_{ARCH}.deb").exists()
    check_archive(scene.archive)
    with pytest.raises(ArchiveError, match="would be public"):
        scene.archive.configure(PPA, private=False, by=ME)
    assert not public.exists()
    scene.archive.configure(PPA, private=False, consent=True, by=ME)
    assert not private.exists()
    scene.both(version="1.1-1")
    check_archive(scene.archive)


def test_a_deleted_ppa_is_gone_and_comes_back_empty_with_its_key_and_without_its_people(
    scene: Scene, signer: Signer, stranger: Signer
) -> None:
    scene.both()
    scene.upload(version="1.1-1")  # 1.0-1's binaries wait for its own
    scene.archive.publish(PPA)
    key = scene.archive.ppa(PPA).key_fingerprints
    secret = scene.archive.create_token(PPA, "reader", by=ME)
    scene.archive.delete_ppa(PPA, by=ME, why="moved")
    with pytest.raises(UnknownPPA, match="there is no local:demo/trunk here"):
        scene.archive.ppa(PPA)
    assert scene.archive.ppas() == ()
    assert not (scene.archive.root / "public/demo/trunk").exists()
    scene.archive.ensure_ppa(PPA, series=[SERIES], architectures=[ARCH], uploaders=[stranger.public], by=ME)
    assert scene.archive.ppa(PPA).key_fingerprints == key
    assert scene.held() == []
    assert scene.packages() == set()
    text = gzip.decompress(
        (scene.archive.public_directory(PPA) / f"dists/{SERIES}/main/binary-{ARCH}/Packages.gz").read_bytes()
    )
    assert text == b""
    assert scene.archive.ppa(PPA).used_bytes == 0
    with pytest.raises(UploadRefused, match="is not known here"):
        scene.upload(version="1.2-1")
    assert scene.archive.check_token(PPA, secret) is None
    scene.archive.ensure_ppa(PPA, uploaders=[signer.public])
    scene.both(version="1.2-1")
    assert [one.why for one in scene.archive.history(PPA) if one.what == "deleted"][:1] == ["moved"]
    check_archive(scene.archive)


def test_a_deleted_series_is_gone_and_comes_back_empty(scene: Scene) -> None:
    scene.archive.ensure_ppa(PPA, series=[LATER], architectures=[ARCH])
    scene.both()
    scene.upload(version="1.1-1")
    scene.archive.publish(PPA)
    scene.archive.delete_series(PPA, SERIES, by=ME)
    with pytest.raises(UnknownPPA, match=f"no series {SERIES}; it has {LATER}"):
        scene.upload(version="1.2-1")
    assert not (scene.archive.public_directory(PPA) / "dists" / SERIES).exists()
    scene.archive.ensure_ppa(PPA, series=[SERIES], architectures=[ARCH])
    assert scene.held() == []
    assert scene.packages() == set()
    with pytest.raises(UploadRefused, match="with other content"):
        scene.upload(content=b"other")
    scene.both(version="1.2-1")
    check_archive(scene.archive)
