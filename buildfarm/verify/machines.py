"""Machines for verifying a build: of its series, with what its recipe gives them, reaching its archives alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from buildfarm.build.apt_sources import AptSources, find_sources, read_host
from buildfarm.errors import FarmTrouble, UsageError
from buildfarm.job import MachineRules
from buildfarm.settings import Settings
from buildfarm.verify.way_out import reach
from buildfarm.vm.accel import find_accel
from buildfarm.vm.callbacks import Callbacks
from buildfarm.vm.cloud_image import get_cloud_image
from buildfarm.vm.image_recipe import DISK_BYTES
from buildfarm.vm.images import DAY_S, Image, get_image, image_spec_for
from buildfarm.vm.machine import Machine, MachineEnded
from buildfarm.vm.plugging import grow_disk
from buildfarm.vm.pool import socket_path
from buildfarm.vm.qemu import Hardware
from buildfarm.vm.starting import Host, MachineOrder, Start, start_machine
from buildfarm.vm.upstream import read_proxies

NAME_LIMIT = 80
CLOUD_BOOT_LIMIT_S = 900.0  # an emulated processor takes minutes over all that such an image starts


@dataclass
class MachineRoom:
    """Where the machines of one stage come from.

    ``archive_sources`` are apt's source files of what may be reached beside the series' own mirrors. ``out`` gets
    a recording of every console. ``assumed`` is what a page should say: emulation, an old image. ``tools`` are
    packages that the farm itself wants in its image; an image from elsewhere has what it has.
    """

    settings: Settings
    rules: MachineRules
    series: str
    architecture: str
    run: str
    archive_sources: str
    out: Path
    log: BinaryIO
    assumed: list[str] = field(default_factory=list)
    tools: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._image: Image | None = None
        self._host: Host | None = None

    @contextlib.contextmanager
    def machine(
        self,
        name: str,
        start: Start | None = None,
        boot_timeout_s: float = 180.0,
        nested: tuple[Callbacks, ...] = (),
        *,
        lan: bool = False,
    ) -> Iterator[Machine]:
        """A machine that has booted and called, for the ``with`` block; raises FarmTrouble when none can be had.

        ``name`` tells it from the others of the stage: ``console-NAME.log`` is its console. ``nested`` are the
        machines that will be booted inside it. With ``lan`` it has a slot for a card on a network of several.
        """
        order = self.order(name, start, boot_timeout_s)
        order = replace(order, nested=nested, hardware=replace(order.hardware, lan=lan))
        with start_machine(order, self.host()) as machine:
            self._give_disk(machine)
            yield machine

    def _give_disk(self, machine: Machine) -> None:
        if self.rules.disk_gib << 30 <= DISK_BYTES:
            return
        if self.image().kind == "cloud":
            return  # it began with such a disk, and grew into it or not
        try:
            grow_disk(machine, self.rules.disk_gib)
        except MachineEnded as error:
            raise FarmTrouble(f"the machine ended as its disk grew: {error.ending.in_words}") from error

    def order(self, name: str, start: Start | None = None, boot_timeout_s: float = 180.0) -> MachineOrder:
        """What is asked for with such a machine; raises as ``image`` does."""
        image, rules = self.image(), self.rules
        start = start or rules.start
        apt = None
        if image.kind == "cloud":
            start, boot_timeout_s, apt = "cold", max(boot_timeout_s, CLOUD_BOOT_LIMIT_S), self._sources()
            self._assume(f"apt in machines of the image {rules.image} has the farm's sources in place of its own")
        if start == "restored" and self.settings.vm.backend != "qemu":
            self._assume("libvirt's machines cannot be woken: each was booted")
        return MachineOrder(
            name=f"{self.run}-{self.series}-{self.architecture}-{name}"[-NAME_LIMIT:],
            run=self.run,
            image=image,
            console=self.out / f"console-{name}.log",
            hardware=Hardware(rules.memory_mib, rules.cpus, rules.disk_gib, rules.screen),
            start=start,
            reach=reach(self.archive_sources, self._sources().text, rules.allow),
            boot_timeout_s=boot_timeout_s,
            apt=apt,
        )

    def image(self) -> Image:
        """The image the machines are of; raises FarmTrouble, and UsageError for one that the settings lack."""
        if self._image is None:
            self._image = self._find_image()
            self._assume(self._image.note)
        return self._image

    def _find_image(self) -> Image:
        settings, name = self.settings, self.rules.image
        if not name:
            spec = image_spec_for(settings, self.series, self.architecture, self.tools)
            max_age_s = settings.vm.image_max_age_days * DAY_S
            return get_image(spec, settings.cache, self.log, max_age_s=max_age_s)
        given = settings.vm.images.get(name)
        if given is None:
            raise UsageError(
                f"farm.toml has no image {name!r}",
                where="machine: image",
                resolution=f"Known: {', '.join(sorted(settings.vm.images)) or 'none'}. See [vm.images.NAME].",
            )
        if (given.series, given.architecture) != (self.series, self.architecture):
            raise UsageError(
                f"the image {name!r} is of {given.series}/{given.architecture}, and a machine of "
                f"{self.series}/{self.architecture} is wanted",
                where="machine: image",
                resolution="Give the recipe an image for each of its series, or none.",
            )
        return get_cloud_image(name, given, settings.root, settings.cache, self.log)

    def host(self) -> Host:
        """This host, as far as machines are concerned."""
        if self._host is None:
            settings = self.settings
            accel = find_accel(settings.vm.accel, settings.cache)
            if accel.name == "tcg":
                self._assume(accel.note)
            proxies, notes = read_proxies(self._sources().settings)
            for note in notes:
                self._assume(note)
            limit_mib = settings.vm.memory_limit_mib or host_memory_mib() // 2
            self._host = Host(
                accel.name,
                settings.cache,
                limit_mib,
                accel.note,
                proxies,
                self._say,
                settings.vm.backend,
                socket_path(settings.home),
                Path(settings.vm.scratch),
            )
        return self._host

    def _sources(self) -> AptSources:
        given = self.settings.series.get(self.series)
        return find_sources(self.series, self.architecture, given, read_host())

    def _assume(self, note: str) -> None:
        if note and note not in self.assumed:
            self.assumed.append(note)

    def _say(self, line: str) -> None:
        self.log.write(line.encode() + b"\n")
        self.log.flush()


def host_memory_mib() -> int:
    """All the memory this host has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
