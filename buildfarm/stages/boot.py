"""The boot stage: what was built is installed in a machine that boots for it alone, and has to work there."""

from __future__ import annotations

from dataclasses import asdict

from buildfarm.job import BootJob
from buildfarm.stages.published import (
    Published,
    find_published,
    find_version_before,
    require_built,
    superseded_by,
)
from buildfarm.stages.rooms import machine_room
from buildfarm.stages.runner import StageContext
from buildfarm.stages.scripts import read_script
from buildfarm.verdict import Outcome, Verdict
from buildfarm.verify.boot import Report, Verification, verify
from buildfarm.verify.installing import Subject
from buildfarm.verify.machines import MachineRoom

PROXY = "http://10.0.2.100/"


def run(context: StageContext) -> Outcome:
    """Pass when the packages install, work, and go away as they should; skipped where nothing can be installed."""
    job = context.job.boot
    if job is None:
        return Outcome(Verdict.SKIPPED, "the recipe asks for no machine")
    published = find_published(context)
    if isinstance(published, str):
        return Outcome(Verdict.SKIPPED, published)
    require_built(published, job.packages, "boot: packages")
    rules = context.job.machine
    room = machine_room(context, published)
    before = find_version_before(context, published)
    report = verify(
        Verification(
            Subject(published.version, published.packages, published.sources, before.files, before.version),
            job,
            lambda name: room.machine(name, boot_timeout_s=job.boot_timeout_s),
            context.log,
            context.say,
            read_script(context, job.script),
            {"http_proxy": PROXY, "https_proxy": PROXY} if rules.allow else {},
        )
    )
    if report.failed and (newer := superseded_by(context, published)):
        return Outcome(Verdict.SKIPPED, f"superseded by {newer} meanwhile")
    return _tell(context, job, published, room, report)


def _tell(context: StageContext, job: BootJob, published: Published, room: MachineRoom, report: Report) -> Outcome:
    failed = report.failed
    consoles = sorted([*context.out.glob("console-*.log"), *context.out.glob("console-*.png")])
    image = room.image()
    facts = {
        "source": published.source,
        "version": published.version,
        "packages": dict(published.packages),
        "phases": report.phases,
        "checks": [asdict(check) | {"verdict": check.verdict.value} for check in report.checks],
        "refused_calls": report.refused_calls,
        "accel": room.host().accel,
        "image": image.directory.name,
        "start": context.job.machine.start,
    }
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        reached = next(reversed(report.phases), "nothing")
        reason = f"{failed[0].name}: {failed[0].reason}{more}; the machine had called {reached}"
        details = "\n\n".join(
            "\n".join(text for text in (f"{check.name}: {check.reason}", check.details) if text)
            for check in failed
        )
    else:
        names = ", ".join(job.packages or sorted(published.packages))
        reason = f"{names} {published.version} installed {_tested(job)}in {_last_phase(report)}"
        details = ""
    return Outcome(
        Verdict.FAIL if failed else Verdict.PASS,
        reason,
        inputs=("job.json",),
        outputs=tuple(context.workspace.relative(path) for path in consoles),
        skipped=tuple(f"{check.name}: {check.reason}" for check in report.skipped),
        assumed=tuple(room.assumed),
        facts=facts,
        details=details,
    )


def _tested(job: BootJob) -> str:
    return "and tested " if job.commands or job.script else ""


def _last_phase(report: Report) -> str:
    return f"{max(report.phases.values(), default=0.0):.1f} s"
