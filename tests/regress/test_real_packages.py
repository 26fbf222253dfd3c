"""Debian's own packages, rebuilt for real with their test suites, by the command as people give it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from buildfarm.build.apt_sources import read_host
from buildfarm.settings import Settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(read_host().codename not in ("bookworm", "trixie"), reason="these are Debian's packages"),
]

PACKAGES = ("chrony", "hello", "libtry-tiny-perl", "lmdb", "sed")
WITH_COUNTED_TESTS = ("hello", "libtry-tiny-perl", "sed")


def cli(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "buildfarm", "--home", str(settings.home), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=2400,
        env=os.environ | {"BUILDFARM_ROOT": str(settings.root)},
    )


@pytest.mark.timeout(3000)
def test_a_night_over_real_packages_and_the_next(farm_settings: Settings) -> None:
    (farm_settings.root / "recipes").mkdir()
    names = ", ".join(PACKAGES)
    (farm_settings.root / "recipes" / "regression.yaml").write_text(
        f"sets:\n  nightly:\n    packages: [{names}]\n    options: [parallel=2]\n    control: hello\n"
    )
    for night in (1, 2):
        done = cli(farm_settings, "rebuild", "nightly")
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"

        said = cli(farm_settings, "rebuild", "report", "--since", str(night), "--format", "json")
        rebuilds = json.loads(said.stdout)["nights"][0]["rebuilds"]
        assert {one["package"]: one["verdict"] for one in rebuilds} == dict.fromkeys(PACKAGES, "still passing")
        tests = {one["package"]: one["tests"] for one in rebuilds}
        for package in WITH_COUNTED_TESTS:
            assert tests[package]["passed"] > 0, package
            assert tests[package]["failed"] == 0, package


@pytest.mark.timeout(1200)
def test_a_real_packages_environment_can_be_had_again(farm_settings: Settings, tmp_path: Path) -> None:
    assert cli(farm_settings, "rebuild", "tinycdb").returncode == 0

    done = cli(farm_settings, "repro", "1", "--build")

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("pass: built\n")
