"""A workspace with a small Debian package in its tree; one whose source stage has passed, with a key to sign."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import source_package
from source_package import Package

from buildfarm.keys import ensure_upload_key
from buildfarm.settings import Settings


@pytest.fixture
def make_package(tmp_path: Path) -> Callable[[str], Package]:
    """Makes packages, each below a directory of its own name; all the same."""
    return lambda name: source_package.make_package(tmp_path / name, tmp_path / "farm")


@pytest.fixture
def package(make_package: Callable[[str], Package]) -> Package:
    return make_package("one")


@pytest.fixture(scope="session")
def key_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A farm's home with an upload key, made once."""
    home = tmp_path_factory.mktemp("farm")
    ensure_upload_key(Settings(home, home, home / "recipes"))
    return home


@pytest.fixture
def signing_package(package: Package, key_home: Path) -> Package:
    """A package whose source stage has passed, in a farm that has a key."""
    shutil.copytree(key_home / "keys", package.settings.keys, ignore=shutil.ignore_patterns("S.*"))
    assert package.run_up_to("source").verdict == "pass"
    return package
