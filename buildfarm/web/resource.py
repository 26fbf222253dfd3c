"""The pages as a resource of Twisted's web server: answers are made in threads, files are sent as they lie."""

from __future__ import annotations

import os
import zlib
from typing import Any

from twisted.internet import defer, threads
from twisted.python import log
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from buildfarm.web.answers import FILE_POLICY, PAGE_POLICY, Answer, Elsewhere, FileAnswer
from buildfarm.web.files import open_plain
from buildfarm.web.site import Site, is_slow

CHUNK_BYTES = 1 << 16
LOOK_EACH_S = 1.0
FOLLOW_S = 6 * 3600.0
FOLLOWERS = 64
METHODS = b"GET, HEAD"


class Rebuilds(Resource):  # type: ignore[misc]
    """Everything below ``rebuilds/``. ``pool`` are the threads that read; the reactor never does.

    ``slow`` is the one that makes feeds and reports, of thousands of packages in seconds: no page waits for them.
    """

    isLeaf = True  # noqa: N815 (Twisted's word)

    def __init__(self, site: Site, reactor: Any, pool: Any, slow: Any) -> None:
        super().__init__()
        self._slow = slow
        self._site = site
        self._reactor = reactor
        self._pool = pool
        self._followers = 0

    def render(self, request: Any) -> Any:
        """Answer a request, later."""
        if request.method not in (b"GET", b"HEAD"):
            request.setResponseCode(405)
            request.setHeader(b"allow", METHODS)
            return b""
        asking = Asking(request)
        defer.Deferred.fromCoroutine(self._answer(request, asking)).addErrback(self._failed, request, asking)
        return NOT_DONE_YET

    def _failed(self, failure: Any, request: Any, asking: Asking) -> None:
        log.err(failure, "a page of nightly rebuilds")
        if asking.gone:
            return
        if request.startedWriting:  # whoever reads must see that it is not whole
            request.transport.abortConnection()
            return
        for name in (b"content-encoding", b"content-disposition", b"etag", b"last-modified"):
            request.responseHeaders.removeHeader(name)
        request.setResponseCode(500)
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.write(b"The farm could not make this page. Its log says why: buildfarm logs\n")
        request.finish()

    def _in_thread(self, call: Any, *args: Any) -> Any:
        return threads.deferToThreadPool(self._reactor, self._pool, call, *args)

    async def _answer(self, request: Any, asking: Asking) -> None:
        path = tuple(part.decode("utf-8", "replace") for part in request.postpath)
        said = {
            key.decode("utf-8", "replace"): values[0].decode("utf-8", "replace")
            for key, values in request.args.items()
        }
        pool = self._slow if is_slow(path) else self._pool
        found = await threads.deferToThreadPool(self._reactor, pool, self._site.answer, path, said)
        if asking.gone:
            return
        request.setHeader(b"x-content-type-options", b"nosniff")
        request.setHeader(b"referrer-policy", b"same-origin")
        request.setHeader(b"cache-control", b"no-cache")
        if isinstance(found, Answer):
            self._send(request, found)
        elif isinstance(found, Elsewhere):
            request.setResponseCode(302)
            request.setHeader(b"location", found.location.encode())
            request.finish()
        else:
            await self._send_file(request, asking, found)

    @staticmethod
    def _send(request: Any, found: Answer) -> None:
        request.setHeader(b"content-type", found.type.encode())
        request.setHeader(b"content-security-policy", PAGE_POLICY.encode())
        for name, value in found.headers.items():
            request.setHeader(name.lower().encode(), value.encode())
        request.setResponseCode(found.status)
        if found.changed_at is not None:
            request.setHeader(b"last-modified", http.datetimeToString(int(found.changed_at)))
        if found.etag:
            request.setHeader(b"etag", found.etag.encode())
        if is_known(request.getHeader(b"if-none-match"), request.getHeader(b"if-modified-since"), found):
            request.setResponseCode(304)
        else:
            request.setHeader(b"content-length", str(len(found.body)).encode())
            if request.method != b"HEAD":
                request.write(found.body)
        request.finish()

    async def _send_file(self, request: Any, asking: Asking, found: FileAnswer) -> None:
        descriptor = await self._in_thread(open_plain, found.path)
        try:
            request.setHeader(b"content-type", found.type.encode())
            request.setHeader(b"content-security-policy", FILE_POLICY.encode())
            if found.name:
                request.setHeader(b"content-disposition", f'attachment; filename="{found.name}"'.encode())
            packed = found.packed and takes_gzip(request.getHeader(b"accept-encoding"))
            if found.packed:
                request.setHeader(b"vary", b"accept-encoding")
            if packed:
                request.setHeader(b"content-encoding", b"gzip")
            if packed or not (found.packed or found.growing):
                size = await self._in_thread(lambda: os.fstat(descriptor).st_size)
                request.setHeader(b"content-length", str(size).encode())
            if request.method != b"HEAD" and not asking.gone:
                unpack = Unpacking() if found.packed and not packed else None
                await self._pump(request, asking, descriptor, unpack, follow=found.growing)
        finally:
            await self._in_thread(os.close, descriptor)
        if not asking.gone:
            request.finish()

    async def _pump(
        self, request: Any, asking: Asking, descriptor: int, unpack: Unpacking | None, *, follow: bool
    ) -> None:
        """Send a file as fast as it is taken; while it grows, look for more every second."""
        follow = counted = follow and self._followers < FOLLOWERS
        self._followers += counted
        until = self._reactor.seconds() + FOLLOW_S
        request.registerProducer(asking, True)
        try:
            while not asking.gone:
                data = await self._in_thread(read_part, descriptor, unpack)
                if data is None:
                    ended = await self._in_thread(is_unlinked, descriptor)
                    if ended and follow:  # what was written between the two looks
                        follow = False
                        continue
                    if not follow or self._reactor.seconds() > until:
                        return
                    await asking.pause(self._reactor, LOOK_EACH_S)
                elif data and not asking.gone:
                    request.write(data)
                    await asking.room()
        finally:
            self._followers -= counted
            if not asking.gone:
                request.unregisterProducer()


class Asking:
    """Who asks: whether they are still there, and whether they take more now."""

    def __init__(self, request: Any) -> None:
        self.gone = False
        self._waiting: Any = None
        self._paused = False
        request.notifyFinish().addBoth(self._ended)

    def _ended(self, _result: Any) -> None:
        self.gone = True
        self.resumeProducing()

    def pauseProducing(self) -> None:  # noqa: N802 (Twisted's word)
        """They take no more for now."""
        self._paused = True

    def resumeProducing(self) -> None:  # noqa: N802 (Twisted's word)
        """They take more."""
        self._paused = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:  # noqa: N802 (Twisted's word)
        """They are gone."""
        self.gone = True
        self.resumeProducing()

    async def room(self) -> None:
        """Wait until they take more, or are gone."""
        while self._paused and not self.gone:
            self._waiting = defer.Deferred()
            await self._waiting

    async def pause(self, reactor: Any, seconds: float) -> None:
        """Wait so long, or until they are gone."""
        self._waiting = waiting = defer.Deferred()
        timer = reactor.callLater(seconds, self.resumeProducing)
        await waiting
        if timer.active():
            timer.cancel()


class Unpacking:
    """A gzip file's content, piece by piece; raises zlib.error for what is none."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)

    def take(self, data: bytes) -> bytes:
        """So much of the content as a piece of the file has, at most a chunk."""
        return self._inflater.decompress(self._inflater.unconsumed_tail + data, CHUNK_BYTES)

    @property
    def has_more(self) -> bool:
        """Whether there is more of what was given already."""
        return bool(self._inflater.unconsumed_tail)


def read_part(descriptor: int, unpack: Unpacking | None) -> bytes | None:
    """The next part of a file, None at its end."""
    if unpack is None:
        return os.read(descriptor, CHUNK_BYTES) or None
    data = b"" if unpack.has_more else os.read(descriptor, CHUNK_BYTES)
    return unpack.take(data) if data or unpack.has_more else None


def is_unlinked(descriptor: int) -> bool:
    """Whether a file is not written to any more: a log is packed and removed when its build has ended."""
    return os.fstat(descriptor).st_nlink == 0


def is_known(tags: bytes | None, since: bytes | None, found: Answer) -> bool:
    """Whether who asks has this answer already; tags, where there are any, are better than times."""
    if tags is not None:
        said = [one.strip().removeprefix(b"W/") for one in tags.split(b",")]
        return bool(found.etag) and (found.etag.encode() in said or b"*" in said)
    if since is None or found.changed_at is None:
        return False
    try:
        return bool(http.stringToDatetime(since.partition(b";")[0]) >= int(found.changed_at))
    except ValueError:
        return False


def takes_gzip(header: bytes | None) -> bool:
    """Whether an Accept-Encoding lets gzip through."""
    for part in (header or b"").lower().split(b","):
        name, _, weight = part.strip().partition(b";")
        if name.strip() in (b"gzip", b"x-gzip"):
            return weight.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False
