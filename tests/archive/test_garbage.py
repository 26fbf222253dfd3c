"""Garbage collection: what goes, when, and that nothing goes which anybody needs."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppa_tools.archives import garbage
from ppa_tools.archives.errors import ChangeRefused, UploadRefused
from ppa_tools.archives.local import GarbageReport
from tests.archive.conftest import PPA, SERIES, Apt, Signer, changes_text, make_source
from tests.archive.shelf import ME, STABLE, Scene, Shelf
from tests.archive.upkeep import ARCH, Clock, files_below, open_scene

DEB = f"hello_1.0-1_{ARCH}.deb"
SOURCES = {"hello_1.0-1.dsc", "hello_1.0-1.debian.tar.gz", "hello_1.0.orig.tar.gz"}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"), signer)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scene(tmp_path: Path, shelf: Shelf, signer: Signer, clock: Clock) -> Iterator[Scene]:
    yield from open_scene(tmp_path / "archive", shelf, signer, clock)


def collect(scene: Scene) -> GarbageReport:
    """Collect, once a dry run has told the same."""
    foretold = scene.archive.collect_garbage(dry_run=True)
    done = scene.archive.collect_garbage(dry_run=False)
    assert foretold.dry_run
    assert not done.dry_run
    assert (foretold.ppas, foretold.files, foretold.freed_bytes, foretold.leftovers) == (
        *(done.ppas, done.files, done.freed_bytes, done.leftovers),
    )
    return done


def served(scene: Scene, address: object = PPA) -> set[str]:
    directory = scene.archive.public_directory(address)  # type: ignore[arg-type]
    return {Path(name).name for name in files_below(directory / "pool")}


def blobs(scene: Scene) -> set[str]:
    return {Path(name).name for name in files_below(scene.archive.root / "blobs")}


def names_collected(report: GarbageReport) -> dict[str, set[str]]:
    return {str(one.address): set(one.names) for one in report.ppas}


def sent_again(scene: Scene, signer: Signer, directory: Path) -> Path:
    """The same source in another upload: the path of its .changes."""
    first = scene.shelf.source(series=SERIES)
    shutil.copytree(first.parent, directory)
    names = sorted(SOURCES)
    text = changes_text(directory, names, source="hello", version="1.0-1").replace("01 Jan", "02 Jan")
    (directory / first.name).write_bytes(signer.sign(text))
    return directory / first.name


# What goes, and when


def test_nothing_goes_from_an_archive_that_needs_all_it_has(scene: Scene) -> None:
    scene.both()
    report = collect(scene)
    assert (report.ppas, report.files, report.freed_bytes, report.leftovers) == ((), 0, 0, ())
    assert served(scene) == {DEB, *SOURCES}


def test_what_is_superseded_goes_after_its_days_and_not_before(scene: Scene, clock: Clock) -> None:
    scene.both()
    scene.both(version="1.1-1")
    clock.days(6.9)
    assert collect(scene).ppas == ()
    assert {DEB, *SOURCES} <= served(scene)
    clock.days(0.2)
    report = collect(scene)
    assert names_collected(report) == {str(PPA): {DEB, *SOURCES}}
    assert served(scene) == {name.replace("1.0", "1.1") for name in {DEB, *SOURCES}}
    assert report.ppas[0].size_bytes < report.freed_bytes  # the .changes and the like go, too
    assert collect(scene).ppas == ()


def test_a_ppa_keeps_what_ended_as_long_as_it_is_configured_to(scene: Scene, clock: Clock) -> None:
    scene.archive.configure(PPA, keep_ended_s=60.0, by=ME)
    scene.both()
    scene.delete("hello")
    clock.now += 59
    assert collect(scene).ppas == ()
    clock.now += 2
    assert names_collected(collect(scene)) == {str(PPA): {DEB, *SOURCES}}
    assert blobs(scene) == set()


def test_room_is_made_for_the_quota_and_the_history_stays(scene: Scene, clock: Clock) -> None:
    scene.both()
    before = scene.archive.history(PPA)
    scene.delete("hello")
    assert scene.archive.ppa(PPA).used_bytes > 0
    clock.days(8)
    collect(scene)
    assert scene.archive.ppa(PPA).used_bytes == 0
    assert set(before) < set(scene.archive.history(PPA))


def test_empty_directories_go_with_their_last_file(scene: Scene, clock: Clock) -> None:
    scene.both()
    scene.delete("hello")
    clock.days(8)
    collect(scene)
    assert not (scene.archive.public_directory(PPA) / "pool").exists()


# What stays


def test_an_orig_tarball_that_an_active_version_shares_stays(scene: Scene, clock: Clock) -> None:
    scene.upload(version="1.0-1")
    scene.upload(version="1.0-2", with_orig=False)
    scene.archive.publish(PPA)
    clock.days(8)
    assert names_collected(collect(scene)) == {str(PPA): {"hello_1.0-1.dsc", "hello_1.0-1.debian.tar.gz"}}
    assert "hello_1.0.orig.tar.gz" in served(scene)


def test_a_source_stays_as_long_as_its_binaries_are_published(scene: Scene, clock: Clock) -> None:
    scene.both(version="1.0-1")
    scene.upload(version="1.1-1")  # and its build is late
    scene.archive.publish(PPA)
    clock.days(30)
    assert collect(scene).ppas == ()
    scene.build(version="1.1-1")
    scene.archive.publish(PPA)
    clock.days(8)
    assert names_collected(collect(scene)) == {str(PPA): {DEB, *SOURCES}}


def test_a_snapshot_keeps_what_it_holds_until_it_is_forgotten(scene: Scene, clock: Clock) -> None:
    scene.both()
    scene.archive.snapshot(PPA, "good", by=ME)
    scene.both(version="1.1-1")
    clock.days(100)
    assert collect(scene).ppas == ()
    scene.archive.roll_back(PPA, "good", by=ME)
    assert served(scene) >= {DEB, *SOURCES}
    scene.both(version="1.2-1")
    scene.archive.delete_snapshot(PPA, "good")
    clock.days(100)
    assert names_collected(collect(scene))[str(PPA)] >= {DEB, *SOURCES}


def test_a_file_of_two_ppas_stays_until_both_have_let_go(scene: Scene, clock: Clock) -> None:
    scene.both()
    scene.copy("hello")
    scene.delete("hello")
    clock.days(8)
    report = collect(scene)
    assert names_collected(report) == {str(PPA): {DEB, *SOURCES}}
    assert (report.files, report.freed_bytes) == (0, 0)
    assert served(scene) == set()
    assert served(scene, STABLE) == {DEB, *SOURCES}
    scene.delete("hello", address=STABLE)
    clock.days(8)
    report = collect(scene)
    assert names_collected(report) == {str(STABLE): {DEB, *SOURCES}}
    assert report.freed_bytes > report.ppas[0].size_bytes
    assert blobs(scene) == set()


def test_what_the_indexes_still_name_stays_whatever_its_age(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.both()
    monkeypatch.setattr(scene.archive, "publish", lambda address: ())  # as after a crash
    scene.delete("hello")
    clock.days(8)
    assert collect(scene).ppas == ()
    monkeypatch.undo()
    scene.archive.publish_due()
    assert names_collected(collect(scene)) == {str(PPA): {DEB, *SOURCES}}


def test_what_comes_before_it_is_published_stays(scene: Scene, clock: Clock) -> None:
    scene.upload()
    clock.days(30)
    assert collect(scene).files == 0
    scene.archive.publish(PPA)
    assert served(scene) == SOURCES


# What is deleted as a whole


def test_a_deleted_ppa_can_come_back_for_its_days_and_then_its_files_go(scene: Scene, clock: Clock) -> None:
    scene.both()
    scene.archive.snapshot(PPA, "good", by=ME)
    scene.archive.delete_ppa(PPA, by=ME)
    clock.days(6)
    assert collect(scene).files == 0
    clock.days(2)
    report = collect(scene)
    assert report.files == len({DEB, *SOURCES}) + 2  # and a .changes of each
    assert blobs(scene) == set()


def test_a_deleted_series_keeps_its_files_for_the_same_days(scene: Scene, clock: Clock) -> None:
    scene.both()
    scene.archive.delete_series(PPA, SERIES, by=ME)
    clock.days(6)
    assert collect(scene).ppas == ()
    clock.days(2)
    assert names_collected(collect(scene)) == {str(PPA): {DEB, *SOURCES}}


# What was collected and comes again


def test_what_was_collected_may_come_again_with_the_same_bytes_and_not_with_others(
    scene: Scene, clock: Clock, signer: Signer, tmp_path: Path
) -> None:
    scene.both()
    scene.delete("hello")
    clock.days(8)
    collect(scene)
    other = make_source(tmp_path / "other", signer, content=b"other\n")
    with pytest.raises(UploadRefused, match="other content"):
        scene.archive.accept_source(PPA, SERIES, other.parent, other.name)
    again = sent_again(scene, signer, tmp_path / "again")
    assert not scene.archive.accept_source(PPA, SERIES, again.parent, again.name).already
    scene.archive.publish(PPA)
    assert served(scene) == SOURCES
    assert collect(scene).files == 0


def test_what_was_collected_cannot_be_copied_or_brought_back(scene: Scene, clock: Clock) -> None:
    scene.both()
    then = clock.now
    clock.days(1)
    scene.delete("hello")
    clock.days(8)
    collect(scene)
    with pytest.raises(ChangeRefused, match="no longer kept"):
        scene.copy("hello=1.0-1")
    with pytest.raises(ChangeRefused, match="no longer kept"):
        scene.archive.roll_back(PPA, then, by=ME)


# Crashes, and others at work


def test_killed_before_anything_was_unlinked_it_goes_the_next_time(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.both()
    scene.delete("hello")
    clock.days(8)
    for name in ("_remove_links", "_remove_blobs"):
        monkeypatch.setattr(garbage, name, lambda *_: None)
    scene.archive.collect_garbage(dry_run=False)
    assert served(scene) == {DEB, *SOURCES}
    monkeypatch.undo()
    report = collect(scene)
    assert {str(one.kind) for one in report.leftovers} == {"link", "blob"}
    assert served(scene) == blobs(scene) == set()
    assert collect(scene).leftovers == ()


@pytest.mark.parametrize("publishes_meanwhile", [False, True])
@pytest.mark.parametrize("moment", ["_mark_names", "_mark_files", "_remove_links", "_remove_blobs"])
def test_what_is_brought_back_while_garbage_is_collected_stays(
    scene: Scene,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    signer: Signer,
    tmp_path: Path,
    *,
    moment: str,
    publishes_meanwhile: bool,
) -> None:
    scene.both()
    scene.delete("hello")
    clock.days(8)
    again = sent_again(scene, signer, tmp_path / "again")
    go_on: Callable[..., object] = getattr(garbage, moment)
    came = []

    def meanwhile(*words: object) -> object:
        if not came:
            came.append(scene.archive.accept_source(PPA, SERIES, again.parent, again.name))
            if publishes_meanwhile:
                scene.archive.publish(PPA)
        return go_on(*words)

    monkeypatch.setattr(garbage, moment, meanwhile)
    scene.archive.collect_garbage(dry_run=False)
    scene.archive.publish(PPA)
    assert served(scene) == SOURCES
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in again.parent.iterdir()} <= blobs(scene)


def test_leftovers_go_once_nobody_can_be_at_work_on_them(scene: Scene, clock: Clock) -> None:
    scene.both()
    root = scene.archive.root
    stray = b"a crash came before the transaction ended"
    sha256 = hashlib.sha256(stray).hexdigest()
    left = (
        root / "blobs" / sha256[:2] / sha256,
        root / "public/demo/trunk/dists" / SERIES / "main/source/by-hash/SHA256/.new-x",
        root / "public/demo/trunk/dists/gone/InRelease",
        root / "index-blocks/demo/trunk/gone/source/table",
        root / "incoming/.copy-x/file",
    )
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stray)
    young = {str(one.path) for one in collect(scene).leftovers}
    assert young == {"public/demo/trunk/dists/gone", "index-blocks/demo/trunk/gone"}  # the history says so
    clock.days(1.1)
    collect(scene)
    assert not [path for path in left if path.exists()]
    assert served(scene) == {DEB, *SOURCES}


def test_superseded_indexes_go_after_their_hour_though_nothing_is_published(scene: Scene, clock: Clock) -> None:
    scene.both()
    scene.both(version="1.1-1")
    by_hash = scene.archive.public_directory(PPA) / f"dists/{SERIES}/main/source/by-hash/SHA256"
    assert len(list(by_hash.iterdir())) > 1
    clock.now += 3700
    collect(scene)
    assert len(list(by_hash.iterdir())) == 1


def test_apt_goes_on_after_a_collection(scene: Scene, clock: Clock, tmp_path: Path) -> None:
    scene.both()
    scene.both(version="1.1-1")
    clock.days(8)
    collect(scene)
    text = scene.archive.sources_text(PPA, SERIES)
    apt = Apt(
        tmp_path / "apt",
        text.replace("http://archive.example/demo/trunk", f"copy:{scene.archive.public_directory(PPA)}"),
    )
    apt.run("update")
    apt.run("install", "--download-only", "hello")
    apt.run("source", "--download-only", "hello")


# Any history


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_happened_all_that_is_published_stays_and_nothing_else_after_its_time(
    data: st.DataObject,
    shelf: Shelf,
    signer: Signer,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    clock = Clock()
    for scene in open_scene(tmp_path_factory.mktemp("any") / "archive", shelf, signer, clock):
        versions = iter(range(1, 10))
        for _ in range(data.draw(st.integers(1, 6))):
            step = data.draw(st.sampled_from(["upload", "build", "copy", "delete", "snapshot", "wait", "collect"]))
            _do(scene, clock, step, versions)
        clock.days(8)
        collect(scene)
        for address in (PPA, STABLE):
            wanted = set()
            for one in scene.archive.publications(address, active=True):
                wanted.add(f"hello_{one.source.version}.dsc")
                wanted |= {f"hello_{row.version}_{ARCH}.deb" for row in one.binaries if row.span.ended_at is None}
            there = {name for name in served(scene, address) if name.endswith((".dsc", ".deb"))}
            assert wanted <= there
            if not scene.archive.snapshots(address):
                ours = {row.version for one in scene.archive.publications(address) for row in one.binaries
                        if row.span.ended_at is None}  # fmt: skip
                assert there == wanted | {f"hello_{version}.dsc" for version in ours}
        assert collect(scene).files == 0


def _do(scene: Scene, clock: Clock, step: str, versions: Iterator[int]) -> None:
    held = scene.held()
    if step == "upload":
        scene.upload(version=f"1.{next(versions)}-1")
        scene.archive.publish(PPA)
    elif step == "build" and held:
        scene.build(version=held[-1][1])
        scene.archive.publish(PPA)
    elif step == "copy" and held:
        scene.copy("hello", binaries=False)
    elif step == "delete" and held:
        scene.delete("hello")
    elif step == "snapshot" and not scene.archive.snapshots(PPA):
        scene.archive.snapshot(PPA, "one", by=ME)
    elif step == "wait":
        clock.days(4)
    elif step == "collect":
        collect(scene)
