"""An Ethernet of a suite's machines among themselves: what one sends, all the others get.

Each machine has a stream socket (qemu's ``-netdev socket,fd=N``) on which a frame follows its length, four bytes,
big-endian. Nothing else is connected. A machine that does not read loses frames, as on a wire; one whose stream
makes no sense is unplugged.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections import deque
from dataclasses import dataclass, field

LENGTH_BYTES = 4
FRAME_LIMIT_BYTES = (64 << 10) + (4 << 10)  # what qemu takes
QUEUE_LIMIT_BYTES = 1 << 20
READ_BYTES = 256 << 10
CLOSE_LIMIT_S = 2.0


@dataclass(eq=False)
class Port:
    """One machine's place, and what waits to be sent to it."""

    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    queue: deque[memoryview] = field(default_factory=deque)
    queued_bytes: int = 0
    dropped_frames: int = 0

    def put(self, frame: bytes) -> None:
        """Queue a frame with its length, or drop it whole."""
        if self.queued_bytes + len(frame) > QUEUE_LIMIT_BYTES:
            self.dropped_frames += 1
            return
        self.queue.append(memoryview(frame))
        self.queued_bytes += len(frame)

    def take_frames(self) -> list[bytes]:
        """The frames that are whole, each with its length before it; raises ValueError for one that cannot be."""
        frames = []
        start = 0
        while len(self.received) - start >= LENGTH_BYTES:
            length = int.from_bytes(self.received[start : start + LENGTH_BYTES], "big")
            if not 0 < length <= FRAME_LIMIT_BYTES:
                raise ValueError(f"a frame of {length} bytes")
            end = start + LENGTH_BYTES + length
            if len(self.received) < end:
                break
            frames.append(bytes(self.received[start:end]))
            start = end
        del self.received[:start]
        return frames

    def send(self) -> None:
        """Send what the socket takes."""
        while self.queue:
            try:
                sent = self.socket.send(self.queue[0])
            except BlockingIOError:
                return
            self.queued_bytes -= sent
            if sent < len(self.queue[0]):
                self.queue[0] = self.queue[0][sent:]
                return
            self.queue.popleft()


class Lan:
    """A hub, from entering to leaving its ``with``; one thread serves it."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._ports: list[Port] = []
        self._new: deque[Port] = deque()
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="lan", daemon=True)

    def __enter__(self) -> Lan:
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def plug(self) -> socket.socket:
        """A new place: the machine's end. Give its descriptor to qemu, then close it here."""
        machines, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        self._new.append(Port(ours))
        self._nudge()
        return machines

    def close(self) -> None:
        """Unplug all; twice does no harm."""
        self._ending = True
        self._nudge()
        if self._thread.is_alive():
            self._thread.join(CLOSE_LIMIT_S)
        for end in (self._wake, self._woken):
            end.close()

    @property
    def plugged(self) -> int:
        """How many machines are on it."""
        return len(self._ports)

    @property
    def dropped_frames(self) -> int:
        """How many frames were lost because a machine did not read."""
        return sum(port.dropped_frames for port in tuple(self._ports))

    def _nudge(self) -> None:
        with contextlib.suppress(OSError):
            self._wake.send(b"x")

    def _run(self) -> None:
        try:
            while not self._ending:
                for key, events in self._selector.select():
                    if key.data is None:
                        self._take_new()
                    else:
                        self._serve(key.data, events)
                for port in tuple(self._ports):
                    self._want(port)
        finally:
            for port in (*self._ports, *self._new):
                port.socket.close()
            self._ports.clear()
            self._selector.close()

    def _take_new(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        while self._new:
            port = self._new.popleft()
            self._selector.register(port.socket, selectors.EVENT_READ, port)
            self._ports.append(port)

    def _serve(self, port: Port, events: int) -> None:
        if port not in self._ports:
            return
        try:
            if events & selectors.EVENT_WRITE:
                port.send()
            if events & selectors.EVENT_READ:
                block = port.socket.recv(READ_BYTES)
                if not block:
                    raise ConnectionResetError
                port.received += block
                for frame in port.take_frames():
                    for other in self._ports:
                        if other is not port:
                            other.put(frame)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            self._unplug(port)

    def _want(self, port: Port) -> None:
        """Send at once what can be sent, and be told when the rest can."""
        try:
            port.send()
        except OSError:
            self._unplug(port)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if port.queue else 0)
        if self._selector.get_key(port.socket).events != events:
            self._selector.modify(port.socket, events, port)

    def _unplug(self, port: Port) -> None:
        self._ports.remove(port)
        self._selector.unregister(port.socket)
        port.socket.close()
