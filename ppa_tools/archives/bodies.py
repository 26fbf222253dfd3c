"""What the archive takes of a request's body, decided by the request's head: who may send how much, and where to.

A body that nobody vouched for is a .changes of a few MiB; of those that are still coming, the oldest gives way to
a new one. All others are files that a checked .changes names, or come with the workers' token.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote_to_bytes

from twisted.internet import defer
from twisted.web import http
from twisted.web.server import Request

from ppa_tools.address import Address, parse_address
from ppa_tools.archives.administration import SERIES_NAME
from ppa_tools.archives.checks import TEXT_LIMIT_BYTES
from ppa_tools.archives.control import ARCHITECTURE, check_file_name
from ppa_tools.archives.errors import (
    ArchiveError,
    TokenWanted,
    UnknownPPA,
    UploadNotOpen,
    UploadRefused,
    VersionNotNewer,
)
from ppa_tools.archives.incoming import UPLOAD_KEY, Destination, Incoming

DROPPED_BYTES = 64 << 10  # a refused body this short is read to its end, so that the answer surely arrives


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; ``reason`` stands in its status line for the usual words, ``challenge`` goes with 401."""

    status: int
    content_type: str
    body: bytes
    reason: bytes = b""
    challenge: str = "Bearer"

    @staticmethod
    def of_json(status: int, data: Any) -> Answer:
        """An answer in JSON."""
        return Answer(status, "application/json", json.dumps(data, indent=1).encode() + b"\n")

    @staticmethod
    def of_text(status: int, text: str, content_type: str = "text/plain; charset=utf-8") -> Answer:
        """An answer in text."""
        return Answer(status, content_type, text.encode())


class Body:
    """A request's body on its way to a file; one that is refused, or finds the disk full, is dropped.

    It stays in its ``lane``, which counts those like it, until its request has ended.
    """

    def __init__(self, directory: Path, lane: dict[Body, ArchiveRequest]) -> None:
        self.refused: Answer | None = None
        self.has_come = False
        self._directory = directory
        self._lane = lane
        self._file: BinaryIO | None = None
        self._path: Path | None = None

    @staticmethod
    def refusing(answer: Answer) -> Body:
        """A body that is not wanted."""
        body = Body(Path(), {})
        body.refused = answer
        return body

    @property
    def path(self) -> Path:
        """The file that it is in, once ``complete`` found nothing to refuse."""
        assert self._path is not None
        return self._path

    def write(self, data: bytes) -> None:
        """Take a piece."""
        if self.refused is not None:
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
        self.refused = refusal(status, reason)
        self.close()

    def complete(self) -> None:
        """All has come: hand it to the file system."""
        self.has_come = True
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
        self._lane.pop(self, None)
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class ArchiveRequest(Request):  # type: ignore[misc]
    """A request whose body is judged by its head, and streams to a file."""

    gate: Gate

    def gotLength(self, length: int | None) -> None:  # noqa: N802 (Twisted's name)
        """The headers are here: make room for the body, or answer at once that there is none."""
        if length == 0:
            super().gotLength(0)
            return
        # Twisted tells a request its method and path when the body has come; its channel knows them now.
        admitted = self.gate.admit(self, self.channel._command, self.channel._path, length)
        if admitted.called:
            admitted.addCallback(self._take, length)
            return
        self.channel.paused = True  # the gate looks something up; what comes meanwhile waits
        self.channel.transport.pauseProducing()
        admitted.addCallback(self._take, length).addCallback(self._read_on, self.channel)

    def process(self) -> None:
        """All has come: answer, unless that was done."""
        if not getattr(self, "_is_cut_off", False):
            super().process()

    def hang_up(self) -> None:
        """End the connection at once."""
        if self.channel is not None:
            self.channel.transport.abortConnection()

    def _take(self, body: Body, length: int | None) -> None:
        """Let the body come in, or say at once why it may not."""
        if self.channel is None:
            body.close()  # whoever sends it has hung up
            return
        self.content = body
        self._is_cut_off = body.refused is not None and (length is None or length > DROPPED_BYTES)
        if self._is_cut_off and body.refused is not None:
            self._cut_off(body.refused)

    def _read_on(self, _: None, channel: Any) -> None:
        if self.channel is not None:
            channel.paused = False
            channel.transport.resumeProducing()
            channel.dataReceived(b"")

    def _cut_off(self, answer: Answer) -> None:
        """Answer at once and hang up: nobody waits for gigabytes that are refused anyway."""
        lines = [
            b"HTTP/1.1 %d %s" % (answer.status, answer.reason or http.RESPONSES.get(answer.status, b"Refused")),
            b"Content-Type: " + answer.content_type.encode(),
            b"Content-Length: %d" % len(answer.body),
            b"Connection: close",
        ]
        if answer.status == 401:
            lines.append(b"WWW-Authenticate: " + answer.challenge.encode())
        self.channel.transport.write(b"\r\n".join([*lines, b"", answer.body]))
        self.channel.loseConnection()


@dataclass(frozen=True, eq=False)
class Way:
    """A way in: for sources, or, with a ``token``, for binaries."""

    incoming: Incoming
    token: str | None = None

    @property
    def for_binaries(self) -> bool:
        """Whether builds come this way."""
        return self.token is not None

    def may(self, request: Request) -> bool:
        """Whether whoever asks may come this way."""
        if self.token is None:
            return True
        given = request.getHeader(b"authorization") or b""
        return hmac.compare_digest(given, b"Bearer " + self.token.encode())

    def destination(self, segments: list[bytes]) -> Destination | None:
        """OWNER, NAME, SERIES, for binaries ARCH, and KEY; None for anything else."""
        if len(segments) != (5 if self.for_binaries else 4):
            return None
        address = read_address(*segments[:2])
        series, *architectures, key = (segment.decode("ascii", "replace") for segment in segments[2:])
        are_names = SERIES_NAME.fullmatch(series) and all(map(ARCHITECTURE.fullmatch, architectures))
        if address is None or not are_names or not UPLOAD_KEY.fullmatch(key):
            return None
        return Destination(address, series, architectures[0] if architectures else "source", key)


class OtherWay(Protocol):
    """A way in that has rules of its own."""

    def admit(self, request: ArchiveRequest, path: list[bytes], length: int | None) -> defer.Deferred[Body]:
        """A place for a request's body, or one that has refused it already; never fails."""


@dataclass(frozen=True, eq=False)
class Gate:
    """Lets bodies in; ``ways`` by the first segment of their addresses, ``dropping`` for those with a ~."""

    ways: dict[bytes, Way]
    dropping: OtherWay
    _inside: dict[tuple[bytes, bool], dict[Body, ArchiveRequest]] = field(default_factory=dict)

    def admit(
        self, request: ArchiveRequest, method: bytes, path: bytes, length: int | None
    ) -> defer.Deferred[Body]:
        """A place for the request's body, or one that has refused it already; never fails, and may wait."""
        segments = [unquote_to_bytes(segment) for segment in path.partition(b"?")[0].split(b"/")[1:] or [b""]]
        if segments[0].startswith(b"~") and method == b"PUT":
            return self.dropping.admit(request, segments, length)
        way = self.ways.get(segments[0]) if method == b"PUT" else None
        if way is None:
            return defer.succeed(Body.refusing(refusal(413, "nothing is taken here")))
        return defer.succeed(self._admit(request, way, segments, length))

    def _admit(self, request: ArchiveRequest, way: Way, segments: list[bytes], length: int | None) -> Body:
        try:
            if (refused := self._judge(request, way, segments[1:], length)) is not None:
                return Body.refusing(refused)
        except ArchiveError as error:
            return Body.refusing(explain(error))
        is_changes = segments[-1].endswith(b".changes")
        lane = self._inside.setdefault((segments[0], is_changes), {})
        if len(lane) >= way.incoming.limits.open_bodies:
            coming = next((body for body in lane if not body.has_come), None) if is_changes else None
            if coming is None:
                return Body.refusing(refusal(503, "too many files are on their way; try again later"))
            lane.pop(coming).hang_up()
        body = Body(way.incoming.root, lane)
        lane[body] = request
        return body

    def _judge(
        self, request: ArchiveRequest, way: Way, segments: list[bytes], length: int | None
    ) -> Answer | None:
        """Why a body is not taken; None when it is. Raises ArchiveError, too."""
        destination = way.destination(segments[:-1])
        if destination is None:
            return refusal(404, "that is no address for an upload")
        if not way.may(request):
            return UNAUTHORISED
        if length is None:
            return refusal(411, "Content-Length is required")
        name = segments[-1].decode("utf-8", "replace")
        limit_bytes = TEXT_LIMIT_BYTES if name.endswith(".changes") else way.incoming.limits.file_bytes
        if length > limit_bytes:
            return refusal(413, f"{name} may have {limit_bytes >> 20} MiB")
        check_file_name(name, "the upload")
        if not name.endswith(".changes"):
            way.incoming.check_expected(destination, name, length)
        return None


def refusal(status: int, reason: str) -> Answer:
    """That an upload is not taken, and why."""
    return Answer.of_json(status, {"accepted": False, "reason": reason})


UNAUTHORISED = refusal(401, "the workers' token is wanted")


def explain(error: ArchiveError) -> Answer:
    """An error of the archive as an answer."""
    if isinstance(error, TokenWanted):
        return replace(Answer.of_text(401, f"{error}\n"), challenge=f'Basic realm="{error.realm}"')
    statuses = ((UnknownPPA, 404), (UploadRefused, 422), (UploadNotOpen, 409))
    status = next((status for kind, status in statuses if isinstance(error, kind)), 503)
    more = {"not_newer_than": error.than} if isinstance(error, VersionNotNewer) else {}
    return Answer.of_json(status, {"accepted": False, "reason": str(error), **more})


def read_address(owner: bytes, name: bytes) -> Address | None:
    """The PPA that two segments of a path name; None when they name none."""
    try:
        return parse_address(f"local:{owner.decode('ascii')}/{name.decode('ascii')}")
    except ValueError:
        return None
