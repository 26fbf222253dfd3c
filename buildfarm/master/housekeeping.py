"""Keeping the disk from filling: old runs' workspaces, old nights' builds, and old logs on Buildbot's pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from buildbot.util.twisted import async_to_deferred
from twisted.internet import threads
from twisted.python import log

from buildfarm.build.namespaces import remove_owned_tree
from buildfarm.errors import FarmError
from buildfarm.files import remove_tree
from buildfarm.history import History
from buildfarm.regress.nights import Nights
from buildfarm.regress.tidying import tidy
from buildfarm.settings import Settings

EVERY_S = 3600.0
FIRST_AFTER_S = 60.0
DAY_S = 86400
LEAVING = ".leaving-"


def remove_old_runs(settings: Settings, history: History) -> tuple[str, ...]:
    """Remove the workspaces of runs past ``keep_runs``; returns the runs' ids.

    A run that goes on keeps its workspace. What in this directory is no run's is left alone. A workspace is
    first renamed, so that none is ever found half removed.
    """
    if not settings.runs.is_dir():
        return ()
    present = {path.name for path in settings.runs.iterdir()}
    old = sorted(present & set(history.runs_past(settings.farm.keep_runs)))
    for name in old:
        (settings.runs / name).rename(settings.runs / (LEAVING + name))
    for path in settings.runs.glob(f"{LEAVING}*"):
        _remove(path)
    return tuple(old)


def _remove(path: Path) -> None:
    try:
        try:
            remove_tree(path)
        except PermissionError:  # something a build left belongs to the ids it ran under
            remove_owned_tree(path)
    except (OSError, FarmError) as error:
        log.msg(f"an old workspace cannot be removed, and is tried again: {path}: {error}")


class Housekeeping:
    """The same round every hour, away from the reactor."""

    def __init__(self, master: Any, history: History, nights: Nights) -> None:
        self._master = master
        self._history = history
        self._nights = nights
        self._timer: Any = None
        self.settings: Settings | None = None

    def start(self) -> None:
        """Begin, a while after the start: then there is other work."""
        self._timer = self._master.reactor.callLater(FIRST_AFTER_S, self._round)

    def stop(self) -> None:
        """No further round; one that is under way ends by itself."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    @async_to_deferred
    async def _round(self) -> None:
        assert self.settings is not None
        try:
            removed = await threads.deferToThread(remove_old_runs, self.settings, self._history)
            if removed:
                log.msg(f"workspaces of {len(removed)} old runs removed")
            await threads.deferToThread(tidy, self.settings, self._nights, self._master.reactor.seconds())
            await self._remove_old_logs(self.settings.farm.keep_logs_days)
        except Exception:  # noqa: BLE001 (told in the log; the next round tries again)
            log.err(None, "housekeeping")
        if self._timer is not None:
            self._timer = self._master.reactor.callLater(EVERY_S, self._round)

    @async_to_deferred
    async def _remove_old_logs(self, days: int) -> None:
        # What Buildbot's janitor does, without the builder, worker and scheduler that it would show on the pages.
        horizon = int(self._master.reactor.seconds()) - days * DAY_S
        await self._master.db.logs.deleteOldLogChunks(horizon)
        await self._master.db.build_data.deleteOldBuildData(horizon)
