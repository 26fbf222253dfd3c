"""Which machines the pool keeps ready: those that the recipes' next builds will want, as far as they may sleep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from buildfarm.job import MachineRules
from buildfarm.recipe import Recipe
from buildfarm.recipe.jobs import job_for
from buildfarm.settings import Settings
from buildfarm.verify.machines import MachineRoom
from buildfarm.vm.pool import Kind
from buildfarm.vm.starting import make_ready, snapshot_of


def wanted_machines(recipes: Iterable[Recipe]) -> tuple[tuple[str, str, MachineRules], ...]:
    """Series, architecture and rules of the machines that sleep until a build of one of the recipes wants them;
    each once, what a machine may reach left out (it is told that when it wakes)."""
    found: dict[tuple[str, str, MachineRules], None] = {}
    for recipe in recipes:
        job = job_for(recipe, "0" * 40, "ready")
        rules = replace(job.machine, allow=())
        if not (job.boot or job.autopkgtest or job.suite) or rules.start != "restored" or rules.image:
            continue
        found |= dict.fromkeys((series, each, rules) for series in job.series for each in job.architectures)
    return tuple(found)


def kinds(settings: Settings, recipes: Iterable[Recipe], log: BinaryIO) -> Iterator[Kind]:
    """The pool's kinds; raises FarmTrouble when an image or qemu cannot be had."""
    for series, architecture, rules in wanted_machines(recipes):
        # Never asked of the pool itself, and recorded by whoever gets the machine.
        room = MachineRoom(settings, rules, series, architecture, "ready", "", Path("/dev"), log)
        order = replace(room.order("ready"), console=Path("/dev/null"))
        host = replace(room.host(), pool=None)
        told = f"{series}/{architecture}, {rules.memory_mib} MiB"
        yield Kind(snapshot_of(order, host).key, told, partial(make_ready, order, host))
