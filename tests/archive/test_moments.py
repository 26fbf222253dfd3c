"""Snapshots, comparing moments, and going back: to what was held, whatever happened since."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ppa_tools.archives.errors import ArchiveError, ChangeRefused, UnknownPPA, UploadRefused
from ppa_tools.archives.local import Difference, LocalArchive, Outcome
from tests.archive.conftest import PPA, SERIES, Signer, architecture
from tests.archive.shelf import LATER, ME, Scene, Shelf
from tests.archive.soundness import check_archive
from tests.archive.upkeep import Clock

ARCH = architecture()


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"), signer)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scene(tmp_path: Path, clock: Clock, shelf: Shelf, signer: Signer) -> Iterator[Scene]:
    archive = LocalArchive(tmp_path / "archive", clock=clock)
    archive.ensure_ppa(PPA, series=[SERIES], architectures=[ARCH], uploaders=[signer.public], by=ME)
    pass_a_day(clock)
    yield Scene(archive, shelf)
    archive.publish_due()
    check_archive(archive)
    archive.stop_agents()
    archive.close()


def pass_a_day(clock: Clock) -> float:
    """Go on by a day; the moment before."""
    before = clock.now
    clock.days(1)
    return before


def test_a_snapshot_names_what_was_held_and_going_back_restores_it(scene: Scene, clock: Clock) -> None:
    scene.both()
    scene.both("beta")
    snapshot = scene.archive.snapshot(PPA, "monday", by=ME, why="before the move")
    assert scene.archive.snapshots(PPA) == (snapshot,)
    pass_a_day(clock)
    scene.both(version="1.1-1")
    scene.both("gamma")
    scene.delete("beta")
    assert scene.archive.diff(PPA, "monday") == (
        Difference(SERIES, "source", "beta", ("1.0-1",), ()),
        Difference(SERIES, "source", "gamma", (), ("1.0-1",)),
        Difference(SERIES, "source", "hello", ("1.0-1",), ("1.1-1",)),
        Difference(SERIES, ARCH, "beta", ("1.0-1",), ()),
        Difference(SERIES, ARCH, "gamma", (), ("1.0-1",)),
        Difference(SERIES, ARCH, "hello", ("1.0-1",), ("1.1-1",)),
    )
    done = scene.archive.roll_back(PPA, "monday", by=ME, why="broken")
    assert done == (
        Outcome(SERIES, "gamma", "1.0-1", "deleted", 1),
        Outcome(SERIES, "hello", "1.1-1", "deleted", 1),
        Outcome(SERIES, "beta", "1.0-1", "restored", 1),
        Outcome(SERIES, "hello", "1.0-1", "restored", 1),
    )
    assert scene.held() == [("beta", "1.0-1"), ("hello", "1.0-1")]
    assert scene.packages() == {(ARCH, "beta", "1.0-1"), (ARCH, "hello", "1.0-1")}
    assert scene.archive.diff(PPA, "monday") == ()
    assert scene.archive.changes(PPA)[-1].why == "rolled back to snapshot monday: broken"


def test_going_back_twice_changes_nothing_the_second_time(scene: Scene, clock: Clock) -> None:
    scene.both()
    scene.archive.snapshot(PPA, "monday", by=ME)
    scene.both(version="1.1-1")
    scene.archive.roll_back(PPA, "monday", by=ME)
    before = scene.everything()
    assert scene.archive.roll_back(PPA, "monday", by=ME) == ()
    assert scene.everything() == before


def test_going_back_can_be_gone_back_on(scene: Scene, clock: Clock) -> None:
    scene.both()
    scene.archive.snapshot(PPA, "old", by=ME)
    scene.both(version="1.1-1")
    new = pass_a_day(clock)
    scene.archive.roll_back(PPA, "old", by=ME)
    old = pass_a_day(clock)
    scene.archive.roll_back(PPA, new, by=ME)
    assert scene.packages() == {(ARCH, "hello", "1.1-1")}
    scene.archive.roll_back(PPA, old, by=ME)
    assert scene.packages() == {(ARCH, "hello", "1.0-1")}
    pass_a_day(clock)
    scene.archive.roll_back(PPA, new, by=ME)
    assert scene.held() == [("hello", "1.1-1")]


def test_a_moment_before_the_first_upload_is_an_empty_ppa(scene: Scene, clock: Clock) -> None:
    empty = pass_a_day(clock)
    scene.both()
    assert scene.archive.diff(PPA, 0.0, empty) == ()
    assert [one.what for one in scene.archive.roll_back(PPA, empty, by=ME)] == ["deleted"]
    assert scene.held() == []
    assert scene.packages() == set()


def test_two_moments_and_two_snapshots_may_be_compared_either_way(scene: Scene, clock: Clock) -> None:
    scene.both()
    scene.archive.snapshot(PPA, "first", by=ME)
    first = pass_a_day(clock)
    scene.upload(version="1.1-1")
    second = pass_a_day(clock)
    scene.archive.snapshot(PPA, "second", by=ME)
    forth = (Difference(SERIES, "source", "hello", ("1.0-1",), ("1.1-1",)),)
    back = (Difference(SERIES, "source", "hello", ("1.1-1",), ("1.0-1",)),)
    assert scene.archive.diff(PPA, "first", "second") == scene.archive.diff(PPA, first, second) == forth
    assert scene.archive.diff(PPA, "second", "first") == scene.archive.diff(PPA, second, first) == back
    assert scene.archive.diff(PPA, "first", "first") == ()


def test_what_comes_after_going_back_may_have_a_version_between(scene: Scene, clock: Clock) -> None:
    scene.both()
    scene.archive.snapshot(PPA, "good", by=ME)
    scene.both(version="1.2-1")
    scene.archive.roll_back(PPA, "good", by=ME)
    scene.both(version="1.1-1")
    assert scene.packages() == {(ARCH, "hello", "1.1-1")}
    with pytest.raises(UploadRefused, match="with other content"):
        scene.upload(version="1.2-1", content=b"other")


def test_binaries_come_and_go_with_the_moment(scene: Scene, clock: Clock) -> None:
    scene.both()
    scene.upload(version="1.1-1")
    unbuilt = pass_a_day(clock)
    scene.build(version="1.1-1")
    built = pass_a_day(clock)
    scene.archive.roll_back(PPA, unbuilt, by=ME)
    assert scene.held() == [("hello", "1.1-1")]
    assert scene.packages() == {(ARCH, "hello", "1.0-1")}
    pass_a_day(clock)
    assert not scene.build(version="1.1-1").already, "its build may come again"
    assert scene.packages() == {(ARCH, "hello", "1.1-1")}
    scene.archive.roll_back(PPA, unbuilt, by=ME)
    scene.archive.roll_back(PPA, built, by=ME)
    assert scene.packages() == {(ARCH, "hello", "1.1-1")}


def test_a_snapshot_keeps_its_files_and_without_it_they_are_told_as_lost(scene: Scene, clock: Clock) -> None:
    scene.both()
    scene.archive.snapshot(PPA, "kept", by=ME)
    moment = pass_a_day(clock)
    scene.delete("hello")
    clock.days(60)
    scene.archive.collect_garbage(dry_run=False)
    scene.archive.roll_back(PPA, "kept", by=ME)
    assert scene.packages() == {(ARCH, "hello", "1.0-1")}
    scene.both("other")
    scene.delete("hello")
    scene.archive.delete_snapshot(PPA, "kept")
    clock.days(60)
    scene.archive.collect_garbage(dry_run=False)
    before = scene.everything()
    with pytest.raises(ChangeRefused) as refused:
        scene.archive.roll_back(PPA, moment, by=ME)
    assert f"hello 1.0-1: hello_1.0-1_{ARCH}.deb is no longer kept" in refused.value.reasons
    assert scene.everything() == before
    with pytest.raises(ArchiveError, match="has no snapshot kept; it has none"):
        scene.archive.roll_back(PPA, "kept", by=ME)


def test_a_series_that_came_later_is_emptied_and_one_alone_may_go_back(scene: Scene, clock: Clock) -> None:
    scene.both()
    scene.archive.snapshot(PPA, "one", by=ME)
    scene.archive.ensure_ppa(PPA, series=[LATER], architectures=[ARCH], by=ME)
    scene.copy("hello", to=PPA, series=LATER)
    scene.both(version="1.1-1")
    scene.archive.roll_back(PPA, "one", series=SERIES, by=ME)
    assert scene.held(PPA, SERIES) == [("hello", "1.0-1")]
    assert scene.held(PPA, LATER) == [("hello", "1.0-1")]
    scene.archive.roll_back(PPA, "one", by=ME)
    assert scene.held(PPA, LATER) == []


def test_a_series_that_was_deleted_since_must_come_back_first(scene: Scene, clock: Clock) -> None:
    scene.archive.ensure_ppa(PPA, series=[LATER], architectures=[ARCH], by=ME)
    scene.both()
    scene.copy("hello", to=PPA, series=LATER)
    scene.archive.snapshot(PPA, "two", by=ME)
    moment = pass_a_day(clock)
    scene.both(version="1.1-1")
    scene.archive.delete_series(PPA, LATER, by=ME)
    before = scene.everything()
    for to in ("two", moment):
        with pytest.raises(ChangeRefused, match=f"series {LATER} was deleted since"):
            scene.archive.roll_back(PPA, to, by=ME)
    assert scene.everything() == before
    scene.archive.roll_back(PPA, "two", series=SERIES, by=ME)
    assert scene.held() == [("hello", "1.0-1")]
    scene.archive.ensure_ppa(PPA, series=[LATER], architectures=[ARCH], by=ME)
    assert scene.held(PPA, LATER) == []
    assert scene.packages(PPA, LATER) == set()
    scene.archive.roll_back(PPA, "two", by=ME)
    assert scene.held(PPA, LATER) == [("hello", "1.0-1")]


def test_names_of_snapshots_are_checked(scene: Scene) -> None:
    scene.archive.snapshot(PPA, "one", by=ME)
    with pytest.raises(ArchiveError, match="has a snapshot one already"):
        scene.archive.snapshot(PPA, "one", by=ME)
    with pytest.raises(ArchiveError, match="cannot name a snapshot"):
        scene.archive.snapshot(PPA, "../one", by=ME)
    with pytest.raises(ArchiveError, match="has no snapshot two; it has one"):
        scene.archive.diff(PPA, "two")
    with pytest.raises(UnknownPPA, match="no series sid"):
        scene.archive.roll_back(PPA, "one", series="sid", by=ME)
    scene.archive.delete_snapshot(PPA, "one")
    assert scene.archive.snapshots(PPA) == ()
