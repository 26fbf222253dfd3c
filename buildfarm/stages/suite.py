"""The suite stage: the recipe's test suite in machines that it provisions, with what was built installed."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

from buildfarm.errors import FarmTrouble
from buildfarm.job import SuiteJob
from buildfarm.stages.boot import PROXY
from buildfarm.stages.published import Published, find_published, require_built, superseded_by
from buildfarm.stages.rooms import machine_room
from buildfarm.stages.runner import StageContext
from buildfarm.stages.scripts import find_script
from buildfarm.verdict import Outcome, Verdict
from buildfarm.verify.installing import Subject
from buildfarm.verify.machines import MachineRoom
from buildfarm.verify.suite import SuiteEnd, SuiteWork, judge, run_suite


def run(context: StageContext) -> Outcome:
    """Pass when the suite exits 0 and none of its tests failed; skipped where nothing can be installed."""
    job = context.job.suite
    if job is None:
        return Outcome(Verdict.SKIPPED, "the recipe names no suite")
    published = find_published(context)
    if isinstance(published, str):
        return Outcome(Verdict.SKIPPED, published)
    require_built(published, job.packages, "suite: packages")
    for script in filter(None, (job.script, job.provision)):
        find_script(context, script)
    rules = context.job.machine
    room = machine_room(context, published)
    if job.machines > 1 and context.settings.vm.backend != "qemu":
        raise FarmTrouble(
            "several machines on one network are qemu's alone",
            resolution='Set backend = "qemu" under [vm] in farm.toml, or let the recipe ask for one machine.',
        )
    wanted_mib, limit_mib = job.machines * rules.memory_mib, room.host().memory_limit_mib
    if wanted_mib > limit_mib:
        raise FarmTrouble(
            f"{job.machines} machines of {rules.memory_mib} MiB are more than machines may have here "
            f"({limit_mib} MiB)",
            resolution="Ask for less (machine: memory_mib), or raise vm.memory_limit_mib in farm.toml.",
        )
    end = run_suite(
        SuiteWork(
            job,
            Subject(published.version, published.packages, published.sources),
            context.tree,
            partial(room.machine, lan=job.machines > 1),
            context.out,
            context.log,
            context.say,
            {"http_proxy": PROXY, "https_proxy": PROXY} if rules.allow else {},
        )
    )
    if "installed" not in end.phases and (newer := superseded_by(context, published)):
        return Outcome(Verdict.SKIPPED, f"superseded by {newer} meanwhile")
    return _tell(context, job, published, room, end)


def _tell(context: StageContext, job: SuiteJob, published: Published, room: MachineRoom, end: SuiteEnd) -> Outcome:
    judgement = judge(end, job)
    kept = sorted(path for path in context.out.rglob("*") if path.is_file() and path != context.out / "log")
    facts: dict[str, object] = {
        "source": published.source,
        "version": published.version,
        "phases": end.phases,
        "machines": job.machines,
        "exit_status": end.ran.status if end.ran is not None else None,
        "accel": room.host().accel,
        "image": room.image().directory.name,
    }
    if end.report is not None:
        report = end.report
        facts |= {"tests": report.tests, "skipped": report.skipped, "failed": report.failed}
        facts["failures"] = [asdict(failure) for failure in report.failures]
    assumed = list(room.assumed)
    if job.results and end.report is None and end.fault is None:
        assumed.append("the suite left no results: its exit status decides")
    elif end.report is not None and not end.report.tests:
        assumed.append("the results tell of no test at all: the exit status decides")
    left_out = [f"{name} is not there" for name in end.missing]
    if end.left_out:
        left_out.append("not all logs were brought home: too many, too large, or of odd names")
    return Outcome(
        judgement.verdict,
        judgement.reason,
        inputs=("job.json",),
        outputs=tuple(context.workspace.relative(path) for path in kept),
        skipped=tuple(left_out),
        assumed=tuple(assumed),
        facts=facts,
        details=judgement.details,
    )
