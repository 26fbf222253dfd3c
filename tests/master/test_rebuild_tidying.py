"""What an hourly round removes of old nights, and what it must not."""

import os
import threading
import time

import pytest

from buildfarm.build.manifest import EnvironmentPackage, Manifest
from buildfarm.regress.local import alone_here
from buildfarm.regress.model import BuildReport, RebuildJob
from buildfarm.regress.nights import open_nights
from buildfarm.regress.places import Places
from buildfarm.regress.records import NightRules
from buildfarm.regress.tidying import tidy
from buildfarm.settings import load_settings

NOW = 1_800_000_000.0
OLD = NOW - 30 * 86400


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "farm.toml").write_text("[regression]\nkeep_nights = 2\n")
    (tmp_path / "var" / "cache" / "layers").mkdir(parents=True)
    return load_settings(tmp_path, {})


@pytest.fixture
def nights(settings):
    return open_nights(settings.regression_file)


@pytest.fixture
def places(settings):
    return Places(settings.regression_root, settings.cache)


def environment(places, name, made_at=OLD):
    """An environment of one package, whose file is there, too; returns its id and the file."""
    sha256 = name.encode().hex().ljust(64, "0")
    manifest = Manifest("bookworm", "amd64", (EnvironmentPackage(name, "1", "amd64", sha256=sha256),))
    path = places.manifest_path(manifest.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest.write(path)
    os.utime(path, (made_at, made_at))
    deb = places.store.path(sha256)
    deb.parent.mkdir(parents=True, exist_ok=True)
    deb.write_bytes(b"deb")
    os.utime(deb, (made_at, made_at))
    return manifest.id, path, deb


def a_night(nights, places, outcome, environment_id):
    """A night of one build, which has its directory; returns its number."""
    job = RebuildJob("nightly", "hello", "1.0", "bookworm", "amd64", ())
    rules = NightRules(confirm=False, culprit=False)
    night = nights.open_night("nightly", [job], driver="farm", reason="", rules=rules)
    ((_, _, due),) = nights.due("farm", night)
    build = nights.start(due)
    (places.build(build.id) / "sealed").mkdir(parents=True)
    (places.build(build.id) / "sealed").chmod(0)
    nights.end(build, BuildReport(outcome, "", environment=environment_id, fingerprint="f"), "worker-1")
    nights.end_nights()
    return build.id


def test_old_nights_go_but_never_the_last_pass_or_a_stranger_s(settings, nights, places):
    kept = {name: environment(places, name) for name in ("first", "second", "third", "fourth")}
    built = [
        a_night(nights, places, outcome, kept[name][0])
        for name, outcome in (("first", "pass"), ("second", "fail"), ("third", "fail"), ("fourth", "fail"))
    ]
    stranger = places.root / "builds" / "somebody-s"
    stranger.mkdir()
    young = environment(places, "young", made_at=NOW - 3600)
    assert tidy(settings, nights, NOW) == (built[1],)
    left = {path.name for path in (places.root / "builds").iterdir()}
    assert left == {str(built[0]), str(built[2]), str(built[3]), "somebody-s"}
    assert not kept["second"][1].exists()
    assert not kept["second"][2].exists()
    for name, (_, manifest, deb) in (kept | {"young": young}).items():
        assert name == "second" or (manifest.exists() and deb.exists())
    assert tidy(settings, nights, NOW) == ()


def test_environments_stay_while_anything_is_built(settings, nights, places):
    _, manifest, deb = environment(places, "old")
    job = RebuildJob("nightly", "hello", "1.0", "bookworm", "amd64", ())
    nights.open_night("nightly", [job], driver="farm", reason="", rules=NightRules())
    ((_, _, due),) = nights.due("farm")
    build = nights.start(due)
    tidy(settings, nights, NOW)
    assert manifest.exists()
    nights.return_to_queue(build)
    tidy(settings, nights, NOW)
    assert not manifest.exists()
    assert not deb.exists()


def test_what_a_killed_command_left_keeps_nothing(settings, nights, places):
    _, manifest, deb = environment(places, "old")
    job = RebuildJob("nightly", "hello", "1.0", "bookworm", "amd64", ())
    nights.open_night("nightly", [job], driver="here", reason="", rules=NightRules())
    ((_, _, due),) = nights.due("here")
    nights.start(due)
    with alone_here(settings):
        tidy(settings, nights, NOW)
        assert manifest.exists()
    tidy(settings, nights, NOW)
    assert not manifest.exists()
    assert not deb.exists()


def test_what_is_kept_while_the_old_are_looked_through_stays(settings, nights, places):
    long_ago = time.time() - 30 * 86400
    _, path, deb = environment(places, "wanted-again", made_at=long_ago)
    manifest = places.manifest(path.stem)
    path.unlink()
    slow = path.with_name("slow.json")
    os.mkfifo(slow)

    tidying = threading.Thread(target=tidy, args=(settings, nights, time.time()))
    tidying.start()
    with slow.open("wb"):  # opens when the tidying reads it
        places.keep(manifest)
    tidying.join()

    assert deb.exists()
    assert path.exists()


def test_what_others_hold_is_not_removed_before_they_have_asked_for_it(settings, nights, places):
    _, path, deb = environment(places, "old", made_at=time.time() - 30 * 86400)
    tidying = threading.Thread(target=tidy, args=(settings, nights, time.time()))
    with places.store.held():
        tidying.start()
        tidying.join(0.3)
        assert tidying.is_alive(), "it waits"
        path.touch()
        deb.touch()
    tidying.join()

    assert deb.exists()
    assert path.exists()


def test_a_farm_that_never_rebuilt_has_nothing_to_tidy(settings, nights):
    assert tidy(settings, nights, NOW) == ()


def test_packs_go_that_nobody_has_wanted_for_two_weeks(settings, nights, places):
    for name, age_days in (("old", 15), ("new", 13)):
        pack = places.packs / name
        pack.mkdir(parents=True)
        (pack / "hello_1.0.dsc").write_text("x")
        os.utime(pack, (NOW - age_days * 86400,) * 2)
    tidy(settings, nights, NOW)
    assert [path.name for path in places.packs.iterdir()] == ["new"]
