"""What this host is: its series and its architecture."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from buildfarm.errors import FarmTrouble
from buildfarm.recipe.host import host_architecture, host_series


@pytest.mark.parametrize(
    "line", ["VERSION_CODENAME=noble", 'VERSION_CODENAME="noble"', "VERSION_CODENAME='noble'"]
)
def test_the_series_is_the_codename_of_os_release(tmp_path: Path, line: str) -> None:
    file = tmp_path / "os-release"
    file.write_text(f'# comment=x\nNAME="Ubuntu"\n{line}\n')
    assert host_series(file) == "noble"


@pytest.mark.parametrize("text", ["", "VERSION_CODENAME=\n", "VERSION_CODENAME='x\n", "VERSION_CODENAME=../x\n"])
def test_a_host_without_a_codename_is_the_farms_trouble(tmp_path: Path, text: str) -> None:
    file = tmp_path / "os-release"
    file.write_text(text)
    with pytest.raises(FarmTrouble, match="series of this host is not known"):
        host_series(file)
    with pytest.raises(FarmTrouble, match="No such file"):
        host_series(tmp_path / "nothing")


def test_the_architecture_is_dpkgs() -> None:
    told = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    assert host_architecture() == told.stdout.strip()


def test_a_host_without_dpkg_is_the_farms_trouble(tmp_path: Path) -> None:
    with pytest.raises(FarmTrouble, match="cannot be started"):
        host_architecture(str(tmp_path / "no-dpkg"))
