"""The embedded archive over HTTP: its files for apt, its pages for people, and the way in for uploads.

GET  /                                        the PPAs; /OWNER/NAME/ one PPA
GET  /OWNER/NAME/dists/... and pool/...       what apt reads, as static files
GET  /OWNER/NAME/key.asc, NAME-SERIES.sources how to add the PPA to a machine
GET  /api/OWNER/NAME/publications             JSON; ?source= &version= &series=
PUT  /upload/OWNER/NAME/SERIES/KEY/FILE       a source's files; rights come from its signature
PUT  /upload-binaries/OWNER/NAME/SERIES/ARCH/KEY/FILE    a build's files; with the workers' token
GET  the same without FILE                    what has come of an upload, and whether it was accepted

KEY is the SHA-256 of the .changes, which is sent last and answers with what became of the upload. A request's
body goes to a file as it comes; checking, accepting and publishing run in threads.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from twisted.internet import defer, reactor, task
from twisted.internet.error import CannotListenError
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.web import http, pages, resource, static
from twisted.web.server import NOT_DONE_YET, Request, Site

from ppa_tools.address import Address, parse_address
from ppa_tools.archives import views
from ppa_tools.archives.control import check_file_name
from ppa_tools.archives.errors import ArchiveError, UnknownPPA, UploadRefused, VersionNotNewer
from ppa_tools.archives.incoming import UPLOAD_KEY, Destination, Incoming, Limits
from ppa_tools.archives.local import LocalArchive, Receipt

IDLE_TIMEOUT_S = 120
CLEANING_INTERVAL_S = 3600
LAST_WORDS_S = 0.1
WORKER = "farm worker"
CONTENT_TYPES = {
    ".deb": "application/vnd.debian.binary-package",
    ".ddeb": "application/vnd.debian.binary-package",
    ".gz": "application/gzip",
    ".xz": "application/x-xz",
    ".bz2": "application/x-bzip2",
    ".gpg": "application/pgp-signature",
    ".asc": "text/plain",
    ".dsc": "text/plain",
}


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    content_type: str
    body: bytes

    @staticmethod
    def of_json(status: int, data: Any) -> Answer:
        """An answer in JSON."""
        return Answer(status, "application/json", json.dumps(data, indent=1).encode() + b"\n")

    @staticmethod
    def of_text(status: int, text: str, content_type: str = "text/plain; charset=utf-8") -> Answer:
        """An answer in text."""
        return Answer(status, content_type, text.encode())


class Body:
    """A request's body on its way to a file; past ``limit_bytes`` and on a full disk the rest is dropped."""

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self.refused: Answer | None = None
        self._directory = directory
        self._left_bytes = limit_bytes
        self._file: BinaryIO | None = None
        self._path: Path | None = None

    @property
    def path(self) -> Path:
        """The file that it is in, once ``complete`` found nothing to refuse."""
        assert self._path is not None
        return self._path

    def write(self, data: bytes) -> None:
        """Take a piece."""
        if self.refused is not None:
            return
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self.refuse(413, "the file is larger than this archive takes")
            return
        try:
            if self._file is None:
                handle, name = tempfile.mkstemp(dir=self._directory, prefix=".body-")
                self._file, self._path = os.fdopen(handle, "wb"), Path(name)
            self._file.write(data)
        except OSError as error:
            self.refuse(507, f"the archive cannot write: {error.strerror}")

    def refuse(self, status: int, reason: str) -> None:
        """Keep nothing of it, but why."""
        self.refused = Answer.of_json(status, {"accepted": False, "reason": reason})
        self.close()

    def complete(self) -> None:
        """All has come: hand it to the file system."""
        try:
            if self._file is not None:
                self._file.flush()
        except OSError as error:
            self.refuse(507, f"the archive cannot write: {error.strerror}")

    # What Twisted's Request asks of a body:

    def tell(self) -> int:
        """Always 0: Twisted parses no body here."""
        return 0

    def seek(self, *_where: int) -> int:
        """Nothing is read through this object."""
        return 0

    def read(self, *_size: int) -> bytes:
        """Nothing is read through this object."""
        return b""

    def close(self) -> None:
        """The request has ended: a body that nobody took is removed."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class ArchiveRequest(Request):  # type: ignore[misc]
    """A request whose body streams to a file, and is cut off when it promises too much."""

    incoming: Incoming

    def gotLength(self, length: int | None) -> None:  # noqa: N802 (Twisted's name)
        """The headers are here: make room for the body."""
        if length == 0:
            super().gotLength(0)
            return
        body = Body(self.incoming.root, self.incoming.limits.file_bytes)
        if length is None:
            body.refuse(411, "Content-Length is required")
        elif length > self.incoming.limits.file_bytes:
            body.refuse(413, f"a file may have {self.incoming.limits.file_bytes >> 20} MiB")
        self.content = body
        if body.refused is not None:
            self._cut_off(body.refused)

    def _cut_off(self, answer: Answer) -> None:
        """Answer at once and hang up: nobody waits for gigabytes that are refused anyway."""
        reason = http.RESPONSES.get(answer.status, b"Refused")
        head = (
            b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        )
        self.channel.transport.write(head % (answer.status, reason, len(answer.body)) + answer.body)
        self.channel.loseConnection()


@dataclass
class Service:
    """What the resources share; ``token`` is the workers', ``say`` writes a line to the log."""

    archive: LocalArchive
    incoming: Incoming
    token: str
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.running: set[defer.Deferred[None]] = set()
        self._accepting: dict[Destination, defer.DeferredLock] = {}

    def answer(self, request: Request, work: Callable[[], Answer]) -> int:
        """Answer a request with what ``work`` returns, run in a thread; its errors become answers, too."""
        done: defer.Deferred[None] = deferToThread(work)
        self._finish(request, done)
        return NOT_DONE_YET  # type: ignore[no-any-return]

    def answer_in_turn(self, request: Request, destination: Destination, work: Callable[[], Answer]) -> int:
        """As ``answer``; the requests of one upload take turns."""
        lock = self._accepting.setdefault(destination, defer.DeferredLock())

        def release(result: Any) -> Any:
            if not lock.locked and not lock.waiting:
                self._accepting.pop(destination, None)
            return result

        done = lock.run(deferToThread, work)
        done.addBoth(release)
        self._finish(request, done)
        return NOT_DONE_YET  # type: ignore[no-any-return]

    def _finish(self, request: Request, done: defer.Deferred[Any]) -> None:
        gone: list[Any] = []
        request.notifyFinish().addErrback(gone.append)
        done.addErrback(self._explain, request)

        def write(answer: Answer) -> None:
            if not gone:
                send(request, answer)
                request.finish()

        done.addCallback(write)
        self.running.add(done)
        done.addBoth(lambda _: self.running.discard(done))

    def _explain(self, failure: Failure, request: Request) -> Answer:
        error = failure.value
        if isinstance(error, UnknownPPA):
            status = 404
        elif isinstance(error, UploadRefused):
            status = 422
        elif isinstance(error, ArchiveError):
            status = 503
        else:
            status = 500
            self.say(f"{request.method.decode()} {request.uri.decode()}: {failure.getTraceback()}")
        reason = str(error) if status != 500 else "the archive is in trouble; its log says more"
        more = {"not_newer_than": error.than} if isinstance(error, VersionNotNewer) else {}
        return Answer.of_json(status, {"accepted": False, "reason": reason, **more})


def send(request: Request, answer: Answer) -> None:
    """Write an answer's head and body."""
    request.setResponseCode(answer.status)
    request.setHeader(b"content-type", answer.content_type.encode())
    request.setHeader(b"content-length", str(len(answer.body)).encode())
    request.setHeader(b"x-content-type-options", b"nosniff")
    if answer.content_type.startswith("text/html"):
        request.setHeader(b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'")
    if answer.status == 401:
        request.setHeader(b"www-authenticate", b"Bearer")
    if request.method != b"HEAD":
        request.write(answer.body)


class Root(resource.Resource):  # type: ignore[misc]
    """All addresses begin here."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service
        self.putChild(b"", Computed(service, lambda: _html(views.home_page(service.archive.ppas()))))
        self.putChild(b"api", Api(service))
        self.putChild(b"upload", Uploads(service, binaries=False))
        self.putChild(b"upload-binaries", Uploads(service, binaries=True))

    def getChild(self, owner: bytes, _request: Request) -> resource.Resource:  # noqa: N802
        """An owner's PPAs."""
        return Owner(self._service, owner)


class Owner(resource.Resource):  # type: ignore[misc]
    """An owner, who has PPAs."""

    def __init__(self, service: Service, owner: bytes) -> None:
        super().__init__()
        self._service, self._owner = service, owner

    def getChild(self, name: bytes, _request: Request) -> resource.Resource:  # noqa: N802
        """A PPA."""
        address = _address(self._owner, name)
        return OnePPA(self._service, address) if address else NOTHING

    def render_GET(self, _request: Request) -> bytes:  # noqa: N802
        """An owner has no page."""
        return NOTHING.render(_request)  # type: ignore[no-any-return]


class OnePPA(resource.Resource):  # type: ignore[misc]
    """A PPA's page, its key, its .sources and its files."""

    def __init__(self, service: Service, address: Address) -> None:
        super().__init__()
        self._service, self._address = service, address
        public = service.archive.public_directory(address)
        for name in ("dists", "pool"):
            self.putChild(name.encode(), PublicFile(str(public / name)))

    def getChild(self, name: bytes, _request: Request) -> resource.Resource:  # noqa: N802
        """What a PPA has beside its files."""
        archive, address = self._service.archive, self._address
        text = name.decode("ascii", "replace")
        if text == "":
            return Computed(self._service, lambda: _html(views.ppa_page(archive, archive.ppa(address))))
        if text == "key.asc":
            return Computed(
                self._service, lambda: Answer(200, "application/pgp-keys", archive.public_key(address))
            )
        if text.startswith(f"{address.name}-") and text.endswith(".sources"):
            series = text.removeprefix(f"{address.name}-").removesuffix(".sources")
            return Computed(self._service, lambda: Answer.of_text(200, archive.sources_text(address, series)))
        return NOTHING

    def render_GET(self, request: Request) -> bytes:  # noqa: N802
        """The page's address ends with a slash, for the links on it."""
        request.redirect(request.path + b"/")
        return b""


class Api(resource.Resource):  # type: ignore[misc]
    """/api/OWNER/NAME/publications."""

    isLeaf = True  # noqa: N815 (Twisted's name)

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service

    def render_GET(self, request: Request) -> Any:  # noqa: N802
        """The publications that the query asks for."""
        address = _address(*request.postpath[:2]) if len(request.postpath) == 3 else None
        if address is None or request.postpath[2] != b"publications":
            return NOTHING.render(request)
        series, source, version = (_argument(request, name) for name in ("series", "source", "version"))

        def find() -> Answer:
            found = self._service.archive.publications(address, series=series, source=source, version=version)
            rows = [views.publication_json(one) for one in found]
            return Answer.of_json(200, {"archive": str(address), "publications": rows})

        return self._service.answer(request, find)


class Computed(resource.Resource):  # type: ignore[misc]
    """A page that is made when asked for."""

    isLeaf = True  # noqa: N815 (Twisted's name)

    def __init__(self, service: Service, make: Callable[[], Answer]) -> None:
        super().__init__()
        self._service, self._make = service, make

    def render_GET(self, request: Request) -> int:  # noqa: N802
        """Make it in a thread."""
        return self._service.answer(request, self._make)


class PublicFile(static.File):  # type: ignore[misc]
    """A published file or directory: no hidden names, exact types, never a Content-Encoding, an ETag."""

    contentTypes = CONTENT_TYPES  # noqa: N815 (Twisted's name)
    contentEncodings: dict[str, str] = {}  # noqa: N815, RUF012 (Twisted's name)

    def __init__(self, path: str, *more: Any, **options: Any) -> None:
        if not more and not options:
            options["defaultType"] = "text/plain; charset=utf-8"
        super().__init__(path, *more, **options)

    def getChild(self, name: bytes, request: Request) -> resource.Resource:  # noqa: N802
        """A file below; what begins with a dot is being written."""
        return NOTHING if name.startswith(b".") else super().getChild(name, request)

    def listNames(self) -> list[str]:  # noqa: N802
        """The names a directory page shows."""
        return [name for name in super().listNames() if not name.startswith(".")]

    def render_GET(self, request: Request) -> Any:  # noqa: N802
        """The file, a part of it, or that it has not changed."""
        self.restat(False)
        if self.isfile():
            if "/by-hash/" in self.path:
                self.type, self.encoding = "application/octet-stream", None
            stat = Path(self.path).stat()
            etag = f'"{stat.st_ino:x}-{stat.st_size:x}-{stat.st_mtime_ns:x}"'.encode()
            if request.setETag(etag) is http.CACHED:
                return b""
        return super().render_GET(request)

    render_HEAD = render_GET  # noqa: N815


class Uploads(resource.Resource):  # type: ignore[misc]
    """The way in: for sources, and, with the workers' token, for binaries."""

    isLeaf = True  # noqa: N815 (Twisted's name)

    def __init__(self, service: Service, *, binaries: bool) -> None:
        super().__init__()
        self._service, self._binaries = service, binaries

    def render_GET(self, request: Request) -> Any:  # noqa: N802
        """What has come of an upload so far."""
        destination = self._destination(request.postpath)
        if destination is None:
            return NOTHING.render(request)
        if not self._may(request):
            return self._service.answer(request, lambda: _UNAUTHORISED)
        archive, incoming = self._service.archive, self._service.incoming

        def look() -> Answer:
            receipt = archive.find_upload(destination.address, destination.series, destination.changes_sha256)
            accepted = _receipt_json(archive, receipt) if receipt else None
            return Answer.of_json(200, {"accepted": accepted, "files": incoming.held(destination)})

        return self._service.answer_in_turn(request, destination, look)

    def render_PUT(self, request: Request) -> Any:  # noqa: N802
        """Take a file; with the .changes, decide."""
        body = request.content
        if not isinstance(body, Body):
            return self._service.answer(
                request, lambda: Answer.of_json(411, {"accepted": False, "reason": "a file is wanted"})
            )
        body.complete()
        refused = body.refused
        destination = self._destination(request.postpath[:-1])
        if destination is None:
            return NOTHING.render(request)
        if refused is None and not self._may(request):
            refused = _UNAUTHORISED
        if refused is not None:
            answer = refused
            return self._service.answer(request, lambda: answer)
        name = request.postpath[-1].decode("utf-8", "replace")
        return self._service.answer_in_turn(request, destination, lambda: self._take(destination, name, body.path))

    def _take(self, destination: Destination, name: str, received: Path) -> Answer:
        """In a thread: keep one file of an upload, and accept the upload when it is the .changes."""
        archive, incoming = self._service.archive, self._service.incoming
        earlier = archive.find_upload(destination.address, destination.series, destination.changes_sha256)
        if earlier is not None:
            archive.publish(destination.address)
            return Answer.of_json(200, _receipt_json(archive, earlier))
        check_file_name(name, "the upload")
        if not name.endswith(".changes"):
            incoming.place(destination, name, received)
            return Answer.of_json(201, {"held": name})
        if hashlib.sha256(received.read_bytes()).hexdigest() != destination.changes_sha256:
            raise UploadRefused(f"{name} has another SHA-256 than the address it was sent to")
        try:
            path = incoming.place(destination, name, received)
            receipt = self._accept(destination, path)
        except UploadRefused as error:
            incoming.forget(destination)
            self._service.say(f"refused {name} for {destination.address} {destination.series}: {error}")
            raise
        archive.publish(destination.address)
        incoming.forget(destination)
        verb = "already there" if receipt.already else "accepted"
        self._service.say(
            f"{verb}: {receipt.source} {receipt.version} ({receipt.architecture}) "
            f"for {destination.address} {destination.series}"
        )
        return Answer.of_json(200, _receipt_json(archive, receipt))

    def _accept(self, destination: Destination, changes: Path) -> Receipt:
        archive = self._service.archive
        where = (destination.address, destination.series)
        if self._binaries:
            return archive.accept_binaries_here(
                *where, destination.architecture, changes.parent, changes.name, WORKER
            )
        return archive.accept_source_here(*where, changes.parent, changes.name)

    def _may(self, request: Request) -> bool:
        if not self._binaries:
            return True
        given = request.getHeader(b"authorization") or b""
        return hmac.compare_digest(given, b"Bearer " + self._service.token.encode())

    def _destination(self, segments: list[bytes]) -> Destination | None:
        """OWNER, NAME, SERIES, for binaries ARCH, and KEY; None for anything else."""
        if len(segments) != (5 if self._binaries else 4):
            return None
        address = _address(*segments[:2])
        words = [segment.decode("ascii", "replace") for segment in segments[2:]]
        if address is None or not UPLOAD_KEY.fullmatch(words[-1]):
            return None
        return Destination(address, words[0], words[1] if self._binaries else "source", words[-1])


NOTHING = pages.notFound()
_UNAUTHORISED = Answer.of_json(401, {"accepted": False, "reason": "the workers' token is wanted"})


def _html(text: str) -> Answer:
    return Answer.of_text(200, text, "text/html; charset=utf-8")


def _receipt_json(archive: LocalArchive, receipt: Receipt) -> dict[str, Any]:
    address = parse_address(receipt.archive)
    in_release = archive.public_directory(address) / "dists" / receipt.series / "InRelease"
    sha256 = hashlib.sha256(in_release.read_bytes()).hexdigest() if in_release.exists() else ""
    return {"accepted": True, **asdict(receipt), "in_release_sha256": sha256}


def _address(owner: bytes, name: bytes) -> Address | None:
    try:
        return parse_address(f"local:{owner.decode('ascii')}/{name.decode('ascii')}")
    except ValueError:
        return None


def _argument(request: Request, name: str) -> str:
    values = request.args.get(name.encode(), [b""])
    return str(values[0].decode("utf-8", "replace"))


def serve(
    archive: LocalArchive,
    *,
    host: str,
    port: int,
    worker_token: str,
    limits: Limits | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT, then end after what runs; returns the exit status.

    What a crash left unpublished is published first. Prints one line when it is ready.
    """
    incoming = Incoming(archive.incoming, limits or Limits())
    service = Service(archive, incoming, worker_token, lambda line: print(line, file=sys.stderr, flush=True))
    incoming.clean()
    for one in archive.publish_dirty():
        service.say(f"published {one.series}, which an interruption had left behind")

    class BoundRequest(ArchiveRequest):
        """A request that knows where bodies go."""

    BoundRequest.incoming = incoming
    site = Site(Root(service), timeout=IDLE_TIMEOUT_S, requestFactory=BoundRequest)
    site.displayTracebacks = False
    try:
        listening = reactor.listenTCP(port, site, interface=host)
    except CannotListenError as error:
        raise ArchiveError(f"cannot listen on {host}:{port}: {error.socketError}") from error
    task.LoopingCall(lambda: deferToThread(incoming.clean)).start(CLEANING_INTERVAL_S, now=False)

    def end() -> defer.Deferred[Any]:
        """Take no more, wait for what runs, and let its answers go out."""
        waiting = [defer.maybeDeferred(listening.stopListening), *service.running]
        ended = defer.DeferredList(waiting, consumeErrors=True)
        return ended.addCallback(lambda _: task.deferLater(reactor, LAST_WORDS_S))

    reactor.addSystemEventTrigger("before", "shutdown", end)
    address = listening.getHost()
    reactor.callWhenRunning(
        print, f"archive: serving http://{address.host}:{address.port}/ from {archive.root}", flush=True
    )
    reactor.run()
    archive.stop_agents()
    archive.close()
    return 0
