"""The forward proxy of one machine: GET and HEAD by absolute URL, CONNECT by host and port, to what is allowed.

Requests of one connection are answered one after the other, in their order; what a client sends ahead waits in
the socket. Redirects go back to the client, which asks again: the list decides each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from buildfarm.vm.download_cache import DownloadCache, Kept, Part, read_block
from buildfarm.vm.http_stream import BLOCK_BYTES, Ended, Patience, Stream
from buildfarm.vm.http_wire import (
    FIELD_LIMIT,
    BadResponse,
    Refused,
    Request,
    Response,
    end_to_end,
    parse_response,
    render,
    status_line,
)
from buildfarm.vm.targets import Target, parse_authority, parse_url
from buildfarm.vm.upstream import Connector, Kind, Proxies, Reach, Via

REFUSED_TARGETS_KEPT = 200
INTERIM_LIMIT = 10
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,12})[ \t]*(?:;.*)?")


@dataclass
class Exchange:
    """What is known of one request while it is answered."""

    request: Request
    status: int = 0
    note: str = ""
    started: float = field(default_factory=time.monotonic)
    recorded: bool = False


@dataclass
class Line:
    """A client's connection, and the connection to a server that is kept for its next request."""

    client: Stream
    server: Stream | None = None
    server_key: tuple[Target, Via | None] | None = None

    def drop_server(self) -> None:
        """Close the kept connection."""
        if self.server is not None:
            self.server.abort()
        self.server = self.server_key = None


class Proxy:
    """Decides by ``reach``, connects, and passes bytes on."""

    def __init__(
        self, reach: Reach, proxies: Proxies, cache: DownloadCache | None, patience: Patience, hint: str
    ) -> None:
        self._reach = reach
        self._proxies = proxies
        self._cache = cache
        self._patience = patience
        self._hint = hint
        self._connector = Connector(patience)
        self.refused: Counter[Target] = Counter()

    async def forward(self, line: Line, exchange: Exchange) -> bool:
        """Answer a GET or HEAD with an absolute URL; whether the connection stays open."""
        request = exchange.request
        if request.method not in ("GET", "HEAD"):
            raise Refused(405, f"the proxy takes GET, HEAD and CONNECT, not {request.method}")
        if request.length_bytes:
            raise Refused(400, f"{request.method} carries no body here")
        try:
            target, path = parse_url(request.target)
        except ValueError as error:
            raise Refused(400, f"the URL is not understood: {error}") from error
        if not request.target.lower().startswith("http://"):
            raise Refused(400, "ask for https by CONNECT")
        kind = self._decide(target)
        cache = self._cache if kind != "archive" and DownloadCache.may_keep(request, path) else None
        if cache is not None and (kept := await cache.find(target, path, request)) is not None:
            return await self._send_kept(line, exchange, kept)
        via = None if self._reach.is_own_archive(target) else self._proxies.for_target("http", target)
        response = await self._ask(line, request, target, path, kind, via)
        part = cache.begin(target, path, response) if cache is not None else None
        try:
            keep = await self._pass_on(line, exchange, response, part)
            if part is not None and cache is not None:
                await cache.keep(part, response.length_bytes or 0)
        finally:
            if part is not None:
                part.drop()
        return keep

    async def tunnel(self, line: Line, exchange: Exchange) -> None:
        """Answer a CONNECT: pass bytes both ways until one side ends."""
        if exchange.request.length_bytes:
            raise Refused(400, "CONNECT carries no body")
        try:
            target = parse_authority(exchange.request.target)
        except ValueError as error:
            raise Refused(400, f"CONNECT takes host:port: {error}") from error
        kind = self._decide(target)
        if self._reach.is_own_archive(target):
            raise Refused(403, f"the farm's archive {target} is read by GET, not through a tunnel")
        via = self._proxies.for_target("https", target)
        line.drop_server()
        server = await self._connector.connect(
            via.target if via else target, own_host=kind != "recipe" or via is not None
        )
        try:
            if via is not None:
                await self._ask_for_tunnel(server, target, via)
            exchange.status = 200
            await line.client.write(render("HTTP/1.1 200 Connection established", ()))
            await self._pump(line.client, server)
        finally:
            server.abort()

    def _decide(self, target: Target) -> Kind:
        kind = self._reach.kind_of(target)
        if kind is None:
            if target in self.refused or len(self.refused) < REFUSED_TARGETS_KEPT:
                self.refused[target] += 1
            raise Refused(403, f"this machine may not reach {target}. {self._hint.format(target=target)}")
        return kind

    async def _ask(
        self, line: Line, request: Request, target: Target, path: str, kind: Kind, via: Via | None
    ) -> Response:
        host = target.host if ":" not in target.host else f"[{target.host}]"
        authority = host if target.port == 80 else str(target)
        fields = [("Host", authority), *end_to_end(request.fields, "host", "content-length", "expect")]
        fields.append(("Connection", "keep-alive"))
        if via is not None and via.authorization:
            fields.append(("Proxy-Authorization", via.authorization))
        asked = f"http://{authority}{path}" if via is not None else path
        head = render(f"{request.method} {asked} HTTP/1.1", fields)
        reused = line.server is not None and line.server_key == (target, via)
        if reused:
            with contextlib.suppress(Ended, OSError):
                return await self._exchange_heads(line, head)
        # Not kept, or closed meanwhile by the other side, which is its right: once more, anew.
        line.drop_server()
        line.server = await self._connector.connect(
            via.target if via else target, own_host=kind != "recipe" or via is not None
        )
        line.server_key = (target, via)
        try:
            return await self._exchange_heads(line, head)
        except TimeoutError as error:
            raise Refused(504, f"{target} did not answer in time") from error
        except (Ended, OSError) as error:
            raise Refused(502, f"{target} closed the connection without an answer") from error

    async def _exchange_heads(self, line: Line, head: bytes) -> Response:
        assert line.server is not None
        await line.server.write(head)
        try:
            for _ in range(INTERIM_LIMIT):
                response = parse_response(await line.server.read_head())
                if response.status == 101:
                    raise BadResponse("a protocol that nobody asked for")
                if response.status >= 200:
                    response.length_bytes, response.chunked  # noqa: B018 (they raise)
                    return response
            raise BadResponse("interim answers without end")
        except (BadResponse, Refused) as error:
            line.drop_server()
            raise Refused(502, f"the server's answer is not understood: {error}") from error

    async def _pass_on(self, line: Line, exchange: Exchange, response: Response, part: Part | None) -> bool:
        request, server = exchange.request, line.server
        assert server is not None
        bodiless = request.method == "HEAD" or response.status in (204, 304)
        length, chunked = response.length_bytes, response.chunked
        fields = list(end_to_end(response.fields, "content-length"))
        reusable = response.keeps_open and (bodiless or chunked or length is not None)
        keep = request.keeps_open
        in_chunks = False
        if length is not None and response.status not in (204, 304):
            fields.append(("Content-Length", str(length)))
        elif not bodiless and request.version == "1.1":
            in_chunks = True
            fields.append(("Transfer-Encoding", "chunked"))
        elif not bodiless:
            keep = False
        fields.append(("Connection", "keep-alive" if keep else "close"))
        exchange.status = response.status
        try:
            await line.client.write(render(status_line(response.status, response.reason), fields))
            if not bodiless:
                async for block in _body(server, length, chunked):
                    if part is not None:
                        part.write(block)
                    await line.client.write(b"%x\r\n%b\r\n" % (len(block), block) if in_chunks else block)
                if in_chunks:
                    await line.client.write(b"0\r\n\r\n")
        except BaseException:
            line.drop_server()
            raise
        if not reusable:
            line.drop_server()
        return keep

    async def _send_kept(self, line: Line, exchange: Exchange, kept: Kept) -> bool:
        keep = exchange.request.keeps_open
        exchange.status, exchange.note = 200, "from the cache"
        with kept.file:
            fields = [
                ("Content-Type", "application/octet-stream"),
                ("Content-Length", str(kept.size_bytes)),
                ("Last-Modified", kept.modified_text),
                ("Connection", "keep-alive" if keep else "close"),
            ]
            await line.client.write(render(status_line(200), fields))
            left = kept.size_bytes
            while left:
                block = await read_block(kept, min(left, BLOCK_BYTES))
                if not block:
                    raise Ended("the cached file is shorter than it was")
                left -= len(block)
                await line.client.write(block)
        return keep

    async def _ask_for_tunnel(self, server: Stream, target: Target, via: Via) -> None:
        fields = [("Host", str(target))]
        if via.authorization:
            fields.append(("Proxy-Authorization", via.authorization))
        try:
            await server.write(render(f"CONNECT {target} HTTP/1.1", fields))
            response = parse_response(await server.read_head())
        except (BadResponse, Refused, Ended, OSError) as error:
            raise Refused(502, f"the proxy {via.target} gave no answer for {target}") from error
        if response.status // 100 != 2:
            raise Refused(502, f"the proxy {via.target} answered {response.status} for {target}")

    async def _pump(self, client: Stream, server: Stream) -> None:
        up = asyncio.create_task(_copy(client, server))
        down = asyncio.create_task(_copy(server, client))
        try:
            seen, pending = -1, {up, down}
            while down in pending:
                done, pending = await asyncio.wait(
                    pending, timeout=self._patience.idle_s, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
                moved = client.received_bytes + server.received_bytes
                if not done and moved == seen:
                    raise Ended("nothing passed for too long")
                seen = moved
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)


async def _copy(source: Stream, sink: Stream) -> None:
    while block := await source.read_whenever():
        await sink.write(block)
    sink.write_eof()


async def _body(server: Stream, length: int | None, chunked: bool) -> AsyncIterator[bytes]:
    if chunked:
        async for block in _chunks(server):
            yield block
    elif length is not None:
        while length:
            block = await server.read_some(min(length, BLOCK_BYTES))
            if not block:
                raise Ended("the server ended in the middle of a body")
            length -= len(block)
            yield block
    else:
        while block := await server.read_some():
            yield block


async def _chunks(server: Stream) -> AsyncIterator[bytes]:
    while True:
        match = _CHUNK_SIZE.fullmatch(await server.read_line())
        if match is None:
            raise Ended("no size of a chunk")
        left = int(match[1], 16)
        if not left:
            for _ in range(FIELD_LIMIT):
                if not await server.read_line():
                    return
            raise Ended("trailers without end")
        while left:
            block = await server.read_some(min(left, BLOCK_BYTES))
            if not block:
                raise Ended("the server ended in the middle of a chunk")
            left -= len(block)
            yield block
        if await server.read_line():
            raise Ended("a chunk is longer than it said")
