"""A farm for measuring: its own home and ports, trunks made from the samples, started and stopped for one run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildfarm import demo
from buildfarm.build.apt_sources import read_host
from buildfarm.build.namespaces import remove_owned_tree
from buildfarm.build.roots import get_root, native_architecture, spec_for
from buildfarm.commands.up import start_farm
from buildfarm.farm import Farm, open_farm
from buildfarm.history import History, open_history
from buildfarm.history.store import Run
from buildfarm.parts import part_names, stop_part
from buildfarm.settings import HOME_VARIABLE, ROOT_VARIABLE, Settings, load_settings

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples"
RUN_LIMIT_S = 1800.0
LOOK_S = 0.05


@dataclass(frozen=True)
class BenchFarm:
    """A farm that is up, and the person who commits to its trunks."""

    farm: Farm
    author: demo.Author

    @property
    def settings(self) -> Settings:
        """The farm's settings."""
        return self.farm.settings

    @property
    def history(self) -> History:
        """What ran, read anew."""
        return open_history(self.settings.history_file)


@contextlib.contextmanager
def new_farm(place: Path, cache: Path, prepare: Callable[[Settings, demo.Author], None]) -> Iterator[BenchFarm]:
    """A farm at ``place``, forgotten first if it is there; ``prepare`` writes its recipes and trunks.

    The cache of roots, layers and mirrors is apart and stays.
    """
    remove_owned_tree(place)
    place.mkdir(parents=True)
    cache.mkdir(parents=True, exist_ok=True)
    (place / "cache").symlink_to(cache.resolve(), target_is_directory=True)
    os.environ[HOME_VARIABLE], os.environ[ROOT_VARIABLE] = str(place), str(ROOT)
    demo.write_settings(load_settings())
    settings = load_settings()
    warm_root(settings)
    author = demo.make_author(settings)
    prepare(settings, author)
    farm = open_farm()
    try:
        start_farm(farm)
        yield BenchFarm(farm, author)
    finally:
        for part in reversed(part_names(farm)):
            stop_part(settings, part, signal.SIGTERM)


def warm_root(settings: Settings) -> None:
    """Make the root file system of this machine's series where it is not cached."""
    with (settings.home / "root.log").open("wb") as log:
        get_root(spec_for(settings, read_host().codename, native_architecture()), settings.cache, log)


def await_end(history: History, recipe: str, revision: str) -> Run:
    """The run of a commit once it has its verdict."""
    deadline = time.monotonic() + RUN_LIMIT_S
    while time.monotonic() < deadline:
        run = history.run_of(recipe, revision)
        if run is not None and run.verdict is not None:
            return run
        time.sleep(LOOK_S)
    raise TimeoutError(f"{recipe} at {revision} has no verdict after {RUN_LIMIT_S:.0f} s")


@dataclass(frozen=True)
class Pushed:
    """A commit that was pushed: when that began (epoch seconds) and how long the author waited for it."""

    revision: str
    began_at: float
    push_s: float


@dataclass(frozen=True)
class Place:
    """A trunk, and a twin of it without a hook that gets the same content."""

    trunk: demo.DemoTrunk
    twin: Path

    def make(self, author: demo.Author) -> None:
        """Make both, empty."""
        demo.make_trunk(self.trunk, author)
        self.twin.parent.mkdir(parents=True, exist_ok=True)
        if self.trunk.vcs == "git":
            author.call("git", "init", "--quiet", "--bare", "--initial-branch=main", str(self.twin))
        else:
            author.call(author.brz, "init", "--quiet", str(self.twin))

    def commit(self, author: demo.Author, news: str) -> Pushed:
        """Change the trunk as an author would; the clock runs for what makes the commit public."""
        work = self.trunk.work
        self._change(work, news)
        if self.trunk.vcs == "git":
            author.call("git", "add", "--all", cwd=work)
            author.call("git", "commit", "--quiet", f"--message={news}", cwd=work)
            began, took = _timed(author, ["git", "push", "--quiet", "origin", "main"], work)
            return Pushed(author.call("git", "rev-parse", "HEAD", cwd=work).strip(), began, took)
        author.call(author.brz, "add", "--quiet", cwd=work)
        began, took = _timed(author, [author.brz, "commit", "--quiet", f"--message={news}"], work)
        return Pushed(author.call(author.brz, "revision-info", cwd=work).split()[1], began, took)

    def commit_to_twin(self, author: demo.Author, news: str) -> Pushed:
        """The same content made public where nobody watches."""
        work = self.trunk.work
        if self.trunk.vcs == "git":
            began, took = _timed(author, ["git", "push", "--quiet", str(self.twin), "main"], work)
            return Pushed(author.call("git", "rev-parse", "HEAD", cwd=work).strip(), began, took)
        self._change(self.twin, news)
        author.call(author.brz, "add", "--quiet", cwd=self.twin)
        began, took = _timed(author, [author.brz, "commit", "--quiet", f"--message={news}"], self.twin)
        return Pushed(author.call(author.brz, "revision-info", cwd=self.twin).split()[1], began, took)

    def _change(self, work: Path, news: str) -> None:
        shutil.copytree(SAMPLES / self.trunk.name, work, dirs_exist_ok=True)
        with (work / "NEWS").open("a", encoding="utf-8") as file:
            file.write(f"{news}\n")


def _timed(author: demo.Author, argv: Sequence[str], cwd: Path) -> tuple[float, float]:
    began, clock = time.time(), time.perf_counter()
    author.call(*argv, cwd=cwd)
    return began, time.perf_counter() - clock
