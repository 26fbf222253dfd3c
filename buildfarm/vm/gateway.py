"""A machine's only way out: its callbacks, its cloud-init seed, and a proxy to the hosts that are allowed.

``with Gateway(order) as gateway:`` serves HTTP/1.1 on a unix socket (qemu runs ``nc`` for each connection of
the guest) and, when asked to, on a port of 127.0.0.1. One thread with an event loop does it all. The guest is
not trusted: connections, heads, times, bytes, records and the rate of requests are all bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import socket
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from buildfarm.errors import FarmTrouble
from buildfarm.vm.callbacks import Callbacks, escape
from buildfarm.vm.download_cache import KEPT_BYTES, DownloadCache
from buildfarm.vm.http_stream import Ended, Meter, Patience, Spent, Stream
from buildfarm.vm.http_wire import Refused, Request, parse_request, plain_answer
from buildfarm.vm.proxy import Exchange, Line, Proxy
from buildfarm.vm.seed import FILES, Seed
from buildfarm.vm.targets import Target, parse_authority
from buildfarm.vm.upstream import Proxies, Reach

BODY_LIMIT_BYTES = 64 << 10
CONNECTIONS = 64
WAITING_CONNECTIONS = 64
TOTAL_BYTES = 8 << 30
ACCESSES_KEPT = 2000
FORM_FIELDS = 20
REQUESTS_AT_ONCE = 500
REQUESTS_PER_S = 200.0
START_LIMIT_S = 10.0
CLOSE_LIMIT_S = 5.0
BACKLOG = 512  # beyond it a connection to a unix socket fails at once
SOCKET_PATH_LIMIT = 107
OWN_HOST = "10.0.2.100"
HINT = "List {target} among the hosts that the recipe's machine may reach, if it has to."


@dataclass(frozen=True)
class GatewayOrder:
    """What one machine's gateway serves.

    ``reach`` is what its proxy lets through, ``proxies`` the host's own ways out. ``cache`` is a directory that
    gateways may share, None for no cache. ``tcp`` serves on a free port of 127.0.0.1 as well. ``own`` is how the
    guest calls the gateway: a request to it that went through a proxy setting is answered here, too. ``hint``
    ends a refusal; ``{target}`` stands for the host and port. ``nested`` are machines inside the machine, whose
    calls come this way, too, and say which machine's they are.
    """

    socket_path: Path
    callbacks: Callbacks
    reach: Reach = field(default_factory=Reach)
    seed: Seed | None = None
    proxies: Proxies = field(default_factory=Proxies)
    cache: Path | None = None
    cache_bytes: int = KEPT_BYTES
    tcp: bool = False
    own: Target = Target(OWN_HOST, 80)  # noqa: RUF009 (it is frozen)
    total_bytes: int = TOTAL_BYTES
    connections: int = CONNECTIONS
    patience: Patience = field(default_factory=Patience)
    hint: str = HINT
    nested: tuple[Callbacks, ...] = ()


@dataclass(frozen=True)
class Access:
    """One request as it ended: when it came, what it asked, the status, the bytes sent, how long it took."""

    at: float
    method: str
    target: str
    status: int
    size_bytes: int
    duration_s: float
    note: str = ""

    def __str__(self) -> str:
        told = f"{self.method} {self.target} {self.status} {self.size_bytes} bytes {self.duration_s:.3f} s"
        return f"{told} ({self.note})" if self.note else told


class Gateway:
    """Serves an order from entering to leaving its ``with``."""

    def __init__(self, order: GatewayOrder) -> None:
        self.order = order
        self.port: int | None = None
        self._accesses: deque[Access] = deque(maxlen=ACCESSES_KEPT)
        self._lock = threading.Lock()
        self._meter = Meter(order.total_bytes)
        self._tasks: set[asyncio.Task[None]] = set()
        self._budget, self._budget_at = float(REQUESTS_AT_ONCE), time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._end: asyncio.Event
        self._slots: asyncio.Semaphore
        self._proxy: Proxy

    def __enter__(self) -> Gateway:
        if len(os.fsencode(self.order.socket_path)) > SOCKET_PATH_LIMIT:
            raise FarmTrouble(
                f"the path {self.order.socket_path} is too long for a socket",
                resolution=f"Paths of sockets have at most {SOCKET_PATH_LIMIT} bytes: choose a shorter directory.",
            )
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="gateway", daemon=True)
        self._thread.start()
        try:
            ready.result(START_LIMIT_S)
        except (OSError, TimeoutError) as error:
            self.close()
            raise FarmTrouble(f"the machine's gateway does not start: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections and remove the socket; once is enough, twice does no harm."""
        loop, thread = self._loop, self._thread
        if loop is not None and thread is not None and thread.is_alive():
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(lambda: self._end.set())
            thread.join(CLOSE_LIMIT_S)
        self.order.socket_path.unlink(missing_ok=True)

    @property
    def accesses(self) -> tuple[Access, ...]:
        """The last requests, the oldest first."""
        with self._lock:
            return tuple(self._accesses)

    @property
    def refused_targets(self) -> dict[Target, int]:
        """What the machine wanted to reach and may not, and how often."""
        with self._lock:
            return dict(self._proxy.refused)

    @property
    def left_bytes(self) -> int:
        """How much the machine may still transfer."""
        return max(0, self._meter.left_bytes)

    def _run(self, ready: Future[None]) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            try:
                runner.run(self._serve(ready))
            except OSError as error:
                if not ready.done():
                    ready.set_exception(error)

    async def _serve(self, ready: Future[None]) -> None:
        order = self.order
        self._end = asyncio.Event()
        self._slots = asyncio.Semaphore(order.connections)
        cache = DownloadCache(order.cache, order.cache_bytes) if order.cache is not None else None
        self._proxy = Proxy(order.reach, order.proxies, cache, order.patience, order.hint)
        with contextlib.ExitStack() as stack:
            order.socket_path.unlink(missing_ok=True)
            listener = stack.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX)))
            listener.bind(str(order.socket_path))
            order.socket_path.chmod(0o600)
            servers = [await asyncio.start_unix_server(self._connected, sock=listener, backlog=BACKLOG)]
            if order.tcp:
                servers.append(await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=BACKLOG))
                self.port = servers[-1].sockets[0].getsockname()[1]
            ready.set_result(None)
            try:
                await self._end.wait()
            finally:
                for server in servers:
                    server.close()
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= self.order.connections + WAITING_CONNECTIONS or self._end.is_set():
            writer.transport.abort()
            return
        task = asyncio.create_task(self._converse(Stream(reader, writer, self.order.patience)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, client: Stream) -> None:
        line = Line(client)
        try:
            async with self._slots:
                while await self._answer_next(line):
                    pass
            await client.finish()
        except (Ended, Spent, OSError):  # its end, or its time limit
            client.abort()
        except BaseException:
            client.abort()
            raise
        finally:
            line.drop_server()

    async def _answer_next(self, line: Line) -> bool:
        client = line.client
        client.meter = None
        exchange = Exchange(Request("-", "-", "1.0"))
        sent_before = client.sent_bytes
        try:
            head = await client.read_head()
            exchange.started = time.monotonic()
            await self._pace()
            exchange.request = parse_request(head)
            return await self._answer(line, exchange)
        except Refused as refused:
            return await self._refuse(client, exchange, refused)
        except (Ended, Spent, OSError) as error:
            if exchange.request.method != "-" and not exchange.recorded:
                exchange.note = str(error) or "the connection ended"
                self._record(exchange, client.sent_bytes - sent_before)
            raise

    async def _refuse(self, client: Stream, exchange: Exchange, refused: Refused) -> bool:
        request = exchange.request
        # What follows on the connection is only read when it is plain where it begins.
        keep = request.method in ("GET", "HEAD") and request.keeps_open and refused.status in (403, 502, 504)
        exchange.status, exchange.note = refused.status, refused.text
        client.meter = None
        head, body = plain_answer(refused.status, refused.text + "\n", keep=keep)
        await self._say(client, exchange, head, body)
        if not keep:
            await client.linger()
        return keep

    async def _answer(self, line: Line, exchange: Exchange) -> bool:
        request = exchange.request
        path = self._own_path(request)
        if path is not None:
            exchange.status, text = await self._answer_here(line.client, request, path)
            exchange.note = "" if exchange.status == 200 else text.strip()
            head, body = plain_answer(exchange.status, text, keep=False)
            await self._say(line.client, exchange, head, body)
            return False
        if self._meter.left_bytes <= 0:
            raise Refused(503, f"this machine has transferred its {self.order.total_bytes} bytes")
        line.client.meter = self._meter
        sent_before, keep = line.client.sent_bytes, False
        if request.method == "CONNECT":
            await self._proxy.tunnel(line, exchange)
        else:
            keep = await self._proxy.forward(line, exchange)
        self._record(exchange, line.client.sent_bytes - sent_before)
        return keep

    def _own_path(self, request: Request) -> str | None:
        """The path of a request to the gateway itself; None for one that is to be passed on."""
        if request.method == "CONNECT":
            return None
        if request.target.startswith("/"):
            return request.target
        scheme, _, rest = request.target.partition("://")
        authority, slash, path = rest.partition("/")
        if scheme.lower() == "http":
            with contextlib.suppress(ValueError):
                if parse_authority(authority, 80) == self.order.own:
                    return slash + path or "/"
        return None

    async def _answer_here(self, client: Stream, request: Request, path: str) -> tuple[int, str]:
        """The status and the text of a request to the gateway itself."""
        _, room, *rest = path.partition("?")[0].split("/")
        if room == "firstboot" and len(rest) == 1:
            note = await self._read_body(client, request)
            run, machine = request.value("x-buildfarm-run"), request.value("x-buildfarm-machine")
            callbacks = next((one for one in self.order.nested if one.machine == machine), self.order.callbacks)
            answer = callbacks.offer(rest[0], _bearer(request), note, run=run, machine=machine)
            return answer.status, answer.text + "\n"
        if room == "phone-home" and len(rest) == 1:
            answer = self.order.callbacks.offer(
                "booted", rest[0], _read_form(await self._read_body(client, request))
            )
            return answer.status, answer.text + "\n"
        if room == "seed" and len(rest) == 2 and self.order.seed is not None and rest[1] in FILES:
            if request.method not in ("GET", "HEAD"):
                raise Refused(405, "the seed is read by GET")
            content = self.order.seed.content(rest[1])
            if same(rest[0], self.order.seed.secret) and content is not None:
                return 200, content
        raise Refused(404, "nothing of that name is here")

    async def _read_body(self, client: Stream, request: Request) -> str:
        if request.method != "POST":
            raise Refused(405, "callbacks are made by POST")
        length = request.length_bytes
        if length > BODY_LIMIT_BYTES:
            raise Refused(413, f"a note has at most {BODY_LIMIT_BYTES >> 10} KiB")
        if request.value("expect").lower() == "100-continue":
            await client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            body = await client.read_exactly(length, self.order.patience.head_s)
        except TimeoutError as error:
            raise Refused(408, "the body did not come to its end in time") from error
        return body.decode("utf-8", "replace")

    async def _say(self, client: Stream, exchange: Exchange, head: bytes, body: bytes) -> None:
        """Give an answer of our own; on record first, so that who reads the answer finds the record."""
        self._record(exchange, len(head) + len(body))
        await client.write(head if exchange.request.method == "HEAD" else head + body)

    async def _pace(self) -> None:
        """Wait while the machine asks faster than it may: a flood costs it time, and us little."""
        now = time.monotonic()
        self._budget = min(float(REQUESTS_AT_ONCE), self._budget + (now - self._budget_at) * REQUESTS_PER_S)
        self._budget_at = now
        self._budget -= 1
        if self._budget < 0:
            await asyncio.sleep(-self._budget / REQUESTS_PER_S)

    def _record(self, exchange: Exchange, size_bytes: int) -> None:
        request = exchange.request
        exchange.recorded = True
        duration_s = time.monotonic() - exchange.started
        access = Access(
            time.time() - duration_s,
            request.method,
            escape(_without_secrets(request.target), 300),
            exchange.status,
            size_bytes,
            duration_s,
            escape(exchange.note, 300),
        )
        with self._lock:
            self._accesses.append(access)


def same(offered: str, secret: str) -> bool:
    """Whether two texts are the same, found out in a time that does not tell how far they are."""
    return hmac.compare_digest(offered.encode("utf-8", "replace"), secret.encode())


def _bearer(request: Request) -> str:
    scheme, _, token = request.value("authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _read_form(form: str) -> str:
    """What cloud-init's phone_home posts, as lines."""
    with contextlib.suppress(ValueError):
        return "\n".join(f"{name}: {value}" for name, value in parse_qsl(form, max_num_fields=FORM_FIELDS))
    return form


def _without_secrets(target: str) -> str:
    for room in ("/seed/", "/phone-home/"):
        before, found, after = target.partition(room)
        if found:
            return before + found + "…" + (after[after.index("/") :] if "/" in after else "")
    return target
