"""An archive whose time is told by the test, to be collected, verified and repaired."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ppa_tools.archives.local import LocalArchive
from tests.archive.conftest import PPA, SERIES, Signer, architecture
from tests.archive.shelf import ME, STABLE, Scene, Shelf

ARCH = architecture()
DAY_S = 86400.0


class Clock:
    """The time, which goes on only when told to."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now

    def days(self, days: float) -> None:
        """Go on by so many days."""
        self.now += days * DAY_S


def open_scene(root: Path, shelf: Shelf, signer: Signer, clock: Clock) -> Iterator[Scene]:
    """Two PPAs with one series each."""
    archive = LocalArchive(root, url="http://archive.example", clock=clock)
    for address in (PPA, STABLE):
        archive.ensure_ppa(address, series=[SERIES], architectures=[ARCH], uploaders=[signer.public], by=ME)
    yield Scene(archive, shelf)
    archive.stop_agents()
    archive.close()


def files_below(directory: Path) -> set[str]:
    """The files below a directory, by their paths there."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
