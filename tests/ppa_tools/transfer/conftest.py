"""Launchpad's double beside an embedded archive."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppa_tools.archives.transfer import Means
from ppa_tools.archives.uploading import Uplink
from tests.archive.conftest import Signer, signer  # noqa: F401
from tests.archive.shelf import Shelf
from tests.doubles.launchpad import LaunchpadDouble
from tests.ppa_tools.conformance.backends import Embedded, Launchpad


@pytest.fixture(scope="session")
def double() -> Iterator[LaunchpadDouble]:
    with LaunchpadDouble() as one:
        yield one


@pytest.fixture
def launchpad(double: LaunchpadDouble) -> Iterator[Launchpad]:
    double.reset()
    one = Launchpad(double)
    yield one
    one.close()


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Shelf:  # noqa: F811
    return Shelf(tmp_path_factory.mktemp("shelf"), signer)


@pytest.fixture
def embedded(tmp_path: Path, shelf: Shelf) -> Iterator[Embedded]:
    one = Embedded(tmp_path, shelf)
    yield one
    one.close()


class Ftp:
    """Launchpad's upload server, by its double: ``fail_at`` is the file at which the first session breaks."""

    def __init__(self, root: Path, fail_at: int = 0) -> None:
        self.root = root
        script = Path(__file__).parents[2] / "archive/ftp_double.py"
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(root), "--fail-at", str(fail_at)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def sessions(self) -> list[Path]:
        """What each session left, in order."""
        return sorted(self.root.iterdir(), key=lambda one: int(one.name.rpartition("-")[2]))

    def received(self, session: int = 1) -> dict[str, bytes]:
        """The files that a session brought, by their paths."""
        top = self.root / f"session-{session}"
        return {str(one.relative_to(top)): one.read_bytes() for one in top.rglob("*") if one.is_file()}

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate()


@pytest.fixture
def ftp(tmp_path: Path) -> Iterator[Ftp]:
    (tmp_path / "ftp").mkdir()
    one = Ftp(tmp_path / "ftp")
    yield one
    one.stop()


@pytest.fixture
def means(tmp_path: Path, ftp: Ftp, signer: Signer) -> Means:  # noqa: F811
    return Means(Uplink(tmp_path / "state", signer.home, host="127.0.0.1", port=ftp.port))
