"""Answering requests out of threads: one that reads never waits behind uploads that are being accepted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet import defer, reactor
from twisted.internet.threads import deferToThread, deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from ppa_tools.archives.access import Readers
from ppa_tools.archives.bodies import Answer, explain, refusal
from ppa_tools.archives.desk import Desk
from ppa_tools.archives.errors import ArchiveError
from ppa_tools.archives.incoming import Destination
from ppa_tools.archives.local import LocalArchive
from ppa_tools.archives.words import in_a_line

READING_THREADS = 8
ASKED_LIMIT = 300
POLICY = (
    b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

T = TypeVar("T")


@dataclass
class Service:
    """What the resources share; ``say`` writes a line to the log."""

    archive: LocalArchive
    desk: Desk
    readers: Readers
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.running: set[defer.Deferred[None]] = set()
        self._accepting: dict[Destination, defer.DeferredLock] = {}
        self._reading = ThreadPool(1, READING_THREADS, "reading")
        reactor.callWhenRunning(self._reading.start)
        reactor.addSystemEventTrigger("during", "shutdown", self._reading.stop)

    def look(self, work: Callable[..., T], *arguments: Any) -> defer.Deferred[T]:
        """What ``work`` returns, which reads, in a thread."""
        return deferToThreadPool(reactor, self._reading, work, *arguments)

    def answer(self, request: Request, work: Callable[[], Answer]) -> int:
        """Answer a request with what ``work`` returns, which reads, in a thread; its errors become answers."""
        return self.answer_later(request, self.look(work))

    def look_first(self, request: Request, look: Callable[[], T], resource: Callable[[T], Resource]) -> int:
        """Render the ``resource`` for what ``look`` finds, in a thread; errors become answers."""
        gone = _notice_when_gone(request)

        def render(found: T) -> None:
            if not gone:
                request.render(resource(found))

        looking = self.look(look)
        looking.addCallback(render).addErrback(self._answer_trouble, request, gone)
        return NOT_DONE_YET  # type: ignore[no-any-return]

    def answer_in_turn(self, request: Request, destination: Destination, work: Callable[[], Answer]) -> int:
        """As ``answer``, for uploads; the requests of one upload take turns."""
        lock = self._accepting.setdefault(destination, defer.DeferredLock())

        def release(result: Any) -> Any:
            if not lock.locked and not lock.waiting:
                self._accepting.pop(destination, None)
            return result

        done = lock.run(deferToThread, work)
        return self.answer_later(request, done.addBoth(release))

    def answer_later(self, request: Request, done: defer.Deferred[Any]) -> int:
        """As ``answer``, for an answer that is being made."""
        gone = _notice_when_gone(request)

        def write(answer: Answer) -> None:
            if not gone:
                send(request, answer)
                request.finish()

        done.addCallback(write).addErrback(self._answer_trouble, request, gone)
        self.running.add(done)
        done.addBoth(lambda _: self.running.discard(done))
        return NOT_DONE_YET  # type: ignore[no-any-return]

    def _answer_trouble(self, failure: Failure, request: Request, gone: list[Any]) -> None:
        answer = self._explain(failure, request)
        if not gone:
            send(request, answer)
            request.finish()

    def _explain(self, failure: Failure, request: Request) -> Answer:
        if isinstance(failure.value, ArchiveError):
            return explain(failure.value)
        asked = in_a_line(f"{request.method.decode('latin-1')} {request.uri.decode('latin-1')}", ASKED_LIMIT)
        self.say(f"{asked}: {failure.getTraceback()}")
        return refusal(500, "the archive is in trouble; its log says more")


def send(request: Request, answer: Answer) -> None:
    """Write an answer's head and body."""
    request.setResponseCode(answer.status, answer.reason or None)
    request.setHeader(b"content-type", answer.content_type.encode())
    request.setHeader(b"content-length", str(len(answer.body)).encode())
    request.setHeader(b"x-content-type-options", b"nosniff")
    if answer.content_type.startswith("text/html"):
        request.setHeader(b"content-security-policy", POLICY)
    if answer.status == 401:
        request.setHeader(b"www-authenticate", answer.challenge.encode())
    if request.method != b"HEAD":
        request.write(answer.body)


def _notice_when_gone(request: Request) -> list[Any]:
    """Holds something once whoever asked has hung up."""
    gone: list[Any] = []
    request.notifyFinish().addErrback(gone.append)
    return gone
