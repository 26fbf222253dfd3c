"""Machines kept ready: woken from their snapshots already, waiting for whoever wants one next.

One process keeps them (``buildfarm vm pool``, a part of the farm) and lends them out over a unix socket:

    client   connects, sends one line of JSON: {"snapshot": KEY}
    pool     answers with one line, {"directory": PATH, "address": MAC}, and the descriptors of the machine's
             wires; or {"refused": WHY}, and the client starts one for itself
    client   uses the machine, whose gateway it serves in that directory, and closes the connection when done
    pool     sees the connection end, for whatever reason, and ends the machine; then makes another one ready

So a machine ends when its borrower ends, and (being the pool's child) when the pool ends. The pool tells a machine
nothing: the borrower wakes it and makes it somebody (see ``wake`` in starting.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import FarmError
from buildfarm.vm.body import WIRES, Wires
from buildfarm.vm.places import SOCKET_PATH_LIMIT, base_directory

LINE_LIMIT_BYTES = 4096
ASK_LIMIT_S = 5.0
END_LIMIT_S = 15.0
PAUSE_AFTER_TROUBLE_S = 30.0
PAUSE_AFTER_LENDING_S = 1.0  # the next borrower is served, and this one's machine wakes, before another is made
STALE_S = 6 * 3600.0  # a ready machine this old is made anew: its image may have been


@dataclass(frozen=True)
class Ready:
    """A machine that waits: its directory (with its lock held by the pool), its hardware address, its wires, and
    what frees it."""

    directory: Path
    address: str
    wires: Wires
    free: Callable[[], None]
    since: float


@dataclass(frozen=True)
class Kind:
    """Machines of one snapshot; ``make`` makes one more, or raises FarmError."""

    key: str
    told: str
    make: Callable[[], Ready]


def socket_path(home: Path) -> Path:
    """Where the pool of the farm in ``home`` listens."""
    if len(os.fsencode(near := home.resolve() / "run" / "machines.sock")) <= SOCKET_PATH_LIMIT:
        return near
    name = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:12]
    return base_directory() / f"pool-{name}.sock"


# The pool


class Pool:
    """Keeps ``count`` machines of each kind ready until ``stop``; everything happens in the thread of ``serve``.

    ``kinds`` is asked again from time to time: recipes and images change.
    """

    def __init__(
        self, path: Path, count: int, kinds: Callable[[], Sequence[Kind]], say: Callable[[str], None]
    ) -> None:
        self._path = path
        self._count = count
        self._find_kinds = kinds
        self._kinds: dict[str, Kind] = {}
        self._say = say
        self._ready: dict[str, list[Ready]] = {}
        self._lent: dict[socket.socket, Ready] = {}
        self._asking: dict[socket.socket, bytes] = {}
        self._stopping = False
        self._resume_at: dict[str, float] = {}
        self._lent_at = 0.0

    def stop(self) -> None:
        """End soon; for a signal's handler."""
        self._stopping = True

    @property
    def ready(self) -> int:
        """How many machines wait."""
        return sum(len(machines) for machines in self._ready.values())

    def serve(self) -> None:
        """Be the pool until ``stop``; then everything it has, lent or not, ends."""
        with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
            stack.callback(self._end_all)
            self._selector = selector
            listener = stack.enter_context(_listen(self._path))
            selector.register(listener, selectors.EVENT_READ)
            kinds_at = 0.0
            while not self._stopping:
                if time.monotonic() >= kinds_at:
                    self._take_kinds()
                    kinds_at = time.monotonic() + 60.0
                wanted = self._next_wanted()
                for key, _ in selector.select(0.0 if wanted else 1.0):
                    assert isinstance(key.fileobj, socket.socket)
                    if key.fileobj is listener:
                        self._accept(listener)
                    else:
                        self._hear(key.fileobj)
                if wanted is not None and not self._stopping:
                    self._make(wanted)

    def _take_kinds(self) -> None:
        try:
            self._kinds = {kind.key: kind for kind in self._find_kinds()}
        except FarmError as error:
            self._say(f"what machines to keep ready cannot be found out: {error.brief}")
        now = time.monotonic()
        for key, machines in self._ready.items():
            stale = [one for one in machines if key not in self._kinds or now - one.since > STALE_S]
            for one in stale:
                machines.remove(one)
                one.free()

    def _next_wanted(self) -> Kind | None:
        now = time.monotonic()
        if now < self._lent_at + PAUSE_AFTER_LENDING_S:
            return None
        short = [
            kind
            for kind in self._kinds.values()
            if len(self._ready.get(kind.key, ())) < self._count and self._resume_at.get(kind.key, 0.0) <= now
        ]
        return min(short, key=lambda kind: len(self._ready.get(kind.key, ())), default=None)

    def _make(self, kind: Kind) -> None:
        try:
            one = kind.make()
        except FarmError as error:
            self._say(f"no machine of {kind.told}: {error.brief}")
            self._resume_at[kind.key] = time.monotonic() + PAUSE_AFTER_TROUBLE_S
            return
        self._ready.setdefault(kind.key, []).append(one)
        self._say(f"ready: {kind.told} ({len(self._ready[kind.key])})")

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = listener.accept()
            connection.settimeout(ASK_LIMIT_S)
            self._asking[connection] = b""
            self._selector.register(connection, selectors.EVENT_READ)

    def _hear(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(LINE_LIMIT_BYTES)
        except OSError:
            data = b""
        if not data or connection in self._lent:
            self._hang_up(connection)
            return
        asked = self._asking[connection] = self._asking[connection] + data
        if b"\n" in asked or len(asked) > LINE_LIMIT_BYTES:
            self._lend(connection, asked)

    def _lend(self, connection: socket.socket, asked: bytes) -> None:
        try:
            key = json.loads(asked)["snapshot"]
        except (ValueError, KeyError, TypeError):
            self._hang_up(connection)
            return
        machines = self._ready.get(key) if isinstance(key, str) else None
        try:
            if not machines:
                connection.sendall(_line({"refused": "none is ready"}))
                self._hang_up(connection)
                return
            one = machines.pop(0)
            self._lent[connection] = one
            self._lent_at = time.monotonic()
            answer = _line({"directory": str(one.directory), "address": one.address})
            socket.send_fds(connection, [answer], [wire.fileno() for wire in one.wires.all()])
        except OSError:
            self._hang_up(connection)

    def _hang_up(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        self._asking.pop(connection, None)
        if (one := self._lent.pop(connection, None)) is not None:
            one.free()
        connection.close()

    def _end_all(self) -> None:
        for one in [*(one for machines in self._ready.values() for one in machines), *self._lent.values()]:
            one.free()
        for connection in [*self._asking, *self._lent]:
            connection.close()


@contextlib.contextmanager
def _listen(path: Path) -> Iterator[socket.socket]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(64)
        listener.setblocking(False)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


# Whoever wants one


class Lent:
    """A machine's body that is the pool's."""

    def __init__(self, connection: socket.socket, directory: Path, address: str, wires: Wires) -> None:
        self._connection = connection
        self.directory = directory
        self.address = address
        self.wires = wires
        self.gateway = directory / "gateway.sock"

    def destroy(self) -> None:
        """Give it back: the pool ends it, and says so by closing its end."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
            self._connection.settimeout(END_LIMIT_S)
            while self._connection.recv(LINE_LIMIT_BYTES):
                pass
        self._connection.close()

    def last_words(self) -> str:
        """qemu speaks to the pool, not to us."""
        return "it was the pool's (`buildfarm logs machines` may tell more)"


def borrow(path: Path, key: str) -> Lent | None:
    """A ready machine of a snapshot; None when there is no pool, or none is ready."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(ASK_LIMIT_S)
        connection.connect(str(path))
        connection.sendall(_line({"snapshot": key}))
        answer, descriptors, _, _ = socket.recv_fds(connection, LINE_LIMIT_BYTES, WIRES)
        told = json.loads(answer)
        if "directory" not in told or len(descriptors) != WIRES:
            raise OSError("none is ready")
        wires = Wires(*(socket.socket(fileno=number) for number in descriptors))
    except (OSError, ValueError):
        connection.close()
        return None
    return Lent(connection, Path(told["directory"]), str(told["address"]), wires)


def _line(value: dict[str, str]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def run_until_signalled(pool: Pool) -> None:
    """Serve until SIGTERM or SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: pool.stop())
    with contextlib.suppress(OSError):
        os.nice(5)
    pool.serve()
