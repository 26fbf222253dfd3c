"""Machines that boot, sleep, wake, reboot and end, on real guests; what is left of them, whatever was killed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from buildfarm.vm.images import Image
from buildfarm.vm.machine import MachineEnded
from buildfarm.vm.places import base_directory, sweep
from buildfarm.vm.pool import borrow
from buildfarm.vm.starting import Host, MachineOrder, start_machine

BOOT_LIMIT_S = 300.0


@pytest.fixture(autouse=True)
def own_places(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Machines' directories apart from those of other tests that run beside these."""
    with tempfile.TemporaryDirectory(prefix="bf-") as name:
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield


@pytest.fixture
def host(image_cache: Path) -> Host:
    return Host("tcg", image_cache, 8192)


@pytest.fixture
def order(image: Image, tmp_path: Path) -> MachineOrder:
    return MachineOrder(f"m-{os.getpid()}", "run-1", image, tmp_path / "console.log", boot_timeout_s=BOOT_LIMIT_S)


def left_of(name: str) -> list[str]:
    """The processes whose command line tells of this machine."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes()
            if f"buildfarm-{name}".encode() in words:
                found.append(words.replace(b"\0", b" ").decode(errors="replace")[:200])
    return found


def until(true: Callable[[], bool], limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.05)


def directories() -> set[str]:
    sweep()
    return {path.name for path in base_directory().glob("m-*")}


def test_a_machine_boots_from_nothing_calls_back_reboots_and_leaves_nothing(
    host: Host, order: MachineOrder
) -> None:
    with start_machine(replace(order, start="cold"), host) as machine:
        assert [call.phase for call in machine.callbacks.calls] == ["booted"]
        first = machine.run(["cat", "/proc/sys/kernel/random/boot_id"], timeout_s=60).output
        out, err = io.BytesIO(), io.BytesIO()
        script = "wc --bytes; echo 'to err' >&2; exit 3"
        ran = machine.run(["sh", "-c", script], timeout_s=60, stdin=b"x" * 300_000, stdout=out, stderr=err)
        assert (ran.status, out.getvalue(), err.getvalue()) == (3, b"300000\n", b"to err\n")
        assert machine.run(["sleep", "1000"], timeout_s=2).timed_out
        assert machine.run(["systemctl", "is-system-running"], timeout_s=60).output == "running\n"
        machine.reboot(BOOT_LIMIT_S)
        assert machine.run(["cat", "/proc/sys/kernel/random/boot_id"], timeout_s=60).output != first
        assert [call.phase for call in machine.callbacks.calls] == ["booted"]
        assert machine.callbacks.refusals == ()
        down = 'for card in /sys/class/net/e*; do ip link set dev "${card##*/}" down; done'
        assert machine.run(["sh", "-c", down], timeout_s=60).status == 0
        token = machine.callbacks.issue("installed")  # without a network it calls by virtio-serial
        machine.run(["/usr/lib/buildfarm/agent", "call", "installed"], timeout_s=60, stdin=f"{token}\n".encode())
        call = machine.callbacks.wait("installed", 30)
        assert call is not None
        assert call.note == "over virtio-serial"
        console = machine.evidence()
        assert console.how_far == "all its services"
        with pytest.raises(MachineEnded) as ended:
            machine.run(["sh", "-c", "echo c >/proc/sysrq-trigger; sleep 100"], timeout_s=60)
        assert ended.value.ending.reason == "panic"
    assert left_of(order.name) == []
    assert directories() == set()


def test_two_machines_woken_from_one_sleep_are_two_machines(
    host: Host, order: MachineOrder, tmp_path: Path
) -> None:
    look = (
        "cat /etc/machine-id /sys/class/net/e*/address; head -c 16 /dev/urandom | od -An -tx1; hostname; date +%s"
    )
    seen = []
    for name in ("first", "second"):
        mine = replace(order, name=f"{name}-{os.getpid()}", console=tmp_path / f"{name}.log")
        with start_machine(mine, host) as machine:
            assert machine.start == "restored"
            lines = machine.run(["sh", "-c", look], timeout_s=60).output.splitlines()
            assert abs(int(lines[4]) - time.time()) < 30
            seen.append(lines[:4])
    assert all(one != other for one, other in zip(*seen, strict=True)), seen


@contextlib.contextmanager
def owner(order: MachineOrder, host: Host, what: str) -> Iterator[subprocess.Popen[str]]:
    """A process that owns a machine (or a pool of them), and says a line when it is there."""
    script = f"""
import os, sys, time
from pathlib import Path
from dataclasses import replace
from buildfarm.vm.images import read_image
from buildfarm.vm.pool import Kind, Pool, run_until_signalled
from buildfarm.vm.starting import Host, MachineOrder, make_ready, snapshot_of, start_machine
image = read_image(Path({str(order.image.directory)!r}))
host = Host("tcg", Path({str(host.cache)!r}), 8192, say=lambda line: print(line, file=sys.stderr))
order = MachineOrder({order.name!r}, "run", image, Path({str(order.console)!r}), boot_timeout_s={BOOT_LIMIT_S})
{what}
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


HOLD = """
with start_machine(order, host) as machine:
    print("there", flush=True)
    time.sleep(1000)
"""


def test_a_machine_dies_with_its_owner_that_was_killed(host: Host, order: MachineOrder) -> None:
    with owner(order, host, HOLD) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        assert left_of(order.name)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        until(lambda: left_of(order.name) == [])
    assert directories() == set()


def test_an_owner_is_told_at_once_that_its_machine_was_killed(host: Host, order: MachineOrder) -> None:
    with start_machine(order, host) as machine:
        os.kill(machine.body.pid, signal.SIGKILL)  # type: ignore[attr-defined]
        with pytest.raises(MachineEnded) as ended:
            machine.run(["sleep", "1000"], timeout_s=1000)
        assert ended.value.ending.reason == "killed"
        assert not ended.value.ending.by_itself
        assert "SIGKILL" in ended.value.ending.details


POOL = """
order = replace(order, console=Path("/dev/null"))
kind = Kind(snapshot_of(order, host).key, "test", lambda: make_ready(order, host))
pool = Pool(Path({path!r}), 2, lambda: [kind], lambda line: print(line, flush=True))
run_until_signalled(pool)
"""


def test_a_pool_lends_machines_and_ends_them_with_their_borrowers_or_itself(
    host: Host, order: MachineOrder, socket_directory: Path
) -> None:
    path = socket_directory / "pool.sock"
    assert borrow(path, "nothing there") is None
    with owner(order, host, POOL.format(path=str(path))) as pool:
        assert pool.stdout is not None
        assert [pool.stdout.readline() for _ in range(2)] == ["ready: test (1)\n", "ready: test (2)\n"]
        assert borrow(path, "another key") is None
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect(str(path))
            rude.sendall(b"not json\n")
            assert rude.recv(10) == b""
        with start_machine(order, replace(host, pool=path)) as machine:
            assert machine.run(["hostname"], timeout_s=60).output.startswith("m-")
            assert len(left_of(order.name)) >= 2
        assert pool.stdout.readline() == "ready: test (2)\n"  # another in its place
        with start_machine(order, replace(host, pool=path)) as machine:
            pool.send_signal(signal.SIGKILL)
            with pytest.raises(MachineEnded):
                machine.run(["sleep", "1000"], timeout_s=1000)
        pool.wait(30)
        until(lambda: left_of(order.name) == [])


def test_a_pool_that_is_told_to_stop_ends_what_it_has(
    host: Host, order: MachineOrder, socket_directory: Path
) -> None:
    path = socket_directory / "pool.sock"
    with owner(order, host, POOL.format(path=str(path))) as pool:
        assert pool.stdout is not None
        pool.stdout.readline()
        pool.send_signal(signal.SIGTERM)
        assert pool.wait(60) == 0
        assert left_of(order.name) == []
        assert not path.exists()


def test_the_pool_speaks_lines_of_json(host: Host, order: MachineOrder, socket_directory: Path) -> None:
    path = socket_directory / "pool.sock"
    with owner(order, host, POOL.format(path=str(path))) as pool, socket.socket(socket.AF_UNIX) as asking:
        until(path.exists)
        asking.connect(str(path))
        asking.sendall(b'{"snapshot": "unknown"}\n')
        assert json.loads(asking.recv(1000)) == {"refused": "none is ready"}
        pool.send_signal(signal.SIGKILL)
