"""Where a source's tests run: what all runs of one stage share, its overlays and its machines."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from buildfarm.build.environments import use_layers
from buildfarm.build.roots import Root, RootSpec
from buildfarm.errors import FarmTrouble
from buildfarm.job import AutopkgtestJob, MachineRules
from buildfarm.settings import Settings
from buildfarm.verify.autopkgtest import Plan, RunEnd
from buildfarm.verify.autopkgtest_run import NotThere, Order, Tested, prepare, run_autopkgtest
from buildfarm.verify.machines import MachineRoom
from buildfarm.verify.testbeds import (
    APT_DOOR,
    MachineTestbed,
    OverlayTestbed,
    held_overlay,
    new_upper,
    scratch_directory,
)
from buildfarm.verify.way_out import way_out
from buildfarm.vm.gateway import OWN_HOST
from buildfarm.vm.machine import Machine, MachineEnded

DISK_BYTES = 8 << 30
LEAST_S = 60.0
PROXY, MACHINE_PROXY = f"http://{APT_DOOR}/", f"http://{OWN_HOST}/"


@dataclass
class Bench:
    """What is tested, on what, within which limits; ``deadline`` is by the monotonic clock.

    ``out`` is the stage's directory; ``assumed`` is what a page should say.
    """

    settings: Settings
    rules: MachineRules
    job: AutopkgtestJob
    series: str
    architecture: str
    run: str
    tested: Tested
    root: Root
    spec: RootSpec
    deadline: float
    out: Path
    log: BinaryIO
    assumed: list[str] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        """Where layers are, by its real name."""
        return self.settings.cache.resolve()

    @property
    def left_s(self) -> float:
        """What is left of the stage's time, a minute at least: what was begun is told in order."""
        return max(LEAST_S, self.deadline - time.monotonic())

    def say(self, line: str) -> None:
        """Write a line to the log."""
        self.log.write(line.encode("utf-8", "backslashreplace") + b"\n")
        self.log.flush()

    def order(self, proxy: str, out: str) -> Order:
        """An order for a run that leaves its files in ``out``; tests are told how to reach the recipe's hosts."""
        allowed = {f"{scheme}_proxy": proxy for scheme in ("http", "https")} if self.rules.allow else {}
        return Order(self.job.test_timeout_s, self.left_s, self.out / out, self.log, environment=allowed)


@contextlib.contextmanager
def overlay(bench: Bench, tested: Tested) -> Iterator[OverlayTestbed]:
    """A testbed of overlays that are made ready for ``tested`` once, and afresh for each test.

    Raises NotThere and FarmTrouble as ``prepare`` does.
    """
    with (
        scratch_directory(bench.cache) as scratch,
        way_out(tested.sources, bench.spec.sources, bench.rules.allow, bench.cache, bench.say) as gateway,
        use_layers(bench.root, (), bench.cache, bench.log) as use,
        new_upper(scratch) as upper,
    ):
        with held_overlay(use.directories, upper, gateway) as held:
            prepare(lambda argv, timeout_s: held.run(argv, timeout_s=timeout_s, log=bench.log), tested, PROXY)
        yield OverlayTestbed((upper / "fs", *use.directories), scratch, gateway, DISK_BYTES)


def run_in_overlay(bench: Bench, layers: Sequence[Path], planned: Plan) -> RunEnd:
    """The tests that the plan has for the overlay; raises NotThere and FarmTrouble."""
    without = () if planned.overlay else (*planned.machine, *planned.left_out)
    with overlay(bench, bench.tested) as testbed:
        order = replace(bench.order(PROXY, "overlay"), only=planned.overlay or (), without=without)
        return run_autopkgtest(bench.tested, testbed, layers, order)


def no_machines() -> str:
    """Why tests that need a machine cannot have one here, "" when they can."""
    return "" if shutil.which("qemu-img") else "this host has no qemu"


def run_in_machine(bench: Bench, layers: Sequence[Path], planned: Plan) -> RunEnd:
    """The tests that the plan has for a machine; raises NotThere and FarmTrouble."""
    room = MachineRoom(
        bench.settings,
        bench.rules,
        bench.series,
        bench.architecture,
        bench.run,
        bench.tested.sources,
        bench.out,
        bench.log,
        bench.assumed,
    )
    numbers = itertools.count(1)
    gone: list[NotThere] = []

    @contextlib.contextmanager
    def make() -> Iterator[Machine]:
        with room.machine(f"tests-{next(numbers)}") as machine:
            try:
                prepare(lambda argv, timeout_s: _said(machine, argv, timeout_s), bench.tested, proxy="")
            except NotThere as error:
                gone.append(error)
                raise FarmTrouble(str(error)) from error
            except MachineEnded as ended:
                raise FarmTrouble(str(ended), details=machine.evidence().in_words) from ended
            yield machine

    order = bench.order(MACHINE_PROXY, "machine")
    order = replace(order, where="machine", only=planned.machine, unpacked=not planned.builds)
    end = run_autopkgtest(bench.tested, MachineTestbed(make, bench.job.test_timeout_s), layers, order)
    if gone:
        raise gone[0]
    return end


def _said(machine: Machine, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
    ran = machine.run(argv, timeout_s=timeout_s)
    return ran.status, ran.output
