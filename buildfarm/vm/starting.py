"""Starting a machine: from an image or from one asleep, with its gateway and tokens, up to its first call."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from buildfarm import process
from buildfarm.build.apt_sources import AptSources
from buildfarm.errors import FarmTrouble
from buildfarm.vm.body import Body, qemu_body
from buildfarm.vm.callbacks import Callbacks
from buildfarm.vm.cloud_start import cloud_seed, foreign_keys
from buildfarm.vm.console import Console
from buildfarm.vm.gateway import Gateway, GatewayOrder
from buildfarm.vm.image_recipe import PROXY
from buildfarm.vm.images import Image, in_use
from buildfarm.vm.machine import Machine, MachineEnded
from buildfarm.vm.places import machine_directory
from buildfarm.vm.plugging import enlarge_disk
from buildfarm.vm.pool import Ready, borrow
from buildfarm.vm.qemu import (
    PROGRAMS,
    UEFI_FIRMWARE,
    Accel,
    Build,
    Descriptors,
    Disk,
    Hardware,
    argv,
    credential_text,
    hardware_address,
    uefi_firmware,
)
from buildfarm.vm.qmp import QmpError
from buildfarm.vm.seed import Seed, smbios_serial
from buildfarm.vm.snapshot import SnapshotSpec, prepare, put_to_sleep, use_snapshot, wake_from
from buildfarm.vm.upstream import Proxies, Reach

Start = Literal["cold", "restored"]
BOOT_LIMIT_S = 180.0
SEED_SECRET_BYTES = 24
SEEN_REQUESTS = 8
STUCK = re.compile(r"UEFI Interactive Shell|emergency mode")
STUCK_LOOK_S = 3.0
WANTED_DISK_BYTES = 2 << 30
SCRATCH = Path("/var/tmp")  # noqa: S108 (qemu makes its overlay there and unlinks it)


@dataclass(frozen=True)
class Host:
    """The machine that machines run on: how fast it lets them run, where things are kept, its ways out.

    ``note`` is what pages say of the acceleration. ``memory_limit_mib`` is what all machines may have together.
    ``backend`` is ``qemu``, or ``libvirt:URI``: its machines are booted, whatever an order says. ``pool`` is the
    socket where machines may be ready. In ``scratch`` lies what machines write to their disks.
    """

    accel: Accel
    cache: Path
    memory_limit_mib: int
    note: str = ""
    proxies: Proxies = field(default_factory=Proxies)
    say: Callable[[str], None] = lambda _line: None
    backend: str = "qemu"
    pool: Path | None = None
    scratch: Path = SCRATCH


@dataclass(frozen=True)
class MachineOrder:
    """A machine that is wanted: for which run, of which image, what it has and may reach, how it starts, where its
    console is recorded, and how long it may take to its first call. ``nested`` are machines to be booted
    inside it, whose calls come by its gateway. A machine of a given image is booted, however it should start, and
    gets ``apt`` in place of its own sources."""

    name: str
    run: str
    image: Image
    console: Path
    hardware: Hardware = field(default_factory=Hardware)
    start: Start = "restored"
    reach: Reach = field(default_factory=Reach)
    boot_timeout_s: float = BOOT_LIMIT_S
    nested: tuple[Callbacks, ...] = ()
    apt: AptSources | None = None


@contextlib.contextmanager
def start_machine(order: MachineOrder, host: Host) -> Iterator[Machine]:
    """A machine that has booted and called; it is gone after the ``with`` block, whatever happened.

    Raises FarmTrouble when it cannot be had: nothing of a package is in it yet.
    """
    _require(order, host)
    with contextlib.ExitStack() as stack:
        if not stack.enter_context(in_use(order.image)):
            raise FarmTrouble(f"the image of {order.image.series} was removed", resolution="It is tried again.")
        callbacks = Callbacks(order.run, order.name)
        if order.image.kind == "cloud":
            begin = _by_firmware
        else:
            begin = _restored if order.start == "restored" and host.backend == "qemu" else _cold
        yield stack.enter_context(begin(order, host, callbacks))


def _gateway(
    order: MachineOrder, host: Host, directory: Path, callbacks: Callbacks, seed: Seed | None = None
) -> Gateway:
    return Gateway(
        GatewayOrder(
            directory / "gateway.sock",
            callbacks,
            reach=order.reach,
            seed=seed,
            proxies=host.proxies,
            cache=host.cache / "downloads",
            nested=order.nested,
        )
    )


def _require(order: MachineOrder, host: Host) -> None:
    program = PROGRAMS.get(order.image.architecture, f"qemu-system-{order.image.architecture}")
    if shutil.which(program) is None:
        raise FarmTrouble(
            f"this host has no {program}",
            resolution="`make install` installs it; or leave boot: and autopkgtest: out of the recipes (null).",
        )
    _require_firmware(order.image)
    for place in (host.scratch, Path(tempfile.gettempdir())):
        try:
            free = shutil.disk_usage(place).free
        except OSError as error:
            raise FarmTrouble(
                f"no place for what machines write: {place}: {error.strerror}",
                resolution="vm.scratch in farm.toml names a directory for it.",
            ) from error
        if free < WANTED_DISK_BYTES:
            raise FarmTrouble(
                f"no space for a machine: {free >> 20} MiB left in {place}, {WANTED_DISK_BYTES >> 20} MiB wanted",
                resolution="Free room there; it is tried again.",
            )
    if order.hardware.memory_mib > host.memory_limit_mib:
        raise FarmTrouble(
            f"a machine of {order.hardware.memory_mib} MiB is more than machines may have here "
            f"({host.memory_limit_mib} MiB)",
            resolution="Ask for less (machine: memory_mib), or raise vm.memory_limit_mib in farm.toml.",
        )


def _require_firmware(image: Image) -> None:
    disk = _disk_of(image)
    firmware = uefi_firmware(image.architecture, disk)
    if firmware is not None and not firmware.is_file():
        package = "qemu-efi-aarch64" if image.architecture == "arm64" else "ovmf"
        raise FarmTrouble(
            f"this host has no UEFI firmware for machines: {firmware} is not there",
            where="vm.images",
            resolution=f"Install {package}, or give an image that a BIOS starts.",
        )
    if firmware is None and disk.kernel is None and disk.firmware == "uefi":
        raise FarmTrouble(
            f"machines of {image.architecture} cannot be started by UEFI",
            where="vm.images",
            resolution=f"Those of {', '.join(sorted(UEFI_FIRMWARE))} can.",
        )


def _disk_of(image: Image) -> Disk:
    return Disk(image.disk, image.disk_format, image.kernel, image.initrd, image.append, image.firmware)


@contextlib.contextmanager
def _cold(order: MachineOrder, host: Host, callbacks: Callbacks) -> Iterator[Machine]:
    began = time.monotonic()
    address = hardware_address(secrets.token_bytes(3))
    token = callbacks.issue("booted")
    credential = _credential("call", token=token, address=address, hostname=host_name(order.name))
    disk = _disk_of(order.image)
    with (
        machine_directory(order.hardware.memory_mib, host.memory_limit_mib) as directory,
        _gateway(order, host, directory, callbacks),
        _machine(order, host, directory, callbacks, "cold", disk, credential, address) as machine,
    ):
        _await_call(machine, order, began)
        machine.await_answer("HELLO", order.boot_timeout_s)
        yield machine


@contextlib.contextmanager
def _by_firmware(order: MachineOrder, host: Host, callbacks: Callbacks) -> Iterator[Machine]:
    """A machine of a given image: cloud-init in it fetches from the gateway what it is to do, and calls last.

    The seed's path stands in qemu's arguments, where others on the host may read it. What is under that path is
    only answered on this machine's gateway, whose socket is its owner's, so it is of use to nobody else; the token
    is in what is fetched.
    """
    began = time.monotonic()
    address = hardware_address(secrets.token_bytes(3))
    secret = secrets.token_urlsafe(SEED_SECRET_BYTES)
    keys = foreign_keys(order.apt) if order.apt is not None else {}
    name, token = host_name(order.name), callbacks.issue("booted")
    seed = cloud_seed(secret, name, token, order.apt, keys)
    serial, disk = smbios_serial(PROXY, secret), _disk_of(order.image)
    # For an image that has the farm's agent in it, and no cloud-init.
    credential = _credential("call", token=token, address=address, hostname=name)
    with (
        machine_directory(order.hardware.memory_mib, host.memory_limit_mib) as directory,
        _gateway(order, host, directory, callbacks, seed) as gateway,
        _machine(
            order, host, directory, callbacks, "cold", disk, credential, address, serial=serial, held=True
        ) as machine,
    ):
        enlarge_disk(machine, order.hardware.disk_gib)
        machine.qmp.execute("cont")
        if not _await_first_call(machine, order.boot_timeout_s):
            why = "it goes no further by itself" if STUCK.search(machine.console.trouble) else ""
            raise _did_not_boot(machine, order, began, gateway, why)
        if _await_hello(machine, order) is None:
            raise _did_not_boot(machine, order, began, gateway, "the farm's agent did not start")
        yield machine


@contextlib.contextmanager
def _restored(order: MachineOrder, host: Host, callbacks: Callbacks) -> Iterator[Machine]:
    with contextlib.ExitStack() as stack:
        lent = borrow(host.pool, snapshot_of(order, host).key) if host.pool is not None else None
        if lent is not None:
            stack.enter_context(_gateway(order, host, lent.directory, callbacks))
            machine = stack.enter_context(as_machine(order, host, lent, callbacks, "restored"))
            address = lent.address
        else:
            address = hardware_address(secrets.token_bytes(3))
            directory, machine = stack.enter_context(_woken(order, host, callbacks, address))
            stack.enter_context(_gateway(order, host, directory, callbacks))
        began = time.monotonic()
        wake(machine, order.name, address)
        _await_call(machine, order, began)
        yield machine


@contextlib.contextmanager
def _woken(order: MachineOrder, host: Host, callbacks: Callbacks, address: str) -> Iterator[tuple[Path, Machine]]:
    """A machine that slept and waits to be told who it is, and its directory. ``address`` is its network card's,
    should it reboot."""
    with (
        use_snapshot(
            snapshot_of(order, host), host.cache, functools.partial(_fall_asleep, order=order, host=host)
        ) as snapshot,
        machine_directory(order.hardware.memory_mib, host.memory_limit_mib) as directory,
    ):
        credential = _credential("again", address=address)
        with _machine(
            order, host, directory, callbacks, "restored", snapshot.disk, credential, address, snapshot.ram
        ) as machine:
            wake_from(machine, snapshot)
            yield directory, machine


def make_ready(order: MachineOrder, host: Host) -> Ready:
    """A machine for the pool; raises FarmTrouble."""
    _require(order, host)
    with contextlib.ExitStack() as stack:
        stack.enter_context(in_use(order.image))
        address = hardware_address(secrets.token_bytes(3))
        directory, machine = stack.enter_context(_woken(order, host, Callbacks(order.run, order.name), address))
        machine.let_go()
        return Ready(directory, address, machine.body.wires, stack.pop_all().close, time.monotonic())


def snapshot_of(order: MachineOrder, host: Host) -> SnapshotSpec:
    """The snapshot that a machine is woken from."""
    program = PROGRAMS.get(order.image.architecture, f"qemu-system-{order.image.architecture}")
    return SnapshotSpec(order.image, order.hardware, host.accel, qemu_version(program))


def wake(machine: Machine, name: str, address: str) -> None:
    """Tell a machine that sleeps who it is, the time, and what no other knows; it then calls ``booted``."""
    machine.send_words(
        "WAKE",
        f"{time.time():.6f}",
        secrets.token_hex(64),
        secrets.token_hex(16),
        host_name(name),
        address,
        machine.callbacks.issue("booted"),
    )


def _fall_asleep(spec: SnapshotSpec, making: Path, *, order: MachineOrder, host: Host) -> None:
    host.say(f"booting a machine of {spec.image.series} to be kept asleep (once for each image and hardware)")
    began = time.monotonic()
    disk = prepare(spec, making)
    with machine_directory(spec.hardware.memory_mib, host.memory_limit_mib * 2) as directory:
        callbacks = Callbacks(order.run, "asleep")
        credential = _credential("wait", hostname="buildfarm")
        with _machine(
            order, host, directory, callbacks, "cold", disk, credential, "", making / "ram", sleeping=True
        ) as machine:
            answer = _await_hello(machine, order)
            if answer is None or answer[2] != "wait":
                raise _did_not_boot(machine, order, began)
            put_to_sleep(machine, making)
    host.say(f"asleep after {time.monotonic() - began:.0f} s")


def _await_hello(machine: Machine, order: MachineOrder) -> tuple[str, ...] | None:
    try:
        return machine.await_answer("HELLO", order.boot_timeout_s)
    except MachineEnded:
        return None


@contextlib.contextmanager
def _machine(
    order: MachineOrder,
    host: Host,
    directory: Path,
    callbacks: Callbacks,
    start: Start,
    disk: Disk,
    credential: bytes,
    address: str,
    ram: Path | None = None,
    *,
    sleeping: bool = False,
    serial: str = "",
    held: bool = False,
) -> Iterator[Machine]:
    """A qemu under way as a Machine; ``sleeping``: it is to be put to sleep; ``held``: to be told to run."""
    gateway = directory / "gateway.sock"
    with contextlib.ExitStack() as stack:
        told = _memory_file(stack, credential) if credential else None

        def make_argv(descriptors: Descriptors) -> list[str]:
            return argv(
                Build(
                    f"buildfarm-{order.name}",
                    order.image.architecture,
                    host.accel,
                    order.hardware,
                    disk,
                    gateway,
                    descriptors,
                    credentials=f"/dev/fd/{told}" if told is not None else "",
                    smbios_serial=serial,
                    address=address,
                    memory_file=ram,
                    memory_shared=sleeping,
                    incoming=start == "restored",
                    held=held,
                )
            )

        body: Body
        if host.backend == "qemu":
            body = stack.enter_context(
                qemu_body(make_argv, gateway, host.scratch, inherited=() if told is None else (told,))
            )
        else:
            body = stack.enter_context(_domain(order, host, directory, gateway, disk, credential, address, serial))
        yield stack.enter_context(as_machine(order, host, body, callbacks, start))


def _domain(
    order: MachineOrder,
    host: Host,
    directory: Path,
    gateway: Path,
    disk: Disk,
    credential: bytes,
    address: str,
    serial: str,
) -> contextlib.AbstractContextManager[Body]:
    """The same by libvirt."""
    from buildfarm.vm import libvirt  # few hosts have it

    uri = libvirt.uri_of(host.backend)
    domain = libvirt.Domain(
        libvirt.domain_name(order.name),
        order.image.architecture,
        host.accel,
        order.hardware,
        disk,
        gateway,
        directory,
        address,
        host.scratch,
        credentials=directory / "credentials" if credential else None,
        owner=(os.getuid(), os.getgid()),
        models=libvirt.security_models(uri, order.image.architecture, host.accel),
        serial=serial,
    )
    return libvirt.libvirt_body(domain, uri, credential)


@contextlib.contextmanager
def as_machine(
    order: MachineOrder, host: Host, body: Body, callbacks: Callbacks, start: Start
) -> Iterator[Machine]:
    """A body as a Machine, whose console is recorded where the order says."""
    machine = Machine(order.name, body, callbacks, Console(order.console), accel=host.accel, start=start)
    try:
        yield machine
    except QmpError as error:
        if (ending := machine.wait_ended(1.0)) is None:
            raise
        raise FarmTrouble(f"qemu ended: {ending.details or ending.in_words}", where=order.name) from error
    finally:
        machine.close()


def _memory_file(stack: contextlib.ExitStack, content: bytes) -> int:
    number = os.memfd_create("credentials")
    stack.callback(os.close, number)
    os.write(number, content)
    os.lseek(number, 0, os.SEEK_SET)
    return number


def _await_first_call(machine: Machine, timeout_s: float) -> bool:
    """Whether ``booted`` came; no time is spent on one whose console says that it waits for a person."""
    deadline = time.monotonic() + timeout_s
    while machine.callbacks.wait("booted", min(STUCK_LOOK_S, deadline - time.monotonic())) is None:
        if machine.ending or STUCK.search(machine.console.trouble) or time.monotonic() >= deadline:
            return False
    return True


def _await_call(machine: Machine, order: MachineOrder, began: float) -> None:
    left = order.boot_timeout_s - (time.monotonic() - began)
    if machine.callbacks.wait("booted", max(0.0, left)) is None:
        raise _did_not_boot(machine, order, began)


def _did_not_boot(
    machine: Machine, order: MachineOrder, began: float, gateway: Gateway | None = None, why: str = ""
) -> FarmTrouble:
    """What to say of it; with ``gateway`` the image is one that was given, and what it asked for is shown."""
    ending = machine.ending
    evidence = machine.evidence(order.console.with_suffix(".png"))
    why = ending.in_words if ending else why or f"no call within {time.monotonic() - began:.0f} s"
    seen = _asked_for(gateway) if gateway is not None else ""
    details = "\n".join(text for text in (ending.details if ending else "", seen, evidence.in_words) if text)
    advice = "Nothing of the package was in it yet. It is tried again."
    if gateway is not None:
        advice = (
            "Has the image cloud-init, and `console=ttyS0` among its kernel's words, so that its console is seen? "
            f"Is its firmware {order.image.firmware} (vm.images)? {advice}"
        )
    return FarmTrouble(
        f"a machine of {order.image.series} did not boot: {why}, after {evidence.how_far}",
        where=order.name,
        details=details,
        resolution=advice,
    )


def _asked_for(gateway: Gateway) -> str:
    """What a machine asked its gateway for, in a few lines."""
    accesses = gateway.accesses
    if not accesses:
        return "it asked its gateway for nothing"
    return "\n".join(["it asked its gateway for:", *(f"  {access}" for access in accesses[-SEEN_REQUESTS:])])


def _credential(mode: str, **values: str) -> bytes:
    lines = [f"mode={mode}", *(f"{key}={value}" for key, value in values.items())]
    return credential_text("".join(f"{line}\n" for line in lines))


def host_name(name: str) -> str:
    """A machine's name as a host name."""
    kept = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in name.lower())
    return kept.strip("-")[:63].strip("-") or "machine"


@functools.cache
def qemu_version(program: str) -> str:
    """What a qemu says of itself."""
    return process.run([program, "--version"], timeout_s=30, check=True).text.splitlines()[0]
