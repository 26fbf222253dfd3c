"""``buildfarm vm run``: the machine that the boot stage uses, by hand, with a shell in it."""

from __future__ import annotations

import argparse
import os
import select
import sys
import tempfile
import termios
import time
import tty
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildfarm.errors import FarmTrouble, PackageFault, UsageError
from buildfarm.settings import Settings

if TYPE_CHECKING:
    from buildfarm.verify.machines import MachineRoom
    from buildfarm.vm.machine import Machine

DETACH = b"\x1d"  # Ctrl-], as telnet and virsh have it
SOURCES_LIMIT_BYTES = 256 << 10
INSTALL_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Wanted:
    """What is to be installed: a package of an archive, at the version apt takes or at ``version``."""

    archive: str
    package: str
    version: str = ""


def configure(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the arguments."""
    parser = actions.add_parser(
        "run",
        help="boot a machine, install packages in it, and open a shell",
        description="Boot a machine as the boot stage does, install packages from their archives as a user would, "
        "and open a shell in it, or run a command. It is gone when this command ends.",
        epilog="Exit status: the command's; without one 0, 1 when a package cannot be installed, 2 wrong usage, "
        "3 no machine could be had.",
    )
    parser.add_argument("--series", default="", help="the machine's series (default: this host's)")
    parser.add_argument("--architecture", default="", help="its architecture (default: this host's)")
    parser.add_argument(
        "--install",
        action="append",
        default=[],
        metavar="ARCHIVE:PACKAGE[=VERSION]",
        help="install a package, as in local:demo/trunk:hello-farm; may be repeated",
    )
    parser.add_argument("--shell", action="store_true", help="open a root shell in it (Ctrl-] leaves it)")
    parser.add_argument("--cold", action="store_true", help="boot it from nothing, not from one that sleeps")
    parser.add_argument("--memory", type=int, default=512, metavar="MIB", help="its memory (default: %(default)s)")
    parser.add_argument("--cpus", type=int, default=1, metavar="N", help="its processors (default: %(default)s)")
    parser.add_argument("--image", default="", metavar="NAME", help="an image that farm.toml names")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="HOST:PORT", help="what else it may reach; may be repeated"
    )
    parser.add_argument(
        "--keep-failed",
        nargs="?",
        type=int,
        const=0,
        metavar="SECONDS",
        help="when something fails, hold the machine for a look: a shell at a terminal; it is given back after "
        "this time (default: vm.keep_failed_s in farm.toml)",
    )
    parser.add_argument("words", nargs="*", metavar="COMMAND", help="a command to run in it, after --")
    parser.set_defaults(act=run)


def run(settings: Settings, args: argparse.Namespace) -> int:
    """Boot it, install, and do what was asked."""
    from buildfarm.job import MachineRules
    from buildfarm.process import adopt_descendants, kill_descendants
    from buildfarm.recipe.host import host_architecture, host_series
    from buildfarm.verify.machines import MachineRoom

    wanted = [parse_wanted(word) for word in args.install]
    if args.shell and not sys.stdin.isatty():
        raise UsageError("--shell wants a terminal", resolution="Give a command after -- instead.")
    if args.memory < 64 or args.cpus < 1:
        raise UsageError("--memory is 64 MiB at least, --cpus 1")
    series = args.series or host_series()
    sources = {one.archive: fetch_sources(settings, one.archive, series) for one in wanted}
    rules = MachineRules(
        memory_mib=args.memory,
        cpus=args.cpus,
        allow=tuple(args.allow),
        image=args.image,
        start="cold" if args.cold else "restored",
    )
    adopt_descendants()
    with tempfile.TemporaryDirectory(prefix="buildfarm-vm-") as name:
        try:
            room = MachineRoom(
                settings,
                rules,
                series,
                args.architecture or host_architecture(),
                "by-hand",
                "\n".join(sources.values()),
                Path(name),
                sys.stderr.buffer,
            )
            return _use(room, wanted, sources, args)
        finally:
            kill_descendants()


def _use(room: MachineRoom, wanted: list[Wanted], sources: dict[str, str], args: argparse.Namespace) -> int:
    from buildfarm.vm.machine import MachineEnded

    began = time.monotonic()
    with room.machine("by-hand") as machine:
        for note in room.assumed:
            _say(note)
        _say(f"booted after {time.monotonic() - began:.1f} s ({machine.start})")
        try:
            status = _install(machine, wanted, sources)
            if status == 0 and args.words:
                ran = machine.run(args.words, timeout_s=24 * 3600, stdout=sys.stdout.buffer)
                status = ran.status
            if args.shell and (status == 0 or args.keep_failed is None):
                _shell(machine)
            elif status != 0 and args.keep_failed is not None:
                _hold(machine, args.keep_failed or room.settings.vm.keep_failed_s)
        except MachineEnded as error:
            _say(f"the machine ended: {error.ending.in_words}")
            _say(machine.evidence().in_words)
            return 0 if args.shell and error.ending.reason == "shutdown" else 1
        return status


def _install(machine: Machine, wanted: list[Wanted], sources: dict[str, str]) -> int:
    from buildfarm.verify.installing import Installer, Subject

    words = [f"{one.package}={one.version}" if one.version else one.package for one in wanted]
    packages = {one.package: one.version for one in wanted}
    try:
        for archive, text in sources.items():
            _say(f"# apt update, with {archive}")
            apt = Installer(machine, Subject("", packages, text), sys.stderr.buffer, _say, INSTALL_TIMEOUT_S)
            apt.add_archive()
        if words:
            _say(f"# apt install {' '.join(words)}")
            apt.apt_install(words, alone=False)
    except PackageFault as fault:
        _say(str(fault))
        return 1
    return 0


def _hold(machine: Machine, seconds: int) -> None:
    _say(f"the machine is held for {seconds} s, for a look")
    if sys.stdin.isatty():
        _shell(machine, seconds)
    else:
        _say(f"no terminal here for a shell; end process {os.getpid()} to give it back earlier")
        machine.wait_ended(seconds)
    _say("the machine is given back")


def _shell(machine: Machine, limit_s: float | None = None) -> None:
    """The terminal as the machine's second console, until Ctrl-], its end, or the limit."""
    _say("a shell in the machine; Ctrl-] leaves it, and the machine is gone then")
    deadline = time.monotonic() + limit_s if limit_s is not None else None
    with _raw_terminal():
        type_in = machine.attach_shell(lambda data: _write(1, data))
        while machine.ending is None and (deadline is None or time.monotonic() < deadline):
            if select.select([0], [], [], 0.5)[0]:
                data = os.read(0, 4096)
                if not data or DETACH in data:
                    break
                type_in(data)
    print(file=sys.stderr)


def _write(number: int, data: bytes) -> None:
    while data:
        data = data[os.write(number, data) :]


@contextmanager
def _raw_terminal() -> Iterator[None]:
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def parse_wanted(word: str) -> Wanted:
    """``local:owner/name:package``, with ``=version``; raises UsageError."""
    from ppa_tools.address import parse_address

    archive, colon, rest = word.rpartition(":")
    if "=" in archive:  # an epoch in the version
        head, _, version = word.partition("=")
        archive, colon, package = head.rpartition(":")
    else:
        package, _, version = rest.partition("=")
    try:
        if not colon or not package:
            raise ValueError("no package")
        parse_address(archive)
    except ValueError as error:
        raise UsageError(
            f"{word!r} names no package of an archive",
            resolution="Write local:owner/name:package, or local:owner/name:package=version.",
        ) from error
    return Wanted(archive, package, version)


def fetch_sources(settings: Settings, archive: str, series: str) -> str:
    """The .sources file of an archive; raises UsageError or FarmTrouble."""
    from ppa_tools.address import parse_address

    address = parse_address(archive)
    if address.backend == "ppa":
        raise UsageError(
            f"{archive}: machines install from the embedded archive",
            resolution=f"Copy it first: ppa-copy {archive} local:{address.owner}/{address.name} PACKAGE",
        )
    url = f"{settings.archive_local_url}/{address.owner}/{address.name}/{address.name}-{series}.sources"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 (our own http address)
            return str(answer.read(SOURCES_LIMIT_BYTES).decode())
    except urllib.error.HTTPError as error:
        raise UsageError(f"{archive} has nothing for {series} ({url} answers {error.code})") from error
    except OSError as error:
        raise FarmTrouble(
            f"the archive does not answer: {error}", resolution="`buildfarm up` starts it."
        ) from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
