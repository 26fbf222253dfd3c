"""An environment that is held open: its root is a container's, its doors are its way out, its end takes all."""

from __future__ import annotations

import io
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from buildfarm import process
from buildfarm.build.environments import use_layers
from buildfarm.build.namespaces import Held, Orders, hold
from buildfarm.build.roots import get_root, native_architecture, spec_for
from buildfarm.errors import FarmTrouble
from buildfarm.settings import Settings
from buildfarm.verify.testbeds import new_upper, scratch_directory

DOOR = "127.0.0.1:1"


@pytest.fixture
def orders(farm_settings: Settings, host_series: str) -> Iterator[Orders]:
    cache = farm_settings.cache.resolve()
    root = get_root(spec_for(farm_settings, host_series, native_architecture()), cache, io.BytesIO())
    with (
        use_layers(root, (), cache, io.BytesIO()) as use,
        scratch_directory(cache) as scratch,
        new_upper(scratch) as upper,
    ):
        environment = process.clean_environment("/root")
        yield Orders(
            (),
            environment,
            layers=use.directories,
            upper=upper / "fs",
            work=upper / "work",
            doors=(DOOR,),
            limits={"NOFILE": 4096},
            processes=4096,
        )


@pytest.fixture
def held(orders: Orders) -> Iterator[Held]:
    with hold(orders) as one:
        yield one


def said(held: Held, script: str, timeout_s: float = 20) -> str:
    return held.run(["bash", "-c", script], timeout_s=timeout_s)[1]


def test_its_commands_follow_each_other_in_one_root(held: Held) -> None:
    assert said(held, "echo kept > /note; id -u") == "0\n"
    assert said(held, "cat /note") == "kept\n"
    assert held.run(["sh", "-c", "exit 7"], timeout_s=20) == (7, "")
    assert held.run(["sh", "-c", "kill -9 $$"], timeout_s=20) == (-9, "")
    assert held.run(["no-such-program"], timeout_s=20)[0] == 127


def test_its_root_is_a_containers(held: Held) -> None:
    assert said(held, "grep -c '00000000a80405fb' /proc/self/status") == "3\n"  # permitted, effective, bounding
    for refused in ("mount -t tmpfs none /mnt", "unshare -Ur true", "ls /proc/1/fd", "ip link add x type dummy"):
        assert held.run(["sh", "-c", refused], timeout_s=20)[0] != 0, refused
    assert "uid=1000(builder)" in said(held, "su -s /bin/sh builder -c id")
    assert said(held, "kill -9 1; kill -STOP 1; echo alive") == "alive\n"
    assert said(held, "echo still") == "still\n"


def test_what_connects_at_a_door_is_accepted_outside(held: Held) -> None:
    def answer() -> None:
        line, _ = held.doors[0].accept()
        with line:
            line.sendall(b"from outside\n")

    threading.Thread(target=answer, daemon=True).start()

    assert said(held, "cat </dev/tcp/127.0.0.1/1") == "from outside\n"
    with socket.socket() as outside, pytest.raises(OSError, match="refused"):
        outside.connect(("127.0.0.1", 1))


def test_a_command_whose_asker_goes_away_is_killed_with_its_children(held: Held) -> None:
    assert held.run(["sh", "-c", "sleep 3000 & sleep 3000"], timeout_s=0.5) == (None, "")
    deadline = time.monotonic() + 10
    while "sleep" in said(held, "cat /proc/[0-9]*/comm"):
        assert time.monotonic() < deadline


def test_all_of_it_ends_with_the_block(orders: Orders) -> None:
    mark = f"{os.getpid()}.25"
    with hold(orders) as held:
        said(held, f"(setsid sleep {mark} >/dev/null 2>&1 &)")
        assert running(mark)
    assert not running(mark)


def test_one_that_cannot_stand_is_the_farms_trouble(orders: Orders) -> None:
    with (
        pytest.raises(FarmTrouble, match="cannot be set up") as raised,
        hold(replace(orders, doors=("/no/such/directory/door",))),
    ):
        pass
    assert "No such file" in raised.value.details


def running(word: str) -> bool:
    found = False
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found |= word.encode() in path.read_bytes()
        except OSError:
            continue
    return found
