"""Packages that misbehave are bounded, named and cleaned away, and the night goes on."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from buildfarm.build.limits import BuildLimits
from buildfarm.build.logs import ONCE_MORE
from buildfarm.regress.model import BuildReport
from buildfarm.regress.one_build import run_build
from buildfarm.regress.orders import BuildOrder
from tests.regress.conftest import Here
from tests.regress.yard import Yard

TIGHT = BuildLimits(timeout_s=120, silence_s=60, memory_mib=512, disk_mib=400, log_mib=20, processes=400)


def build(here: Here, yard: Yard, tmp_path: Path, package: str, **limits: int) -> BuildReport:
    job = replace(yard.job(package), limits=replace(TIGHT, **limits))
    report = run_build(BuildOrder(job), tmp_path / "build", here.settings)
    assert not left_behind(), "no process outlives its build"
    scratch = here.settings.cache / "scratch"
    assert not list(scratch.glob("*")), "nothing it wrote stays"
    return report


def log_of(tmp_path: Path) -> str:
    return gzip.decompress((tmp_path / "build" / "build.log.gz").read_bytes()).decode()


def left_behind() -> list[str]:
    """The command lines of processes that a yard's package started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "sleep 1000000" in words:
            found.append(words)
    return found


def test_one_that_hangs_is_stopped_for_its_silence(here: Here, yard: Yard, tmp_path: Path) -> None:
    report = build(here, yard, tmp_path, "hanging", silence_s=3)

    assert report.outcome == "fail"
    assert "has said nothing for" in report.reason
    assert "waiting for what never comes" in "\n".join(report.first_error)


def test_one_that_takes_too_long_is_stopped(here: Here, yard: Yard, tmp_path: Path) -> None:
    report = build(here, yard, tmp_path, "hanging", timeout_s=4)

    assert (report.outcome, report.reason) == ("fail", "the build was stopped: not done after 4 s (timeout_s)")


def test_one_that_forks_without_end_is_bounded(here: Here, yard: Yard, tmp_path: Path) -> None:
    report = build(here, yard, tmp_path, "forking", timeout_s=8)

    assert report.outcome == "fail"


@pytest.mark.parametrize("in_memory", [True, False])
def test_one_that_fills_the_disk_is_stopped(here: Here, yard: Yard, tmp_path: Path, *, in_memory: bool) -> None:
    # What it is expected to write decides where: too much for memory goes to disk.
    job = replace(yard.job("diskful"), limits=replace(TIGHT, memory_mib=0 if in_memory else 64))
    report = run_build(BuildOrder(job), tmp_path / "build", here.settings)

    assert report.outcome == "fail"
    assert "disk" in report.reason or "No space left" in "\n".join(report.first_error), report
    assert not list((here.settings.cache / "scratch").glob("*")), "the room is free again"


def test_one_that_eats_the_memory_is_stopped(here: Here, yard: Yard, tmp_path: Path) -> None:
    report = build(here, yard, tmp_path, "hungry")

    assert report.outcome == "fail"
    assert "MiB of memory, the limit is 512 MiB" in report.reason


def test_one_that_hides_the_memory_that_it_takes_is_stopped(here: Here, yard: Yard, tmp_path: Path) -> None:
    report = build(here, yard, tmp_path, "sharing")

    assert report.outcome == "fail"
    assert "MiB of memory, the limit is 512 MiB" in report.reason


def test_one_that_hides_what_it_writes_is_stopped(here: Here, yard: Yard, tmp_path: Path) -> None:
    report = build(here, yard, tmp_path, "hiding", memory_mib=64)  # too little for its files, which go to disk

    assert report.outcome == "fail"
    assert "MiB of disk, the limit is 400 MiB" in report.reason


def test_one_that_writes_a_log_without_end_is_stopped(here: Here, yard: Yard, tmp_path: Path) -> None:
    report = build(here, yard, tmp_path, "chatty")

    assert (report.outcome, report.reason) == ("fail", "the build was stopped: its log grew beyond 20 MiB")
    assert sum(path.stat().st_size for path in (tmp_path / "build").iterdir()) < 1 << 20


def test_one_that_leaves_processes_behind_leaves_none(here: Here, yard: Yard, tmp_path: Path) -> None:
    report = build(here, yard, tmp_path, "leaving")

    assert report.outcome == "pass"


def test_one_that_memory_is_too_small_for_is_built_on_disk(here: Here, yard: Yard, tmp_path: Path) -> None:
    report = build(here, yard, tmp_path, "roomy", memory_mib=800)

    assert report.outcome == "pass", "whatever it said after there was no room"
    assert report.disk_bytes > 300 << 20
    assert report.tests is not None
    assert (report.tests.passed, report.tests.failed) == (1, 0), "what failed in memory counts no more"
    assert report.build_s < report.total_s
    assert ONCE_MORE in log_of(tmp_path)


def test_one_that_memory_seems_too_small_for_is_built_on_disk_at_once(
    here: Here, yard: Yard, tmp_path: Path
) -> None:
    report = build(here, yard, tmp_path, "roomy", memory_mib=600, disk_mib=0)

    assert report.outcome == "pass"
    assert ONCE_MORE not in log_of(tmp_path)


def test_one_that_hides_what_it_made_fails_with_words(here: Here, yard: Yard, tmp_path: Path) -> None:
    report = build(here, yard, tmp_path, "diverting")

    assert report.outcome == "fail"
    assert "what it made cannot be taken out: the archive of it is irregular" in report.reason


@pytest.mark.parametrize("memory_mib", [0, 64])
def test_one_finds_the_same_walls_in_memory_and_on_disk(
    here: Here, yard: Yard, tmp_path: Path, memory_mib: int
) -> None:
    report = build(here, yard, tmp_path, "straying", memory_mib=memory_mib)

    assert report.outcome == "fail"
    assert "cannot touch '/build/astray': Permission denied" in "\n".join(report.first_error)


def test_one_for_which_the_disk_has_no_room_is_not_to_blame(here: Here, yard: Yard, tmp_path: Path) -> None:
    job = replace(yard.job("steady"), limits=replace(TIGHT, memory_mib=64))
    report = run_build(BuildOrder(job, expected_bytes=1 << 50), tmp_path / "build", here.settings)

    assert report.outcome == "error"
    assert "the disk is nearly full" in report.reason
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == [
        "build.log.gz",
        "order.json",
        "report.json",
    ]


def test_one_whose_dependency_is_gone_waits_for_it(here: Here, yard: Yard, tmp_path: Path) -> None:
    report = build(here, yard, tmp_path, "unmet")

    assert report.outcome == "dependency-wait"
    assert "libd-gone" in report.reason
    assert report.fingerprint


def test_failing_tests_are_named(here: Here, yard: Yard, tmp_path: Path) -> None:
    report = build(here, yard, tmp_path, "taptest")

    assert report.outcome == "fail"
    assert report.failing_tests == ("reads back what it wrote",)
    assert report.tests is not None
    assert (report.tests.passed, report.tests.failed) == (2, 1)
