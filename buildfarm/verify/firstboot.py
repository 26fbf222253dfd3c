"""Does an image that the package made boot, and say so? Asked in a machine inside the machine that made it.

booted     our machine is up, with an emulator in it
installed  the builder under test, from its archive
made       the recipe's script let it make an image, which runs our script when it boots the first time
called     the image has booted in a machine inside ours, and called home by itself
"""

from __future__ import annotations

import io
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.job import FirstbootJob
from buildfarm.verify.guest_files import fetch_file, run_in_tree, send_tree
from buildfarm.verify.installing import GUEST, Installer, Subject, too_slow
from buildfarm.vm.callbacks import Call, Callbacks
from buildfarm.vm.console import Console, clean
from buildfarm.vm.machine import GuestRan, Machine, MachineEnded

PLACE = "/var/lib/buildfarm/nested"
ROOM_MIB = 384  # what our machine needs beside the one inside it
LOOK_S = 5.0
LOOK_TIMEOUT_S = 120.0
CHUNK_BYTES = 1 << 20
QEMU_LOG_BYTES = 64 << 10
REFUSALS_SHOWN = 10
REFUSED_GRACE_S = 60.0  # who was refused may have a better token yet
_PREPARE = """\
mkdir -p "$1" && cd "$1" && cat >firstboot && chmod 755 firstboot || exit
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.sources; do
    [ ! -f "$file" ] || { cat "$file"; echo; }
done >mirrors
"""
_IMAGE_SIZE = 'exec stat --dereference --format="%F %s" "$1/image"'


@dataclass(frozen=True)
class Emulator:
    """What runs the machine inside ours: the package it is in, its program, its machine and processor, and how
    its console is called."""

    package: str
    program: str
    machine: str
    cpu: str
    console: str = "ttyS0"


# Without graphics, a PC's firmware speaks to the serial port.
EMULATORS = {
    "amd64": Emulator("qemu-system-x86", "qemu-system-x86_64", "pc,graphics=off", "qemu64"),
    "i386": Emulator("qemu-system-x86", "qemu-system-i386", "pc,graphics=off", "qemu32"),
    "arm64": Emulator("qemu-system-arm", "qemu-system-aarch64", "virt", "cortex-a57", "ttyAMA0"),
}


@dataclass
class Founding:
    """A builder of images under test. ``callbacks`` are the image's own machine's; ``start`` gives ours, through
    whose gateway these come; ``environment`` is what the script is told beside its places."""

    job: FirstbootJob
    subject: Subject
    tree: Path
    emulator: Emulator
    callbacks: Callbacks
    start: Callable[[], AbstractContextManager[Machine]]
    out: Path
    log: BinaryIO
    say: Callable[[str], None]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The packages that are installed: those the recipe names, or all that were built."""
        return self.job.packages or tuple(sorted(self.subject.packages))


@dataclass
class FoundingEnd:
    """How far it came. ``how_far`` is the image's console in words, "" when it was not booted."""

    phases: dict[str, float] = field(default_factory=dict)
    fault: PackageFault | None = None
    image_bytes: int = 0
    how_far: str = ""
    note: str = ""
    refused: list[str] = field(default_factory=list)


def found(work: Founding) -> FoundingEnd:
    """Let it make an image and boot that; what is the package's fault is in what is returned.

    Raises FarmTrouble for everything else.
    """
    end = FoundingEnd()
    began = time.monotonic()

    def reached(phase: str) -> None:
        end.phases[phase] = round(time.monotonic() - began, 2)
        work.say(f"{phase} after {end.phases[phase]:.1f} s")

    with work.start() as machine:
        try:
            with _watched(machine):
                _prepare(work, machine)
                reached("booted")
                deadline = time.monotonic() + work.job.timeout_s
                left = max(1.0, deadline - time.monotonic())
                Installer(machine, work.subject, work.log, work.say, left, "timeout_s").install(work.names)
                reached("installed")
                end.image_bytes = _make(work, machine, deadline)
                reached("made")
                call = _boot(work, machine, end, deadline)
                end.note = call.note
                reached("called")
        except PackageFault as fault:
            end.fault = fault
        end.refused = _refusals(work, machine)
        if end.refused and end.fault is None:
            details = "\n".join(end.refused)
            end.fault = PackageFault(
                f"the image called, and calls were refused: {end.refused[0]}", details=details
            )
    return end


def firstboot_script(callbacks: Callbacks, token: str) -> bytes:
    """The script that the image is to run: who its machine is, and how it says so."""
    text = (GUEST / "nested-firstboot.sh").read_text(encoding="utf-8")
    who = f"machine={shlex.quote(callbacks.machine)}\ntoken={shlex.quote(token)}\n"
    return f"#!/bin/sh\n{who}{text}".encode()


def _prepare(work: Founding, machine: Machine) -> None:
    script = firstboot_script(work.callbacks, work.callbacks.issue("booted"))
    ran = machine.run(("sh", "-c", _PREPARE, "sh", PLACE), timeout_s=LOOK_TIMEOUT_S, stdin=script)
    if ran.status != 0:
        raise FarmTrouble("the machine cannot be prepared", details=ran.tail())
    send_tree(machine, work.tree)
    there = machine.run(("sh", "-c", f"command -v {work.emulator.program}"), timeout_s=LOOK_TIMEOUT_S)
    if there.status != 0:  # an image from elsewhere
        work.say(f"# the image has no {work.emulator.program}: it is installed")
        argv = ("sh", "-c", f"apt-get --quiet update && apt-get --quiet --yes install {work.emulator.package}")
        noninteractive = {"DEBIAN_FRONTEND": "noninteractive"}
        ran = machine.run(argv, timeout_s=work.job.timeout_s, stdout=work.log, env=noninteractive)
        if ran.status != 0:
            raise FarmTrouble(f"{work.emulator.package} cannot be installed in the machine", details=ran.tail())


def _make(work: Founding, machine: Machine, deadline: float) -> int:
    """Let the script make the image; returns its size in bytes."""
    job = work.job
    work.say(f"== {job.script}")
    places = {
        "BUILDFARM_FIRSTBOOT": f"{PLACE}/firstboot",
        "BUILDFARM_IMAGE": f"{PLACE}/image",
        "BUILDFARM_KERNEL": f"{PLACE}/kernel",
        "BUILDFARM_INITRD": f"{PLACE}/initrd",
        "BUILDFARM_APPEND": f"{PLACE}/append",
        "BUILDFARM_MIRRORS": f"{PLACE}/mirrors",
        "BUILDFARM_VERSION": work.subject.version,
    }
    limit = min(job.build_timeout_s, deadline - time.monotonic())
    ran = run_in_tree(machine, job.script, limit, work.log, {**places, **work.environment})
    if ran.timed_out:
        which = "build_timeout_s" if limit >= job.build_timeout_s else "timeout_s"
        raise too_slow(ran, f"{job.script} was stopped: no image after {ran.duration_s:.0f} s ({which})")
    if ran.status != 0:
        raise PackageFault(f"no image: {job.script} exited {ran.status}", details=ran.tail(40))
    looked = machine.run(("sh", "-c", _IMAGE_SIZE, "sh", PLACE), timeout_s=LOOK_TIMEOUT_S)
    kind, _, size = looked.output.strip().rpartition(" ")
    if looked.status != 0 or kind != "regular file" or not size.isdigit():
        raise PackageFault(
            f"{job.script} left no image",
            details=ran.tail(),
            resolution="It has to leave a disk image at the path that BUILDFARM_IMAGE tells.",
        )
    if work.callbacks.calls or _refusals(work, machine):
        raise PackageFault(
            "something called home before the image was booted",
            details=ran.tail(),
            resolution="Did the script of BUILDFARM_FIRSTBOOT run as the image was made? It is for the boot.",
        )
    return int(size)


def _boot(work: Founding, machine: Machine, end: FoundingEnd, deadline: float) -> Call:
    """Boot the image, and wait for its call."""
    emulator = work.emulator
    began = time.monotonic()
    words = (emulator.program, emulator.machine, emulator.cpu, emulator.console, machine.accel)
    ran = _script(machine, "nested-start.sh", PLACE, str(work.job.memory_mib), *words)
    if ran.status != 0:
        raise FarmTrouble("the machine inside the machine cannot be started", details=ran.tail())
    work.say("the image boots")
    console = Console(work.out / "console-image.log")
    offset, lives = 0, True
    refused_at = 0.0
    try:
        while (call := work.callbacks.wait("booted", LOOK_S if lives else 0.0)) is None:
            now = time.monotonic()
            if not lives:
                raise _fault(work, machine, console, f"its machine ended after {now - began:.0f} s")
            if now > deadline:
                raise _fault(work, machine, console, f"no call within {now - began:.0f} s (timeout_s)")
            offset, lives = _follow(machine, console, offset)
            refused_at = refused_at or (now if _refusals(work, machine) else 0.0)
            if refused_at and now > refused_at + REFUSED_GRACE_S:
                raise _fault(work, machine, console, "refused")
        _follow(machine, console, offset)
        return call
    finally:
        end.how_far = console.how_far
        console.close()
        if machine.ending is None:
            machine.run(("systemctl", "stop", "buildfarm-nested.service"), timeout_s=LOOK_TIMEOUT_S)
            fetch_file(machine, f"{PLACE}/qemu.log", work.out / "image-qemu.log", QEMU_LOG_BYTES)


def _fault(work: Founding, machine: Machine, console: Console, why: str) -> PackageFault:
    lines = [f"it said: {console.trouble}"] if console.trouble else []
    lines += ["the last lines of its console:", *(f"  {line}" for line in console.last_lines())]
    if said := machine.run(("tail", "--bytes=2000", f"{PLACE}/qemu.log"), timeout_s=LOOK_TIMEOUT_S).output.strip():
        lines += ["qemu said:", *(f"  {clean(line)}" for line in said.splitlines())]
    if refused := _refusals(work, machine):
        return PackageFault(f"the image called, and was refused: {refused[0]}", details="\n".join(lines))
    return PackageFault(
        f"the image did not boot: {why}, after {console.how_far}",
        details="\n".join(lines),
        resolution="Does it run the script of BUILDFARM_FIRSTBOOT as it boots? Is its console the serial port?",
    )


def _refusals(work: Founding, machine: Machine) -> list[str]:
    """Calls that did not count; those that do not say whose they are count as our own machine's."""
    refused = (*work.callbacks.refusals, *machine.callbacks.refusals)
    return [f"{one.phase}: {one.reason} ({one.status})" for one in refused[:REFUSALS_SHOWN]]


def _follow(machine: Machine, console: Console, offset: int) -> tuple[int, bool]:
    """Take in what the image's console said; returns how much there was so far, and whether its machine lives."""
    said = io.BytesIO()
    ran = _script(machine, "nested-look.sh", PLACE, str(offset), str(CHUNK_BYTES), stdout=said)
    console.feed(said.getvalue())
    console.flush()
    return offset + len(said.getvalue()), ran.status != 1


def _script(machine: Machine, name: str, *words: str, stdout: BinaryIO | None = None) -> GuestRan:
    text = (GUEST / name).read_text(encoding="utf-8")
    return machine.run(("sh", "-c", text, name, *words), timeout_s=LOOK_TIMEOUT_S, stdout=stdout)


@contextmanager
def _watched(machine: Machine) -> Iterator[None]:
    """The end of our own machine is told as what it is."""
    try:
        yield
    except MachineEnded as error:
        ending, evidence = error.ending, machine.evidence()
        if ending.by_itself:
            raise PackageFault(
                f"the machine that makes the image ended: {ending.in_words}", details=evidence.in_words
            ) from error
        raise FarmTrouble(
            f"the machine that makes the image ended: {ending.in_words} ({ending.details})",
            details=evidence.in_words,
            resolution="It was not ended by what ran in it: it is tried again.",
        ) from error
