"""Telling what ended nights came to, by mail and webhook: in a thread, and later and later after trouble."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from buildbot.util.twisted import async_to_deferred
from twisted.internet import threads
from twisted.python import log

from buildfarm.master.rebuild_schedule import Stumble
from buildfarm.regress.nights import Nights
from buildfarm.regress.telling import tell_all
from buildfarm.settings import Settings


class Telling:
    """Sends the news of the nights that have ended."""

    def __init__(self, master: Any, nights: Nights, in_thread: Callable[..., Any]) -> None:
        self._master = master
        self._nights = nights
        self._in_thread = in_thread
        self._stumble = Stumble()
        self._busy = False
        self.settings: Settings | None = None

    @async_to_deferred
    async def look(self) -> None:
        """Tell what nobody was told yet, unless that went wrong just now."""
        assert self.settings is not None
        if self._busy or self._stumble.not_before > self._master.reactor.seconds():
            return
        self._busy = True
        try:
            untold = await self._in_thread(self._nights.untold_nights)
            if not untold:
                return
            told = await threads.deferToThread(tell_all, self._nights, self.settings, self._say)
            if len(told) < len(untold):
                self._stumble = self._stumble.once_more(self._master.reactor.seconds())
            else:
                self._stumble = Stumble()
        finally:
            self._busy = False

    def _say(self, line: str) -> None:
        self._master.reactor.callFromThread(log.msg, line)
