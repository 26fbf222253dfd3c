"""Roots and layers in the cache: made once, shared, never changed, collected when nobody needs them."""

from __future__ import annotations

import fcntl
import io
import os
import threading
import time
from pathlib import Path

import pytest

from buildfarm.build import roots
from buildfarm.build.debs import Deb
from buildfarm.build.environments import installed_layer_key, use_layers
from buildfarm.build.layers import (
    BOOT_ID,
    Layer,
    collect_layers,
    last_used_at,
    layer_in_use,
    layers_directory,
    list_layers,
)
from buildfarm.build.roots import (
    MAX_AGE_S,
    Root,
    RootSpec,
    get_root,
    list_roots,
    locked,
    read_root,
    roots_directory,
)
from buildfarm.errors import FarmTrouble
from buildfarm.files import write_json
from buildfarm.settings import Settings

DAY_S = 86400


@pytest.fixture
def root(farm_settings: Settings, host_series: str) -> Root:
    spec = roots.spec_for(farm_settings, host_series, roots.native_architecture())
    return get_root(spec, farm_settings.cache, io.BytesIO())


def test_a_root_tells_what_it_holds(root: Root) -> None:
    assert any(package.startswith("debhelper=") for package in root.packages)
    assert root.tarball.stat().st_size == root.size_bytes


def test_a_young_root_is_not_made_again(root: Root, farm_settings: Settings, host_series: str) -> None:
    again = roots.spec_for(farm_settings, host_series, roots.native_architecture())

    assert get_root(again, farm_settings.cache, io.BytesIO()).made_at == root.made_at


def test_whatever_decides_the_content_is_in_the_key(farm_settings: Settings, host_series: str) -> None:
    spec = roots.spec_for(farm_settings, host_series, "amd64")

    others = {
        RootSpec(spec.series, spec.architecture, spec.sources, ("extra",)).key,
        RootSpec(spec.series, "arm64", spec.sources).key,
        RootSpec("other", spec.architecture, spec.sources).key,
        RootSpec(spec.series, spec.architecture, type(spec.sources)("Types: deb\n")).key,
    }

    assert len(others | {spec.key}) == 5


def _fake_root(cache: Path, spec: RootSpec, made_at: float) -> Root:
    directory = roots_directory(cache)
    directory.mkdir(parents=True, exist_ok=True)
    tarball = directory / f"{spec.key}.tar"
    tarball.write_bytes(b"x")
    made = Root(spec.key, spec.series, spec.architecture, made_at, "0" * 64, 1, (), tarball)
    write_json(tarball.with_suffix(".json"), made.__dict__ | {"tarball": tarball.name, "packages": []})
    return made


def test_of_two_that_want_a_root_one_makes_it_and_the_other_waits(
    tmp_path: Path, farm_settings: Settings, host_series: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = roots.spec_for(farm_settings, host_series, roots.native_architecture())
    made: list[float] = []

    def make(spec: RootSpec, directory: Path, log: object) -> Root:
        made.append(time.time())
        time.sleep(0.3)
        return _fake_root(tmp_path, spec, time.time())

    monkeypatch.setattr(roots, "make_root", make)
    threads = [threading.Thread(target=get_root, args=(spec, tmp_path, io.BytesIO())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 1
    assert [root.key for root in list_roots(tmp_path)] == [spec.key]


def test_an_old_root_serves_on_when_the_mirror_fails_and_says_so(
    tmp_path: Path, farm_settings: Settings, host_series: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = roots.spec_for(farm_settings, host_series, roots.native_architecture())
    _fake_root(tmp_path, spec, time.time() - MAX_AGE_S - DAY_S)

    def fail(*_: object) -> Root:
        raise FarmTrouble("the mirror is away")

    monkeypatch.setattr(roots, "make_root", fail)

    assert get_root(spec, tmp_path, io.BytesIO()).note == (
        "the root is 8 days old: making it again failed (the mirror is away)"
    )


def test_old_roots_are_collected(tmp_path: Path, farm_settings: Settings, host_series: str) -> None:
    spec = roots.spec_for(farm_settings, host_series, roots.native_architecture())
    _fake_root(tmp_path, spec, time.time() - 10 * DAY_S)

    assert not roots.collect_roots(tmp_path, max_age_s=11 * DAY_S, now=time.time())
    assert len(roots.collect_roots(tmp_path, max_age_s=9 * DAY_S, now=time.time())) == 1
    assert read_root(roots_directory(tmp_path), spec.key) is None


def test_a_layers_key_is_the_exact_packages_in_any_order() -> None:
    one, other = Deb("x", "1", "all", "u", 1, "a" * 64), Deb("y", "1", "all", "u", 1, "b" * 64)
    rebuilt = Deb("x", "1", "all", "elsewhere", 1, "c" * 64)

    assert installed_layer_key("b", [one, other]) == installed_layer_key("b", [other, one])
    keys = {
        installed_layer_key("b", [one]),
        installed_layer_key("c", [one]),
        installed_layer_key("b", [rebuilt]),
        installed_layer_key("b", [one, other]),
        installed_layer_key("b", [one], ["z"]),
    }
    assert len(keys) == 5


def test_a_layer_once_made_is_used_as_it_is(root: Root, farm_settings: Settings) -> None:
    with use_layers(root, (), farm_settings.cache, io.BytesIO()):
        pass
    log = io.BytesIO()

    with use_layers(root, (), farm_settings.cache, log) as use:
        assert use.directories[0].is_dir()

    assert log.getvalue() == b""


def _use(cache: Path, key: str, made: list[str]) -> None:
    def make(making: Path) -> Layer:
        (making / "fs").mkdir()
        made.append(key)
        return Layer(key, "", (), "s", "a", time.time(), 10)

    with layer_in_use(layers_directory(cache), key, make) as place:
        assert (place / "fs").is_dir()


def _settled(cache: Path) -> Path:
    """What would mark layer "one" as unsettled, once it does not."""
    unsettled = layers_directory(cache) / "one" / "unsettled"
    deadline = time.monotonic() + 60
    while unsettled.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return unsettled


def test_a_layer_soon_lies_on_the_disk_for_certain(tmp_path: Path) -> None:
    made: list[str] = []
    _use(tmp_path, "one", made)

    _settled(tmp_path)
    _use(tmp_path, "one", made)

    assert made == ["one"]


@pytest.mark.parametrize("boot", ["another boot\n", ""])
def test_what_a_power_cut_may_have_left_half_written_is_made_again(tmp_path: Path, boot: str) -> None:
    made: list[str] = []
    _use(tmp_path, "one", made)
    _settled(tmp_path).write_text(boot)

    _use(tmp_path, "one", made)

    assert made == ["one", "one"]


def test_what_a_killed_maker_left_unsettled_is_settled_by_who_uses_it(tmp_path: Path) -> None:
    made: list[str] = []
    _use(tmp_path, "one", made)
    unsettled = _settled(tmp_path)
    unsettled.write_text(BOOT_ID.read_text())
    os.utime(unsettled, (1, 1))

    _use(tmp_path, "one", made)

    assert not unsettled.exists()
    assert made == ["one"]


def _fake_layer(cache: Path, key: str, below: str, size_bytes: int, used_at: float) -> None:
    place = layers_directory(cache) / key
    (place / "fs").mkdir(parents=True)
    layer = Layer(key, below, () if not below else ("x",), "s", "a", used_at, size_bytes)
    write_json(place / "layer.json", layer.__dict__)
    os.utime(place / "layer.json", (used_at, used_at))


def _keys(cache: Path) -> set[str]:
    return {layer.key for layer in list_layers(cache)}


def test_layers_are_collected_by_age_and_by_size_the_longest_unused_first(tmp_path: Path) -> None:
    now = 100 * DAY_S
    _fake_layer(tmp_path, "base", "", 10, now - 50)
    _fake_layer(tmp_path, "new", "base", 10, now - 40)
    _fake_layer(tmp_path, "middle", "base", 10, now - 60)
    _fake_layer(tmp_path, "old", "base", 10, now - 3 * DAY_S)

    assert {layer.key for layer in collect_layers(tmp_path, max_age_s=DAY_S, max_bytes=100, now=now)} == {"old"}
    collect_layers(tmp_path, max_age_s=DAY_S, max_bytes=20, now=now)
    assert _keys(tmp_path) == {"base", "new"}


def test_a_layer_below_one_that_stays_stays(tmp_path: Path) -> None:
    _fake_layer(tmp_path, "base", "", 10, 0)
    _fake_layer(tmp_path, "top", "base", 10, 1000)

    assert not collect_layers(tmp_path, max_age_s=500, max_bytes=100, now=1000)


def test_all_layers_below_one_that_stays_stay(tmp_path: Path) -> None:
    _fake_layer(tmp_path, "base", "", 10, 0)
    _fake_layer(tmp_path, "upgraded", "base", 10, 0)
    _fake_layer(tmp_path, "top", "upgraded", 10, 1000)

    assert not collect_layers(tmp_path, max_age_s=500, max_bytes=100, now=1000)
    assert len(collect_layers(tmp_path, max_age_s=1, max_bytes=0, now=2000)) == 3
    assert not _keys(tmp_path)


def test_a_layer_of_an_earlier_version_goes(tmp_path: Path) -> None:
    _fake_layer(tmp_path, "base", "", 10, 1000)
    write_json(layers_directory(tmp_path) / "old" / "layer.json", {"key": "old", "dependencies": []})

    collect_layers(tmp_path, max_age_s=500, max_bytes=100, now=1000)

    assert [path.name for path in layers_directory(tmp_path).iterdir() if path.is_dir()] == ["base"]


def test_a_layer_in_use_is_not_collected(tmp_path: Path) -> None:
    _fake_layer(tmp_path, "base", "", 10, 0)

    with locked(layers_directory(tmp_path) / "base.lock", shared=True):  # as use_layers holds it
        assert not collect_layers(tmp_path, max_age_s=1, max_bytes=0, now=1000)
        assert _keys(tmp_path) == {"base"}

    assert collect_layers(tmp_path, max_age_s=1, max_bytes=0, now=1000)
    assert _keys(tmp_path) == set()


def test_what_killed_makers_left_goes_a_day_later(tmp_path: Path) -> None:
    now = 100 * DAY_S
    for name, at in (("left", now - 2 * DAY_S), ("young", now - 60)):
        making = layers_directory(tmp_path) / ".making" / f"{name}-x"
        (making / "fs").mkdir(parents=True)
        os.utime(making, (at, at))

    collect_layers(tmp_path, max_age_s=500, max_bytes=100, now=now)

    assert [path.name for path in (layers_directory(tmp_path) / ".making").iterdir()] == ["young-x"]


def test_a_lock_that_went_with_its_layer_is_not_held_twice(tmp_path: Path) -> None:
    _fake_layer(tmp_path, "base", "", 10, 0)
    lock = layers_directory(tmp_path) / "base.lock"
    holders: list[int] = []
    most: list[int] = []

    def hold() -> None:
        with locked(lock):
            holders.append(1)
            most.append(len(holders))
            time.sleep(0.05)
            holders.pop()

    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = [threading.Thread(target=hold) for _ in range(3)]
        for thread in waiting:
            thread.start()
        lock.unlink()
        late = threading.Thread(target=hold)
        late.start()
    for thread in (*waiting, late):
        thread.join()

    assert max(most) == 1
    collect_layers(tmp_path, max_age_s=1, max_bytes=0, now=1000)
    assert not lock.exists(), "removed layers leave no locks"


def test_use_counts_for_age(root: Root, farm_settings: Settings) -> None:
    with use_layers(root, (), farm_settings.cache, io.BytesIO()) as use:
        pass

    layer = next(layer for layer in list_layers(farm_settings.cache) if layer.key == use.key)
    assert time.time() - last_used_at(farm_settings.cache, layer) < 60
