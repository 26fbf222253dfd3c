"""The installed commands, given in processes of their own, and an embedded archive with two PPAs for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ppa_tools.archives.local import LocalArchive
from tests.archive.conftest import PPA, SERIES, Signer, architecture, signer
from tests.archive.shelf import LATER, STABLE, Scene, Shelf

__all__ = ["signer"]

BIN = Path(sys.executable).parent
TRUNK_NAME, STABLE_NAME = str(PPA), str(STABLE)


@dataclass(frozen=True)
class Given:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass(frozen=True)
class Shell:
    """Gives commands as a user without a terminal does, with a home of its own."""

    directory: Path
    variables: Mapping[str, str]

    def __call__(self, *words: str, status: int = 0, **variables: str) -> Given:
        """Give a command and wait for its end, which must be as said."""
        done = subprocess.run(
            [BIN / words[0], *words[1:]],
            cwd=self.directory,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Given(done.returncode, done.stdout, done.stderr)

    @property
    def environment(self) -> dict[str, str]:
        """What the commands find in their environment."""
        return {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "HOME": str(self.directory),
            "XDG_STATE_HOME": str(self.directory / "state"),
            "COLUMNS": "100",
            **self.variables,
        }


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"), signer)


@pytest.fixture
def scene(tmp_path: Path, shelf: Shelf) -> Iterator[Scene]:
    """``local:demo/trunk`` for two series and ``local:demo/stable`` for one, both empty."""
    archive = LocalArchive(tmp_path / "archive", url="http://archive.example")
    for address, series in ((PPA, [SERIES, LATER]), (STABLE, [SERIES])):
        archive.ensure_ppa(address, series=series, architectures=[architecture()], uploaders=[shelf.signer.public])
    yield Scene(archive, shelf)
    archive.stop_agents()
    archive.close()


@pytest.fixture
def shell(tmp_path: Path, scene: Scene) -> Shell:
    """Somebody who has the embedded archive named in the environment."""
    (tmp_path / "somewhere").mkdir()
    return Shell(tmp_path / "somewhere", {"PPA_LOCAL_ARCHIVE": str(scene.archive.root)})
