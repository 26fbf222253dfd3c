"""Watching trunks: polls in turn, pokes at once, and every new commit on record before anything runs for it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.internet import defer, threads
from twisted.python import log
from twisted.python.threadpool import ThreadPool

from buildfarm.errors import FarmError
from buildfarm.history import History, NewRun
from buildfarm.job import Branch, Job
from buildfarm.pipeline.pin import pin_parts
from buildfarm.recipe import Recipe, job_for
from buildfarm.recipe.jobs import branch_of
from buildfarm.settings import Settings
from buildfarm.trunk import RevisionInfo, Trunk, local_path, open_trunk, redact

LONGEST_BACK_OFF_S = 900.0
SCP_LIKE = re.compile(r"(?:[^@/:]+@)?(?P<host>[^@/:]+):(?!//)(?P<path>.+)")


@dataclasses.dataclass
class Watched:
    """One trunk, however many recipes use it, and when it is looked at next."""

    branch: Branch
    recipes: tuple[Recipe, ...]
    interval_s: float
    failures: int = 0
    looking: bool = False
    again: bool = False
    timer: Any = None
    tips: dict[str, str] = dataclasses.field(default_factory=dict)
    idle: list[defer.Deferred[None]] = dataclasses.field(default_factory=list)


class Watcher:
    """Looks at trunks in threads, a few at a time, never twice at once at the same one."""

    def __init__(
        self, settings: Settings, history: History, reactor: Any, pool: ThreadPool, found: Callable[[], Any]
    ) -> None:
        self._settings = settings
        self._history = history
        self._reactor = reactor
        self._pool = pool
        self._found = found
        self._watched: dict[Branch, Watched] = {}
        self._running = False

    def set_recipes(self, recipes: Iterable[Recipe]) -> None:
        """Watch the trunks of these recipes from now on; what is being looked at ends by itself."""
        by_branch: dict[Branch, list[Recipe]] = {}
        for recipe in recipes:
            by_branch.setdefault(branch_of(recipe), []).append(recipe)
        for branch in set(self._watched) - set(by_branch):
            self._cancel(self._watched.pop(branch))
        fresh = []
        for branch, group in by_branch.items():
            interval = min(float(recipe.trunk.poll_interval_s) for recipe in group)
            known = self._watched.get(branch)
            if known is None:
                fresh.append(Watched(branch, tuple(group), interval))
                self._watched[branch] = fresh[-1]
            elif (known.recipes, known.interval_s) != (tuple(group), interval):
                known.recipes, known.interval_s = tuple(group), interval
                known.tips.clear()
                fresh.append(known)
        if self._running:
            self._spread(fresh)

    def start(self) -> None:
        """Begin: the trunks' first looks are spread over a few seconds, so that the start stays quick."""
        self._running = True
        self._spread(list(self._watched.values()))

    def stop(self) -> None:
        """End: no further look is begun."""
        self._running = False
        for one in self._watched.values():
            self._cancel(one)

    def matching(self, recipe: str = "", location: str = "", branch: str = "") -> tuple[Branch, ...]:
        """The watched trunks that a poke means; a location is compared as a path where it is one."""
        wanted = _comparable(location) if location else ""
        return tuple(
            one.branch
            for one in self._watched.values()
            if (not recipe or any(r.name == recipe for r in one.recipes))
            and (not wanted or _comparable(one.branch.location) == wanted)
            and (not branch or not one.branch.branch or one.branch.branch == branch)
        )

    def poke(self, branch: Branch) -> defer.Deferred[None]:
        """Look at a trunk now; fires when it has been looked at."""
        one = self._watched[branch]
        done: defer.Deferred[None] = defer.Deferred()
        one.idle.append(done)
        if one.looking:
            one.again = True
        else:
            self._cancel(one)
            self._look(one)
        return done

    def _spread(self, several: list[Watched]) -> None:
        for number, one in enumerate(several):
            self._cancel(one)
            one.timer = self._reactor.callLater(number * min(0.2, 10.0 / len(several)), self._look, one)

    @staticmethod
    def _cancel(one: Watched) -> None:
        if one.timer is not None and one.timer.active():
            one.timer.cancel()
        one.timer = None

    def _look(self, one: Watched) -> None:
        one.timer = None
        if one.looking:
            one.again = True
            return
        one.looking = True
        recipes = one.recipes
        looked = threads.deferToThreadPool(self._reactor, self._pool, self._look_in_thread, one, recipes)
        looked.addCallbacks(self._looked, self._stumbled, callbackArgs=(one,), errbackArgs=(one,))
        looked.addErrback(log.err, f"watching {redact(one.branch.location)}")

    def _look_in_thread(self, one: Watched, recipes: tuple[Recipe, ...]) -> bool:
        key = trunk_key(one.branch)
        trunk = open_trunk(one.branch, self._settings.cache)
        try:
            tip = trunk.tip()
        except FarmError as error:
            for recipe in recipes:
                self._history.record_trouble(recipe.name, key, error.brief)
            raise
        found, troubles = False, []
        for recipe in recipes:
            try:
                found = self._take_commits(one, recipe, trunk, tip) or found
            except FarmError as error:  # a recipe's nested branch, say, is no trouble of the others
                self._history.record_trouble(recipe.name, key, error.brief)
                troubles.append(error)
        if troubles:
            if found:
                self._reactor.callFromThread(self._found)
            raise troubles[0]
        return found

    def _take_commits(self, one: Watched, recipe: Recipe, trunk: Trunk, tip: str) -> bool:
        key = trunk_key(one.branch)
        old = one.tips.get(recipe.name) or self._history.tip(recipe.name, key)
        made: tuple[str, ...] = ()
        if tip != old:
            news = trunk.commits_between(old, tip)
            made = self._history.record_commits(
                recipe.name,
                key,
                tip,
                [new_run(commit) for commit in news.commits],
                make_job=job_maker(recipe, self._settings.cache),
                rewritten=news.rewritten,
            )
        elif one.failures or recipe.name not in one.tips:
            self._history.record_trouble(recipe.name, key, "")
        one.tips[recipe.name] = tip
        return bool(made)

    def _looked(self, found: bool, one: Watched) -> None:
        if one.failures:
            log.msg(f"trunk {redact(one.branch.location)} can be looked at again")
        one.failures = 0
        if found:
            self._found()
        self._after(one, one.interval_s)

    def _stumbled(self, failure: Any, one: Watched) -> None:
        one.failures += 1
        if failure.check(FarmError):
            if one.failures == 1:
                log.msg(f"trunk {redact(one.branch.location)} cannot be looked at: {failure.value}")
        else:
            log.err(failure, f"looking at {redact(one.branch.location)}")
        self._after(one, min(one.interval_s * 2 ** min(one.failures, 10), max(LONGEST_BACK_OFF_S, one.interval_s)))

    def _after(self, one: Watched, delay_s: float) -> None:
        one.looking = False
        waiting: list[defer.Deferred[None]] = []
        if one.again:
            one.again = False
            delay_s = 0.0
        else:
            waiting, one.idle = one.idle, []
        if self._running and self._watched.get(one.branch) is one:
            one.timer = self._reactor.callLater(delay_s, self._look, one)
        for done in waiting:
            done.callback(None)


def trunk_key(branch: Branch) -> str:
    """What names a trunk in the history."""
    return f"{branch.vcs} {branch.location} {branch.branch}".rstrip()


def new_run(commit: RevisionInfo) -> NewRun:
    """The history's words for a commit."""
    return NewRun(commit.revision, commit.revno, commit.author, commit.summary, float(commit.committed_at))


def job_maker(recipe: Recipe, cache: Path) -> Callable[[str, str], Job]:
    """What makes the jobs of a recipe's commits, all on the same revisions of its nested branches."""
    parts = pin_parts(job_for(recipe, "", ""), cache).parts
    return lambda revision, run_id: dataclasses.replace(job_for(recipe, revision, run_id), parts=parts)


def _comparable(location: str) -> str:
    """A location in a form in which two names of one place are equal: a real path, or host and path.

    A forge names its repository by https where a recipe may use ssh; a look too many does no harm.
    """
    local = local_path(location)
    if local is not None:
        return str(Path(local).resolve())
    short = SCP_LIKE.fullmatch(location)
    host, path = short.group("host", "path") if short else (urlsplit(location).hostname, urlsplit(location).path)
    return f"{host}/{path.strip('/').removesuffix('.git')}"
