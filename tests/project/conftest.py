"""The checkout that the tests of the project's shell look at."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture
def bare_copy(tmp_path: Path) -> Path:
    """A copy of what is tracked, in a directory with a space in its name, without .venv and var/."""
    copy = tmp_path / "a farm"
    copy.mkdir()
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    names = b"\n".join(name for name in tracked.split(b"\0") if (ROOT / name.decode()).is_file())
    packed = subprocess.run(["tar", "-c", "-T", "-"], cwd=ROOT, input=names, capture_output=True, check=True)
    subprocess.run(["tar", "-x"], cwd=copy, input=packed.stdout, check=True)
    return copy
