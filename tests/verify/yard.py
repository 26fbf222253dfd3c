"""The boot stage on packages that mean no good: a place for machines of its own, and nothing left in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildfarm.job import AutopkgtestJob, BootJob, Branch, Job, MachineRules
from buildfarm.stages.runner import run_stage
from buildfarm.verdict import StageResult
from buildfarm.vm.body import sweep_overlays
from buildfarm.vm.places import base_directory, sweep
from tests.archive.conftest import PPA
from tests.verify.conftest import Bench

SETTLE_LIMIT_S = 20.0
HOSTILE_LIMIT_S = 150


class Yard:
    """A bench whose machines lie in ``place``, and what is left of them."""

    def __init__(self, bench: Bench, place: Path) -> None:
        self.bench = bench
        self.place = place
        self.scratch = place / "scratch"
        self.scratch.mkdir()
        self.threads = set(threading.enumerate())
        self.set_vm(scratch=str(self.scratch))

    def set_vm(self, **rules: Any) -> None:
        settings = self.bench.settings
        self.bench.settings = replace(settings, vm=replace(settings.vm, **rules))

    def publish(self, postinst: str = "", **more: Any) -> None:
        self.bench.publish(None, postinst=postinst, **more)

    def boot(self, machine: dict[str, Any] | None = None, **rules: Any) -> StageResult:
        """Run the stage."""
        self.write_job(machine, **rules)
        bench = self.bench
        return run_stage(
            "boot", bench.workspace, bench.settings, series=bench.series, architecture=bench.architecture
        )

    def write_job(self, machine: dict[str, Any] | None = None, **rules: Any) -> None:
        """Upgrade and purge are left out unless asked for, and the limits are for a tiny package."""
        bench = self.bench
        small = {"upgrade": False, "purge": False, "install_timeout_s": HOSTILE_LIMIT_S}
        job = Job(
            run_id="greet-1",
            recipe="greet",
            trunk=Branch("git", "/nowhere"),
            revision="0" * 40,
            archive=str(PPA),
            series=(bench.series,),
            architectures=(bench.architecture,),
            machine=MachineRules(**(machine or {})),
            boot=BootJob(**(small | rules)),
            autopkgtest=AutopkgtestJob(),
        )
        bench.workspace.write_job(job)

    @property
    def out(self) -> Path:
        return self.bench.workspace.directory("boot", self.bench.target)

    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.out / "log").read_text(errors="replace")
        return ""

    def processes(self) -> dict[int, str]:
        """Those that have this place in their command line: qemu, and nc, by their ids."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = entry.read_bytes().decode(errors="replace").replace("\0", " ")
                if str(self.place) in words and int(entry.parent.name) != os.getpid():
                    found[int(entry.parent.name)] = words[:100]
        return found

    def qemu(self) -> int:
        """The process id of the machine that lives; waits for one."""
        deadline = time.monotonic() + HOSTILE_LIMIT_S
        while time.monotonic() < deadline:
            for number, words in self.processes().items():
                if words.startswith("qemu-system"):
                    return number
            time.sleep(0.02)
        raise AssertionError("no machine was started")

    def until_said(self, text: str) -> None:
        """Wait until the stage's log has ``text``."""
        deadline = time.monotonic() + HOSTILE_LIMIT_S
        while text not in self.log():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def assert_nothing_is_left(self) -> None:
        """No process, directory, file or thread of any machine's."""
        deadline = time.monotonic() + SETTLE_LIMIT_S
        sweep_overlays(self.scratch, 0.0)
        while (left := self.left()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not left, "; ".join(left)

    def left(self) -> list[str]:
        ours = [one.name for one in threading.enumerate() if one not in self.threads]
        return [
            *self.processes().values(),
            *(str(path) for path in base_directory().glob("m-*")),
            *(str(path) for path in self.scratch.iterdir()),
            *(name for name in ours if name.startswith(("watch-", "gateway"))),
        ]


@pytest.fixture
def yard(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    place = Path(tempfile.mkdtemp(prefix="yard-", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    one = Yard(bench, place)
    try:
        yield one
        one.assert_nothing_is_left()
    finally:
        for number in one.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        sweep()
        shutil.rmtree(place, ignore_errors=True)
