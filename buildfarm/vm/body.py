"""The body of a machine: a qemu process of ours, and the sockets that lead into it.

A body dies with its owner. qemu is killed by the kernel when the process that started it ends (PR_SET_PDEATHSIG),
its disk is a file that was unlinked as it was made, and its sockets have no names but the gateway's, which lies in
a directory that the next owner sweeps.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from buildfarm.errors import FarmTrouble
from buildfarm.files import remove_tree
from buildfarm.process import clean_environment, signal_name
from buildfarm.vm.qemu import CHANNELS, Descriptors

END_LIMIT_S = 10.0
NICENESS = 5
WIRES = 3 + len(CHANNELS)
# setpriv asks for the signal, sh makes sure that the one who wanted it was still there, and becomes qemu.
TIED = ("setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", '[ "$PPID" = "$0" ] || exit 125; exec "$@"')


@dataclass(frozen=True)
class Wires:
    """Our ends of what leads into a machine."""

    qmp: socket.socket
    console: socket.socket
    shell: socket.socket
    control: socket.socket
    input: socket.socket
    output: socket.socket
    error: socket.socket
    calls: socket.socket

    def all(self) -> tuple[socket.socket, ...]:
        """Every socket, in the order of the fields."""
        return (self.qmp, self.console, self.shell, self.control, self.input, self.output, self.error, self.calls)

    def close(self) -> None:
        """Close them all."""
        for one in self.all():
            one.close()


class Body(Protocol):
    """What a backend gives: the wires, where the gateway is to listen, and the machine's end."""

    wires: Wires
    gateway: Path

    def destroy(self) -> None:
        """End the machine now, and free all it had; may be called again."""

    def last_words(self) -> str:
        """What the emulator said when it ended by itself: its error output, its exit status or signal."""


class QemuBody:
    """A qemu process that this process started."""

    def __init__(self, process: subprocess.Popen[bytes], wires: Wires, gateway: Path, errors: BinaryIO) -> None:
        self._process = process
        self.wires = wires
        self.gateway = gateway
        self._errors = errors
        self._ending = threading.Lock()

    @property
    def pid(self) -> int:
        """qemu's process id."""
        return self._process.pid

    def waited_s(self) -> float:
        """How many seconds the busiest of its threads was ready to run and had no processor."""
        waited_ns = 0
        with contextlib.suppress(OSError):
            for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
                waited_ns = max(waited_ns, int(path.read_text().split()[1]))
        return waited_ns / 1e9

    def destroy(self) -> None:
        """Kill qemu and wait for its end."""
        with self._ending:
            if self._process.poll() is None:
                self._process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(END_LIMIT_S)

    def last_words(self) -> str:
        """qemu's error output and how it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_LIMIT_S)
        status = self._process.returncode
        said = ""
        if not self._errors.closed:
            self._errors.seek(0)
            said = self._errors.read(4096).decode("utf-8", "backslashreplace").strip()
        if status is None:
            return said
        ended = f"killed by {signal_name(-status)}" if status < 0 else f"exit status {status}"
        return f"{said} ({ended})" if said else ended


@contextlib.contextmanager
def wired() -> Iterator[tuple[Wires, list[socket.socket]]]:
    """Sockets in pairs: our ends, and qemu's, which are closed after the ``with`` block."""
    ours, theirs = [], []
    for _ in range(WIRES):
        one, other = socket.socketpair()
        ours.append(one)
        theirs.append(other)
    try:
        yield Wires(*ours), theirs
    except BaseException:
        for one in ours:
            one.close()
        raise
    finally:
        for other in theirs:
            other.close()


def descriptors_of(theirs: Sequence[socket.socket]) -> Descriptors:
    """The numbers under which qemu inherits its ends."""
    qmp, console, shell, *channels = (one.fileno() for one in theirs)
    return Descriptors(qmp, console, shell, dict(zip(CHANNELS, channels, strict=True)))


@contextlib.contextmanager
def overlay_directory(scratch: Path) -> Iterator[Path]:
    """Where qemu makes its overlay, removed after the ``with`` block: qemu unlinks the file at once, but one that
    is killed at that very moment leaves it. Raises FarmTrouble where none can be made."""
    sweep_overlays(scratch)
    try:
        path = Path(tempfile.mkdtemp(prefix=_overlay_prefix(), dir=scratch))
    except OSError as error:
        raise FarmTrouble(f"no place for what machines write: {error}") from error
    owned = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(owned, fcntl.LOCK_EX)
        yield path
    finally:
        remove_tree(path)
        os.close(owned)


def sweep_overlays(scratch: Path, older_than_s: float = 60.0) -> None:
    """Remove such directories whose owner was killed; one that is younger may not be locked yet."""
    for path in scratch.glob(f"{_overlay_prefix()}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime < older_than_s:
                continue
            found = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(path)
            finally:
                os.close(found)


def _overlay_prefix() -> str:
    return f"buildfarm-{os.getuid()}-"


@contextlib.contextmanager
def qemu_body(
    make_argv: Callable[[Descriptors], Sequence[str]],
    gateway: Path,
    scratch: Path,
    *,
    inherited: Sequence[int] = (),
) -> Iterator[QemuBody]:
    """Start qemu with what ``make_argv`` makes of its descriptors; it is gone after the ``with`` block.

    ``scratch`` is where its unlinked overlay lies; ``inherited`` are further descriptors it gets. Call it in a
    thread that lives as long as the machine: the kernel kills qemu when the *thread* that started it ends. Raises
    FarmTrouble when it cannot be started.
    """
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile())
        overlays = stack.enter_context(overlay_directory(scratch))
        with wired() as (wires, theirs):
            argv = make_argv(descriptors_of(theirs))
            fds = [one.fileno() for one in theirs] + list(inherited)
            try:
                process = subprocess.Popen(
                    ["nice", "-n", str(NICENESS), *TIED, str(os.getpid()), *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    pass_fds=fds,
                    env=clean_environment(TMPDIR=str(overlays)),
                    start_new_session=True,
                    umask=0o077,
                )
            except OSError as error:
                raise FarmTrouble(
                    f"{argv[0]} cannot be started: {error}",
                    resolution="`make install` installs it.",
                ) from error
        body = QemuBody(process, wires, gateway, errors)
        stack.callback(body.destroy)
        yield body
