"""One connection of the gateway: every read and write has a time limit, and counts against the machine's bytes."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from buildfarm.vm.http_wire import HEAD_LIMIT_BYTES, Refused

BLOCK_BYTES = 64 << 10
CHUNK_LINE_LIMIT_BYTES = 1024
LINGER_S = 0.5
LINGER_BYTES = 256 << 10


class Ended(Exception):
    """The other side has gone, or what it sent makes no sense."""


class Spent(Exception):
    """The machine has used up the bytes it may transfer."""


@dataclass
class Meter:
    """The bytes that a machine may still transfer, in both directions together."""

    left_bytes: int

    def spend(self, count: int) -> None:
        """Count bytes; raises Spent once there are none left."""
        self.left_bytes -= count
        if self.left_bytes < 0:
            raise Spent("the machine has used up the bytes it may transfer")


@dataclass(frozen=True)
class Patience:
    """How long a connection waits: for a head once it has begun, for anything at all, for a connection."""

    head_s: float = 10.0
    idle_s: float = 60.0
    connect_s: float = 20.0


class Stream:
    """A byte stream to one side, with its own small buffer."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        patience: Patience,
        meter: Meter | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._patience = patience
        self.meter = meter
        self._buffer = bytearray()
        self.sent_bytes = 0
        self.received_bytes = 0
        writer.transport.set_write_buffer_limits(high=BLOCK_BYTES)

    async def read_head(self, first_byte_s: float | None = None) -> bytes:
        """A head with its empty line; raises Ended, Refused (too long), TimeoutError before its first byte."""
        if not self._buffer:
            await self._fill(first_byte_s)
        searched = 0
        try:
            async with asyncio.timeout(self._patience.head_s):
                while (end := _head_end(self._buffer, searched)) < 0:
                    searched = len(self._buffer)
                    if searched > HEAD_LIMIT_BYTES:
                        raise Refused(431, f"a head is at most {HEAD_LIMIT_BYTES >> 10} KiB long")
                    await self._fill(None)
        except TimeoutError as error:
            raise Refused(408, "the head did not come to its end in time") from error
        if end > HEAD_LIMIT_BYTES:
            raise Refused(431, f"a head is at most {HEAD_LIMIT_BYTES >> 10} KiB long")
        return self._take(end)

    async def read_some(self, most: int = BLOCK_BYTES) -> bytes:
        """What there is, at least a byte; b"" at the end of the stream."""
        if not self._buffer:
            try:
                await self._fill(None)
            except Ended:
                return b""
        return self._take(min(most, len(self._buffer)))

    async def read_whenever(self) -> bytes:
        """As ``read_some``, however long it takes: for tunnels, whose owner looks at both directions."""
        if not self._buffer:
            try:
                await self._fill(float("inf"))
            except Ended:
                return b""
        return self._take(min(BLOCK_BYTES, len(self._buffer)))

    async def read_exactly(self, count: int, within_s: float) -> bytes:
        """``count`` bytes, all of them within the time; for small bodies."""
        async with asyncio.timeout(within_s):
            while len(self._buffer) < count:
                await self._fill(None)
        return self._take(count)

    async def read_line(self) -> bytes:
        """A line of chunked framing, without its CR LF."""
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > CHUNK_LINE_LIMIT_BYTES:
                raise Ended("a line of chunked framing is too long")
            await self._fill(None)
        return self._take(end + 2)[:-2]

    async def write(self, data: bytes) -> None:
        """Send, and wait until the other side has taken most of it."""
        if self.meter is not None:
            self.meter.spend(len(data))
        self.sent_bytes += len(data)
        self._writer.write(data)
        async with asyncio.timeout(self._patience.idle_s):
            await self._writer.drain()

    def write_eof(self) -> None:
        """Tell the other side that nothing more comes."""
        with contextlib.suppress(OSError):
            self._writer.write_eof()

    async def linger(self) -> None:
        """Wait a little for who still sends: our last words are lost when we close on unread bytes."""
        self.write_eof()
        with contextlib.suppress(TimeoutError, OSError, Ended):
            async with asyncio.timeout(LINGER_S):
                taken = 0
                while taken < LINGER_BYTES and (block := await self._reader.read(BLOCK_BYTES)):
                    taken += len(block)

    async def finish(self) -> None:
        """Close once what was written is sent, which the other side may not put off for ever."""
        self._writer.close()
        async with asyncio.timeout(self._patience.idle_s):
            await self._writer.wait_closed()

    def abort(self) -> None:
        """Close at once."""
        self._writer.transport.abort()

    async def _fill(self, within_s: float | None) -> None:
        limit_s = self._patience.idle_s if within_s is None else within_s
        async with asyncio.timeout(None if limit_s == float("inf") else limit_s):
            block = await self._reader.read(BLOCK_BYTES)
        if not block:
            raise Ended("the connection ended")
        self.received_bytes += len(block)
        if self.meter is not None:
            self.meter.spend(len(block))
        self._buffer += block

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


def _head_end(buffer: bytearray, searched: int) -> int:
    """Where the head ends, -1 when it does not yet. Bare line feeds end it, too: the parser then refuses it."""
    start = max(0, searched - 3)
    proper, bare = buffer.find(b"\r\n\r\n", start), buffer.find(b"\n\n", start)
    ends = [end for end in (proper + 4 if proper >= 0 else -1, bare + 2 if bare >= 0 else -1) if end >= 0]
    return min(ends, default=-1)
