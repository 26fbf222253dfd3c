"""The command itself, killed or interrupted while Launchpad's answer is on its way, and given again."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.launchpad import LaunchpadDouble
from tests.ppa_tools.commands.conftest import BIN, Shell

SYNC = ("ppa-sync", "ppa:me/trunk", "ppa:me/stable", "--yes", "--allow-deletions")
NAMES = ("apt", "bash", "curl", "dash")
COPIES = 2  # a batch a series, which are asked for at the same time
LONG_S, DEADLINE_S = 0.3, 60.0


@pytest.fixture(scope="module")
def double() -> Iterator[LaunchpadDouble]:
    with LaunchpadDouble(copy_delay_s=1, publish_delay_s=1) as double:
        yield double


@pytest.fixture
def shell(double: LaunchpadDouble, tmp_path: Path) -> Shell:
    double.reset()
    for name in ("trunk", "stable"):
        double.add_ppa(f"me/{name}")
    for series in ("jammy", "noble"):
        for name in NAMES:
            double.add_package("me/trunk", name, "1.0-1" if series == "jammy" else "1.1-1", series=series)
    double.add_package("me/stable", "gone", "1.0-1")
    double.advance(3600)
    double.clear_log()
    return Shell(tmp_path, {"PPA_INSTANCE": double.url, "LP_CREDENTIALS": double.token("me").text})


def changes(double: LaunchpadDouble) -> int:
    return sum(one["method"] == "POST" for one in double.requests())


@pytest.mark.parametrize(
    ("how", "at"), [(signal.SIGKILL, COPIES), (signal.SIGKILL, COPIES + 1), (signal.SIGINT, COPIES)]
)
def test_a_sync_that_is_ended_at_a_change_is_taken_up(
    double: LaunchpadDouble, shell: Shell, how: signal.Signals, at: int
) -> None:
    double.set(latency_s=LONG_S)
    running = subprocess.Popen(
        [BIN / SYNC[0], *SYNC[1:]], env=shell.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + DEADLINE_S
    while changes(double) < at:
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
    running.send_signal(how)
    _, said = running.communicate(timeout=DEADLINE_S)
    assert b"Traceback" not in said
    assert running.returncode != 0
    double.set(latency_s=0)
    shell(*SYNC)
    assert Counter((one["to_series"], one["name"]) for one in double.copies()) == {
        (series, name): 1 for series in ("jammy", "noble") for name in NAMES
    }
    assert [one["source"] for one in double.deletions()] == ["gone"]
