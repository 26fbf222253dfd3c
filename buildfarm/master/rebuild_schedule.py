"""Opening nights when their sets are due, in a process of its own each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from buildbot.util.twisted import async_to_deferred
from twisted.internet import threads
from twisted.python import log

from buildfarm.errors import FarmError
from buildfarm.process import run
from buildfarm.regress.local import cancel_left
from buildfarm.regress.nights import Nights
from buildfarm.regress.package_set import PackageSet
from buildfarm.regress.schedule import next_due
from buildfarm.regress.sets import SetBook
from buildfarm.settings import HOME_VARIABLE, ROOT_VARIABLE, Settings
from buildfarm.trunk.location import reaching_environment

OPENING_TIMEOUT_S = 1800
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 60.0, 3600.0


@dataclass(frozen=True)
class Stumble:
    """How often a set could not be opened in a row, and when it is tried again (epoch seconds)."""

    times: int = 0
    not_before: float = 0.0

    def once_more(self, now: float) -> Stumble:
        """The next one."""
        delay_s = min(LONGEST_BACK_OFF_S, FIRST_BACK_OFF_S * 2.0 ** min(self.times, 10))
        return Stumble(self.times + 1, now + delay_s)


def sets_due(
    book: SetBook, nights: Nights, stumbles: dict[str, Stumble], now: float
) -> tuple[tuple[PackageSet, int | None], ...]:
    """The sets whose time has come; with each the number of its last night if that goes on."""
    found: list[tuple[PackageSet, int | None]] = []
    for name, wanted in book.sets.items():
        last = next(iter(nights.recent_nights(1, name)), None)
        due_at = next_due(wanted, last.started_at if last is not None else None, now, book.zone)
        if due_at <= now and not (name in stumbles and stumbles[name].not_before > now):
            found.append((wanted, last.number if last is not None and last.ended_at is None else None))
    return tuple(found)


def end_left(number: int, nights: Nights, settings: Settings) -> bool:
    """End a night that a command on this machine began and no longer builds; returns whether it was such a one."""
    night = nights.night(number)
    return night is not None and cancel_left(night, nights, settings)


def open_in_child(settings: Settings, wanted: PackageSet, reason: str) -> dict[str, Any]:
    """Open a night of a set by a process of its own; returns what it says. Blocks; raises FarmError."""
    environment = {HOME_VARIABLE: str(settings.home), ROOT_VARIABLE: str(settings.root)}
    argv = [sys.executable, "-m", "buildfarm.regress.opening", wanted.name, reason]
    done = run(argv, timeout_s=OPENING_TIMEOUT_S, env=reaching_environment(**environment))
    try:
        said = json.loads(done.text)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return {"error": f"the process that opens nights failed:\n{done.tail()}"}
    return said


class Schedule:
    """Opens nights by themselves; what it cannot open it tries again, later and later."""

    def __init__(self, master: Any, nights: Nights, in_thread: Callable[..., Any]) -> None:
        self._master = master
        self._nights = nights
        self._in_thread = in_thread
        self._stumbles: dict[str, Stumble] = {}
        self._told_of: dict[str, int] = {}
        self._opening = False
        self.settings: Settings | None = None
        self.book = SetBook({})

    @async_to_deferred
    async def look(self) -> bool:
        """Open what is due; returns whether a night began."""
        assert self.settings is not None
        if self._opening or not any(one.every_s or one.at for one in self.book.sets.values()):
            return False
        self._opening = True
        try:
            now = self._master.reactor.seconds()
            opened = False
            for wanted, going_on in await self._in_thread(
                sets_due, self.book, self._nights, dict(self._stumbles), now
            ):
                if going_on is None or await self._is_out_of_the_way(self.settings, wanted, going_on):
                    opened = await self._open(self.settings, wanted) or opened
                else:
                    self._tell_of(wanted, going_on)
            return opened
        finally:
            self._opening = False

    @async_to_deferred
    async def _is_out_of_the_way(self, settings: Settings, wanted: PackageSet, number: int) -> bool:
        if not await self._in_thread(end_left, number, self._nights, settings):
            return False
        log.msg(
            f"night {number} of {wanted.name} was interrupted on this machine, and nobody went on with it before "
            f"the set was due {wanted.when}: it is cancelled"
        )
        return True

    def _tell_of(self, wanted: PackageSet, number: int) -> None:
        if self._told_of.get(wanted.name) != number:
            self._told_of[wanted.name] = number
            log.msg(
                f"set {wanted.name} is due {wanted.when}, and night {number} of it still goes on: "
                "the next begins when that has ended"
            )

    @async_to_deferred
    async def _open(self, settings: Settings, wanted: PackageSet) -> bool:
        try:
            said = await threads.deferToThread(open_in_child, settings, wanted, f"due {wanted.when}")
        except FarmError as error:
            said = {"error": str(error)}
        if "night" in said:
            self._stumbles.pop(wanted.name, None)
            log.msg(f"night {said['night']} of {wanted.name} begins: {said['rebuilds']} to rebuild")
            for one in said["left_out"]:
                log.msg(f"night {said['night']} leaves out {one}")
            return True
        now = self._master.reactor.seconds()
        stumble = self._stumbles.get(wanted.name, Stumble()).once_more(now)
        self._stumbles[wanted.name] = stumble
        log.msg(
            f"no night of {wanted.name} could be opened, the next try is in {stumble.not_before - now:.0f} s: "
            f"{said.get('error')}"
        )
        return False
