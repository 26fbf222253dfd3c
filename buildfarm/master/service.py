"""The farm as one Buildbot service: the watcher and the dispatcher, started, stopped and reconfigured together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from buildbot.util.service import BuildbotService
from buildbot.util.twisted import async_to_deferred
from twisted.python.threadpool import ThreadPool

from buildfarm.errors import UsageError
from buildfarm.history import History
from buildfarm.job import Branch
from buildfarm.master.commits import CommitQueue
from buildfarm.master.dispatcher import Dispatcher, Queue
from buildfarm.master.housekeeping import Housekeeping
from buildfarm.master.rebuild_queue import RebuildQueue
from buildfarm.master.rebuilds import Rebuilds
from buildfarm.master.watcher import Watcher, job_maker, new_run, trunk_key
from buildfarm.recipe import Recipe
from buildfarm.recipe.jobs import branch_of
from buildfarm.regress.nights import Nights
from buildfarm.regress.sets import SetBook
from buildfarm.settings import Settings
from buildfarm.trunk import open_trunk

WATCHING_THREADS = 8  # as many trunks may hang, each for as long as git may take, before others wait for a look


@dataclass(frozen=True, repr=False)
class Record:
    """What the farm keeps on record, one a process, and the threads in which it is read and written."""

    history: History
    nights: Nights
    pool: Any


@dataclass(frozen=True, repr=False)
class Work:
    """All that the farm is to do. ``rebuilding`` are the names of the workers that do nightly rebuilds."""

    settings: Settings
    record: Record
    recipes: tuple[Recipe, ...]
    sets: SetBook
    rebuilding: tuple[str, ...]


class FarmService(BuildbotService):  # type: ignore[misc]
    """Watches the recipes' trunks, opens nights of rebuilds, and gives out what is due."""

    name: ClassVar[str] = "farm"

    def checkConfig(self, work: Work) -> None:
        """Nothing to check that the recipes' loading did not."""

    async def _make(self, work: Work) -> None:
        self.history = work.record.history
        self._watching = ThreadPool(0, WATCHING_THREADS, "watching")
        nights, pool = work.record.nights, work.record.pool
        self.rebuilds = Rebuilds(self.master, nights, pool, self._wake)
        commits: Queue[Any] = CommitQueue(self.master, self.history, pool)
        rebuilds: Queue[Any] = RebuildQueue(nights, lambda: self.rebuilds.workers)
        self.dispatcher = Dispatcher(self.master, [commits, rebuilds], pool)
        self.housekeeping = Housekeeping(self.master, self.history, nights)
        self.watcher = Watcher(
            work.settings, self.history, self.master.reactor, self._watching, self.dispatcher.wake
        )

    def _wake(self) -> None:
        self.dispatcher.wake()

    @async_to_deferred
    async def reconfigService(self, work: Work) -> None:
        """Take up changed recipes and sets; what runs goes on with the recipe it began with."""
        if not hasattr(self, "watcher"):
            await self._make(work)
        self.settings = self.housekeeping.settings = work.settings
        self.recipes = {recipe.name: recipe for recipe in work.recipes}
        self.watcher.set_recipes(work.recipes)
        self.rebuilds.set_up(work.settings, work.sets, work.rebuilding)

    @async_to_deferred
    async def startService(self) -> None:
        """Begin to watch and to give out."""
        await super().startService()
        self._watching.start()
        await self.dispatcher.start()
        self.watcher.start()
        self.rebuilds.start()
        self.housekeeping.start()

    @async_to_deferred
    async def stopService(self) -> None:
        """Stop watching and giving out; what runs is Buildbot's to stop."""
        self.housekeeping.stop()
        self.rebuilds.stop()
        self.watcher.stop()
        self.dispatcher.stop()
        self._watching.stop()
        await super().stopService()

    def poke(self, **wanted: str) -> tuple[Branch, ...]:
        """Look now at the trunks that match; returns them."""
        found: tuple[Branch, ...] = self.watcher.matching(**wanted)
        for branch in found:
            self.watcher.poke(branch)
        return found

    def force(self, recipe_name: str, expression: str) -> str:
        """Make sure that a revision of a recipe runs: a new run, or another chance for one that did not pass.

        Runs in a thread. Returns what was done, in words; raises UsageError for a recipe that is not there.
        """
        recipe = self.recipes.get(recipe_name)
        if recipe is None:
            raise UsageError(
                f"no recipe {recipe_name!r}", resolution=f"Recipes here: {', '.join(sorted(self.recipes))}."
            )
        branch = branch_of(recipe)
        trunk = open_trunk(branch, self.settings.cache)
        revision = trunk.resolve(expression)
        run = self.history.run_of(recipe_name, revision)
        if run is None:
            key = trunk_key(branch)
            tip = self.history.tip(recipe_name, key)
            made = self.history.record_commits(
                recipe_name,
                key,
                tip,
                [new_run(trunk.describe(revision))],
                job_maker(recipe, self.settings.cache),
            )
            return f"{made[0]} begins"
        workspace = self.settings.runs / run.run_id
        if self.history.retry(run, afresh=not workspace.exists()):
            return f"{run.run_id} is given another chance"
        return f"{run.run_id} {'goes on' if run.verdict is None else 'passed already'}; nothing to do"
