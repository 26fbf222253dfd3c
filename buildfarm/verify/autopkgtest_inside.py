#!/usr/bin/python3 -IS
"""What runs beside autopkgtest in its sandbox: its virtualisation server, its way into the testbed, its frame.

It is copied into the sandbox and started by the system's python3, so it imports nothing of the farm. The testbed
is somewhere else; what is wanted of it is asked through a socket, the door: one connection, one request (a line
of JSON; for a command its three standard streams go along as descriptors), one line of JSON as the answer.

    frame TIME OUTPUT DIRECTORY FILE WORDS   run autopkgtest within limits, then pack the regular files it left
    server DOOR CAPABILITIES                 the protocol of autopkgtest, by its own VirtSubproc
    run DOOR WORDS                           run one command in the testbed
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

AUTOPKGTEST = "/usr/share/autopkgtest/lib"
ANSWER_LIMIT_BYTES = 65536
TESTBED_GONE = 254
FILES_LIMIT, FILE_LIMIT_BYTES, ALL_LIMIT_BYTES = 2000, 32 << 20, 128 << 20
END_S = 20.0


class Refused(Exception):
    """The testbed's owner says no, in words."""


def ask(door: str, request: dict[str, Any], fds: Sequence[int] = ()) -> dict[str, Any]:
    """Ask the testbed's owner; returns its answer, raises Refused."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(door)
        data = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(line, [data], fds) if fds else line.send(data)
        if sent < len(data):
            line.sendall(data[sent:])
        answer = b""
        while not answer.endswith(b"\n") and len(answer) < ANSWER_LIMIT_BYTES:
            more = line.recv(ANSWER_LIMIT_BYTES)
            if not more:
                raise Refused("the testbed is gone")
            answer += more
    told: dict[str, Any] = json.loads(answer)
    if "error" in told:
        raise Refused(told["error"])
    return told


def run(door: str, words: Sequence[str]) -> int:
    """Run a command in the testbed; returns an exit status as autopkgtest reads it.

    It takes 254 and 255 for a testbed that failed. A command's own 254 or 255 (perl's ``die``) becomes 253, so
    that it is a failed test.
    """
    try:
        status: int = ask(door, {"do": "run", "argv": words}, (0, 1, 2))["status"]
    except (OSError, ValueError, KeyError, Refused) as error:
        print(f"cannot run it in the testbed: {error}", file=sys.stderr)
        return TESTBED_GONE
    return 128 - status if status < 0 else min(status, TESTBED_GONE - 1)


def serve(door: str, capabilities: Sequence[str]) -> None:
    """Speak autopkgtest's protocol on standard input and output, until it has had enough."""
    sys.path.insert(0, AUTOPKGTEST)
    import VirtSubproc  # type: ignore[import-not-found]

    main: Any = sys.modules["__main__"]

    def tell(what: str) -> None:
        try:
            ask(door, {"do": what})
        except (OSError, ValueError, Refused) as error:
            VirtSubproc.bomb(f"{what}: {error}")

    def hook_open() -> None:
        tell("open")
        VirtSubproc.auxverb = [os.path.abspath(sys.argv[0]), "run", door]

    main.hook_open = hook_open
    main.hook_revert = lambda: tell("revert")
    main.hook_cleanup = lambda: tell("close")
    main.hook_capabilities = lambda: list(capabilities)
    main.hook_downtmp = VirtSubproc.downtmp_mktemp
    main.hook_prepare_reboot = dict
    main.hook_wait_reboot = lambda *_, **__: tell("reboot")
    # The owner of the testbed reboots it, and knows when it is there again.
    VirtSubproc.reboot_testbed = lambda: None
    VirtSubproc.progname = "buildfarm"
    VirtSubproc.main()


def frame(time_s: float, output_bytes: int, directory: str, packed: str, words: Sequence[str]) -> int:
    """Run autopkgtest in its limits, pass on what it says, pack what it left; returns its exit status."""
    status, stopped = pump(words, time_s, output_bytes)
    left_out = pack(directory, packed, {"status": status, "stopped": stopped})
    print(f"frame: {json.dumps({'status': status, 'stopped': stopped, 'left_out': left_out})}")
    return 0


def pump(words: Sequence[str], time_s: float, output_bytes: int) -> tuple[int, str]:
    """Run a command: its exit status, and which of its limits ended it, if one did."""
    import selectors
    import signal
    import subprocess
    import time

    deadline = time.monotonic() + time_s
    child = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "AUTOPKGTEST_VIRT_COPY_TIMEOUT": "900"},
    )
    assert child.stdout is not None
    room, stopped = output_bytes, ""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0 and stopped:
                child.kill()
                break
            if left <= 0 or room < 0:
                stopped, room = ("time" if left <= 0 else "output"), sys.maxsize
                deadline = time.monotonic() + END_S
                child.send_signal(signal.SIGTERM)  # it closes its testbed, and lets go of its log
                continue
            if not selector.select(left):
                continue
            data = os.read(child.stdout.fileno(), 65536)
            if not data:
                break
            if not stopped:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
                room -= len(data)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait(), stopped


def pack(directory: str, packed: str, end: dict[str, Any]) -> int:
    """Put the regular files below a directory into a tar file, within limits; returns how many were left out."""
    import io
    import stat
    import tarfile

    left_out, count, room = 0, 0, ALL_LIMIT_BYTES
    with tarfile.open(packed, "w", format=tarfile.GNU_FORMAT) as tar:
        told = json.dumps(end).encode()
        entry = tarfile.TarInfo("end.json")
        entry.size = len(told)
        tar.addfile(entry, io.BytesIO(told))
        for at, directories, names in os.walk(directory):
            directories[:] = sorted(name for name in directories if name not in ("tests-tree", "pkg", "binaries"))
            for name in sorted(names):
                path = os.path.join(at, name)
                try:
                    status = os.lstat(path)
                    fits = count < FILES_LIMIT and status.st_size <= min(FILE_LIMIT_BYTES, room)
                    if not stat.S_ISREG(status.st_mode) or not fits:
                        left_out += 1
                        continue
                    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                        entry = tarfile.TarInfo("out/" + os.path.relpath(path, directory))
                        entry.size = status.st_size
                        tar.addfile(entry, file)
                except OSError:
                    left_out += 1
                    continue
                count += 1
                room -= status.st_size
    return left_out


if __name__ == "__main__":
    if sys.argv[1] == "run":
        sys.exit(run(sys.argv[2], sys.argv[3:]))
    if sys.argv[1] == "server":
        serve(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(frame(float(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5], sys.argv[6:]))
