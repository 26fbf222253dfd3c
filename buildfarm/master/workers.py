"""Workers as the master sees them: asked again and again whether they still answer.

Buildbot takes a worker for alive as long as its connection stands, and a frozen process keeps that for hours. So
each worker is asked something small; one that does not answer is disconnected, and what it ran is run again.
"""

from __future__ import annotations

import random
from typing import Any

from buildbot.plugins import worker
from buildbot.util.twisted import async_to_deferred
from twisted.internet.defer import TimeoutError as Unanswered
from twisted.python import log

ASKED_EACH = 3  # times in the span after which silence counts


class Asked:
    """What is added to Buildbot's classes of workers, before them in the list of bases.

    ``silence_limit_s``: seconds without an answer after which a worker is disconnected.
    """

    conn: Any
    master: Any
    name: str
    _silence_limit_s: float

    def reconfigService(self, name: str, password: str, *, silence_limit_s: float, **kwargs: Any) -> Any:
        """Take up the limit, and the rest as Buildbot does."""
        self._silence_limit_s = silence_limit_s
        return super().reconfigService(name, password, **kwargs)  # type: ignore[misc]

    def checkConfig(self, name: str, password: str, *, silence_limit_s: float, **kwargs: Any) -> Any:
        """The limit is the settings' to check."""
        assert silence_limit_s > 0
        return super().checkConfig(name, password, **kwargs)  # type: ignore[misc]

    @async_to_deferred
    async def attached(self, conn: Any) -> None:
        """Take the worker in, and begin to ask."""
        # Small messages go at once: held back until the worker acknowledged the one before, each took 40 ms.
        conn.mind.broker.transport.setTcpNoDelay(True)
        await super().attached(conn)  # type: ignore[misc]
        self._ask(conn)

    def _ask(self, conn: Any) -> None:
        if self.conn is not conn or conn.mind is None:
            return
        # Of what a worker answers to, this alone leaves no line in its log.
        answer = conn.mind.callRemote("getVersion")
        answer.addTimeout(self._silence_limit_s, self.master.reactor)
        answer.addCallbacks(self._answered, self._not_answered, callbackArgs=(conn,), errbackArgs=(conn,))
        answer.addErrback(log.err, f"asking {self.name}")

    def _answered(self, _version: str, conn: Any) -> None:
        self.messageReceivedFromWorker()  # type: ignore[attr-defined]
        self.master.reactor.callLater(self._silence_limit_s / ASKED_EACH, self._ask, conn)

    def _not_answered(self, failure: Any, conn: Any) -> None:
        if not failure.check(Unanswered):
            return  # the connection is gone, which Buildbot sees by itself
        log.msg(f"worker {self.name} has not answered for {self._silence_limit_s:.0f} s: disconnected")
        if self.conn is conn and conn.mind is not None:
            # Not loseConnection: that waits until the worker has read what is on its way.
            conn.mind.broker.transport.abortConnection()


class FarmWorker(Asked, worker.Worker):  # type: ignore[misc]
    """A worker that is not put aside after a task's ``error`` (the task itself waits before its next try)."""

    def putInQuarantine(self) -> None:
        """Go on with other tasks."""


def awake_first(_builder: Any, workers: list[Any], _request: Any) -> Any:
    """Of the workers that could take a build, any that is connected; a latent one is started if there is none."""
    if not workers:
        return None
    return random.choice([one for one in workers if one.worker.conn is not None] or workers)  # noqa: S311
