"""Machines side by side: bare qemu, ours from nothing, ours that slept, cloud-init, autopkgtest; a pool; leaks.

    .venv/bin/python benchmarks/vm.py [--quick] [--json FILE] [--runs N] [--only boot|test|pool|leaks]

Everything runs one after another on the same machine, in turns, so that a slow minute hits all alike. The image
and the snapshot are made before the clock starts. docs/explanation/performance.md says what is counted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures import Figure, draw_table, write_figures
from vm_archive import NAME, VERSION, SmallArchive, small_archive
from vm_pool import measure_pool

from buildfarm.build.apt_sources import read_host
from buildfarm.build.bootstrap import native_architecture
from buildfarm.job import BootJob, MachineRules
from buildfarm.settings import HOME_VARIABLE, Settings, load_settings
from buildfarm.verify.boot import Verification, verify
from buildfarm.verify.installing import Subject
from buildfarm.verify.machines import MachineRoom
from buildfarm.vm.body import sweep_overlays
from buildfarm.vm.callbacks import Callbacks
from buildfarm.vm.gateway import Gateway, GatewayOrder
from buildfarm.vm.images import Image, get_image, image_spec_for
from buildfarm.vm.places import base_directory, sweep
from buildfarm.vm.qemu import CHANNELS, Build, Descriptors, Disk, Hardware, argv
from buildfarm.vm.seed import Seed, cloud_config

READY = b"buildfarm: the system is up"
LIMIT_S = 180.0
CLOUD_PACKAGES = ("cloud-init", "ifupdown", "isc-dhcp-client")
TARGETS = {"cold": 1.1, "restored": 1.0, "tested": 6.0, "lag": 100.0}


@dataclass(frozen=True)
class Scene:
    """What all measurements share."""

    settings: Settings
    series: str
    room: MachineRoom
    image: Image
    archive: SmallArchive
    place: Path


def main() -> int:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer runs and machines")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--runs", type=int, default=5, help="how often each is measured (default: %(default)s)")
    parser.add_argument("--machines", type=int, default=100, help="for the leaks (default: %(default)s)")
    parser.add_argument("--only", choices=("boot", "test", "pool", "leaks"), action="append", default=[])
    parser.add_argument("--home", type=Path, default=Path("var/bench-vm"), help="where the cache is kept")
    args = parser.parse_args()
    runs, machines = (2, 20) if args.quick else (args.runs, args.machines)
    parts = args.only or ("boot", "test", "pool", "leaks")
    figures: list[Figure] = []
    with scene(args.home.resolve()) as stage:
        print(f"{stage.room.host().note or stage.room.host().accel}; load {os.getloadavg()[0]:.1f}\n")
        if "boot" in parts:
            figures += boots(stage, runs)
        if "test" in parts:
            figures += tests(stage, runs)
        if "pool" in parts:
            figures += pool(stage)
        if "leaks" in parts:
            figures += leaks(stage, machines)
    if args.json:
        write_figures(args.json, figures)
    return 0


@contextlib.contextmanager
def scene(home: Path) -> Iterator[Scene]:
    """An image, a machine asleep, and an archive with a package."""
    home.mkdir(parents=True, exist_ok=True)
    os.environ[HOME_VARIABLE] = str(home)
    settings, series = load_settings(), read_host().codename
    with tempfile.TemporaryDirectory(prefix="bench-vm-") as name:
        place = Path(name)
        with small_archive(place) as archive:
            rules = MachineRules()
            room = MachineRoom(
                settings, rules, series, native_architecture(), "bench", archive.sources, place, sys.stderr.buffer
            )
            with room.machine("first"):  # the image, and one asleep
                pass
            yield Scene(settings, series, room, room.image(), archive, place)


# Boots


def boots(stage: Scene, runs: int) -> list[Figure]:
    """Bare qemu to the last unit's line on its console, and ours to the first call."""
    samples: dict[str, list[float]] = {"bare qemu": [], "cold, booted": [], "restored, booted": []}
    for _ in range(runs):
        samples["bare qemu"].append(bare_boot(stage))
        samples["cold, booted"].append(timed(lambda: _booted(stage, "cold")))
        samples["restored, booted"].append(timed(lambda: _booted(stage, "restored")))
    show("to a booted machine", samples)
    bare, cold, restored = (median(values) for values in samples.values())
    print(f"cold / bare: {cold / bare:.2f} (to reach: {TARGETS['cold']}); restored: {restored:.2f} s (1 s)\n")
    return [
        Figure("cold boot to booted", cold, "s", "bare qemu", bare),
        Figure("restored to booted", restored, "s", "bare qemu", bare),
    ]


def bare_boot(stage: Scene) -> float:
    """Plain qemu with the same image, hardware and devices, nobody at the other end of them."""
    image = stage.image
    build = Build(
        "bare",
        image.architecture,
        stage.room.host().accel,
        Hardware(),
        Disk(image.disk, image.disk_format, image.kernel, image.initrd, image.append),
        Path("/nonexistent"),
        Descriptors(0, 0, 0, dict.fromkeys(CHANNELS, 0)),
    )
    words = []
    for word in argv(build):
        name = word.partition("id=")[2].partition(",")[0]
        if word.startswith("socket,id=") and name == "console":
            words.append("stdio,id=console")
        elif word.startswith("socket,id="):
            words.append(f"null,id={name}")
        else:
            words.append(word)
    began = time.monotonic()
    with subprocess.Popen(["nice", "-n", "5", *words], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as qemu:
        seen = b""
        while READY not in seen:
            data = os.read(qemu.stdout.fileno(), 65536)
            if not data or time.monotonic() - began > LIMIT_S:
                raise TimeoutError(f"bare qemu did not boot: {seen[-500:]!r}")
            seen += data
        took = time.monotonic() - began
        qemu.kill()
    return took


def _booted(stage: Scene, start: str) -> float:
    began = time.monotonic()
    with stage.room.machine("boot", start, LIMIT_S):  # type: ignore[arg-type]
        return time.monotonic() - began


# Tests


def tests(stage: Scene, runs: int) -> list[Figure]:
    """A small package installed and tested: ours, cloud-init's phone_home, stock autopkgtest."""
    samples: dict[str, list[float]] = {
        "restored, tested": [],
        "out of a pool, tested": [],
        "cold, tested": [],
        "cloud-init, phone_home": [],
        "stock autopkgtest, chroot": [],
    }
    cloud = cloud_image(stage)
    with tested_root(stage) as root:
        for _ in range(runs):
            samples["restored, tested"].append(tested(stage, "restored"))
            samples["out of a pool, tested"].append(tested_from_pool(stage))
            samples["cold, tested"].append(tested(stage, "cold"))
            samples["cloud-init, phone_home"].append(phone_home(stage, cloud))
            samples["stock autopkgtest, chroot"].append(stock_autopkgtest(stage, root))
    show("to a small package installed and tested", samples)
    restored, pooled, cold, phoned, stock = (median(values) for values in samples.values())
    print(f"restored, tested: {restored:.2f} s, out of a pool {pooled:.2f} s (to reach: {TARGETS['tested']} s)\n")
    return [
        Figure("restored to tested", restored, "s", "cloud-init phone_home", phoned),
        Figure("out of a pool to tested", pooled, "s", "cloud-init phone_home", phoned),
        Figure("cold to tested", cold, "s", "cloud-init phone_home", phoned),
        Figure("restored to tested, beside autopkgtest", restored, "s", "stock autopkgtest, chroot", stock),
    ]


def tested(stage: Scene, start: str) -> float:
    """The boot stage's questions up to the call ``tested``."""
    report = verify(
        Verification(
            Subject(VERSION, {NAME: VERSION}, stage.archive.sources),
            BootJob(commands=((NAME,),), upgrade=False, purge=False),
            lambda name: stage.room.machine(name, start, LIMIT_S),  # type: ignore[arg-type]
            io.BytesIO(),
            lambda _line: None,
        )
    )
    if report.failed:
        raise RuntimeError(str(report.failed))
    return report.phases["tested"]


POOL = """
import sys
from dataclasses import replace
from pathlib import Path
from buildfarm.build.bootstrap import native_architecture
from buildfarm.job import MachineRules
from buildfarm.settings import load_settings
from buildfarm.verify.machines import MachineRoom
from buildfarm.vm.pool import Kind, Pool, run_until_signalled, socket_path
from buildfarm.vm.starting import make_ready, snapshot_of
settings = load_settings()
room = MachineRoom(
    settings, MachineRules(), sys.argv[1], native_architecture(), "ready", "", Path("/dev"), sys.stderr.buffer
)
order, host = replace(room.order("ready"), console=Path("/dev/null")), replace(room.host(), pool=None)
kind = Kind(snapshot_of(order, host).key, "bench", lambda: make_ready(order, host))
run_until_signalled(Pool(socket_path(settings.home), 1, lambda: [kind], lambda line: print(line, flush=True)))
"""


def tested_from_pool(stage: Scene) -> float:
    """The same with a machine that a pool kept ready."""
    words = [sys.executable, "-c", textwrap.dedent(POOL), stage.series]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            return tested(stage, "restored")  # beside it the pool makes another one ready
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def cloud_image(stage: Scene) -> Image:
    """The same image with cloud-init in it."""
    spec = image_spec_for(stage.settings, stage.series, native_architecture(), CLOUD_PACKAGES)
    return get_image(spec, stage.settings.cache, sys.stderr.buffer)


def phone_home(stage: Scene, image: Image) -> float:
    """A machine of cloud-init's that installs the package, runs it, and posts."""
    callbacks = Callbacks("bench", "cloud")
    token = callbacks.issue("booted")
    only = "-o Dir::Etc::SourceList=/etc/apt/sources.list.d/bench.sources -o Dir::Etc::SourceParts=-"
    install = f"apt-get -q update {only} && apt-get -q -y install {NAME} {only} && {NAME}"
    seed = Seed(
        "s",
        f"i-{random.randrange(1 << 32):08x}",
        "cloud",
        cloud_config(
            phone_home_url=f"http://10.0.2.100/phone-home/{token}",
            runcmd=(("sh", "-c", install),),
            write_files={"/etc/apt/sources.list.d/bench.sources": ("0644", stage.archive.sources)},
        ),
    )
    order = stage.room.order("cloud")
    with tempfile.TemporaryDirectory(prefix="b-") as name:
        gateway = Path(name) / "g.sock"
        # Our image leaves generators out, cloud-init's among them; the seed's old name holds for all versions.
        wanted = "systemd.wants=cloud-init.target systemd.wants=cloud-final.service"
        append = f"{image.append} {wanted} ds=nocloud-net;s=http://10.0.2.100/seed/s/"
        build = Build(
            "cloud",
            image.architecture,
            stage.room.host().accel,
            Hardware(),
            Disk(image.disk, image.disk_format, image.kernel, image.initrd, append),
            gateway,
            Descriptors(0, 0, 0, dict.fromkeys(CHANNELS, 0)),
        )
        words = [
            f"null,id={word.partition('id=')[2].partition(',')[0]}" if word.startswith("socket,id=") else word
            for word in argv(build)
        ]
        with Gateway(GatewayOrder(gateway, callbacks, reach=order.reach, seed=seed)):
            began = time.monotonic()
            with subprocess.Popen(["nice", "-n", "5", *words], stdin=subprocess.DEVNULL) as qemu:
                called = callbacks.wait("booted", LIMIT_S)
                took = time.monotonic() - began
                qemu.kill()
    if called is None:
        raise TimeoutError("cloud-init did not phone home")
    return took


@contextlib.contextmanager
def tested_root(stage: Scene) -> Iterator[Path]:
    """A root file system for stock autopkgtest's chroot server, with the archive in it."""
    root = stage.place / "root"
    sources = stage.place / "bench.sources"
    sources.write_text(stage.archive.sources)
    subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=apt",
            "--skip=cleanup/apt/lists",
            f"--customize-hook=copy-in {sources} /etc/apt/sources.list.d",
            stage.series,
            str(root),
        ],
        check=True,
        timeout=600,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def stock_autopkgtest(stage: Scene, root: Path) -> float:
    """The same package's test by autopkgtest as Debian has it, in a chroot (no machine, no reset)."""
    out = stage.place / "adt"
    shutil.rmtree(out, ignore_errors=True)
    began = time.monotonic()
    done = subprocess.run(
        [
            "autopkgtest",
            "--output-dir",
            str(out),
            "--no-built-binaries",
            str(stage.archive.deb),
            str(stage.archive.tree) + "/",
            "--",
            "chroot",
            str(root),
        ],
        capture_output=True,
        timeout=LIMIT_S,
    )
    if done.returncode not in (0, 2):
        raise RuntimeError(done.stderr.decode(errors="replace")[-1500:])
    return time.monotonic() - began


# The pool


def pool(stage: Scene) -> list[Figure]:
    """What four machines, kept ready and used, do to the master's reactor."""
    idle, busy, borrowed = measure_pool(stage.settings, stage.series)
    print(f"reactor lag, worst: idle {idle:.0f} ms, pool of 4 filled and used {busy:.0f} ms (100 ms)")
    print(f"a machine out of the pool, booted: {borrowed:.2f} s\n")
    return [
        Figure("reactor lag with a pool of 4", busy, "ms", "no pool", idle),
        Figure("out of the pool to booted", borrowed, "s"),
    ]


# Leaks

OWNER = """
import sys, time
from dataclasses import replace
from pathlib import Path
from buildfarm.build.bootstrap import native_architecture
from buildfarm.job import MachineRules
from buildfarm.settings import load_settings
from buildfarm.verify.machines import MachineRoom
settings, place = load_settings(), Path(sys.argv[2])
room = MachineRoom(
    settings, MachineRules(), sys.argv[1], native_architecture(), "leak", "", place, sys.stderr.buffer
)
with room.machine(sys.argv[3]) as machine:
    print("booted", flush=True)
    machine.run(["sleep", "0.5"], timeout_s=60)
"""


def leaks(stage: Scene, machines: int) -> list[Figure]:
    """Machines in processes of their own, a fifth of which, or their qemu, are killed at a random moment."""
    chance = random.Random(4)
    victims = set(chance.sample(range(machines), machines // 5))
    before = traces(Path(stage.settings.vm.scratch))
    began = time.monotonic()
    for number in range(machines):
        words = [sys.executable, "-c", textwrap.dedent(OWNER), stage.series, str(stage.place), f"leak-{number}"]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as owner:
            if number in victims:
                time.sleep(chance.uniform(0.05, 2.0))
                kill_one(owner.pid, chance)
            owner.wait(LIMIT_S)
    took = time.monotonic() - began
    deadline = time.monotonic() + 10
    while (left := traces(Path(stage.settings.vm.scratch)) - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    killed = len(victims)
    print(f"{machines} machines in {took:.0f} s, {killed} killed: {len(left)} left over {sorted(left)[:5]}\n")
    return [Figure(f"left over after {machines} machines, {killed} killed", float(len(left)), "files, processes")]


def kill_one(owner: int, chance: random.Random) -> None:
    """SIGKILL the owner or one of its children."""
    children = subprocess.run(["pgrep", "-P", str(owner)], capture_output=True, text=True).stdout.split()
    victim = int(chance.choice([str(owner), *children]))
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)


def traces(scratch: Path) -> set[str]:
    """Processes, directories, sockets and files that may be a machine's."""
    sweep()  # as the next start does
    sweep_overlays(scratch, older_than_s=0.0)
    found = set()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().split(b"\0")
            if b"qemu-system" in words[0] or words[0] == b"nc":
                found.add(f"process {entry.parent.name}")
    for place in (base_directory(), Path("/var/tmp"), Path("/dev/shm")):
        found |= {str(path) for path in place.iterdir()}
    return found


# Telling


def timed(work: Callable[[], float]) -> float:
    """What the work says it took; its end is waited for."""
    return work()


def show(title: str, samples: Mapping[str, Sequence[float]]) -> None:
    """Median, least and most, in seconds."""
    rows = [
        (name, f"{median(values):.2f}", f"{min(values):.2f}", f"{max(values):.2f}", str(len(values)))
        for name, values in samples.items()
    ]
    print("\n".join(draw_table((title, "median, s", "min", "max", "runs"), rows)), end="\n\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
