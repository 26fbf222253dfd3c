"""Upload sessions in the reactor: what waits runs in threads, a session's files take turns, all ends in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from twisted.internet import defer, protocol, reactor
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from ppa_tools.archives.dropbox import Arrival, Dropbox, Dropboxes, Full, NoRoom
from ppa_tools.archives.errors import ArchiveError, UnknownPPA, UploadRefused
from ppa_tools.archives.upload_paths import Target, find_target

T = TypeVar("T")
WORDS_LIMIT = 2000


class Look(Protocol):
    """Has ``work`` look something up in a thread that never waits behind uploads."""

    def __call__(self, work: Callable[..., T], *arguments: Any) -> defer.Deferred[T]:
        """What it found."""


class Drops:
    """All sessions of a server."""

    def __init__(self, boxes: Dropboxes, look: Look) -> None:
        self._boxes, self.look = boxes, look
        self._running: set[defer.Deferred[Any]] = set()
        self._open: set[Drop] = set()

    def open(self, peer: str, via: str, *, keeps_surplus: bool = False) -> Drop:
        """A new session, for which one in which nothing comes may have to go; raises NoRoom."""
        try:
            box = self._boxes.open(peer, via, keeps_surplus=keeps_surplus)
        except Full:
            quiet = [one for one in self._open if one.is_quiet]
            if not quiet:
                raise
            min(quiet, key=lambda one: one.heard_at).end()
            box = self._boxes.open(peer, via, keeps_surplus=keeps_surplus)
        drop = Drop(self, box)
        self._open.add(drop)
        return drop

    def run(self, work: Callable[..., T], *arguments: Any) -> defer.Deferred[T]:
        """Run in a thread; the server ends after it."""
        done: defer.Deferred[Any] = deferToThread(work, *arguments)
        self._running.add(done)

        def ended(result: Any) -> Any:
            self._running.discard(done)
            return result

        return done.addBoth(ended)

    def forget(self, drop: Drop) -> None:
        """A session has ended."""
        self._open.discard(drop)

    def stop(self) -> defer.Deferred[Any]:
        """End all sessions, after what they have running."""
        closing = [drop.close() for drop in list(self._open)]
        ended = defer.DeferredList([*closing, *self._running], consumeErrors=True)
        return ended.addBoth(lambda _: deferToThread(self._boxes.close))

    def explain(self, failure: Failure) -> str:
        """A failure in one line for whoever sent the file; what nobody foresaw goes to the log, too."""
        if isinstance(failure.value, UploadRefused | UnknownPPA):
            text = f"refused: {failure.value}"
        elif isinstance(failure.value, ArchiveError):
            text = str(failure.value)
        else:
            self._boxes.desk.say(f"an upload failed: {failure.getTraceback()}")
            text = "the archive is in trouble; its log says more"
        return " ".join(text.split())[:WORDS_LIMIT]


class Drop:
    """One session, as the protocols have it. It ends by itself when nothing came for long."""

    def __init__(self, drops: Drops, box: Dropbox) -> None:
        self.box = box
        self.explain = drops.explain
        self.when_ended: Callable[[], None] = lambda: None
        self._drops = drops
        self._turn = defer.DeferredLock()
        self._idle = reactor.callLater(box.limits.idle_s, self._expire)
        self._last = reactor.callLater(box.limits.session_s, self._expire)
        self._busy = 0
        self._closing: defer.Deferred[None] | None = None
        self.heard_at = reactor.seconds()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come lately, and nothing is being done with what has."""
        return not self._busy and reactor.seconds() - self.heard_at > self.box.limits.quiet_s

    def touch(self) -> None:
        """Something of a file came."""
        self.heard_at = reactor.seconds()
        if self._idle.active():
            self._idle.reset(self.box.limits.idle_s)

    def find_target(self, path: tuple[str, ...]) -> defer.Deferred[Target]:
        """The place that a path means; fails with UnknownPPA."""
        return self._drops.look(find_target, self.box.desk.archive, path)

    def settle(self, arrival: Arrival) -> defer.Deferred[Any]:
        """What follows from a file that has come whole; fails as ``Dropbox.settle``."""
        self._busy += 1

        def done(result: Any) -> Any:
            self._busy -= 1
            self.touch()
            return result

        return self._turn.run(self._drops.run, self.box.settle, arrival).addBoth(done)

    def end(self) -> None:
        """End it, and hang up."""
        self.when_ended()
        self.close()

    def close(self) -> defer.Deferred[None]:
        """End it, after what it has running."""
        if self._closing is None:
            for call in (self._idle, self._last):
                if call.active():
                    call.cancel()
            self._drops.forget(self)
            self.box.is_ending = True
            self._closing = self._turn.run(self._drops.run, self.box.close)
            self._closing.addErrback(self._drops.explain)
        return self._closing

    def _expire(self) -> None:
        if self._closing is not None:
            return
        if self._busy:
            self._idle = reactor.callLater(self.box.limits.idle_s, self._expire)
        else:
            self.end()


class Overflow(protocol.Protocol):  # type: ignore[misc]
    """Says in a line why there is no session, and hangs up."""

    def __init__(self, reason: NoRoom) -> None:
        self._reason = reason

    def connectionMade(self) -> None:  # noqa: N802 (Twisted's name)
        """Say it."""
        self.transport.write(b"421 " + str(self._reason).encode() + b"\r\n")
        self.transport.loseConnection()
