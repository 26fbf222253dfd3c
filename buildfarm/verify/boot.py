"""Does what was built install and work on a machine? The questions, one after another, and what they came to.

    booted     the machine is up and has called; nothing of the package is in it yet
    installed  apt has installed the packages from their archive, in the very versions that were built
    tested     the recipe's own commands have run in it

and then, each in a machine of its own where it has to be: does it come up again after a reboot, go away without
leaving anything, and replace the version before, and the distribution's?
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.job import BootJob
from buildfarm.verdict import Verdict
from buildfarm.verify.guest_reading import (
    LEFT_SHOWN,
    Before,
    Look,
    judge_apt,
    read_removal,
)
from buildfarm.verify.installing import LOOK_TIMEOUT_S, OUTPUT_LIMIT_BYTES, Installer, Subject, too_slow
from buildfarm.vm.callbacks import PHASES
from buildfarm.vm.machine import Machine, MachineEnded

AGENT = "/usr/lib/buildfarm/agent"
SCRIPT_PLACE = "/run/buildfarm-script"
CLOCK_SLACK_S = 120
CALL_LIMIT_S = 5.0  # for what is on its way when the agent has ended
START_AGAIN = Callable[[str], AbstractContextManager[Machine]]


@dataclass(frozen=True)
class Check:
    """One question and its answer, for the page."""

    name: str
    verdict: Verdict
    reason: str
    duration_s: float = 0.0
    details: str = ""


@dataclass
class Report:
    """What the questions came to so far."""

    checks: list[Check] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)
    refused_calls: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.verdict is Verdict.FAIL]

    @property
    def skipped(self) -> list[Check]:
        """The checks that there was nothing to do for."""
        return [check for check in self.checks if check.verdict is Verdict.SKIPPED]


@dataclass
class Verification:
    """One build under test. ``start`` gives a fresh machine by a name; ``say`` tells what happens."""

    subject: Subject
    job: BootJob
    start: START_AGAIN
    log: BinaryIO
    say: Callable[[str], None]
    script: bytes = b""
    environment: Mapping[str, str] = field(default_factory=dict)
    report: Report = field(default_factory=Report)

    @property
    def names(self) -> tuple[str, ...]:
        """The packages that are installed: those the recipe names, or all that were built."""
        return self.job.packages or tuple(sorted(self.subject.packages))


def verify(work: Verification) -> Report:
    """Ask all questions; the report has what failed. Raises FarmTrouble for what is nobody's fault but ours.

    After a package that cannot be installed nothing else is asked.
    """
    began = time.monotonic()
    with work.start("install") as machine:
        _phase(work, "booted", began)
        with _checking(work, "install", machine):
            before, look = _apt(work, machine).install(work.names, work.job.services)
        if not work.report.failed:
            _call(work, machine, "installed", began)
            _look_after(work, machine, "state", look)
            _test(work, machine, began)
            if work.job.reboot and machine.ending is None:
                _reboot(work, machine)
            if work.job.purge and machine.ending is None:
                _purge(work, machine, before)
        _note_refusals(work, machine)
    if not work.report.failed and work.job.upgrade:
        _upgrade_from_before(work)
        _upgrade_from_distribution(work, before)
    return work.report


# The questions


def _look_after(work: Verification, machine: Machine, name: str, look: Look | None = None) -> None:
    """Failed units, core dumps, the clock, and services that have to be up; by a look that was taken just now."""
    with _checking(work, name, machine):
        look = look or _apt(work, machine).look(work.names, work.job.services)
        if look.failed_units:
            said = _journal(machine, look.failed_units[0])
            raise PackageFault(f"units failed: {', '.join(look.failed_units)}", details=said)
        down = [f"{unit} is {state}" for unit, state in look.services.items() if state != "active"]
        if down:
            said = _journal(machine, down[0].split()[0])
            raise PackageFault(", ".join(down), details=said)
        if look.cores:
            raise PackageFault(f"a process dumped core: {look.cores[0]}", details="\n".join(look.cores))
        off = abs(look.clock_s - time.time()) if look.clock_s is not None else None
        if off is not None and off > CLOCK_SLACK_S:
            raise PackageFault(f"the machine's clock was set: it is off by {off:.0f} s")


def _test(work: Verification, machine: Machine, began: float) -> None:
    """The recipe's commands and script; then the machine calls ``tested``."""
    deadline = time.monotonic() + work.job.test_timeout_s
    programs: list[tuple[str, Sequence[str]]] = [(shlex.join(argv), argv) for argv in work.job.commands]
    if work.script:
        programs.append((work.job.script, (SCRIPT_PLACE,)))
    for told, argv in programs:
        with _checking(work, told, machine):
            if argv == (SCRIPT_PLACE,):
                _bring_script(work, machine)
            left = deadline - time.monotonic()
            ran = machine.run(
                argv,
                timeout_s=max(1.0, left),
                stdout=work.log,
                env=work.environment,
                limit_bytes=OUTPUT_LIMIT_BYTES,
                flood_ends=True,
            )
            if ran.timed_out:
                limit = work.job.test_timeout_s
                raise too_slow(ran, f"not done after {ran.duration_s:.0f} s (test_timeout_s {limit})")
            if ran.status != 0:
                raise PackageFault(f"exited {ran.status}", details=ran.tail())
    if not work.report.failed:
        _call(work, machine, "tested", began)
        if programs:
            _look_after(work, machine, "state after the tests")


def _bring_script(work: Verification, machine: Machine) -> None:
    try:
        machine.write_file(SCRIPT_PLACE, work.script, mode=0o755)
    except FarmTrouble as trouble:  # one could be written before the packages came
        raise PackageFault(
            "the recipe's script cannot be brought into the machine", details=trouble.details
        ) from trouble


def _reboot(work: Verification, machine: Machine) -> None:
    with _checking(work, "reboot", machine):
        took = machine.reboot(work.job.boot_timeout_s)
        work.say(f"rebooted in {took:.1f} s")
    if machine.ending is None:
        _look_after(work, machine, "state after the reboot")


def _purge(work: Verification, machine: Machine, before: Before) -> None:
    with _checking(work, "purge", machine):
        ran = _apt(work, machine).script("remove.sh", *work.names, timeout_s=work.job.install_timeout_s)
        if ran.timed_out:
            raise too_slow(ran, f"not removed after {ran.duration_s:.0f} s")
        if ran.status != 0:
            raise judge_apt(ran.output, ran.status, work.subject.packages).as_error("it cannot be removed")
        left = read_removal(ran.output, work.names, before.installed)
        if not left.whole:
            raise PackageFault("what the purge left cannot be told: its end did not come", details=ran.tail())
        if left.stayed or left.gone:
            told = [f"{name} stays" for name in left.stayed] + [f"{name} went, too" for name in left.gone]
            raise PackageFault(f"the purge does not do what it should: {', '.join(told[:5])}")
        if left.files:
            shown = "\n".join(left.files[:LEFT_SHOWN])
            raise PackageFault(
                f"the purge leaves {_count(len(left.files), 'file')}: {left.files[0]}", details=shown
            )


def _upgrade_from_before(work: Verification) -> None:
    subject = work.subject
    if not subject.previous:
        why = "the archive has no version before" if not subject.previous_version else "its files are gone"
        work.report.checks.append(Check("upgrade from the archive", Verdict.SKIPPED, why))
        return
    with work.start("upgrade") as machine:
        with _checking(work, f"upgrade from {subject.previous_version}", machine):
            apt = _apt(work, machine)
            apt.script("before.sh", *work.names)
            apt.add_archive()
            apt.install_files(tuple(subject.previous.values()))
            apt.apt_install(work.names, alone=False)
            apt.require_versions(work.names)
        _note_refusals(work, machine)


def _upgrade_from_distribution(work: Verification, before: Before) -> None:
    offered = {name: before.offered[name] for name in work.names if name in before.offered}
    if not offered:
        work.report.checks.append(
            Check("upgrade from the distribution", Verdict.SKIPPED, "the distribution has none of its packages")
        )
        return
    with work.start("distribution") as machine:
        name, version = next(iter(offered.items()))
        with _checking(work, f"upgrade from the distribution's {name} {version}", machine):
            apt = _apt(work, machine)
            apt.script("before.sh", *work.names)
            apt.apt_install(tuple(offered), alone=False, ours=False)
            apt.add_archive()
            apt.apt_install(work.names, alone=False)
            apt.require_versions(work.names)
        _note_refusals(work, machine)


# How they are asked


@contextmanager
def _checking(work: Verification, name: str, machine: Machine, *, note_pass: bool = True) -> Iterator[None]:
    """Run a check: a package's fault is noted with its reason and the check's name, and so is a machine's end."""
    began = time.monotonic()
    work.say(f"== {name}")

    def note(verdict: Verdict, reason: str, details: str = "") -> None:
        work.report.checks.append(Check(name, verdict, reason, round(time.monotonic() - began, 2), details))

    try:
        machine.check()
        yield
    except PackageFault as fault:
        seen = machine.evidence(machine.console.path.with_suffix(".png"))
        said = f"the console said: {seen.trouble}" if seen.trouble else ""
        pictured = f"its screen: {seen.screenshot.name}" if seen.screenshot else ""
        details = "\n".join(text for text in (fault.details, said, pictured, fault.resolution) if text)
        note(Verdict.FAIL, fault.brief, details)
        work.say(f"fail: {fault.brief}")
    except MachineEnded as error:
        ending, evidence = error.ending, machine.evidence()
        if not ending.by_itself:
            raise FarmTrouble(
                f"{name}: the machine ended: {ending.in_words}"
                + (f" ({ending.details})" if ending.details else ""),
                details=evidence.in_words,
                resolution="The machine was not ended by what ran in it: it is tried again.",
            ) from error
        note(Verdict.FAIL, f"the machine ended: {ending.in_words}", evidence.in_words)
        work.say(f"fail: {ending.in_words}")
    else:
        if note_pass:
            note(Verdict.PASS, "")


def _apt(work: Verification, machine: Machine) -> Installer:
    return Installer(machine, work.subject, work.log, work.say, work.job.install_timeout_s)


def _journal(machine: Machine, unit: str) -> str:
    argv = ("journalctl", "--no-pager", "--lines=15", f"--unit={unit}")
    return machine.run(argv, timeout_s=LOOK_TIMEOUT_S).tail(15)


def _call(work: Verification, machine: Machine, phase: str, began: float) -> None:
    """Let the machine call a phase; no call in time is a failure."""
    with _checking(work, f"call {phase}", machine, note_pass=False):
        token = machine.callbacks.issue(phase)
        ran = machine.run((AGENT, "call", phase), timeout_s=LOOK_TIMEOUT_S, stdin=f"{token}\n".encode())
        if machine.callbacks.wait(phase, CALL_LIMIT_S) is None:
            raise PackageFault(
                f"the machine did not call {phase}",
                details=ran.tail(),
                resolution="Its agent or its network no longer work, and did before the packages came.",
            )
        _phase(work, phase, began)


def _phase(work: Verification, phase: str, began: float) -> None:
    assert phase in PHASES
    work.report.phases[phase] = round(time.monotonic() - began, 2)
    work.say(f"{phase} after {work.report.phases[phase]:.1f} s")


def _note_refusals(work: Verification, machine: Machine) -> None:
    """Calls that nobody may have made are the doing of what was installed: our agent makes none of them."""
    refused = machine.callbacks.refusals
    if not refused:
        return
    told = [f"{one.phase}: {one.reason} ({one.status})" for one in refused[:10]]
    work.report.refused_calls += told
    count = sum(machine.callbacks.refused.values())
    work.report.checks.append(
        Check("callbacks", Verdict.FAIL, f"{_count(count, 'call')} refused: {told[0]}", details="\n".join(told))
    )


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"
