"""What tests of several rooms share: a cache of root file systems that is made once and kept."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from buildfarm.build.layers import collect_layers
from buildfarm.build.roots import get_root, native_architecture, read_host, spec_for
from buildfarm.settings import Settings

CACHE_VARIABLE = "BUILDFARM_TEST_CACHE"
LAYERS_AGE_S, LAYERS_BYTES = 7 * 86400.0, 8 << 30  # of a cache that nobody tidies: yards have new layers each time


@pytest.fixture(scope="session")
def host_series() -> str:
    """The series of the machine that runs the tests: its mirror is in reach."""
    return read_host().codename


@pytest.fixture(scope="session")
def root_cache(host_series: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache directory with the host series' root in it; set BUILDFARM_TEST_CACHE to keep it elsewhere."""
    cache = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "buildfarm-tests")
    nowhere = tmp_path_factory.getbasetemp()
    settings = Settings(root=nowhere, home=nowhere, recipes=nowhere)
    collect_layers(cache, max_age_s=LAYERS_AGE_S, max_bytes=LAYERS_BYTES, now=time.time())
    get_root(spec_for(settings, host_series, native_architecture()), cache, sys.__stderr__.buffer)
    return cache


@pytest.fixture
def farm_settings(tmp_path: Path, root_cache: Path) -> Settings:
    """Settings of a farm of its own below ``tmp_path``, which shares the cache of roots."""
    home = tmp_path / "farm"
    home.mkdir()
    (home / "cache").symlink_to(root_cache)
    return Settings(root=tmp_path, home=home, recipes=tmp_path / "recipes")
