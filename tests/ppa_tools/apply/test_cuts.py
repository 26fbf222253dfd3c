"""A sync of a few packages, cut at everything that it asks in turn, before and after it is seen to."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from ppa_tools.address import Address
from ppa_tools.apply.report import Report
from ppa_tools.archives.door import Unreachable
from tests.ppa_tools.model import Fault, Killed, ModelArchive, Release, archives
from tests.ppa_tools.tools import carry_out, sync_plan


def make_two() -> tuple[ModelArchive, ModelArchive, dict[Address, ModelArchive]]:
    known = archives("ppa:o/from", "ppa:o/to")
    source, destination = known.values()
    for name in ("apt", "bash", "curl", "dash", "ed"):
        source.upload("noble", Release(name, "1.0-1"))
        source.upload("jammy", Release(name, "0.9-1"))
    destination.upload("noble", Release("apt", "0.8-1"))
    for name in ("gone", "lost"):
        destination.upload("noble", Release(name, "1.0-1"))
    source.world.now += 10_000
    return source, destination, known


def run_once(source: ModelArchive, destination: ModelArchive, known: dict, state: Path) -> Report | None:
    with contextlib.suppress(Killed, Unreachable):
        return carry_out(sync_plan(source, destination), known, state, source.world)
    return None


def asked_in_all(state: Path) -> int:
    source, destination, known = make_two()
    report = run_once(source, destination, known, state / "clean")
    assert report is not None
    assert report.exit_status == 0
    return source.world.asked


@pytest.mark.parametrize("kills", [False, True], ids=["cut", "killed"])
@pytest.mark.parametrize("processed", [False, True], ids=["before", "after"])
def test_a_sync_cut_at_each_request_ends_right_after_one_more_run(
    tmp_path: Path, processed: bool, kills: bool
) -> None:
    for at in range(1, asked_in_all(tmp_path) + 1):
        source, destination, known = make_two()
        source.world.fault = Fault(at, processed, kills)
        state = tmp_path / str(at)
        run_once(source, destination, known, state)
        source.world.fault = None
        last = run_once(source, destination, known, state)
        assert last is not None
        assert last.exit_status == 0, last
        assert destination.held() == source.held()
        assert set(destination.taken.values()) == {1}, (at, destination.taken)
        assert destination.failed == []
