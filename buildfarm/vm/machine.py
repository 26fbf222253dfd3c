"""A machine that boots, says so, and does what it is asked, until it ends; never outliving its owner.

    start      qemu is started (or a copy of a waiting machine is woken), and calls back ``booted``
    run        a program in the machine: words, standard input, output and errors, a time limit
    end        whatever happened: qemu is gone, its disk and its sockets with it

A machine may end by itself at any moment (a panic, a reset, a power-off). Whoever waits for it is then told so by
``MachineEnded``, at once.
"""

from __future__ import annotations

import contextlib
import io
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from buildfarm.errors import FarmError, FarmTrouble
from buildfarm.vm.body import Body, QemuBody
from buildfarm.vm.callbacks import Callbacks
from buildfarm.vm.console import Console
from buildfarm.vm.qemu import CONTROL_ID
from buildfarm.vm.qmp import Qmp, QmpError

OUTPUT_LIMIT_BYTES = 64 << 20
TAIL_BYTES = 64 << 10
GRACE_S = 30.0  # past a program's own limit, until the machine counts as one that does not answer
AGENT_GRACE_S = 20.0  # from its agent's end to the machine's: long enough for a reboot in order to get there
QEMU_ANSWER_S = 10.0
STARVED = 0.6  # the share of its time that a machine waits for a processor, from where on silence is not its own
TIMED_OUT = (124, 137)  # timeout(1): past its limit; and killed past that
WORD_LIMIT_BYTES = 4096

Reason = Literal["panic", "reset", "shutdown", "silent", "agent", "flood", "killed", "stalled", "storage"]
ENDS_QEMU = ("panic", "reset", "shutdown", "killed")


@dataclass(frozen=True)
class Ending:
    """Why a machine is no more. ``details`` is evidence.

    By itself: a ``panic`` of its kernel, a ``reset`` or ``shutdown``, ``silent`` past a limit though qemu runs it,
    its ``agent`` was ended, a ``flood`` of output. From outside: ``killed`` (qemu is gone), ``stalled`` (qemu does
    not run it, or hardly), ``storage`` (the host cannot keep what it writes).
    """

    reason: Reason
    details: str = ""

    @property
    def in_words(self) -> str:
        """The reason, for people."""
        return {
            "panic": "its kernel panicked",
            "reset": "it rebooted",
            "shutdown": "it shut down",
            "silent": "it did not answer any longer",
            "agent": "its agent, which runs what the farm asks for, was stopped",
            "flood": "it printed more than is kept",
            "killed": "qemu was killed",
            "stalled": "qemu did not run it",
            "storage": "the host could not store what it wrote to its disk",
        }[self.reason]

    @property
    def by_itself(self) -> bool:
        """Whether what ran in it did that (else it is the farm's trouble)."""
        return self.reason not in ("killed", "stalled", "storage")


class MachineEnded(Exception):
    """The machine ended while somebody waited for it."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(f"the machine ended: {ending.in_words}")
        self.ending = ending


@dataclass(frozen=True)
class GuestRan:
    """How a program in the machine ended. ``output`` is the end of what it printed, errors included, as text.
    ``waited_s`` is how long the machine was ready to run meanwhile and had no processor of the host's."""

    status: int
    output: str
    duration_s: float
    timed_out: bool = False
    output_limit_hit: bool = False
    waited_s: float = 0.0

    @property
    def starved(self) -> bool:
        """Whether it says nothing of the program that it took so long."""
        return self.waited_s > STARVED * self.duration_s

    def tail(self, lines: int = 15) -> str:
        """The last lines of what it printed."""
        return "\n".join(self.output.rstrip().splitlines()[-lines:])


@dataclass(frozen=True)
class Evidence:
    """What there is to see of a machine that failed: how far its console came, its first trouble and last lines,
    and a picture of its screen where it has one."""

    how_far: str
    trouble: str
    last_lines: tuple[str, ...]
    screenshot: Path | None = None

    @property
    def in_words(self) -> str:
        """For a stage's details."""
        lines = [f"the console came as far as {self.how_far}"]
        if self.trouble:
            lines.append(f"it said: {self.trouble}")
        return "\n".join([*lines, "its last lines:", *(f"  {line}" for line in self.last_lines)])


@dataclass
class _Stream:
    """What comes out of a program: marks are taken off, the rest goes to ``sink`` up to a limit."""

    begin: bytes
    end: bytes
    sink: BinaryIO | None
    room: int = OUTPUT_LIMIT_BYTES
    began: bool = False
    ended: bool = False
    limit_hit: bool = False
    pending: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> bytes:
        """Take in what came; returns what of it is the program's own."""
        self.pending += data
        if not self.began:
            if (at := self.pending.find(self.begin)) < 0:
                del self.pending[: -len(self.begin)]
                return b""
            del self.pending[: at + len(self.begin)]
            self.began = True
        if (at := self.pending.find(self.end)) >= 0:
            own, self.ended = bytes(self.pending[:at]), True
            self.pending.clear()
        else:  # a mark may have come in part
            keep = _overlap(self.pending, self.end)
            own = bytes(self.pending[: len(self.pending) - keep])
            del self.pending[: len(self.pending) - keep]
        if len(own) > self.room:
            own, self.limit_hit = own[: self.room], True
        self.room -= len(own)
        if self.sink is not None and own:
            self.sink.write(own)
            self.sink.flush()  # whoever follows a log sees it as it comes
        return own


def _overlap(data: bytearray, mark: bytes) -> int:
    """How many of the last bytes of ``data`` may be the beginning of ``mark``."""
    return next((n for n in range(min(len(mark) - 1, len(data)), 0, -1) if data.endswith(mark[:n])), 0)


class Machine:
    """A machine, from the moment its body is there.

    ``callbacks`` are its phases. Only one thread runs programs in it at a time.
    """

    def __init__(
        self,
        name: str,
        body: Body,
        callbacks: Callbacks,
        console: Console,
        *,
        accel: Literal["kvm", "tcg"],
        start: Literal["cold", "restored"],
    ) -> None:
        self.name = name
        self.body = body
        self.callbacks = callbacks
        self.console = console
        self.accel = accel
        self.start = start
        self.qmp = Qmp(body.wires.qmp, self._on_event)
        self._ending: Ending | None = None
        self._ended = threading.Event()
        self._closing = False
        self._wake, self._woken = socket.socketpair()
        self._stop, self._stopped = socket.socketpair()
        self._replies = bytearray()
        self._calls_pending = bytearray()
        self._agent_left_at: float | None = None
        self._watched_since = time.monotonic(), _waited_s(body)
        self._shell_sink: Callable[[bytes], None] | None = None
        self._watcher = threading.Thread(target=self._watch, name=f"watch-{name}", daemon=True)
        self._watcher.start()
        with contextlib.suppress(QmpError):  # a qemu that ended at once is told by the first who waits for it
            self.qmp.execute("qmp_capabilities")

    # Watching: console and QMP, as long as there is a machine

    def _watch(self) -> None:
        wires = self.body.wires
        takers: dict[socket.socket, Callable[[bytes], None]] = {
            wires.console: self.console.feed,
            wires.qmp: self.qmp.feed,
            wires.shell: self._take_shell,
            wires.calls: self._take_calls,
        }
        with selectors.DefaultSelector() as selector:
            selector.register(self._stopped, selectors.EVENT_READ)
            for wire in takers:
                with contextlib.suppress(ValueError):  # closed already
                    selector.register(wire, selectors.EVENT_READ)
            while not self._closing:
                for key, _ in selector.select(1.0):
                    wire = _socket_of(key)
                    if wire is self._stopped:
                        return
                    try:
                        data = wire.recv(65536)
                    except OSError:
                        data = b""
                    if data:
                        takers[wire](data)
                        continue
                    selector.unregister(wire)
                    if wire is wires.qmp:
                        self._qemu_is_gone()
                        return

    def _take_calls(self, data: bytes) -> None:
        """Calls of a guest without a network: a phase and its token, a line each."""
        self._calls_pending += data
        while (end := self._calls_pending.find(b"\n")) >= 0:
            phase, _, token = self._calls_pending[:end].decode("utf-8", "replace").partition(" ")
            del self._calls_pending[: end + 1]
            self.callbacks.offer(phase, token, "over virtio-serial")
        if len(self._calls_pending) > WORD_LIMIT_BYTES:
            self._calls_pending.clear()

    def _take_shell(self, data: bytes) -> None:
        if self._shell_sink is not None:
            self._shell_sink(data)

    def _on_event(self, name: str, data: dict[str, Any]) -> None:
        if name == "GUEST_PANICKED":
            self._end(Ending("panic"))
        elif name == "BLOCK_IO_ERROR":
            self._end(Ending("storage", str(data.get("reason", ""))))
        elif name == "VSERPORT_CHANGE" and data.get("id") == CONTROL_ID:
            self._agent_left_at = None if data.get("open") else time.monotonic()
        elif name == "SHUTDOWN":
            reasons: dict[object, Reason] = {
                "guest-reset": "reset",
                "guest-panic": "panic",
                "guest-shutdown": "shutdown",
            }
            if (reason := reasons.get(data.get("reason"))) is not None:
                # A kernel whose panic driver is not loaded yet reboots (panic=-1): its console tells the two.
                early_panic = reason == "reset" and "panic" in self.console.trouble
                self._end(Ending("panic" if early_panic else reason))

    def _qemu_is_gone(self) -> None:
        self.qmp.ended()
        if self._ending is None:
            self._end(Ending("killed", self.body.last_words()))

    def _end(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending
        self._ended.set()
        self.qmp.ended()
        with contextlib.suppress(OSError):
            self._wake.send(b"x")
        self.callbacks.interrupt()

    @property
    def ending(self) -> Ending | None:
        """Why the machine is no more; None while it lives."""
        return self._ending

    def check(self) -> None:
        """Raise MachineEnded when it is no more."""
        if self._ending is not None:
            raise MachineEnded(self._ending)

    # Running programs

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes | BinaryIO = b"",
        stdout: BinaryIO | None = None,
        stderr: BinaryIO | None = None,
        env: Mapping[str, str] | None = None,
        limit_bytes: int = OUTPUT_LIMIT_BYTES,
        flood_ends: bool = False,
    ) -> GuestRan:
        """Run a program as the machine's root, and say how it ended.

        ``stdout`` and ``stderr`` get what it prints as it comes, up to ``limit_bytes`` each (with ``stderr``
        None, both go to ``stdout``, in their order); with ``flood_ends`` the machine ends past that. Past
        ``timeout_s`` seconds it is killed and told as ``timed_out``. Raises MachineEnded when the machine ends
        meanwhile, or does not answer some seconds past the limit, and FarmTrouble for words with a NUL byte.
        """
        self.check()
        words = [*(["env", *(f"{key}={value}" for key, value in env.items())] if env else []), *argv]
        if any("\0" in word for word in words):
            raise FarmTrouble(f"no program can be given a NUL byte: {argv[0]!r}")
        source, size = _measured(stdin)
        run_id = secrets.token_hex(8)
        marks = (f"\x1e{run_id} begin\n".encode(), f"\x1e{run_id} end\n".encode())
        tail = io.BytesIO()
        out = _Stream(*marks, stdout, limit_bytes)
        err = _Stream(*marks, stderr, limit_bytes, ended=stderr is None)
        count = "1" if stderr is None else "2"
        request = ["RUN", run_id, str(max(1, round(timeout_s))), str(size), count, str(len(words)), *words]
        began = time.monotonic()
        self._watched_since = began, _waited_s(self.body)
        self._send(self.body.wires.control, b"".join(os_word(word) for word in request))
        status = self._converse(run_id, source, size, (out, err), tail, began + timeout_s + GRACE_S, flood_ends)
        return GuestRan(
            status,
            tail.getvalue()[-TAIL_BYTES:].decode("utf-8", "backslashreplace"),
            time.monotonic() - began,
            timed_out=status in TIMED_OUT and time.monotonic() - began >= timeout_s - 1,
            output_limit_hit=out.limit_hit or err.limit_hit,
            waited_s=_waited_s(self.body) - self._watched_since[1],
        )

    def _converse(
        self,
        run_id: str,
        source: BinaryIO,
        size: int,
        streams: tuple[_Stream, _Stream],
        tail: io.BytesIO,
        deadline: float,
        flood_ends: bool,
    ) -> int:
        wires = self.body.wires
        by_wire = {wires.output: streams[0], wires.error: streams[1]}
        chunk = b""
        status: int | None = None
        with selectors.DefaultSelector() as selector:
            for wire in (wires.control, wires.output, wires.error, self._woken):
                selector.register(wire, selectors.EVENT_READ)
            if size:
                selector.register(wires.input, selectors.EVENT_WRITE)
            while status is None or not all(stream.ended for stream in streams):
                left = deadline - time.monotonic()
                if left <= 0:
                    self._fail_silent()
                self._require_agent()
                if flood_ends and any(stream.limit_hit for stream in streams):
                    self._fail("flood")
                for key, _ in selector.select(min(left, 1.0)):
                    wire = _socket_of(key)
                    if wire is self._woken:
                        self.check()
                    elif wire is wires.input:
                        chunk = chunk or source.read(65536)
                        if not chunk:
                            selector.unregister(wires.input)
                            continue
                        chunk = chunk[self._write_some(wires.input, chunk) :]
                    elif wire is wires.control:
                        self._take_replies(wires.control)
                        for answer in self._answers():
                            if answer[0] == "END" and answer[1] == run_id:
                                status = int(answer[2]) if answer[2].isdigit() else 255
                            elif answer[0] == "HELLO":  # it has begun anew, and knows nothing of what it ran
                                self._fail("agent")
                    else:
                        _keep_tail(tail, by_wire[wire].feed(self._receive(wire)))
        return status

    def _write_some(self, wire: socket.socket, chunk: bytes) -> int:
        wire.setblocking(False)
        try:
            return wire.send(chunk)
        except BlockingIOError:
            return 0
        except OSError:
            self._gone()
            return 0
        finally:
            wire.setblocking(True)

    def _receive(self, wire: socket.socket) -> bytes:
        try:
            data = wire.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._gone()
        return data

    def _gone(self) -> None:
        """A wire was cut: the watcher will know why in a moment."""
        self._ended.wait(5.0)
        self._end(Ending("killed", self.body.last_words()))
        self.check()

    def _send(self, wire: socket.socket, data: bytes) -> None:
        wire.settimeout(GRACE_S)
        try:
            wire.sendall(data)
        except TimeoutError:
            self._fail_silent()
        except OSError:
            self._gone()
        finally:
            with contextlib.suppress(OSError):
                wire.settimeout(None)

    def _fail(self, reason: Reason, details: str = "") -> None:
        self._end(Ending(reason, details))
        self.check()

    def _fail_silent(self) -> None:
        """It did not answer: is it the machine that hangs, or qemu, or has the host no time for it?"""
        try:
            status = self.qmp.execute("query-status", timeout_s=QEMU_ANSWER_S)
        except QmpError as error:
            self._ended.wait(1.0)
            self._fail("stalled", error.brief)
            return
        began, waited_before_s = self._watched_since
        duration_s, waited_s = time.monotonic() - began, _waited_s(self.body) - waited_before_s
        if not status.get("running"):
            self._fail("stalled", f"it stands still: {status.get('status')}")
        elif waited_s > STARVED * duration_s:
            self._fail(
                "stalled", f"it waited {waited_s:.0f} s of {duration_s:.0f} s for a processor of the host's"
            )
        else:
            self._fail("silent")

    def _require_agent(self) -> None:
        left_at = self._agent_left_at
        if left_at is not None and time.monotonic() - left_at > AGENT_GRACE_S:
            self._fail("agent")

    def _take_replies(self, wire: socket.socket) -> None:
        self._replies += self._receive(wire)
        if len(self._replies) > 16 * WORD_LIMIT_BYTES:
            self._replies.clear()

    def _answers(self) -> Iterator[tuple[str, ...]]:
        """The whole answers that came on the control wire; what is none is skipped."""
        lengths = {b"HELLO": 3, b"AWAKE": 1, b"END": 3}
        while (words := bytes(self._replies).split(b"\0")) and len(words) > 1:
            count = lengths.get(words[0], 1)
            if len(words) - 1 < count:
                return
            del self._replies[: sum(len(word) + 1 for word in words[:count])]
            if words[0] in lengths:
                yield tuple(word.decode("utf-8", "backslashreplace")[:WORD_LIMIT_BYTES] for word in words[:count])

    def await_answer(self, word: str, timeout_s: float) -> tuple[str, ...] | None:
        """The next answer that begins with ``word``; None past the limit. Raises MachineEnded."""
        deadline = time.monotonic() + timeout_s
        wire = self.body.wires.control
        with selectors.DefaultSelector() as selector:
            selector.register(wire, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                for answer in self._answers():
                    if answer[0] == word:
                        return answer
                for key, _ in selector.select(min(left, 1.0)):
                    if key.fileobj is self._woken:
                        self.check()
                    else:
                        self._take_replies(wire)
        self.check()
        return None

    def send_words(self, *words: str) -> None:
        """Say something to the agent; raises MachineEnded."""
        self._send(self.body.wires.control, b"".join(os_word(word) for word in words))

    # Files, reboots, shells, evidence

    def write_file(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Make a file in the machine, with its directory; raises FarmTrouble, or MachineEnded."""
        script = 'mkdir -p "$(dirname "$2")" && cat >"$2" && chmod "$1" "$2"'
        ran = self.run(["sh", "-c", script, "sh", f"{mode:o}", path], timeout_s=60, stdin=content)
        if ran.status != 0:
            raise FarmTrouble(f"{path} cannot be written in the machine", details=ran.tail())

    def reboot(self, timeout_s: float) -> float:
        """Reboot the machine in order, and wait for its agent; returns the seconds that took.

        Raises MachineEnded when it does not come back in time.
        """
        began = time.monotonic()
        self._watched_since = began, _waited_s(self.body)
        self.check()
        self.qmp.execute("set-action", {"reboot": "reset"})
        try:
            self.send_words("RUN", secrets.token_hex(8), "30", "0", "1", "2", "systemctl", "reboot")
            if self.await_answer("HELLO", timeout_s) is None:
                self._fail_silent()
        finally:
            if self._ending is None:
                self.qmp.execute("set-action", {"reboot": "shutdown"})
        return time.monotonic() - began

    def attach_shell(self, sink: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Start a root shell on the machine's second console: what it prints goes to ``sink``; the function that
        is returned types into it."""
        self._shell_sink = sink
        self.send_words("SHELL")
        return lambda data: self._send(self.body.wires.shell, data)

    def evidence(self, screenshot: Path | None = None) -> Evidence:
        """What there is to see now; with ``screenshot`` a picture is made there where there is a screen."""
        if self._ending is not None and self._ending.reason in ENDS_QEMU:
            self._watcher.join(5.0)  # qemu is ending; the console's last words are on their way
        self.console.flush()
        picture = None
        if screenshot is not None and self._ending is None:
            with contextlib.suppress(FarmError):
                self.qmp.execute("screendump", {"filename": str(screenshot), "format": "png"})
                picture = screenshot if screenshot.is_file() else None
        return Evidence(self.console.how_far, self.console.trouble, self.console.last_lines(), picture)

    def wait_ended(self, timeout_s: float) -> Ending | None:
        """Wait for the machine to end by itself; None when it does not."""
        self._ended.wait(timeout_s)
        return self._ending

    def close(self) -> None:
        """End it now; may be called again."""
        if self._ending is None:
            self._end(Ending("killed", "by its owner"))
        self.body.destroy()
        self._watcher.join(5.0)  # it reads to the console's end
        self.let_go()
        self.body.wires.close()

    def let_go(self) -> None:
        """Watch it no longer; its body lives on, for another owner. May be called again."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._stop.send(b"x")
        self._watcher.join()
        self.console.close()
        for one in (self._wake, self._woken, self._stop, self._stopped):
            one.close()


def os_word(word: str) -> bytes:
    """A word as the agent reads it."""
    return word.encode("utf-8", "surrogateescape") + b"\0"


def _socket_of(key: selectors.SelectorKey) -> socket.socket:
    assert isinstance(key.fileobj, socket.socket)
    return key.fileobj


def _waited_s(body: Body) -> float:
    """How long a machine's threads have waited for a processor so far, where that can be known."""
    return body.waited_s() if isinstance(body, QemuBody) else 0.0


def _measured(stdin: bytes | BinaryIO) -> tuple[BinaryIO, int]:
    if isinstance(stdin, bytes):
        return io.BytesIO(stdin), len(stdin)
    at = stdin.tell()
    size = stdin.seek(0, io.SEEK_END) - at
    stdin.seek(at)
    return stdin, size


def _keep_tail(tail: io.BytesIO, own: bytes) -> None:
    tail.write(own)
    if tail.tell() > 4 * TAIL_BYTES:
        kept = tail.getvalue()[-TAIL_BYTES:]
        tail.seek(0)
        tail.truncate()
        tail.write(kept)
