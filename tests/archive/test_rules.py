"""Copying, deleting and superseding by Launchpad's rules: all that was asked for, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ppa_tools.address import Address
from ppa_tools.archives.errors import ArchiveError, ChangeRefused, UnknownPPA, UploadRefused
from ppa_tools.archives.local import LocalArchive, Outcome, Status
from tests.archive.conftest import PPA, SERIES, Signer, architecture, index_text
from tests.archive.shelf import LATER, ME, STABLE, Scene, Shelf, wanted

ARCH = architecture()
OTHER_ARCH = "riscv64"


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"), signer)


@pytest.fixture
def scene(archive: LocalArchive, shelf: Shelf, signer: Signer) -> Scene:
    archive.ensure_ppa(STABLE, series=[SERIES], architectures=[ARCH], uploaders=[signer.public])
    return Scene(archive, shelf)


# Copies that are made


def test_a_copy_takes_the_source_and_its_binaries(scene: Scene) -> None:
    scene.both()
    assert scene.copy("hello") == (Outcome(SERIES, "hello", "1.0-1", "copied", 1),)
    assert scene.held(STABLE) == [("hello", "1.0-1")]
    assert scene.packages(STABLE) == {(ARCH, "hello", "1.0-1")}
    one = scene.only("hello", "1.0-1", STABLE)
    assert one.built_on == (ARCH,)
    assert one.source.span.status is Status.PUBLISHED
    assert one.source.span.copied_from_id == scene.only("hello", "1.0-1").source.id
    assert one.source.span.created_by == ME
    assert one.source.span.why == f"copied from {PPA} {SERIES}"
    names = sorted(path.name for path in scene.archive.public_directory(STABLE).rglob("pool/main/h/hello/*"))
    assert names == [
        "hello_1.0-1.debian.tar.gz",
        "hello_1.0-1.dsc",
        f"hello_1.0-1_{ARCH}.deb",
        "hello_1.0.orig.tar.gz",
    ]


def test_a_copy_may_leave_the_binaries_behind_and_take_them_later(scene: Scene) -> None:
    scene.both()
    assert scene.copy("hello", binaries=False) == (Outcome(SERIES, "hello", "1.0-1", "copied", 0),)
    assert scene.packages(STABLE) == set()
    assert scene.only("hello", "1.0-1", STABLE).built_on == ()
    assert scene.copy("hello") == (Outcome(SERIES, "hello", "1.0-1", "copied", 1),)
    assert scene.packages(STABLE) == {(ARCH, "hello", "1.0-1")}
    assert scene.only("hello", "1.0-1", STABLE).built_on == (ARCH,)


def test_a_copy_again_is_already_there_and_changes_nothing(scene: Scene) -> None:
    scene.both()
    scene.copy("hello")
    before = scene.everything()
    assert scene.copy("hello") == (Outcome(SERIES, "hello", "1.0-1", "already there", 0),)
    assert scene.copy("hello", binaries=False) == (Outcome(SERIES, "hello", "1.0-1", "already there", 0),)
    assert scene.everything() == before


def test_a_copy_between_series_of_one_ppa_shares_its_files(scene: Scene) -> None:
    scene.archive.ensure_ppa(PPA, series=[LATER], architectures=[ARCH])
    scene.both()
    before = {path.name for path in (scene.archive.root / "blobs").rglob("*")}
    scene.copy("hello", to=PPA, series=LATER)
    assert scene.held(PPA, LATER) == [("hello", "1.0-1")]
    assert scene.packages(PPA, LATER) == {(ARCH, "hello", "1.0-1")}
    assert {path.name for path in (scene.archive.root / "blobs").rglob("*")} == before


def test_all_that_is_active_is_copied_in_one_change(scene: Scene) -> None:
    for name in ("alpha", "beta", "gamma"):
        scene.both(name)
    scene.both("alpha", "1.1-1")
    scene.delete("beta")
    done = scene.copy()
    assert [(one.source, one.version, one.what) for one in done] == [
        ("alpha", "1.1-1", "copied"),
        ("gamma", "1.0-1", "copied"),
    ]
    assert [one.what for one in scene.archive.changes(STABLE)] == ["create", "copy"]


def test_a_version_that_was_superseded_may_be_named(scene: Scene) -> None:
    scene.both()
    scene.both(version="1.1-1")
    assert scene.copy("hello=1.0-1") == (Outcome(SERIES, "hello", "1.0-1", "copied", 1),)
    assert scene.packages(STABLE) == {(ARCH, "hello", "1.0-1")}


def test_a_copy_supersedes_what_is_older_there(scene: Scene) -> None:
    scene.both()
    scene.copy("hello")
    scene.both(version="1.1-1")
    scene.copy("hello")
    assert scene.packages(STABLE) == {(ARCH, "hello", "1.1-1")}
    old, new = (scene.only("hello", version, STABLE) for version in ("1.0-1", "1.1-1"))
    assert old.source.span.status is Status.SUPERSEDED
    assert old.source.span.superseded_by_id == new.source.id
    assert [one.span.superseded_by_id for one in old.binaries] == [new.binaries[0].id]


def test_a_copy_without_binaries_leaves_the_older_ones_until_the_new_are_built(scene: Scene) -> None:
    scene.both()
    scene.copy("hello")
    scene.both(version="1.1-1")
    scene.copy("hello", binaries=False)
    assert scene.held(STABLE) == [("hello", "1.1-1")]
    assert scene.packages(STABLE) == {(ARCH, "hello", "1.0-1")}
    scene.build(version="1.1-1", to=STABLE, content="built again")
    assert scene.packages(STABLE) == {(ARCH, "hello", "1.1-1")}


def test_what_was_built_again_elsewhere_never_comes_back_under_its_old_names(scene: Scene) -> None:
    scene.both()
    scene.copy("hello", binaries=False)
    scene.build(to=STABLE, content="built again")
    before = scene.everything()
    with pytest.raises(UploadRefused, match="with other content"):
        scene.build(content="built again")
    with pytest.raises(ChangeRefused, match="with other content"):
        scene.copy("hello", source=STABLE, to=PPA)
    with pytest.raises(ChangeRefused, match="with other content"):
        scene.copy("hello")
    assert scene.everything() == before
    (first,) = scene.archive.root.glob(f"public/demo/trunk/pool/main/h/hello/*_{ARCH}.deb")
    scene.archive.publish(STABLE)
    (other,) = scene.archive.root.glob(f"public/demo/stable/pool/main/h/hello/*_{ARCH}.deb")
    assert other.read_bytes() != first.read_bytes()


def test_binaries_of_one_more_architecture_are_added_by_the_next_copy(scene: Scene) -> None:
    scene.both()
    for address in (PPA, STABLE):
        scene.archive.ensure_ppa(address, series=[SERIES], architectures=[OTHER_ARCH])
    with pytest.raises(ChangeRefused, match=f"not built yet on {OTHER_ARCH}"):
        scene.copy("hello")
    scene.copy("hello", binaries=False)
    scene.build(arch=OTHER_ARCH)
    assert scene.copy("hello") == (Outcome(SERIES, "hello", "1.0-1", "copied", 2),)
    assert scene.only("hello", "1.0-1", STABLE).built_on == (ARCH, OTHER_ARCH)


def test_packages_for_all_go_to_every_index_of_the_destination_and_foreign_ones_to_none(scene: Scene) -> None:
    scene.archive.ensure_ppa(PPA, series=[SERIES], architectures=["s390x"])
    scene.archive.ensure_ppa(STABLE, series=[SERIES], architectures=[OTHER_ARCH])
    packages = {"hello": ARCH, "hello-data": "all"}
    scene.upload(architectures=f"{ARCH} s390x all")
    scene.build(packages=packages)
    scene.build(arch="s390x", packages={"hello": "s390x"})
    scene.copy("hello")
    assert scene.packages(STABLE) == {
        (ARCH, "hello", "1.0-1"),
        (ARCH, "hello-data", "1.0-1"),
        (OTHER_ARCH, "hello-data", "1.0-1"),
    }


def test_a_copy_of_what_was_deleted_there_brings_it_back(scene: Scene) -> None:
    scene.both()
    scene.copy("hello")
    scene.delete("hello", address=STABLE)
    assert scene.copy("hello") == (Outcome(SERIES, "hello", "1.0-1", "copied", 1),)
    assert scene.packages(STABLE) == {(ARCH, "hello", "1.0-1")}


def test_private_goes_to_public_only_with_consent(scene: Scene) -> None:
    scene.archive.configure(PPA, private=True, by=ME)
    scene.both()
    before = scene.everything()
    with pytest.raises(ChangeRefused, match=r"private.*public.*consent"):
        scene.copy("hello")
    assert scene.everything() == before
    assert scene.copy("hello", consent=True)[0].what == "copied"
    assert (scene.archive.root / f"public/demo/stable/pool/main/h/hello/hello_1.0-1_{ARCH}.deb").exists()
    assert not (scene.archive.root / "public/demo/trunk").exists()
    scene.copy("hello", source=STABLE, to=PPA)  # the other way asks nothing


# Copies that are refused


def make_lower(scene: Scene) -> None:
    scene.both("bad", "1.1-1", to=STABLE)


def make_other_content(scene: Scene) -> None:
    scene.upload("bad", to=STABLE, content=b"other")


def make_other_content_deleted(scene: Scene) -> None:
    make_other_content(scene)
    scene.delete("bad", address=STABLE)


def make_other_binary(scene: Scene) -> None:
    scene.upload("bad", to=STABLE)
    scene.build("bad", to=STABLE, content="other")


def make_deleted(scene: Scene) -> None:
    scene.delete("bad")


def make_unbuilt(scene: Scene) -> None:
    scene.upload("bad", "1.2-1")


def make_taken_over(scene: Scene) -> None:
    """Another source has a higher version of the package."""
    scene.upload("takeover", "2.0-1", to=STABLE)
    scene.build("takeover", "2.0-1", to=STABLE, packages={"bad": ARCH})


REFUSALS: dict[str, tuple[Callable[[Scene], object], str, str]] = {
    "lower than what is active": (make_lower, "bad", "bad 1.0-1: 1.1-1 is there, which is newer"),
    "another source of this version": (make_other_content, "bad", "is or was there with other content"),
    "another that was deleted": (make_other_content_deleted, "bad", "is or was there with other content"),
    "another binary of this version": (make_other_binary, "bad", f"bad_1.0-1_{ARCH}.deb is or was there"),
    "deleted at its origin": (make_deleted, "bad", "bad: not there; there was 1.0-1"),
    "not built at all": (make_unbuilt, "bad", "bad 1.2-1: it has no binaries yet"),
    "a package of another source": (make_taken_over, "bad", "bad 1.0-1 is not newer than 2.0-1"),
    "an unknown name": (lambda _: None, "worse", "worse: not there"),
    "an unknown version": (lambda _: None, "bad=9", "bad 9: not there; there was 1.0-1"),
    "two versions of one": (lambda s: s.both("bad", "1.1-1"), "bad=1.0-1 bad=1.1-1", "asked for twice"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_copy_that_breaks_a_rule_is_refused_as_a_whole(scene: Scene, name: str) -> None:
    scene.both("good")
    scene.both("bad")
    prepare, words, reason = REFUSALS[name]
    prepare(scene)
    for address in (PPA, STABLE):
        scene.archive.publish(address)
    before = scene.everything()
    with pytest.raises(ChangeRefused) as refused:
        scene.copy("good", *words.split())
    assert reason in str(refused.value)
    assert len(refused.value.reasons) == 1
    assert "good" not in "".join(refused.value.reasons)
    assert scene.everything() == before
    assert scene.copy("good")[0].what == "copied"


def test_every_package_that_stands_in_the_way_is_named(scene: Scene) -> None:
    scene.both("lower")
    scene.both("lower", "1.1-1", to=STABLE)
    scene.upload("unbuilt")
    with pytest.raises(ChangeRefused) as refused:
        scene.copy()
    assert [reason.partition(":")[0] for reason in refused.value.reasons] == ["lower 1.0-1", "unbuilt 1.0-1"]
    assert str(refused.value).splitlines()[0] == f"nothing was copied to {STABLE}:"


def test_unknown_ppas_and_series_are_named(scene: Scene) -> None:
    with pytest.raises(UnknownPPA, match="no local:no/such"):
        scene.copy("hello", to=Address("local", "no", "such"))
    with pytest.raises(UnknownPPA, match="no series sid; it has bookworm"):
        scene.copy("hello", series="sid")
    with pytest.raises(UnknownPPA, match="no series sid"):
        scene.copy("hello", source_series="sid")


def test_a_quota_holds_for_copies_too(scene: Scene) -> None:
    scene.both()
    scene.archive.configure(STABLE, quota_bytes=100, by=ME)
    before = scene.everything()
    with pytest.raises(ChangeRefused, match="of the 100 that it may"):
        scene.copy("hello")
    assert scene.everything() == before
    scene.archive.configure(STABLE, quota_bytes=1 << 20, by=ME)
    scene.copy("hello")
    used = scene.archive.ppa(STABLE).used_bytes
    directory = scene.archive.public_directory(STABLE) / "pool"
    assert used == sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    assert used == scene.archive.ppa(PPA).used_bytes


# Several versions at once


@pytest.fixture
def two_versions(scene: Scene) -> Scene:
    for address in (PPA, STABLE):
        scene.archive.configure(address, versions=2, by=ME)
    return scene


def test_two_versions_stay_published_with_their_binaries_and_a_third_ends_the_oldest(two_versions: Scene) -> None:
    for version in ("1.0-1", "1.1-1"):
        two_versions.both(version=version)
    assert two_versions.held() == [("hello", "1.0-1"), ("hello", "1.1-1")]
    assert two_versions.packages() == {(ARCH, "hello", "1.0-1"), (ARCH, "hello", "1.1-1")}
    text = index_text(two_versions.archive, f"binary-{ARCH}/Packages")
    assert [line for line in text.splitlines() if line.startswith("Version:")] == [
        "Version: 1.0-1",
        "Version: 1.1-1",
    ]
    two_versions.both(version="1.2-1")
    assert two_versions.held() == [("hello", "1.1-1"), ("hello", "1.2-1")]
    assert two_versions.packages() == {(ARCH, "hello", "1.1-1"), (ARCH, "hello", "1.2-1")}


def test_two_versions_are_copied_one_after_the_other_and_both_are_already_there_then(two_versions: Scene) -> None:
    for version in ("1.0-1", "1.1-1"):
        two_versions.both(version=version)
        two_versions.copy(f"hello={version}", binaries=False)
    for version in ("1.0-1", "1.1-1", "1.0-1"):
        two_versions.copy(f"hello={version}")
    assert two_versions.held(STABLE) == [("hello", "1.0-1"), ("hello", "1.1-1")]
    assert two_versions.packages(STABLE) == {(ARCH, "hello", "1.0-1"), (ARCH, "hello", "1.1-1")}
    assert two_versions.copy("hello=1.0-1")[0].what == "already there"


def test_one_of_two_versions_may_be_deleted(two_versions: Scene) -> None:
    for version in ("1.0-1", "1.1-1"):
        two_versions.both(version=version)
    assert two_versions.delete("hello=1.1-1") == (Outcome(SERIES, "hello", "1.1-1", "deleted", 1),)
    assert two_versions.held() == [("hello", "1.0-1")]
    assert two_versions.packages() == {(ARCH, "hello", "1.0-1")}
    two_versions.both(version="1.2-1")
    assert [one.version for one in two_versions.archive.listing(PPA)] == ["1.0-1", "1.2-1"]
    assert [one.what for one in two_versions.delete("hello")] == ["deleted", "deleted"]


# Deleting and superseding


def test_deleting_takes_the_binaries_along_and_says_who_and_why(scene: Scene) -> None:
    scene.both()
    assert scene.archive.delete(PPA, SERIES, [wanted("hello")], by=ME, why="broken") == (
        Outcome(SERIES, "hello", "1.0-1", "deleted", 1),
    )
    assert scene.held() == []
    assert scene.packages() == set()
    assert index_text(scene.archive, f"binary-{ARCH}/Packages") == ""
    assert index_text(scene.archive, "source/Sources") == ""
    ended = [one for one in scene.archive.history(PPA) if one.what == "deleted"]
    assert {(one.kind, one.who, one.why) for one in ended} == {("source", ME, "broken"), ("binary", ME, "broken")}
    assert [(one.what, one.by, one.why) for one in scene.archive.changes(PPA)][-1] == ("delete", ME, "broken")


def test_superseding_by_hand_ends_a_package_until_a_higher_version_comes(scene: Scene) -> None:
    scene.upload()
    assert scene.archive.supersede(PPA, SERIES, [wanted("hello")], by=ME, why="no more")[0].what == "superseded"
    assert scene.only("hello", "1.0-1").source.span.status is Status.SUPERSEDED
    with pytest.raises(UploadRefused, match="it was superseded"):
        scene.build()
    assert scene.upload(signed="anew").already
    assert scene.held() == []
    scene.both(version="1.1-1")
    assert scene.packages() == {(ARCH, "hello", "1.1-1")}


def test_older_binaries_go_with_the_source_that_was_to_replace_them(scene: Scene) -> None:
    scene.both()
    scene.upload(version="1.1-1")
    assert scene.packages() == {(ARCH, "hello", "1.0-1")}
    assert scene.delete("hello") == (
        Outcome(SERIES, "hello", "1.0-1", "deleted", 1),
        Outcome(SERIES, "hello", "1.1-1", "deleted", 0),
    )
    assert scene.packages() == set()


@pytest.mark.parametrize("words", ["worse", "hello=9"])
def test_what_is_not_there_cannot_be_deleted_and_nothing_else_is(scene: Scene, words: str) -> None:
    scene.both()
    before = scene.everything()
    with pytest.raises(ChangeRefused, match="is not published"):
        scene.delete("hello", words)
    assert scene.everything() == before


def test_after_a_deletion_a_lower_version_may_come_by_upload_and_by_copy(scene: Scene) -> None:
    for address in (PPA, STABLE):
        scene.both(version="1.1-1", to=address)
        scene.delete("hello", address=address)
    scene.both()
    assert scene.packages() == {(ARCH, "hello", "1.0-1")}
    scene.copy("hello")
    assert scene.packages(STABLE) == {(ARCH, "hello", "1.0-1")}


def test_a_deleted_source_comes_back_signed_anew_and_its_build_may_be_sent_again(scene: Scene) -> None:
    scene.both()
    scene.delete("hello")
    before = scene.everything()
    assert scene.upload().already, "who replays an old upload may be anybody"
    assert scene.build().already
    assert scene.everything() == before
    assert not scene.upload(signed="anew").already
    assert scene.held() == [("hello", "1.0-1")]
    assert scene.packages() == set()
    with pytest.raises(UploadRefused, match="with other content"):
        scene.build(content="other")
    assert not scene.build().already
    assert scene.packages() == {(ARCH, "hello", "1.0-1")}
    assert scene.build().already


def test_binaries_do_not_come_to_a_source_that_was_deleted(scene: Scene) -> None:
    scene.upload()
    scene.delete("hello")
    before = scene.everything()
    with pytest.raises(UploadRefused, match="no longer published in bookworm of local:demo/trunk: it was deleted"):
        scene.build()
    assert scene.everything() == before


def test_binaries_never_stand_alone_when_all_of_their_source_is_gone(scene: Scene) -> None:
    scene.upload()
    scene.upload(version="1.1-1")
    scene.build(version="1.1-1")
    assert scene.build().notes, "1.0-1's come late, and are kept"
    scene.delete("hello")
    before = scene.everything()
    assert scene.build().already
    with pytest.raises(UploadRefused, match="no longer published"):
        scene.build(packages={"hello-more": ARCH})
    assert scene.everything() == before


def test_a_source_that_was_superseded_and_then_deleted_comes_back_signed_anew(scene: Scene) -> None:
    scene.both()
    scene.both(version="1.1-1")
    assert scene.upload(signed="anew").already, "superseded: nothing lower comes back"
    scene.delete("hello")
    scene.copy("hello=1.0-1", to=PPA)
    assert scene.packages() == {(ARCH, "hello", "1.0-1")}
    scene.delete("hello")
    assert not scene.upload(signed="once more").already, "its last end was a deletion"
    assert scene.held() == [("hello", "1.0-1")]


def test_a_name_stands_for_its_bytes_for_ever(scene: Scene) -> None:
    scene.both()
    scene.delete("hello")
    with pytest.raises(UploadRefused, match="with other content"):
        scene.upload(content=b"other")
    scene.archive.delete_ppa(PPA, by=ME)
    scene.archive.ensure_ppa(PPA, series=[SERIES], architectures=[ARCH], uploaders=[scene.shelf.signer.public])
    with pytest.raises(UploadRefused, match="with other content"):
        scene.upload(content=b"other")
    scene.upload(signed="anew")
    with pytest.raises(UploadRefused, match="with other content"):
        scene.build(content="other")


def test_an_orig_tarball_that_was_left_out_is_taken_from_what_was_deleted(scene: Scene, tmp_path: Path) -> None:
    scene.upload()
    scene.delete("hello")
    scene.upload(version="1.0-2", with_orig=False)
    scene.archive.publish(PPA)
    assert (scene.archive.public_directory(PPA) / "pool/main/h/hello/hello_1.0.orig.tar.gz").exists()


def test_an_operation_needs_a_ppa_that_is_there(scene: Scene) -> None:
    nobody = Address("local", "no", "such")
    for attempt in (
        lambda: scene.delete("hello", address=nobody),
        lambda: scene.archive.snapshot(nobody, "s", by=ME),
        lambda: scene.archive.roll_back(nobody, 0.0, by=ME),
        lambda: scene.archive.diff(nobody, 0.0),
        lambda: scene.archive.publish(nobody),
    ):
        with pytest.raises(ArchiveError, match="there is no local:no/such here"):
            attempt()
