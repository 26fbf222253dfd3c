"""Installing in a machine what was published: by apt, from its archive, as a user would."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.verify.guest_reading import AptFailure, Before, Look, judge_apt, read_before, read_look, sections
from buildfarm.vm.machine import GuestRan, Machine
from ppa_tools.debversion import version_key

GUEST = Path(__file__).with_name("guest")
FETCHED = "/var/tmp/buildfarm"  # noqa: S108 (in the machine, which is ours alone)
NOT_ALONE = "# the archive alone is not enough: apt looks at all archives\n"  # as install.sh says it
ONLY_LOOKING = ("before.sh", "look.sh")
LOOK_TIMEOUT_S = 60.0
OUTPUT_LIMIT_BYTES = 16 << 20  # of one program


def too_slow(ran: GuestRan, told: str, *, ours: bool = True) -> PackageFault | FarmTrouble:
    """A program did not come to its end in time: the package's fault, where the host gave it the time."""
    if ran.starved:
        return FarmTrouble(
            f"{told}: the machine waited {ran.waited_s:.0f} s for a processor of the host's",
            details=ran.tail(),
            resolution="Let fewer machines run at once (vm.simultaneous); it is tried again.",
        )
    fault = PackageFault if ours else FarmTrouble
    return fault(told, details=ran.tail(), resolution="The last lines say where it stood.")


@dataclass(frozen=True)
class Subject:
    """What is verified: packages and their versions, the archive's .sources file; ``previous`` are addresses of
    the packages of the version before in that archive, by name, and ``previous_version`` is that version."""

    version: str
    packages: Mapping[str, str]
    sources: str
    previous: Mapping[str, str] = field(default_factory=dict)
    previous_version: str = ""


@dataclass(frozen=True)
class Installer:
    """Apt in one machine; ``timeout_s`` is the limit of each installation, which recipes call ``limit_name``.

    What is wrong with the packages is a PackageFault, what is wrong elsewhere a FarmTrouble; MachineEnded passes.
    """

    machine: Machine
    subject: Subject
    log: BinaryIO
    say: Callable[[str], None]
    timeout_s: float
    limit_name: str = "install_timeout_s"

    def script(self, name: str, *words: str, timeout_s: float = LOOK_TIMEOUT_S) -> GuestRan:
        """Run one of the scripts in guest/; what those that only look say is not for people."""
        return self._run(_text(name), name, *words, timeout_s=timeout_s)

    def _run(self, text: str, name: str, *words: str, timeout_s: float) -> GuestRan:
        log = None if name in ONLY_LOOKING else self.log
        argv = ("sh", "-c", text, name, *words)
        return self.machine.run(
            argv, timeout_s=timeout_s, stdout=log, limit_bytes=OUTPUT_LIMIT_BYTES, flood_ends=True
        )

    def install(self, names: Sequence[str], services: Sequence[str] = ()) -> tuple[Before, Look]:
        """Add the archive, install the packages from it in the very versions that were published; returns what
        stood before, and how the machine stands now."""
        before = self._look_and_add_archive(names)
        offered = {name: before.offered[name] for name in names if name in before.offered}
        # apt prefers the higher version, wherever it is.
        hidden = [
            name
            for name in offered
            if version_key(offered[name]) >= version_key(self.subject.packages.get(name, "0"))
        ]
        self.apt_install(names, alone=not hidden)
        hints = {name: f"The distribution has {offered[name]}, which apt prefers." for name in hidden}
        return before, self.require_versions(names, services, hints)

    def _look_and_add_archive(self, names: Sequence[str]) -> Before:
        """What stands before, and then the archive, in one program: each takes an emulated machine a while."""
        looking, adding = (_text(name) for name in ("before.sh", "add-archive.sh"))
        text = f'sources=$1\nshift\n{looking}echo "== archive"\nset -- "$sources"\n{adding}'
        ran = self._run(text, "before.sh", self.subject.sources, *names, timeout_s=self.timeout_s)
        self.log.write(sections(ran.output).get("archive", ran.output).encode() + b"\n")
        _require_archive(ran)
        return read_before(ran.output)

    def require_versions(
        self, names: Sequence[str], services: Sequence[str] = (), hints: Mapping[str, str] | None = None
    ) -> Look:
        """Make sure that what was published is what is installed; ``hints`` say what to do, by package. Returns
        how the machine stands."""
        look = self.look(names, services)
        for name in names:
            wanted, found = self.subject.packages.get(name, ""), look.versions.get(name, "")
            if found != wanted:
                raise PackageFault(
                    f"{name} {found} was installed, not {wanted}" if found else f"{name} was not installed",
                    resolution=(hints or {}).get(name, "Does another package, or a pin, decide the version?"),
                )
        if look.audit:
            raise PackageFault("dpkg finds packages that are not installed properly", details=look.audit)
        return look

    def install_files(self, addresses: Sequence[str]) -> None:
        """Install packages that no index has any longer, from their addresses; raises FarmTrouble."""
        ran = self.script("fetch.sh", FETCHED, *addresses, timeout_s=self.timeout_s)
        if ran.status != 0:
            raise FarmTrouble("the packages cannot be fetched from the archive", details=ran.tail())
        self.apt_install(
            [f"{FETCHED}/{address.rpartition('/')[2]}" for address in addresses], alone=False, ours=False
        )

    def add_archive(self) -> None:
        """Let apt know the archive, by its .sources file."""
        _require_archive(self.script("add-archive.sh", self.subject.sources, timeout_s=self.timeout_s))

    def apt_install(self, names: Sequence[str], *, alone: bool, ours: bool = True) -> None:
        """Install packages; ``alone``: the archive may be enough. Not ``ours``: they are the distribution's."""
        how, limit = "alone" if alone else "all", self.timeout_s
        ran = self.script("install.sh", how, *names, timeout_s=limit)
        if ran.status not in (0, None) and not ran.timed_out:
            failure = self._judge(ran)
            if not failure.ours:  # the image's lists may be older than the mirror
                self.say("# apt reads all indexes anew")
                self.script("update.sh", timeout_s=limit)
                ran = self.script("install.sh", "all", *names, timeout_s=limit)
        if ran.timed_out:
            told = f"not installed after {ran.duration_s:.0f} s ({self.limit_name} {limit:.0f})"
            raise too_slow(ran, told, ours=ours)
        if ran.status != 0:
            failure = self._judge(ran)
            raise replace(failure, ours=failure.ours and ours).as_error(f"{', '.join(names)} cannot be installed")

    def _judge(self, ran: GuestRan) -> AptFailure:
        """Why it failed; what apt said of the archive alone does not count where it then looked at all."""
        return judge_apt(ran.output.rpartition(NOT_ALONE)[2], ran.status, self.subject.packages)

    def look(self, names: Sequence[str], services: Sequence[str] = ()) -> Look:
        """How the machine stands."""
        ran = self.script("look.sh", " ".join(names), " ".join(services))
        look = read_look(ran.output)
        if not look.whole and ran.starved:
            raise too_slow(ran, f"the machine was not looked at in {ran.duration_s:.0f} s")
        if not look.whole:
            why = "it does not answer in time" if ran.timed_out else "its programs no longer run"
            raise PackageFault(f"the machine can no longer be looked at: {why}", details=ran.tail())
        return look


def _text(name: str) -> str:
    return (GUEST / name).read_text(encoding="utf-8")


def _require_archive(ran: GuestRan) -> None:
    if ran.status != 0:
        raise FarmTrouble(
            "apt cannot read the archive",
            details=ran.tail(),
            resolution="Is the archive served? It is tried again.",
        )
