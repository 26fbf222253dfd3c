"""Bazaar over a network, in a child that can be killed: both ends of its conversation.

breezy gives no time limit to what it does over a network. The child answers one request a line (JSON) and is used
again while it answers in time, since its start costs more than its work; when it does not, it is killed, and the
next request gets another one. Requests run side by side in as many children as are needed. A child whose parent
died ends at the end of its input, or at its own alarm.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from buildfarm.errors import FarmError, FarmTrouble
from buildfarm.trunk.location import reaching_environment, redact

IDLE_CHILDREN = 2
ALARM_GRACE_S = 5.0
SSH_OPTIONS = ("-oBatchMode=yes", "-oConnectTimeout=20", "-oServerAliveInterval=15", "-oServerAliveCountMax=3")

_idle: list[subprocess.Popen[bytes]] = []
_idle_lock = threading.Lock()


def ask(operation: str, location: str, mirror: str = "", *, timeout_s: float) -> str:
    """Have a child do ``tip`` or ``fetch`` for a location; raises FarmTrouble, also when time is up."""
    request = {"operation": operation, "location": location, "mirror": mirror, "timeout_s": timeout_s}
    line = json.dumps(request).encode() + b"\n"
    deadline = time.monotonic() + timeout_s
    while True:
        child, fresh = _take()
        try:
            answer = _converse(child, line, deadline)
        except TimeoutError as error:
            _kill(child)
            raise FarmTrouble(
                f"the trunk did not answer within {timeout_s:.0f} s",
                where=redact(location),
                resolution="Check that the server is up and can be reached from this machine.",
            ) from error
        except BaseException:
            _kill(child)
            raise
        if answer:
            break
        _kill(child)
        if fresh:
            raise FarmTrouble(f"breezy ended without an answer ({child.returncode})", where=redact(location))
    _give_back(child)
    told: dict[str, str] = json.loads(answer)
    if "answer" not in told:
        raise FarmTrouble(
            told["brief"], where=told["where"], details=told["details"], resolution=told["resolution"]
        )
    return told["answer"]


def _take() -> tuple[subprocess.Popen[bytes], bool]:
    with _idle_lock:
        if _idle:
            return _idle.pop(), False
    # -I: neither the caller's directory nor its PYTHON variables decide what is imported.
    return subprocess.Popen(
        [sys.executable, "-I", "-m", "buildfarm.trunk.bzr_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=reaching_environment(),
        cwd="/",
        start_new_session=True,
    ), True


def _give_back(child: subprocess.Popen[bytes]) -> None:
    with _idle_lock:
        if len(_idle) < IDLE_CHILDREN:
            _idle.append(child)
            return
    _kill(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _converse(child: subprocess.Popen[bytes], line: bytes, deadline: float) -> bytes:
    """Send a request, return the answer's line; b"" when the child has ended. TimeoutError past the deadline."""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(line)
        child.stdin.flush()
    except BrokenPipeError:
        return b""
    answer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while not answer.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            chunk = os.read(child.stdout.fileno(), 65536)
            if not chunk:
                return b""
            answer += chunk
    return answer


def main() -> None:
    """The child: answer requests until there are no more."""
    from buildfarm.trunk import breezy_room

    _let_ssh_never_ask()
    # Answers have this file for themselves: whatever prints must not spoil them.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    for line in sys.stdin.buffer:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, request["timeout_s"] + ALARM_GRACE_S)
        where = redact(request["location"])
        try:
            with breezy_room.explained(where):
                told = {"answer": _do(request)}
        except FarmError as error:
            told = {
                "brief": error.brief,
                "where": where,
                "details": redact(error.details),
                "resolution": error.resolution,
            }
        except Exception as error:  # noqa: BLE001 (a server can make breezy raise anything)
            told = {
                "brief": "the trunk cannot be read",
                "where": where,
                "details": redact(f"{type(error).__name__}: {error}"),
                "resolution": "Check that the location answers to `brz info`.",
            }
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(json.dumps(told).encode() + b"\n")
        answers.flush()


def _do(request: dict[str, Any]) -> str:
    from buildfarm.trunk import breezy_room

    branch = breezy_room.open_far(request["location"])
    if request["operation"] == "tip":
        return breezy_room.tip_of(branch)
    _fetch(branch, Path(request["mirror"]))
    return ""


def _fetch(branch: Any, mirror: Path) -> None:
    """Bring the branch into its mirror, whose lock the caller holds; a half-made mirror is never seen."""
    from breezy.urlutils import local_path_to_url

    from buildfarm.files import remove_tree
    from buildfarm.trunk import breezy_room

    if mirror.is_dir():
        for left in mirror.glob(".bzr/*/lock/held"):  # by a fetch that was killed
            remove_tree(left)
        breezy_room.open_local(mirror).pull(branch, overwrite=True)
        return
    fresh = mirror.with_name(mirror.name + ".new")
    remove_tree(fresh)
    branch.controldir.sprout(
        local_path_to_url(str(fresh)),
        source_branch=branch,
        stacked=False,
        force_new_repo=True,
        create_tree_if_local=False,
    )
    fresh.rename(mirror)


def _let_ssh_never_ask() -> None:
    from breezy.transport import ssh

    class FarmSsh(ssh.OpenSSHSubprocessVendor):  # type: ignore[misc]
        def _get_vendor_specific_argv(self, *args: Any, **kwargs: Any) -> list[str]:
            program, *words = super()._get_vendor_specific_argv(*args, **kwargs)
            return [program, *SSH_OPTIONS, *words]

    ssh.register_ssh_vendor("buildfarm", FarmSsh())
    os.environ["BRZ_SSH"] = "buildfarm"


if __name__ == "__main__":
    main()
