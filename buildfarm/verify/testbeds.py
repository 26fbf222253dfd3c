"""Testbeds for package tests: made afresh for each, running commands as root, reaching the archives and no more.

Two kinds behind one door: an overlay of our layers in namespaces of its own (milliseconds), and a machine. Both
are made, and are ended, in the thread that serves autopkgtest's requests; see ``serve_testbed``.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from buildfarm import process
from buildfarm.build.bootstrap import private_directory
from buildfarm.build.namespaces import (
    Held,
    Orders,
    enter,
    hold,
    receive_doors,
    remove_owned_tree,
    run_as_owner,
)
from buildfarm.errors import FarmError, FarmTrouble
from buildfarm.vm.machine import Machine, MachineEnded

APT_DOOR = "127.0.0.1:1"  # a port that nobody's test wants for itself
RELAYS = 32
RELAY_IDLE_S = 120.0
REQUEST_LIMIT_BYTES = 1 << 20
REQUEST_TIMEOUT_S = 30.0
COMMAND_TIMEOUT_S = 20000.0  # a build, the longest that autopkgtest waits for
LATER_S = 3.0
REBOOT_TIMEOUT_S = 300.0
BY_THE_TESTS = ("panic", "reset", "shutdown")  # a machine that is merely silent may be a slow one
INPUT_LIMIT_BYTES = 4 << 30
DISK_LOOK_S = 2.0
DISK_FLOOR_BYTES = 512 << 20
LIMITS: Mapping[str, int] = {"DATA": 8 << 30, "FSIZE": 8 << 30, "CORE": 0, "NOFILE": 65536}
PROCESSES = 8192

Run = Callable[[Sequence[str], float], tuple[int | None, str]]


class Testbed(Protocol):
    """What autopkgtest is given; all but ``broken`` is asked in one thread."""

    @property
    def capabilities(self) -> tuple[str, ...]:
        """In autopkgtest's words."""

    @property
    def broken(self) -> str:
        """What the tests did that ended it: "disk", or how a machine ended in words; "" while all is well."""

    def open(self) -> None:
        """Make it afresh; raises FarmError."""

    def close(self) -> None:
        """End it and all that runs in it."""

    def reboot(self) -> None:
        """Start it again with what is on its disk; raises FarmError."""

    def start(self, argv: Sequence[str], streams: tuple[int, int, int], reply: socket.socket) -> None:
        """Run a command; its status is told on ``reply``. The descriptors are the caller's to close."""


@dataclass
class OverlayTestbed:
    """A root of layers with an upper one of its own, in namespaces; its apt asks at the socket ``gateway``."""

    layers: Sequence[Path]
    scratch: Path
    gateway: Path
    disk_bytes: int
    capabilities: tuple[str, ...] = (
        "revert",
        "revert-full-system",
        "root-on-testbed",
        "suggested-normal-user=tester",
    )
    broken: str = ""
    _stack: contextlib.ExitStack | None = None
    _held: Held | None = None

    def open(self) -> None:
        """A fresh overlay; raises FarmTrouble."""
        self.close()
        with contextlib.ExitStack() as stack:
            upper = stack.enter_context(new_upper(self.scratch))
            self._held = stack.enter_context(held_overlay(self.layers, upper, self.gateway))
            stack.enter_context(_watched_disk(upper, self.disk_bytes, self._fill))
            self._stack = stack.pop_all()

    def close(self) -> None:
        """End what runs in it, and forget what it changed."""
        stack, self._stack, self._held = self._stack, None, None
        if stack is not None:
            stack.close()

    def reboot(self) -> None:
        """There is nothing to boot here."""
        raise FarmTrouble("an overlay cannot be rebooted")

    def start(self, argv: Sequence[str], streams: tuple[int, int, int], reply: socket.socket) -> None:
        """Run a command; init inside tells its end."""
        if self._held is None:
            raise FarmTrouble("the testbed is closed")
        try:
            self._held.start(argv, streams, reply.fileno())
        except OSError as error:
            raise FarmTrouble(f"the testbed is gone: {error}") from error

    def _fill(self) -> None:
        self.broken = "disk"
        if self._held is not None:
            with contextlib.suppress(OSError):
                self._held.control.shutdown(socket.SHUT_RDWR)


@dataclass
class MachineTestbed:
    """A machine; ``make`` starts one that is ready for tests, each of which may take ``test_timeout_s``."""

    make: Callable[[], contextlib.AbstractContextManager[Machine]]
    test_timeout_s: float
    capabilities: tuple[str, ...] = (
        "isolation-machine",
        "isolation-container",
        "revert",
        "revert-full-system",
        "reboot",
        "root-on-testbed",
        "suggested-normal-user=tester",
    )
    broken: str = ""
    _stack: contextlib.ExitStack | None = None
    _machine: Machine | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self) -> None:
        """A fresh machine; raises FarmTrouble."""
        self.close()
        with contextlib.ExitStack() as stack:
            self._machine = stack.enter_context(self.make())
            self._stack = stack.pop_all()

    def close(self) -> None:
        """End the machine."""
        stack, self._stack, self._machine = self._stack, None, None
        if stack is not None:
            stack.close()

    def reboot(self) -> None:
        """Reboot it in order."""
        if self._machine is None:
            raise FarmTrouble("the machine is closed")
        try:
            with self._lock:
                self._machine.reboot(REBOOT_TIMEOUT_S)
        except MachineEnded as ended:
            raise FarmTrouble(str(ended)) from ended

    def start(self, argv: Sequence[str], streams: tuple[int, int, int], reply: socket.socket) -> None:
        """Run a command, in a thread that waits for it."""
        if self._machine is None:
            raise FarmTrouble("the machine is closed")
        own = tuple(os.dup(fd) for fd in streams)
        line = reply.dup()
        threading.Thread(target=self._run, args=(self._machine, argv, own, line), daemon=True).start()

    def _limit_of(self, argv: Sequence[str]) -> float:
        """A command's time in the machine, a little more than autopkgtest gives it: it cannot stop one there."""
        test = any("/wrapper.sh" in word for word in argv)
        return (self.test_timeout_s if test else COMMAND_TIMEOUT_S) + LATER_S

    def _run(
        self, machine: Machine, argv: Sequence[str], streams: tuple[int, int, int], line: socket.socket
    ) -> None:
        with (
            line,
            os.fdopen(streams[0], "rb", buffering=0) as stdin,
            os.fdopen(streams[1], "wb", buffering=0) as stdout,
            os.fdopen(streams[2], "wb", buffering=0) as stderr,
            tempfile.TemporaryFile() as spooled,
        ):
            try:
                _spool(stdin, spooled)
                with self._lock:
                    ran = machine.run(
                        argv,
                        timeout_s=self._limit_of(argv),
                        stdin=spooled,
                        stdout=cast("BinaryIO", _Deaf(stdout)),
                        stderr=cast("BinaryIO", _Deaf(stderr)),
                    )
                answer: dict[str, object] = {"status": ran.status}
            except MachineEnded as ended:
                if ended.ending.reason in BY_THE_TESTS:
                    self.broken = ended.ending.in_words
                answer = {"error": str(ended)}
            except (FarmError, OSError) as error:
                answer = {"error": str(error)}
            _answer(line, answer)


@contextlib.contextmanager
def scratch_directory(cache: Path) -> Iterator[Path]:
    """A directory for testbeds' changes, made by subordinate ids; what killed owners left is swept first."""
    with private_directory(cache / "testbeds") as path:
        yield path


@contextlib.contextmanager
def new_upper(scratch: Path) -> Iterator[Path]:
    """A directory below ``scratch`` with ``fs`` and ``work`` for an overlay's changes; gone afterwards."""
    upper = scratch / secrets.token_hex(8)
    run_as_owner(["mkdir", "-p", f"{upper.name}/fs", f"{upper.name}/work"], scratch, timeout_s=60)
    try:
        yield upper
    finally:
        remove_owned_tree(upper)


@contextlib.contextmanager
def held_overlay(layers: Sequence[Path], upper: Path, gateway: Path) -> Iterator[Held]:
    """An overlay held open for commands, whose apt reaches ``gateway`` at ``APT_DOOR``; raises FarmTrouble."""
    orders = Orders(
        (),
        process.clean_environment("/root"),
        layers=layers,
        upper=upper / "fs",
        work=upper / "work",
        doors=(APT_DOOR,),
        limits=LIMITS,
        processes=PROCESSES,
    )
    with hold(orders) as held, relayed(held.doors[0], gateway):
        yield held


@contextlib.contextmanager
def relayed(door: socket.socket, target: Path) -> Iterator[None]:
    """Pass on what connects at ``door`` to the unix socket ``target``, some connections at a time."""
    slots = threading.BoundedSemaphore(RELAYS)
    ended = threading.Event()

    def accept() -> None:
        while not ended.is_set():
            try:
                if not select.select([door], [], [], 0.5)[0]:
                    continue
                near, _ = door.accept()
            except (OSError, ValueError):
                return
            if not slots.acquire(timeout=RELAY_IDLE_S):
                near.close()
                continue
            threading.Thread(target=relay, args=(near,), daemon=True).start()

    def relay(near: socket.socket) -> None:
        try:
            with near, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as far:
                far.settimeout(RELAY_IDLE_S)
                near.settimeout(RELAY_IDLE_S)
                far.connect(str(target))
                _splice(near, far, ended)
        except OSError:
            pass  # either side went away
        finally:
            slots.release()

    thread = threading.Thread(target=accept, name="door", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(5.0)


@contextlib.contextmanager
def serve_testbed(testbed: Testbed, control: socket.socket, log: Callable[[str], None]) -> Iterator[None]:
    """Answer what autopkgtest asks of ``testbed`` for the ``with`` block, in a thread of its own.

    ``control`` is our end of the socket that brings the sandbox's door; whoever connects there is not trusted.
    """
    ended = threading.Event()

    def work() -> None:
        try:
            doors = receive_doors(control)
            if doors is None:
                return
            with doors[0] as door:
                while not ended.is_set():
                    if select.select([door], [], [], 0.2)[0]:
                        line, _ = door.accept()
                        with line:
                            _serve_one(testbed, line, log)
        except OSError as error:
            log(f"the testbed's door failed: {error}")
        finally:
            testbed.close()

    thread = threading.Thread(target=work, name="testbed", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        with contextlib.suppress(OSError):
            control.shutdown(socket.SHUT_RDWR)
        thread.join()


def _serve_one(testbed: Testbed, line: socket.socket, log: Callable[[str], None]) -> None:
    fds: list[int] = []
    try:
        line.settimeout(REQUEST_TIMEOUT_S)
        request = _read_request(line, fds)
        line.settimeout(None)
        match request["do"]:
            case "open" | "revert":
                began = time.monotonic()
                testbed.open()
                log(f"a fresh testbed in {time.monotonic() - began:.2f} s")
            case "close":
                testbed.close()
            case "reboot":
                testbed.reboot()
            case "run":
                argv = request["argv"]
                if len(fds) != 3 or not isinstance(argv, list) or not all(isinstance(word, str) for word in argv):
                    raise ValueError("a command has words and three streams")
                testbed.start(argv, (fds[0], fds[1], fds[2]), line)
                return
            case _:
                raise ValueError("no such request")
        _answer(line, {})
    except FarmError as error:
        log(f"the testbed: {error.brief} {error.details}".strip())
        _answer(line, {"error": error.brief})
    except (OSError, ValueError, KeyError, TypeError) as error:
        _answer(line, {"error": f"{type(error).__name__}: {error}"})
    finally:
        for fd in fds:
            os.close(fd)


def _read_request(line: socket.socket, fds: list[int]) -> dict[str, object]:
    data = b""
    while not data.endswith(b"\n"):
        more, came, _, _ = socket.recv_fds(line, 65536, 3)
        fds += came
        data += more
        if not more or len(data) > REQUEST_LIMIT_BYTES or len(fds) > 3:
            raise ValueError("no request")
    request = json.loads(data)
    if not isinstance(request, dict):
        raise ValueError("no request")
    return request


def _answer(line: socket.socket, answer: Mapping[str, object]) -> None:
    with contextlib.suppress(OSError):
        line.settimeout(REQUEST_TIMEOUT_S)
        line.sendall(json.dumps(answer).encode() + b"\n")


def _splice(near: socket.socket, far: socket.socket, ended: threading.Event) -> None:
    other = {near: far, far: near}
    open_ends = {near, far}
    quiet_since = time.monotonic()
    while open_ends and not ended.is_set():
        ready = select.select(list(open_ends), [], [], 1.0)[0]
        if not ready and time.monotonic() - quiet_since > RELAY_IDLE_S:
            return
        for end in ready:
            quiet_since = time.monotonic()
            if data := end.recv(65536):
                other[end].sendall(data)
            else:
                open_ends.discard(end)
                with contextlib.suppress(OSError):
                    other[end].shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def _watched_disk(upper: Path, limit_bytes: int, on_full: Callable[[], None]) -> Iterator[None]:
    """Call ``on_full`` once what is below ``upper`` is larger than it may be, or the disk is nearly full with it.

    Free room is cheap to ask for and says when it is worth while to measure.
    """
    ended = threading.Event()
    free_at_first = shutil.disk_usage(upper.parent).free

    def watch() -> None:
        asked_at = 0.0
        while not ended.wait(DISK_LOOK_S):
            free = shutil.disk_usage(upper.parent).free
            tight = free < DISK_FLOOR_BYTES
            if not tight and (
                free_at_first - free < limit_bytes or time.monotonic() - asked_at < 10 * DISK_LOOK_S
            ):
                continue
            asked_at = time.monotonic()
            used = _used_bytes(upper)
            if used > limit_bytes or (tight and used > DISK_FLOOR_BYTES):
                on_full()
                return

    thread = threading.Thread(target=watch, name="disk", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _used_bytes(upper: Path) -> int:
    orders = Orders(("du", "-sx", "-B1", upper.name), process.clean_environment(), directory=upper.parent)
    try:
        first = enter(orders, timeout_s=60, keep_bytes=4096).finished.text.split()[:1]
    except FarmTrouble:
        return 0
    return int(first[0]) if first and first[0].isdigit() else 0


def _spool(stdin: BinaryIO, spooled: BinaryIO) -> None:
    """All that a command is to read, as a file: a machine is told its size first."""
    deadline = time.monotonic() + REQUEST_TIMEOUT_S * 30
    room = INPUT_LIMIT_BYTES
    while select.select([stdin], [], [], max(0.0, deadline - time.monotonic()))[0]:
        data = os.read(stdin.fileno(), 1 << 20)
        room -= len(data)
        if room < 0:
            raise FarmTrouble("too much for a command's standard input")
        if not data:
            break
        spooled.write(data)
    spooled.seek(0)


class _Deaf:
    """A stream whose reader may have gone away: what is written then is lost, and the writer goes on."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        """Write all of it, or nothing any more."""
        view = memoryview(data)
        with contextlib.suppress(OSError):
            while view:
                view = view[os.write(self._stream.fileno(), view) :]
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""
