"""The HTTP side: connections, faults, the log; each request is answered from the world under one lock."""

from __future__ import annotations

import base64
import gzip
import json
import socketserver
import struct
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socket import SO_LINGER, SOL_SOCKET, socket
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.doubles.launchpad.api import VERSIONS, Api
from tests.doubles.launchpad.control import Control
from tests.doubles.launchpad.due import settle
from tests.doubles.launchpad.faults import Fault, Faults
from tests.doubles.launchpad.indexes import Repository
from tests.doubles.launchpad.messages import HTML, TEXT, Answer, Request, Stop, as_json, split_target
from tests.doubles.launchpad.model import Archive
from tests.doubles.launchpad.oauth import OAuth
from tests.doubles.launchpad.packages import Packages
from tests.doubles.launchpad.world import Unknown, World

LONGEST_TARGET = 8190
"""As Apache's LimitRequestLine, which stands before Launchpad: ids in a query are chunked for its sake."""

CONTROL, LOGIN = "+control/", ("+request-token", "+authorize-token", "+access-token")
REPOSITORIES = ("ppa/", "private-ppa/", "archive/")
GARBAGE = b"<!DOCTYPE html><html><head><title>Launchpad is offline</title></head><body>Please try again"


@dataclass
class Logged:
    """One request as it went: ``number`` counts from 1; ``fault`` names what struck it; status 0: no answer."""

    number: int
    method: str
    path: str
    op: str
    query: dict[str, list[str]]
    form: dict[str, list[str]]
    at: float
    who: str = ""
    status: int = 0
    size_bytes: int = 0
    seconds: float = 0.0
    fault: str = ""
    is_api: bool = True


class Double:
    """A world with its doors: the API in three versions, the login, the files, and the control."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.lock = threading.Lock()
        self.faults = Faults()
        self.control = Control(self)
        self.log: list[Logged] = []
        self.reset()

    def reset(self) -> None:
        self.world = World()
        self.packages = Packages()
        self.repository = Repository(self.world, self.packages)
        self.oauth = OAuth()
        self.apis = {one: Api(self.world, self.packages, self.root, one) for one in VERSIONS}
        self.faults.rules.clear()
        self.log.clear()

    def answer(self, request: Request) -> Answer:
        """Answer one request; what is due happens before."""
        try:
            settle(self.world)
            version = request.path.partition("/")[0]
            if version in self.apis:
                self.oauth.recognise(request)
                return self.apis[version].answer(request)
            if request.path in LOGIN:
                if request.method == "POST" and request.form.get("person"):
                    self.world.add_person(request.form["person"][0])
                return self.oauth.page(request)
            return self._file(request)
        except Stop as stop:
            return stop.answer

    def _file(self, request: Request) -> Answer:
        """``+files`` and ``+sourcefiles`` of an archive, and its apt repository."""
        path = unquote(request.path)
        if path.startswith("~") and "/+archive/ubuntu/" in path:
            owner, _, rest = path[1:].partition("/+archive/ubuntu/")
            name, _, below = rest.partition("/")
            archive = self.world.archives.get(f"{owner}/{name}")
            if archive is not None and below.split("/")[0] in ("+files", "+sourcefiles"):
                self.oauth.recognise(request)
                if not self.world.may_read(request.who, archive):
                    raise Stop(401, "You may not see into this archive.")
                return _bytes(request, self.repository.file(archive, below.rpartition("/")[2]))
            number = below.removeprefix("+build/").partition("/")[0]
            build = self.world.builds.get(int(number)) if number.isdigit() else None
            if build is not None and below.endswith("/+files/buildlog.txt.gz") and build.archive is archive:
                return _bytes(request, gzip.compress((build.log or "no log\n").encode(), mtime=0))
        for prefix in REPOSITORIES:
            if path.startswith(prefix):
                return self._from_repository(request, prefix, path.removeprefix(prefix))
        if not path:
            return Answer(body=b"<title>Launchpad double</title><p>A double of Launchpad: see /devel/", type=HTML)
        raise Stop(404, f"Object: <the double>, name: '{path}'")

    def _from_repository(self, request: Request, prefix: str, path: str) -> Answer:
        """``ppa/OWNER/NAME/ubuntu/...``, as ppa.launchpadcontent.net has it; ``archive/ubuntu/...``."""
        if prefix == "archive/":
            archive, path = self.world.archives.get("ubuntu"), path.removeprefix("ubuntu/")
        else:
            owner, name, _, path = (*path.split("/", 3), "", "", "")[:4]
            archive = self.world.archives.get(f"{owner}/{name}")
        if archive is None or (archive.private and prefix != "private-ppa/"):
            raise Stop(404, "Not found.")
        if archive.private and not self._may_enter(request, archive):
            raise Stop(401, "Unauthorized", **{"WWW-Authenticate": 'Basic realm="Token Required"'})
        return _bytes(request, self.repository.read(archive, path))

    def _may_enter(self, request: Request, archive: Archive) -> bool:
        """Basic credentials: the person's name, and as the password the secret of a token of his."""
        given = request.headers.get("Authorization", "").removeprefix("Basic ")
        person, _, secret = base64.b64decode(given + "===").decode(errors="replace").partition(":")
        known = any(one.person == person and one.secret == secret for one in self.oauth.tokens.values())
        return known and self.world.may_read(person, archive)


def _bytes(request: Request, data: bytes | None) -> Answer:
    if data is None:
        raise Stop(404, f"Object: <the files>, name: '{request.path}'")
    return Answer(body=data, type="application/octet-stream")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def do_GET(self) -> None:
        self._serve(b"")

    def do_HEAD(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def do_PATCH(self) -> None:
        self.do_POST()

    def do_DELETE(self) -> None:
        self.do_POST()

    def _serve(self, body: bytes) -> None:
        path, query = split_target(self.path)
        if path.startswith(CONTROL):
            return self._send(self._control(path.removeprefix(CONTROL), body))
        form = parse_qs(body.decode(errors="replace"), keep_blank_values=True) if self.command == "POST" else {}
        double, began = self.server.double, time.monotonic()
        method = "GET" if self.command == "HEAD" else self.command
        request = Request(
            0, method, path, query, form, {name.title(): value for name, value in self.headers.items()}
        )
        is_api = path.partition("/")[0] in VERSIONS
        with double.lock:
            fault = double.faults.strike(request.method, request.operation, path) if is_api else None
            request.number = len(double.log) + 1
            logged = Logged(
                request.number,
                self.command,
                path,
                request.operation,
                query,
                form,
                double.world.now(),
                is_api=is_api,
            )
            if fault is not None:
                logged.fault = fault.kind
            double.log.append(logged)
            latency_s = double.world.settings.latency_s
            self.connection.settimeout(double.world.settings.idle_s)
        if latency_s:
            time.sleep(latency_s)
        answer = self._answer(request, fault)
        logged.who, logged.seconds = request.who, time.monotonic() - began
        if answer is None:
            self._drop(fault)
        else:
            logged.status, logged.size_bytes = answer.status, len(answer.body)
            self._send(answer, fault)
        return None

    def _answer(self, request: Request, fault: Fault | None) -> Answer | None:
        """What is sent; None: nothing, and the connection goes."""
        kind = fault.kind if fault else ""
        if fault is not None and kind == "status" and not fault.taken:
            return _trouble(fault)
        if kind in ("cut-before", "hang"):
            return None
        if len(self.path) > LONGEST_TARGET:
            return Answer(414, b"Request-URI Too Long", TEXT)
        with self.server.double.lock:
            answer = self.server.double.answer(request)
        if fault is not None and kind == "status":
            return _trouble(fault)
        if kind == "garbage":
            return Answer(body=GARBAGE, type=HTML)
        return None if kind == "cut-after" else answer

    def _drop(self, fault: Fault | None) -> None:
        """End the connection without a byte: with a reset, as a broken network has it."""
        if fault is not None and fault.kind == "hang":
            time.sleep(fault.seconds)
        self.connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _send(self, answer: Answer, fault: Fault | None = None) -> None:
        head = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        if answer.status != 304:
            head += [f"Content-Type: {answer.type}", f"Content-Length: {len(answer.body)}"]
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        body = b"" if self.command == "HEAD" else answer.body
        self.wfile.write("\r\n".join([*head, "", ""]).encode())
        if fault is not None and fault.kind == "truncate":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif fault is not None and fault.kind == "slow":
            self._dribble(body, fault.seconds)
        else:
            self.wfile.write(body)
        self.wfile.flush()

    def _dribble(self, body: bytes, seconds: float) -> None:
        step = max(1, len(body) // 10)
        for at in range(0, len(body), step):
            self.wfile.write(body[at : at + step])
            self.wfile.flush()
            time.sleep(seconds / 10)

    def _control(self, name: str, body: bytes) -> Answer:
        double = self.server.double
        try:
            with double.lock:
                found: Any = double.control.call(name, json.loads(body or b"{}"))
                return as_json(found)
        except (Unknown, TypeError, ValueError, KeyError, AttributeError) as error:
            return Answer(400, f"{name}: {type(error).__name__}: {error}".encode(), TEXT)

    def log_message(self, *_: object) -> None:
        """The log is in memory."""


def _trouble(fault: Fault) -> Answer:
    headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
    return Answer(fault.status, b"<html><body>Launchpad is having trouble.", HTML, headers)


class Server(socketserver.ThreadingTCPServer):
    """Listens on loopback only."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.double = Double(self.url)

    def shutdown_request(self, request: socket | tuple[bytes, socket]) -> None:
        """Close without saying goodbye first: what is cut ends with a reset."""
        self.close_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may go when they like; anything else is a fault of the double, and must be seen."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            traceback.print_exc()
