"""The embedded archive over HTTP: its files for apt, its pages for people, and the way in for uploads.

GET  /                                        the PPAs; /OWNER/NAME/ one PPA
GET  /OWNER/NAME/dists/... and pool/...       what apt reads, as static files; of private PPAs with a token
GET  /OWNER/NAME/key.asc, NAME-SERIES.sources how to add the PPA to a machine
GET  /api/OWNER/NAME/publications             JSON; ?source= &version= &series=
PUT  /upload/OWNER/NAME/SERIES/KEY/FILE       a source's files; rights come from its signature
PUT  /upload-binaries/OWNER/NAME/SERIES/ARCH/KEY/FILE    a build's files; with the workers' token
GET  the same without FILE                    what has come of an upload, and whether it was accepted
PUT  /~OWNER/NAME[/SERIES]/FILE               a source's files from dput; with a token, the .changes last

KEY is the SHA-256 of the .changes, which is sent first, to say what will come, and again at the end, to be
answered with what became of the upload. A request's body goes to a file as it comes; checking, accepting and
publishing run in threads.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from twisted.internet import defer, reactor, task
from twisted.internet.threads import deferToThread
from twisted.web import resource
from twisted.web.server import Request, Site

from ppa_tools.address import parse_address
from ppa_tools.archives import background, pages
from ppa_tools.archives.access import Readers
from ppa_tools.archives.answering import Service
from ppa_tools.archives.bodies import (
    UNAUTHORISED,
    Answer,
    ArchiveRequest,
    Body,
    Gate,
    Way,
    refusal,
)
from ppa_tools.archives.connections import Connections, make_room_for_files
from ppa_tools.archives.desk import Desk, Notifier, Sent
from ppa_tools.archives.dropbox import Dropboxes, DropLimits
from ppa_tools.archives.drops import Drops
from ppa_tools.archives.errors import UnknownPPA, UploadRefused
from ppa_tools.archives.incoming import Destination, Incoming, Limits
from ppa_tools.archives.local import LocalArchive, Receipt
from ppa_tools.archives.put_upload import PutBody, Puts
from ppa_tools.archives.serving import NOTHING, Api, Computed, Owner, html
from ppa_tools.archives.ways_in import WaysIn, listen, listen_tcp

IDLE_TIMEOUT_S = 120
CLEANING_INTERVAL_S = 3600
LAST_WORDS_S = 0.1


class Root(resource.Resource):  # type: ignore[misc]
    """All addresses begin here."""

    def __init__(self, service: Service, ways: dict[bytes, Way], puts: Puts) -> None:
        super().__init__()
        self._service, self._puts = service, puts
        self.putChild(b"", Computed(service, lambda: html(pages.home_page(service.archive.ppas()))))
        self.putChild(b"api", Api(service))
        for name, way in ways.items():
            self.putChild(name, Uploads(service, way))

    def getChild(self, owner: bytes, _request: Request) -> resource.Resource:  # noqa: N802
        """An owner's PPAs, or their way in for dput."""
        return Dropping(self._service, self._puts) if owner.startswith(b"~") else Owner(self._service, owner)


class Dropping(resource.Resource):  # type: ignore[misc]
    """/~OWNER/NAME[/SERIES]/FILE: the way in for dput."""

    isLeaf = True  # noqa: N815 (Twisted's name)

    def __init__(self, service: Service, puts: Puts) -> None:
        super().__init__()
        self._service, self._puts = service, puts

    def render_PUT(self, request: Request) -> int:  # noqa: N802
        """Take a file; with the last one, decide."""
        body = request.content
        if not isinstance(body, Body):
            return self._service.answer(request, lambda: refusal(411, "a file is wanted"))
        body.complete()
        if (refused := body.refused) is not None or not isinstance(body, PutBody):
            return self._service.answer(request, lambda: refused or refusal(404, "nothing is taken here"))
        return self._service.answer_later(request, self._puts.settle(body))


class Uploads(resource.Resource):  # type: ignore[misc]
    """A way in: for sources, or, with the workers' token, for binaries."""

    isLeaf = True  # noqa: N815 (Twisted's name)

    def __init__(self, service: Service, way: Way) -> None:
        super().__init__()
        self._service, self._way = service, way

    def render_GET(self, request: Request) -> Any:  # noqa: N802
        """What has come of an upload so far."""
        destination = self._way.destination(request.postpath)
        if destination is None:
            return NOTHING.render(request)
        if not self._way.may(request):
            return self._service.answer(request, lambda: UNAUTHORISED)
        archive, incoming = self._service.archive, self._way.incoming

        def look() -> Answer:
            where = (destination.address, destination.series)
            receipt = self._service.desk.find_earlier(*where, destination.changes_sha256)
            accepted = _receipt_json(archive, receipt) if receipt else None
            return Answer.of_json(200, {"accepted": accepted, "files": incoming.held(destination)})

        return self._service.answer_in_turn(request, destination, look)

    def render_PUT(self, request: Request) -> Any:  # noqa: N802
        """Take a file; with the .changes, decide, once all that it names is here."""
        body = request.content
        if not isinstance(body, Body):
            return self._service.answer(request, lambda: refusal(411, "a file is wanted"))
        body.complete()
        destination = self._way.destination(request.postpath[:-1])
        if body.refused is not None or destination is None:
            answer = body.refused or refusal(404, "that is no address for an upload")
            return self._service.answer(request, lambda: answer)
        name = request.postpath[-1].decode("utf-8", "replace")
        return self._service.answer_in_turn(request, destination, lambda: self._take(destination, name, body.path))

    def _take(self, destination: Destination, name: str, received: Path) -> Answer:
        """In a thread: keep one file of an upload, and go on with the upload when it is the .changes."""
        archive, where = self._service.archive, (destination.address, destination.series)
        earlier = self._service.desk.find_earlier(*where, destination.changes_sha256)
        if earlier is not None:
            archive.publish(destination.address)
            return Answer.of_json(200, _receipt_json(archive, earlier))
        if name.endswith(".changes"):
            return self._take_changes(destination, name, received)
        self._way.incoming.place(destination, name, received)
        return Answer.of_json(201, {"held": name})

    def _take_changes(self, destination: Destination, name: str, received: Path) -> Answer:
        archive, incoming = self._service.archive, self._way.incoming
        text = received.read_bytes()  # the gate let no more than TEXT_LIMIT_BYTES in
        if hashlib.sha256(text).hexdigest() != destination.changes_sha256:
            raise UploadRefused(f"{name} has another SHA-256 than the address it was sent to")
        sent = Sent(destination.address, destination.series, name, text, "http", self._architecture(destination))
        try:
            changes = self._service.desk.read(sent)
            path = incoming.open(destination, name, received, changes.files)
            if missing := incoming.missing(destination):
                return Answer.of_json(202, {"accepted": False, "missing": missing})
            receipt = self._service.desk.accept(sent, path.parent)
        except (UploadRefused, UnknownPPA) as error:
            incoming.forget(destination)
            self._service.desk.refuse(sent, error)
            raise
        incoming.forget(destination)
        return Answer.of_json(200, _receipt_json(archive, receipt))

    def _architecture(self, destination: Destination) -> str:
        return destination.architecture if self._way.for_binaries else ""


def _receipt_json(archive: LocalArchive, receipt: Receipt) -> dict[str, Any]:
    address = parse_address(receipt.archive)
    in_release = archive.public_directory(address) / "dists" / receipt.series / "InRelease"
    sha256 = hashlib.sha256(in_release.read_bytes()).hexdigest() if in_release.exists() else ""
    return {"accepted": True, **asdict(receipt), "in_release_sha256": sha256}


def serve(
    archive: LocalArchive,
    *,
    host: str,
    port: int,
    worker_token: str,
    limits: Limits | None = None,
    drop_limits: DropLimits | None = None,
    ways_in: WaysIn | None = None,
    notifier: Notifier | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT, then end after what runs; returns the exit status.

    What a crash left unpublished is published first. Prints a line when it is ready, and one for each of
    ``ways_in``. ``limits`` are for uploads that send their .changes first, ``drop_limits`` for dput's.
    """
    limits = limits or Limits()
    ways = {
        b"upload": Way(Incoming(archive.incoming, limits)),
        b"upload-binaries": Way(Incoming(archive.incoming_binaries, limits), worker_token),
    }

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    desk = Desk(archive, say, notifier)
    service = Service(archive, desk, Readers(archive, worker_token), say)
    drops = Drops(Dropboxes(archive.root / "dropboxes", desk, drop_limits or DropLimits()), service.look)
    puts = Puts(drops, archive)

    def clean() -> None:
        for way in ways.values():
            way.incoming.clean()

    clean()
    for one in archive.publish_due():
        service.say(f"published {one.series}, which an interruption had left behind")

    class BoundRequest(ArchiveRequest):
        """A request that knows this archive's gate."""

    BoundRequest.gate = Gate(ways, puts)
    site = Site(Root(service, ways, puts), timeout=IDLE_TIMEOUT_S, requestFactory=BoundRequest)
    site.displayTracebacks = False
    make_room_for_files()
    listening = listen_tcp(port, Connections(site), host)
    others, lines = listen(ways_in, drops) if ways_in else ([], [])
    task.LoopingCall(lambda: deferToThread(clean)).start(CLEANING_INTERVAL_S, now=False)
    end_background = background.begin(archive, say)

    def end() -> defer.Deferred[Any]:
        """Take no more, wait for what runs, and let its answers go out."""
        waiting = [defer.maybeDeferred(one.stopListening) for one in (listening, *others)]
        ended = defer.DeferredList([*waiting, *service.running, drops.stop()], consumeErrors=True)
        return ended.addCallback(lambda _: task.deferLater(reactor, LAST_WORDS_S))

    reactor.addSystemEventTrigger("before", "shutdown", end)
    address = listening.getHost()
    lines = [f"archive: serving http://{address.host}:{address.port}/ from {archive.root}", *lines]
    reactor.callWhenRunning(print, *lines, sep="\n", flush=True)
    reactor.run()
    end_background()
    archive.stop_agents()
    archive.close()
    return 0
