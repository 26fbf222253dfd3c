"""What a build holds is found however it holds it: shared, unmapped, without a name; and counts once."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildfarm.build.limits import RESERVE_BYTES, BuildLimits, LimitWatch, free_bytes

MIB = 1 << 20
AMPLE = 1 << 50
PRELUDE = """
import mmap, os, sys, time
MIB = 1 << 20
def memory(size):
    held = mmap.mmap(-1, size)  # MAP_SHARED | MAP_ANONYMOUS
    for at in range(0, size, MIB):
        held[at : at + MIB] = b"x" * MIB
    return held
def fill(fd, size):
    for _ in range(0, size, MIB):
        os.write(fd, b"x" * MIB)
def in_ten(look):
    for _ in range(9):
        if not os.fork():
            look()
            time.sleep(600)
    time.sleep(1)
    wait()
def wait():
    print("up", flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def holding(script: str, directory: Path | None = None) -> Iterator[int]:
    """A child that runs a script until it waits; whose child it is: ours."""
    with subprocess.Popen(
        [sys.executable, "-c", PRELUDE + script], stdout=subprocess.PIPE, cwd=directory, start_new_session=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        try:
            yield os.getpid()
        finally:
            os.killpg(child.pid, signal.SIGKILL)


def look(watch: LimitWatch, pid: int) -> str:
    return watch(pid, 0.0)


@pytest.mark.parametrize(
    "script",
    [
        "held = bytearray(b'x' * 300 * MIB); wait()",
        "held = memory(300 * MIB); wait()",
        "fd = os.memfd_create('x'); fill(fd, 300 * MIB); wait()",
        "fd = os.memfd_create('x'); fill(fd, 300 * MIB); held = mmap.mmap(fd, 0); sum(held[::4096]); wait()",
        "each = [memory(10 * MIB) for _ in range(30)]; os.fork() or time.sleep(600); wait()",
    ],
    ids=["its own", "shared", "a file in memory", "a file in memory, mapped", "in many pieces"],
)
def test_memory_counts_however_it_is_held(script: str) -> None:
    watch = LimitWatch(BuildLimits(memory_mib=200), None, AMPLE)
    ample = LimitWatch(BuildLimits(memory_mib=2000), None, AMPLE)

    with holding(script) as pid:
        said = look(watch, pid)
        assert look(ample, pid) == ""

    assert said.endswith("MiB of memory, the limit is 200 MiB")
    assert 300 <= int(said.split()[3]) < 400


@pytest.mark.parametrize(
    "script",
    [
        "held = memory(60 * MIB); in_ten(lambda: sum(held[::4096]))",
        "held = b'x' * 60 * MIB; in_ten(lambda: None)",
        "fd = os.memfd_create('x'); fill(fd, 60 * MIB); in_ten(lambda: None)",
    ],
    ids=["shared", "forked", "a file in memory"],
)
def test_what_many_share_counts_once(script: str) -> None:
    watch = LimitWatch(BuildLimits(memory_mib=300), None, AMPLE)

    with holding(script) as pid:
        assert look(watch, pid) == ""


def test_files_in_memory_that_are_mapped_have_their_own_limit() -> None:
    mapped = "held = memory(150 * MIB); wait()"
    watch = LimitWatch(BuildLimits(memory_mib=100), None, AMPLE, 150 * MIB)

    with holding(mapped) as pid:
        assert look(watch, pid) == ""


def test_a_file_without_a_name_takes_room_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("buildfarm.build.limits.measure_tree", lambda _directory: (0, 1))  # no file has a name
    now = itertools.count(step=100.0)
    watch = LimitWatch(BuildLimits(disk_mib=100, memory_mib=4000), scratch, AMPLE, clock=lambda: next(now))
    script = """
fd = os.open("hidden", os.O_CREAT | os.O_RDWR); os.unlink("hidden"); fill(fd, 120 * MIB)
other = os.dup(fd); named = os.open("named", os.O_CREAT | os.O_RDWR); fill(named, 120 * MIB)
os.fork() or time.sleep(600); wait()
"""

    with holding(script, scratch) as pid:
        said = look(watch, pid)
        free = free_bytes(scratch)

    assert said == "its files take 120 MiB of disk, the limit is 100 MiB", (free, RESERVE_BYTES)


def test_a_look_at_a_build_that_has_ended_finds_nothing(tmp_path: Path) -> None:
    watch = LimitWatch(BuildLimits(disk_mib=1, memory_mib=1), tmp_path, AMPLE)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass

    assert look(watch, ended.pid) == ""
