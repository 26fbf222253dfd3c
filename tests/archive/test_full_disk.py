"""A real disk that is full or read-only in the middle of a change: it is told, and nothing is lost or broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NAMESPACE = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]


@pytest.fixture(scope="module")
def namespace(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words that begin a command in mounts of its own."""
    disk = tmp_path_factory.mktemp("disk")
    done = subprocess.run(
        [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"needs a mount namespace of its own: {done.stderr.strip()}")
    return NAMESPACE


@pytest.mark.parametrize("operation", ["add", "build", "copy", "roll back", "publish", "collect"])
def test_a_full_or_read_only_disk_is_told_and_the_same_operation_succeeds_later(
    operation: str, namespace: list[str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [*namespace, sys.executable, "-m", "tests.archive.small_disk", str(tmp_path), operation],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    print(done.stdout)
