"""A night on this machine, without Buildbot: its builds one after another, or a few at once, each in a process.

What a killed command left is taken up by the next one: a build that was under way is started again, and one that
had left its report is not done twice. A lock tells whether a command builds; a night that none builds is **left**.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from buildfarm.build.bootstrap import locked_if_free
from buildfarm.errors import FarmError, UsageError
from buildfarm.regress.model import BuildReport
from buildfarm.regress.nights import Nights
from buildfarm.regress.one_build import read_report
from buildfarm.regress.orders import order_for
from buildfarm.regress.places import Places, places_of
from buildfarm.regress.records import Build, Driver, Night, Rebuild
from buildfarm.regress.verdicts import Settled
from buildfarm.settings import HOME_VARIABLE, ROOT_VARIABLE, Settings
from buildfarm.trunk.location import reaching_environment

HERE: Driver = "here"
WAIT_S = 2.0
LOOKING_S = 2.0
"""Who only looks whether somebody builds here holds the lock for much less."""
GONE = BuildReport("error", "the command that built it is gone")


@dataclass(frozen=True)
class Telling:
    """Who is told how a night goes: when a build begins, when it has ended, when a rebuild has its verdict."""

    begins: Callable[[Build], None]
    ended: Callable[[Build, BuildReport], None]
    settled: Callable[[Rebuild, Settled], None]


@contextlib.contextmanager
def alone_here(settings: Settings) -> Iterator[None]:
    """Be the only command that builds nights here; raises UsageError while another one does."""
    until = time.monotonic() + LOOKING_S
    while True:
        with _claimed(settings) as alone:
            if alone:
                yield
                return
        if time.monotonic() > until:
            raise UsageError(
                "another `buildfarm rebuild` is building here",
                resolution="Wait until it has ended; `buildfarm rebuild report` tells how far it is.",
            )
        time.sleep(LOOKING_S / 20)


def is_built_here(settings: Settings) -> bool:
    """Whether a command builds a night here now."""
    with _claimed(settings) as alone:
        return not alone


def cancel_left(night: Night, nights: Nights, settings: Settings) -> bool:
    """End a night of this machine that no command builds, with its builds; returns whether it is such a one."""
    with _claimed(settings) as alone:
        if not alone or night.driver != HERE:
            return False
        nights.cancel(night)
        _take_back(nights)
        return True


def _claimed(settings: Settings) -> AbstractContextManager[bool]:
    return locked_if_free(places_of(settings).root / "here.lock")


def _take_back(nights: Nights) -> None:
    """What a command that is gone had begun waits again, or is over with its night."""
    for night, _, build in nights.submitted(HERE):
        if night.ended_at is None:
            nights.return_to_queue(build)
        else:
            nights.end(build, GONE, HERE, final=True)


def run_night(
    night: Night, nights: Nights, settings: Settings, telling: Telling, *, watch: bool = False, jobs: int = 1
) -> Night:
    """Build what a night still wants, and return it as it ended. To be called ``alone_here``.

    So many ``jobs`` are built at once; what is to be alone is. ``watch``: the builds' logs are shown as they grow.
    """
    places = places_of(settings)
    if HERE in nights.workers_out():  # by an earlier night: who asks for one here means it all the same
        nights.put_back(HERE)
    _take_back(nights)
    running: dict[Future[BuildReport], tuple[Rebuild, Build]] = {}
    # A thread that started a build lives as long as it: the kernel ends a child with its parent's thread.
    with ThreadPoolExecutor(jobs) as pool:
        while True:
            for one, rebuild, build in nights.due(HERE, night):
                if not _may_begin(build, [other for _, other in running.values()], jobs):
                    break
                started = nights.start(build, HERE)
                telling.begins(started)
                done = pool.submit(_build, one, rebuild, started, nights, settings, places, watch=watch)
                running[done] = rebuild, started
            if running:
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    _take_in(done.result(), *running.pop(done), nights, telling)
                continue
            nights.end_nights()
            current = nights.night(night.number)
            assert current is not None, night.number
            if current.ended_at is not None:
                return current
            next_at = nights.next_due_at(HERE)
            time.sleep(WAIT_S if next_at is None else max(0.0, min(WAIT_S, next_at - time.time())))


def _may_begin(build: Build, running: Sequence[Build], jobs: int) -> bool:
    """Whether a build may begin beside those that run."""
    if build.alone or any(one.alone for one in running):
        return not running
    return len(running) < jobs


def _build(
    night: Night,
    rebuild: Rebuild,
    started: Build,
    nights: Nights,
    settings: Settings,
    places: Places,
    *,
    watch: bool,
) -> BuildReport:
    try:
        order = json.dumps(order_for(nights, night, rebuild, started).to_json())
        return build_in_child(started, order, settings, places.build(started.id), watch=watch)
    except FarmError as error:
        return BuildReport("error", error.brief, details=error.details)


def _take_in(report: BuildReport, rebuild: Rebuild, started: Build, nights: Nights, telling: Telling) -> None:
    settled = nights.end(started, report, HERE)
    telling.ended(started, report)
    if settled is not None and rebuild.verdict is None:
        telling.settled(rebuild, settled)


def build_in_child(
    build: Build, order: str, settings: Settings, directory: Path, *, watch: bool = False
) -> BuildReport:
    """Do a build in a process of its own and return what it reported."""
    if build.attempts > 1 and (kept := read_report(directory)) is not None and kept.outcome == "error":
        (directory / "report.json").unlink()  # what was tried again is done again
    argv = [sys.executable, "-m", "buildfarm", "rebuild", "build", "--number", str(build.id), "--order", "-"]
    environment = reaching_environment(**{HOME_VARIABLE: str(settings.home), ROOT_VARIABLE: str(settings.root)})
    with Path(os.devnull).open("wb") as nothing:
        done = subprocess.run(
            argv, input=order.encode(), stdout=None if watch else nothing, env=environment, check=False
        )
    report = read_report(directory)
    return report or BuildReport("error", f"the build's process ended with exit status {done.returncode}")
