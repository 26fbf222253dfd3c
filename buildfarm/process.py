"""Child processes, bounded: a time limit, an output limit, and nobody left behind.

A stage becomes the reaper of its descendants (``adopt_descendants``). Whoever it starts, however it daemonises,
stays findable below it in /proc, so that the end of the stage, or the death of the worker that asked for it,
ends them all.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO, NoReturn

from buildfarm.errors import FarmTrouble

STOPPED = "stopped: "
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024
WATCH_EACH_S = 1.0
TAIL_BYTES = 64 * 1024

Watch = Callable[[int, float], str]
"""Looks at a running child, about every second: its process id, and for how many seconds it has said nothing.
What it returns, if anything, is why the child must end now."""

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Finished:
    """How a child ended.

    ``output`` is stdout (and stderr, when they were merged) up to the limit, or only its end where the caller
    asked for no more; ``errors`` is stderr when apart.
    ``returncode`` is negative for a signal, as subprocess has it. ``stopped`` is why a watch ended it.
    """

    argv: tuple[str, ...]
    returncode: int
    duration_s: float
    output: bytes
    errors: bytes = b""
    timed_out: bool = False
    output_limit_hit: bool = False
    stopped: str = ""

    @property
    def ok(self) -> bool:
        """Whether the child exited 0 within its limits."""
        return self.returncode == 0 and not (self.timed_out or self.output_limit_hit or self.stopped)

    @property
    def text(self) -> str:
        """The output as text; bytes that are not UTF-8 are shown escaped."""
        return self.output.decode("utf-8", "backslashreplace")

    @property
    def error_text(self) -> str:
        """The error output as text (the output, when the two were merged)."""
        return (self.errors or self.output).decode("utf-8", "backslashreplace")

    def tail(self, lines: int = 20) -> str:
        """The last lines of what it said, for an error's details."""
        return "\n".join(self.error_text.rstrip().splitlines()[-lines:])


def clean_environment(home: Path | str = "/nonexistent", **extra: str) -> dict[str, str]:
    """The environment for a tool: nothing of ours but a path, a locale, UTC and what the caller names."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        **extra,
    }


def run(
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input_bytes: bytes = b"",
    input_file: BinaryIO | None = None,
    pass_fds: Sequence[int] = (),
    log: BinaryIO | None = None,
    merge_errors: bool = False,
    limit_bytes: int = OUTPUT_LIMIT_BYTES,
    keep_bytes: int | None = None,
    check: bool = False,
    watch: Watch | None = None,
) -> Finished:
    """Run a child to its end and return how it ended.

    ``log`` also receives everything as it comes. Past ``timeout_s`` seconds or ``limit_bytes`` of output the
    child and all it started are killed, and so they are when ``watch`` says; with ``keep_bytes`` no more than
    about the last so many are kept in memory. ``input_file`` is the child's standard input as it is
    (``input_bytes`` is then not used), and ``pass_fds`` are descriptors that it inherits. ``env`` defaults to
    ``clean_environment()``, never to our own. With ``check`` an unsuccessful end raises FarmTrouble; a missing
    program always does.
    """
    words = tuple(str(word) for word in argv)
    started = time.monotonic()
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.PIPE if input_file is None else input_file,
            pass_fds=tuple(pass_fds),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge_errors else subprocess.PIPE,
            cwd=cwd,
            env=dict(env if env is not None else clean_environment()),
            start_new_session=True,
            umask=0o022,  # as clean as the environment: what a tool makes is the same for everybody
        )
    except FileNotFoundError as error:
        raise FarmTrouble(
            f"{words[0]} cannot be started: {error.strerror} ({error.filename})",
            resolution="`make install` installs every tool that the farm calls.",
        ) from error
    with contextlib.ExitStack() as stack:
        stack.callback(_reap, child)
        streams: dict[object, bytearray] = {
            stream: bytearray() for stream in (child.stdout, child.stderr) if stream is not None
        }
        ended = _pump(child, streams, input_bytes, log, started + timeout_s, limit_bytes, keep_bytes, watch)
        if ended == "done":
            ended = _await_end(child, started + timeout_s)
    finished = Finished(
        words,
        child.returncode,
        time.monotonic() - started,
        bytes(streams[child.stdout]) if child.stdout is not None else b"",
        bytes(streams[child.stderr]) if child.stderr is not None else b"",
        timed_out=ended == "timeout",
        output_limit_hit=ended == "limit",
        stopped=ended.removeprefix(STOPPED) if ended.startswith(STOPPED) else "",
    )
    if check and not finished.ok:
        raise FarmTrouble(f"{words[0]} {how_it_ended(finished)}", details=finished.tail())
    return finished


def how_it_ended(finished: Finished) -> str:
    """How a child ended, in words."""
    if finished.timed_out:
        return f"was stopped after its limit of {finished.duration_s:.0f} s"
    if finished.stopped:
        return f"was stopped: {finished.stopped}"
    if finished.output_limit_hit:
        return f"was stopped: it wrote more than {len(finished.output) + len(finished.errors)} bytes"
    if finished.returncode < 0:
        return f"was killed by {signal_name(-finished.returncode)}"
    return f"exited {finished.returncode}"


def signal_name(number: int) -> str:
    """A signal's name, for those too that Python has none for: ``SIGRTMIN+1``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}" if number > signal.SIGRTMIN else f"signal {number}"


def _pump(
    child: subprocess.Popen[bytes],
    streams: dict[object, bytearray],
    input_bytes: bytes,
    log: BinaryIO | None,
    deadline: float,
    limit_bytes: int,
    keep_bytes: int | None,
    watch: Watch | None,
) -> str:
    room = limit_bytes
    heard_at = looked_at = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                selector.register(stream, selectors.EVENT_READ)
        pending = memoryview(input_bytes)
        if child.stdin is not None and pending:
            os.set_blocking(child.stdin.fileno(), False)
            selector.register(child.stdin, selectors.EVENT_WRITE)
        elif child.stdin is not None:
            child.stdin.close()
        while selector.get_map():
            now = time.monotonic()
            if now >= deadline:
                return "timeout"
            if watch is not None and now - looked_at >= WATCH_EACH_S:
                if why := watch(child.pid, now - heard_at):
                    return STOPPED + why
                looked_at = time.monotonic()
            ready = selector.select(min(deadline - now, WATCH_EACH_S))
            if not ready and child.poll() is not None and _only_strangers_hold_the_pipes(child):
                return "done"
            for key, _ in ready:
                if child.stdin is not None and key.fileobj is child.stdin:
                    try:
                        pending = pending[os.write(key.fd, pending[:65536]) :]
                    except BrokenPipeError:
                        pending = pending[:0]
                    if not pending:
                        selector.unregister(child.stdin)
                        child.stdin.close()
                    continue
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(key.fileobj)
                    continue
                heard_at = time.monotonic()
                if log is not None:
                    log.write(chunk[:room])
                    log.flush()
                kept = streams[key.fileobj]
                kept += chunk[:room]
                if keep_bytes is not None and len(kept) > 2 * keep_bytes:
                    del kept[:-keep_bytes]
                room -= len(chunk)
                if room < 0:
                    return "limit"
    return "done"


def _only_strangers_hold_the_pipes(child: subprocess.Popen[bytes]) -> bool:
    """After the child's own end a daemon it left may keep the pipes open: one quiet second is enough."""
    return child.returncode is not None


def _await_end(child: subprocess.Popen[bytes], deadline: float) -> str:
    try:
        child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return "timeout"
    return "done"


def _reap(child: subprocess.Popen[bytes]) -> None:
    # The leader's descendants are listed before it dies: afterwards they belong to whoever adopts them, and a
    # reading of all of /proc (milliseconds) would find none.
    family = [*descendants(child.pid)] if child.returncode is None else []
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    for pid in family:
        _kill(pid)
    child.wait()
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def kill_family(pid: int) -> None:
    """Kill a process and all below it; it is held still first, so that it cannot act on its children's death."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGSTOP)
    for one in list(descendants(pid)):
        _kill(one)
    _kill(pid)


def descendants(pid: int) -> Iterator[int]:
    """The process ids below ``pid``, by one reading of /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                stat = (entry / "stat").read_bytes()
                parent = int(stat[stat.rindex(b")") + 2 :].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    waiting = children.get(pid, [])
    while waiting:
        one = waiting.pop()
        yield one
        waiting += children.get(one, [])


def adopt_descendants() -> None:
    """Make this process the reaper of all it starts, and end with whoever started it.

    When the parent dies (a worker killed with SIGKILL), SIGTERM arrives here; on SIGTERM, SIGINT and SIGHUP
    every descendant is killed before this process exits, so that no orphan runs beside a retry.
    """
    parent = os.getppid()
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end_with_family)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked to be told
        _end_with_family(signal.SIGTERM, None)


def _end_with_family(number: int, _frame: FrameType | None) -> NoReturn:
    kill_descendants()
    sys.stderr.flush()
    os._exit(128 + number)


def kill_descendants() -> None:
    """Kill and reap every process below this one, until none is left (10 s at most)."""
    deadline = time.monotonic() + 10
    while (family := list(descendants(os.getpid()))) and time.monotonic() < deadline:
        for pid in family:
            _kill(pid)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)
