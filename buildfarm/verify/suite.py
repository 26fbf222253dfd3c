"""A recipe's own suite in machines of its own: provisioned, joined by a network, its results read, its logs kept.

    booted       all machines are up; where there are several, each has a card on their network
    installed    the published packages are on each, and the trunk's tree
    provisioned  the provisioning script has run on each, at the same time
    done         the suite has run on the first

Whatever happens, the logs of the machines that still live are brought home.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from buildfarm.build.junit import FILE_LIMIT_BYTES, Report
from buildfarm.errors import FarmError, FarmTrouble, PackageFault
from buildfarm.job import SuiteJob
from buildfarm.verdict import Verdict
from buildfarm.verify.guest_files import bring_home, fetch_file, run_in_tree, send_tree
from buildfarm.verify.installing import Installer, Subject, too_slow
from buildfarm.verify.results import add_up, read_results
from buildfarm.vm.lan import Lan
from buildfarm.vm.machine import GuestRan, Machine, MachineEnded
from buildfarm.vm.plugging import plug_lan

NETWORK = "192.168.77"
LOGS_LIMIT_BYTES = 256 << 20  # of all machines together
JOURNAL_LIMIT_BYTES = 16 << 20
LOOK_TIMEOUT_S = 60.0
SHOWN_FAILURES = 3
_NAMES = 'echo "$1" >/etc/hostname && printf %s "$1" >/proc/sys/kernel/hostname && cat >>/etc/hosts'


@dataclass
class SuiteWork:
    """A suite, what it is run against, and where what it leaves goes. ``start`` gives a machine by its name."""

    job: SuiteJob
    subject: Subject
    tree: Path
    start: Callable[[str], AbstractContextManager[Machine]]
    out: Path
    log: BinaryIO
    say: Callable[[str], None]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The packages that are installed: those the recipe names, or all that were built."""
        return self.job.packages or tuple(sorted(self.subject.packages))


@dataclass
class SuiteEnd:
    """How far a suite came. ``ran`` is the script, None when it did not end by itself; ``fault`` is what stopped
    the suite; ``missing`` are results and logs that are not there, ``left_out`` counts files left behind."""

    phases: dict[str, float] = field(default_factory=dict)
    ran: GuestRan | None = None
    report: Report | None = None
    fault: PackageFault | None = None
    missing: list[str] = field(default_factory=list)
    left_out: int = 0


@dataclass(frozen=True)
class Judgement:
    """The verdict, in one line and with evidence."""

    verdict: Verdict
    reason: str
    details: str = ""


@dataclass
class _Member:
    """One of the machines; ``log`` is where what it does is told."""

    number: int
    machine: Machine
    log: BinaryIO

    @property
    def name(self) -> str:
        return machine_name(self.number)


def machine_name(number: int) -> str:
    """How the suite's machines are called, from 1 on."""
    return f"machine-{number}"


def address_of(number: int, machines: int) -> str:
    """A machine's address among the others; one that is alone has only itself."""
    return f"{NETWORK}.{number}" if machines > 1 else "127.0.0.1"


def environment_of(number: int, machines: int, version: str) -> dict[str, str]:
    """What the scripts are told of their machine and the others."""
    others = [other for other in range(1, machines + 1) if other != number]
    return {
        "BUILDFARM_MACHINE": str(number),
        "BUILDFARM_MACHINES": str(machines),
        "BUILDFARM_ADDRESS": address_of(number, machines),
        "BUILDFARM_PEERS": " ".join(address_of(other, machines) for other in others),
        "BUILDFARM_VERSION": version,
    }


def run_suite(work: SuiteWork) -> SuiteEnd:
    """Run it; what is the package's fault is in what is returned. Raises FarmTrouble for everything else."""
    end = SuiteEnd()
    began = time.monotonic()
    with ExitStack() as stack:
        members = [_begin(work, stack, number) for number in range(1, work.job.machines + 1)]
        _phase(work, end, "booted", began)
        deadline = time.monotonic() + work.job.timeout_s
        try:
            lan = stack.enter_context(Lan()) if len(members) > 1 else None
            _each(members, lambda member: _make_ready(work, member, lan), "being set up")
            _each(members, lambda member: _install(work, member, deadline), "installing")
            _phase(work, end, "installed", began)
            if work.job.provision:
                _each(members, lambda member: _provision(work, member, deadline), "being provisioned")
                _phase(work, end, "provisioned", began)
            _run_script(work, members[0], end, deadline)
            _phase(work, end, "done", began)
        except PackageFault as fault:
            end.fault = fault
        finally:
            _show_logs(work, members)
            _bring_logs(work, members, end)
        _read_results(work, members[0], end)
    return end


def judge(end: SuiteEnd, job: SuiteJob) -> Judgement:
    """What a suite's end means: failing tests first, then what stopped it, then its exit status."""
    report, fault, ran = end.report, end.fault, end.ran
    told = _tell_failures(report) if report is not None and report.failed else ""
    evidence = [fault.brief, fault.where, fault.details, fault.resolution] if fault is not None else []
    if told and report is not None:
        stopped = f"; {fault.brief}" if fault is not None else ""
        named = "\n".join(f"{test.name}\n    {test.message}" for test in report.failures)
        return Judgement(Verdict.FAIL, told + stopped, "\n".join(filter(None, [named, *evidence])))
    if fault is not None:
        return Judgement(Verdict.FAIL, fault.brief, "\n".join(filter(None, evidence[1:])))
    assert ran is not None
    if ran.status != 0:
        passed = f", though {_count(report.tests)} passed" if report is not None and report.tests else ""
        last = next((line.strip()[:200] for line in reversed(ran.output.splitlines()) if line.strip()), "")
        said = f": {last}" if last else ""
        return Judgement(Verdict.FAIL, f"{job.script} exited {ran.status}{passed}{said}", ran.tail(40))
    where = f" on {job.machines} machines" if job.machines > 1 else ""
    if report is None or not report.tests:
        return Judgement(Verdict.PASS, f"{job.script} passed{where}")
    skipped = f", {report.skipped} skipped" if report.skipped else ""
    return Judgement(Verdict.PASS, f"{_count(report.tests - report.skipped)} passed{skipped}{where}")


# The phases


def _begin(work: SuiteWork, stack: ExitStack, number: int) -> _Member:
    name = machine_name(number)
    machine = stack.enter_context(work.start(name))
    if work.job.machines == 1:
        return _Member(number, machine, work.log)
    return _Member(number, machine, stack.enter_context((work.out / f"{name}.log").open("w+b")))


def _make_ready(work: SuiteWork, member: _Member, lan: Lan | None) -> None:
    machines = work.job.machines
    if lan is not None:
        plug_lan(member.machine, lan, f"{address_of(member.number, machines)}/24")
    hosts = "".join(f"{address_of(n, machines)} {machine_name(n)}\n" for n in range(1, machines + 1))
    argv = ("sh", "-c", _NAMES, "sh", member.name)
    ran = member.machine.run(argv, timeout_s=LOOK_TIMEOUT_S, stdin=hosts.encode())
    if ran.status != 0:
        raise FarmTrouble(f"{member.name} cannot be given its name", details=ran.tail())
    send_tree(member.machine, work.tree)


def _install(work: SuiteWork, member: _Member, deadline: float) -> None:
    if work.names:
        left = max(1.0, deadline - time.monotonic())
        Installer(member.machine, work.subject, member.log, _nothing, left, "timeout_s").install(work.names)


def _provision(work: SuiteWork, member: _Member, deadline: float) -> None:
    ran = _run(work, member, work.job.provision, deadline)
    _require_end(work, ran, f"{work.job.provision} on {member.name}" if work.job.machines > 1 else "provisioning")
    if ran.status != 0:
        on = f" on {member.name}" if work.job.machines > 1 else ""
        raise PackageFault(f"{work.job.provision} exited {ran.status}{on}", details=ran.tail())


def _run_script(work: SuiteWork, first: _Member, end: SuiteEnd, deadline: float) -> None:
    work.say(f"== {work.job.script}")
    with _watched(first, "running the suite"):
        ran = _run(work, first, work.job.script, deadline)
    _require_end(work, ran, work.job.script)
    end.ran = ran


def _run(work: SuiteWork, member: _Member, script: str, deadline: float) -> GuestRan:
    told = environment_of(member.number, work.job.machines, work.subject.version)
    left = deadline - time.monotonic()
    return run_in_tree(member.machine, script, left, member.log, {**told, **work.environment})


def _require_end(work: SuiteWork, ran: GuestRan, what: str) -> None:
    if ran.timed_out:
        raise too_slow(ran, f"{what} was stopped: not done after {work.job.timeout_s} s (timeout_s)")


# What is left of it


def _read_results(work: SuiteWork, first: _Member, end: SuiteEnd) -> None:
    """The results, where the machine still lives; unreadable ones are a fault unless there is one already."""
    reports = []
    for number, name in enumerate(work.job.results, 1):
        place = work.out / "results" / f"{number}-{_plain(PurePosixPath(name).name)}"
        place.parent.mkdir(exist_ok=True)
        try:
            if not fetch_file(first.machine, name, place, FILE_LIMIT_BYTES + 1):
                end.missing.append(name)
                continue
            reports.append(read_results(place, name))
        except (MachineEnded, FarmTrouble):
            end.missing.append(name)
        except PackageFault as fault:
            if end.fault is None and (end.ran is None or end.ran.status == 0):
                end.fault = fault
    if reports:
        end.report = add_up(reports)


def _bring_logs(work: SuiteWork, members: list[_Member], end: SuiteEnd) -> None:
    room = LOGS_LIMIT_BYTES // len(members)
    for member in members:
        into = work.out / "logs" / member.name
        into.mkdir(parents=True, exist_ok=True)
        try:
            if work.job.logs:
                end.left_out += bring_home(member.machine, work.job.logs, into, work.log, room).left_out
            with (into / "journal.log").open("wb") as file:
                argv = ("journalctl", "--no-pager", "--output=short-precise")
                member.machine.run(argv, timeout_s=LOOK_TIMEOUT_S, stdout=file, limit_bytes=JOURNAL_LIMIT_BYTES)
        except MachineEnded as error:
            work.say(f"# {member.name}: no logs, {error.ending.in_words}")
            end.missing.append(f"the logs of {member.name}")


def _show_logs(work: SuiteWork, members: list[_Member]) -> None:
    """Where there are several machines, the beginning of what each said goes into the log one after the other."""
    for member in members:
        if member.log is work.log:
            continue
        member.log.flush()
        member.log.seek(0)
        work.say(f"== {member.name}")
        work.log.write(member.log.read(1 << 20))
        member.log.seek(0, 2)


# How it is done


def _each(members: list[_Member], do: Callable[[_Member], None], doing: str) -> None:
    """Do something on all machines at once; raises what came of the first that failed, the farm's trouble first.

    Machines that depend on one that failed fail, too.
    """

    def one(member: _Member) -> None:
        with _watched(member, doing):
            do(member)

    with ThreadPoolExecutor(len(members)) as pool:
        futures = [pool.submit(one, member) for member in members]
        errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise next((error for error in errors if not isinstance(error, PackageFault)), errors[0])


@contextmanager
def _watched(member: _Member, doing: str) -> Iterator[None]:
    """A machine's end is told as what it is."""
    try:
        yield
    except MachineEnded as error:
        ending, evidence = error.ending, member.machine.evidence()
        if ending.by_itself:
            raise PackageFault(
                f"{member.name}: {ending.in_words} while {doing}", details=evidence.in_words
            ) from error
        raise FarmTrouble(
            f"{member.name} while {doing}: {ending.in_words} ({ending.details})",
            details=evidence.in_words,
            resolution="The machine was not ended by what ran in it: it is tried again.",
        ) from error
    except FarmError as error:
        member.log.write(f"{error.brief}\n".encode())
        raise


def _phase(work: SuiteWork, end: SuiteEnd, phase: str, began: float) -> None:
    end.phases[phase] = round(time.monotonic() - began, 2)
    work.say(f"{phase} after {end.phases[phase]:.1f} s")


def _tell_failures(report: Report) -> str:
    shown = "; ".join(f"{test.name}: {test.message}" for test in report.failures[:SHOWN_FAILURES])
    more = f"; and {report.failed - SHOWN_FAILURES} more" if report.failed > SHOWN_FAILURES else ""
    return f"{report.failed} of {_count(report.tests)} failed: {shown}{more}"


def _count(tests: int) -> str:
    return "1 test" if tests == 1 else f"{tests} tests"


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:100]


def _nothing(_line: str) -> None:
    """What the installer would say is in the machine's log."""
