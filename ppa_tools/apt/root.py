"""A root of apt's own: its solver run on indexes that are laid out for it, without rights and without a network.

Nothing is ever installed or fetched: ``apt-get --print-uris`` tells what it would fetch. It reads the lists that
lie here already, under the names that it would have given them itself. Repositories are known to it as
``file:/r0``, ``file:/r1`` and so on, in the order in which they were laid out.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppa_tools.apt.conflicting import Pin
from ppa_tools.apt.repositories import Repository
from ppa_tools.apt.unmet import Unmet, read_errors, read_unmet
from ppa_tools.archives.control import PACKAGE_NAME
from ppa_tools.archives.door import DoorError

SIMULATION_TIMEOUT_S = 600.0
HOW = ("--print-uris", "--yes", "--quiet=1")  # as --simulate, without putting the steps in order, which takes long
VERSION_LINE = re.compile(r" (\*\*\*|   ) \S+ -?\d+$")
ORIGIN_LINE = re.compile(r" +-?\d+ file:/r(\d+) ")
LISTS = "var/lib/apt/lists"
DIRECTORIES = (
    *("etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d", "etc/apt/trusted.gpg.d"),
    *(f"{LISTS}/partial", "var/cache/apt/archives/partial", "var/lib/dpkg", "var/log/apt"),
)


@dataclass(frozen=True)
class Laid:
    """A repository's indexes as files on this disk, in any form that apt reads; ``packages`` by architecture."""

    repository: Repository
    packages: Mapping[str, tuple[Path, ...]]
    sources: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """What apt would take of a name, and the first of the repositories that have it."""

    version: str
    repository: Repository


@dataclass(frozen=True)
class Simulated:
    """What apt's solver says of a set of packages; ``errors`` are its own words where it does not."""

    installable: bool
    unmet: tuple[Unmet, ...] = ()
    errors: str = ""


class AptRoot:
    """An apt with nothing installed, and with these repositories in this order; it lies in ``directory``."""

    def __init__(
        self,
        directory: Path,
        laid: Sequence[Laid],
        architectures: Sequence[str],
        pins: Sequence[Pin] = (),
        *,
        build_essential: bool = True,
    ) -> None:
        """``architectures``: the machine's own first, then those of others that it could run.

        Builds want build-essential, too, unless told otherwise: where no distribution lies below, nobody has it.
        """
        for name in DIRECTORIES:
            (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / "var/lib/dpkg/status").touch()
        self._directory, self._laid = directory, laid
        self._conf = directory / "apt.conf"
        self._conf.write_text(_configuration(directory, architectures, build_essential))
        lines = [line for number, one in enumerate(laid) for line in self._lay(number, one, architectures)]
        (directory / "etc/apt/sources.list").write_text("".join(f"{line}\n" for line in lines))
        (directory / "etc/apt/preferences").write_text("\n".join(_pin_text(pin) for pin in pins))
        self._run("apt-cache", "gencaches")

    def simulate_install(self, names: Sequence[str]) -> Simulated:
        """Whether apt finds a way to install all of these at once."""
        return self._simulate("install", names)

    def simulate_build_dep(self, names: Sequence[str]) -> Simulated:
        """Whether apt finds a way to install all that the builds of these sources want at once."""
        return self._simulate("build-dep", names, "--only-source")

    def candidates(self, names: Sequence[str]) -> dict[str, Candidate]:
        """What apt would take of each name, where it would take anything."""
        found = dict[str, Candidate]()
        known = [name for name in names if PACKAGE_NAME.fullmatch(name)]
        name, candidate, inside = "", "", False
        for line in self._run("apt-cache", "policy", "--", *known).stdout.splitlines() if known else ():
            if line and not line.startswith(" "):
                name, candidate, inside = line.removesuffix(":"), "", False
            elif line.startswith("  Candidate: "):
                candidate = line.removeprefix("  Candidate: ")
            elif VERSION_LINE.match(line):
                inside = line.split()[-2] == candidate
            elif inside and name not in found and (match := ORIGIN_LINE.match(line)):
                found[name] = Candidate(candidate, self._laid[int(match[1])].repository)
        return found

    def _simulate(self, verb: str, names: Sequence[str], *options: str) -> Simulated:
        strange = [name for name in names if not PACKAGE_NAME.fullmatch(name)]
        if strange:
            return Simulated(False, errors=f"{strange[0]!r} is no name for a package")
        done = self._run("apt-get", *HOW, *options, verb, "--", *names)
        if done.returncode == 0:
            return Simulated(True)
        return Simulated(False, read_unmet(done.stdout), read_errors(done.stderr))

    def _lay(self, number: int, laid: Laid, architectures: Sequence[str]) -> list[str]:
        """Put the indexes of a repository where apt looks for them; its lines of sources.list."""
        lists = self._directory / LISTS
        prefix = f"_r{number}_dists_s"
        (lists / f"{prefix}_Release").write_text(f"Suite: s\nCodename: s\nLabel: {laid.repository.label}\n")
        lines = []
        for architecture in architectures:
            for at, file in enumerate(laid.packages.get(architecture, ())):
                _link(lists / f"{prefix}_c{at}_binary-{architecture}_Packages{_ending(file)}", file)
                lines.append(f"deb [trusted=yes arch={architecture}] file:/r{number} s c{at}")
        for at, file in enumerate(laid.sources):
            _link(lists / f"{prefix}_c{at}_source_Sources{_ending(file)}", file)
            lines.append(f"deb-src [trusted=yes] file:/r{number} s c{at}")
        return lines

    def _run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                argv,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                stdin=subprocess.DEVNULL,
                cwd=self._directory,
                timeout=SIMULATION_TIMEOUT_S,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "APT_CONFIG": str(self._conf)},
            )
        except FileNotFoundError as error:
            raise DoorError(
                f"{argv[0]} is not on this machine, and only apt itself can tell what it could install",
                resolution="Run this on a machine with apt, or without --installable.",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise DoorError(f"apt's solver found no answer in {SIMULATION_TIMEOUT_S:g} s") from error


def _configuration(directory: Path, architectures: Sequence[str], build_essential: bool) -> str:
    """What holds for this root; of the machine's own settings nothing does."""
    quoted = str(directory).replace('"', "")
    all_of_them = " ".join(f'"{one}";' for one in architectures)
    sandbox = "root" if os.getuid() == 0 else ""
    return (
        f'Dir "{quoted}";\n'
        f'Dir::State::status "{quoted}/var/lib/dpkg/status";\n'
        f'APT::Architecture "{architectures[0]}";\n'
        f"APT::Architectures {{ {all_of_them} }};\n"
        f'APT::Sandbox::User "{sandbox}";\n'
        'APT::Install-Recommends "false";\n'
        'APT::Solver "internal";\n'  # whose words are read; newer ones have others
        'APT::Color "false";\n'
        'Dir::Cache::srcpkgcache "";\n'  # one cache is enough: with nothing installed both are the same
        'APT::Cache-Start "100000000";\n'
        'Acquire::Languages "none";\n'
        'Debug::NoLocking "true";\n'
        'Dir::Bin::dpkg "/bin/false";\n'
        f"{'' if build_essential else '#clear APT::Build-Essential;'}\n"
    )


def _pin_text(pin: Pin) -> str:
    return f"Package: {pin.package}\nPin: release l={pin.address}\nPin-Priority: {pin.priority}\n"


def _ending(file: Path) -> str:
    return file.suffix if file.suffix in (".lz4", ".gz", ".xz", ".zst", ".bz2") else ""


def _link(name: Path, file: Path) -> None:
    name.symlink_to(file.absolute())
