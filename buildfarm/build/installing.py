"""Installing packages as a user would: stock apt in a clean root, from an archive's own .sources file."""

from __future__ import annotations

import io
import shlex
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from buildfarm.build.environments import use_layers
from buildfarm.build.namespaces import Orders, enter, remove_owned_tree, run_as_owner
from buildfarm.build.roots import get_root, spec_for
from buildfarm.errors import FarmTrouble
from buildfarm.process import clean_environment
from buildfarm.settings import Settings

TIMEOUT_S = 900.0


@dataclass(frozen=True)
class CleanRoot:
    """A root of one series that changes are made in and that is forgotten afterwards."""

    layers: tuple[Path, ...]
    scratch: Path

    def run(self, *argv: str, log: BinaryIO | None = None) -> str:
        """Run a command as the root's own root, with the network; returns what it printed.

        Raises FarmTrouble when it does not exit 0.
        """
        orders = Orders(
            argv,
            clean_environment("/root", DEBIAN_FRONTEND="noninteractive"),
            layers=self.layers,
            upper=self.scratch / "fs",
            work=self.scratch / "work",
            network=True,
        )
        ended = enter(orders, timeout_s=TIMEOUT_S, log=log)
        if ended.status != 0:
            raise FarmTrouble(
                f"`{shlex.join(argv)}` failed in the clean root", details=ended.error or ended.finished.tail()
            )
        return ended.finished.text

    def write(self, path: str, text: str) -> None:
        """Make a file in the root; raises FarmTrouble."""
        self.run("sh", "-c", 'printf %s "$1" > "$2"', "sh", text, path)


@contextmanager
def clean_root(
    settings: Settings, series: str, architecture: str, log: BinaryIO | None = None
) -> Iterator[CleanRoot]:
    """A fresh root of ``series``, gone after the ``with`` block; raises FarmTrouble."""
    quiet: BinaryIO = log or io.BytesIO()
    cache = settings.cache.resolve()
    root = get_root(spec_for(settings, series, architecture), cache, quiet)
    with (
        use_layers(root, (), cache, quiet) as use,
        tempfile.TemporaryDirectory(dir=cache) as name,
    ):
        scratch = Path(name)
        scratch.chmod(0o777)  # for the ids inside, which are nobody's outside
        run_as_owner(["mkdir", "fs", "work"], scratch, timeout_s=60)
        try:
            yield CleanRoot(use.directories, scratch)
        finally:
            remove_owned_tree(scratch / "fs")
            remove_owned_tree(scratch / "work")


def install_from(
    root: CleanRoot, sources: str, packages: Sequence[str], say: Callable[[str], None] = lambda _command: None
) -> None:
    """Add a .sources file to a root and install from it: the two commands a user types; raises FarmTrouble."""
    root.write("/etc/apt/sources.list.d/local.sources", sources)
    for argv in (("apt-get", "-q", "update"), ("apt-get", "-q", "-y", "install", *packages)):
        say(" ".join(argv))
        root.run(*argv)
