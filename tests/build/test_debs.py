"""Binary packages are kept by their content: whole, once, and as long as somebody asks for them."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from buildfarm.build.collecting import collect_environments
from buildfarm.build.debs import Deb, DebStore, Missing, link_or_copy
from buildfarm.build.environments import deb_cache
from buildfarm.build.manifest import EnvironmentPackage, Manifest
from buildfarm.regress.places import Places

CONTENT = b"a package's file"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
DEB = Deb("hello", "1.0", "all", "", len(CONTENT), SHA256)
MONTH_S = 31 * 86400.0


def put(store: DebStore, content: bytes = CONTENT) -> Path:
    path = store.path(SHA256)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_file_that_a_crash_cut_off_is_had_anew(tmp_path: Path) -> None:
    cut, whole = DebStore(tmp_path / "cut"), DebStore(tmp_path / "whole")
    put(cut, b"")
    put(whole)
    store = DebStore(tmp_path / "cut", others=[whole])

    store.fetch([DEB])

    assert store.path(SHA256).read_bytes() == CONTENT
    put(cut, b"")
    with pytest.raises(Missing):
        cut.fetch([DEB])


def test_what_nobody_asked_for_in_long_goes(tmp_path: Path) -> None:
    cache = deb_cache(tmp_path)
    path = put(cache)
    left = cache.directory / ".new-of-a-killed-download"
    left.touch()
    for one in (path, left):
        os.utime(one, (0, 0))
    cache.fetch([DEB])

    collect_environments(tmp_path, max_age_s=60, max_bytes=0, now=time.time())
    assert path.exists(), "asked for a moment ago"
    assert not left.exists()

    collect_environments(tmp_path, max_age_s=60, max_bytes=0, now=time.time() + MONTH_S)
    assert not path.exists()


def test_a_file_that_is_brought_again_is_as_young_as_a_new_one(tmp_path: Path) -> None:
    store, other = DebStore(tmp_path / "here"), DebStore(tmp_path / "brought")
    for one in (store, other):
        os.utime(put(one), (0, 0))

    link_or_copy(other.path(SHA256), store.path(SHA256))
    store.forget_unused(time.time() - 60)

    assert store.path(SHA256).exists()


def test_what_was_resolved_long_ago_goes(tmp_path: Path) -> None:
    for name in ("resolved/old.json", "environments/old.json", "resolved/new.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("[]")
        if "old" in name:
            os.utime(tmp_path / name, (0, 0))

    collect_environments(tmp_path, max_age_s=60, max_bytes=0, now=time.time())

    assert [path.name for path in tmp_path.glob("*/*.json")] == ["new.json"]


def test_an_environment_is_on_record_though_a_file_of_it_is_gone(tmp_path: Path) -> None:
    places = Places(tmp_path / "regression", tmp_path / "cache")
    gone = EnvironmentPackage("gone", "1.0", "all", sha256="0" * 64, size_bytes=1)
    manifest = Manifest("bookworm", "amd64", (gone,))

    with pytest.raises(Missing):
        places.keep(manifest)

    assert places.manifest(manifest.id) == manifest
