"""The pipeline as data: groups of stages, the tasks of a run, and the rules that order them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from buildfarm.job import Job
from buildfarm.stages import BY_NAME, VERIFYING, is_asked_for
from buildfarm.verdict import Verdict

RETRY_DELAYS_S = (10, 60, 300, 900)
# Launchpad's own builds may take hours, and what they are waited for with costs nobody a worker.
PATIENT_DELAYS_S = (*RETRY_DELAYS_S, 1800, 3600, 7200)


@dataclass(frozen=True)
class Group:
    """Stages that run one after another on one worker, as one Buildbot build.

    ``per`` says how often in a run; ``worker`` is the kind of worker; ``after`` is the group whose pass it
    needs, or where a run has no such tasks, the group that one comes after. Signing has a worker of its own,
    which also writes into archives that no build is uploaded to: untrusted code never sits beside a key.
    """

    name: str
    stages: tuple[str, ...]
    per: Literal["run", "series", "build"]
    worker: Literal["build", "sign"]
    after: str = ""


GROUPS = {
    group.name: group
    for group in (
        Group("source", ("checkout", "lint", "unittest", "tarball", "source"), "run", "build"),
        Group("upload", ("sign", "upload"), "series", "sign", after="source"),
        Group("build", ("build", "publish"), "build", "build", after="upload"),
        Group("verify", VERIFYING, "build", "build", after="build"),
        Group("promote", ("promote",), "series", "sign", after="verify"),
    )
}


@dataclass(frozen=True, order=True)
class TaskKey:
    """One group for one target of a run; ``str()`` reads ``build bookworm-amd64``."""

    group: str
    series: str = ""
    architecture: str = ""

    @property
    def target(self) -> str:
        """ "", SERIES, or SERIES-ARCH."""
        return "-".join(part for part in (self.series, self.architecture) if part)

    def __str__(self) -> str:
        return f"{self.group} {self.target}".rstrip()


def tasks_of(job: Job) -> tuple[TaskKey, ...]:
    """Every task of a run, in an order that respects what needs what; none that would have no stages."""
    tasks = []
    for group in GROUPS.values():
        if not any(is_asked_for(job, stage) for stage in group.stages):
            continue
        if group.per == "run":
            tasks.append(TaskKey(group.name))
        elif group.per == "series":
            tasks += [TaskKey(group.name, series) for series in job.series]
        else:
            tasks += [TaskKey(group.name, s, a) for s in job.series for a in job.architectures]
    return tuple(tasks)


def stages_of(job: Job, task: TaskKey) -> tuple[tuple[str, str, str], ...]:
    """The (stage, series, architecture) steps of a task; a per-series stage in a per-run group runs for each."""
    steps = []
    for name in GROUPS[task.group].stages:
        if not is_asked_for(job, name):
            continue
        per = BY_NAME[name].per
        if per == "series" and not task.series:
            steps += [(name, series, "") for series in job.series]
        else:
            steps.append((name, task.series if per != "run" else "", task.architecture if per == "build" else ""))
    return tuple(steps)


def needs(task: TaskKey, tasks: Collection[TaskKey]) -> tuple[TaskKey, ...]:
    """Those of a run's ``tasks`` that must all pass before this one may start."""
    after = GROUPS[task.group].after
    while after and not any(one.group == after for one in tasks):
        after = GROUPS[after].after
    return tuple(one for one in tasks if one.group == after and _share_target(one, task))


def _share_target(one: TaskKey, other: TaskKey) -> bool:
    """Whether nothing that both name sets them apart: a series' upload belongs to each of its builds."""
    pairs = ((one.series, other.series), (one.architecture, other.architecture))
    return all(not mine or not theirs or mine == theirs for mine, theirs in pairs)


def ready_tasks(ended: Mapping[TaskKey, Verdict | None]) -> tuple[TaskKey, ...]:
    """The tasks that have not ended and whose needs have all passed. ``ended`` has every task of the run."""
    return tuple(
        task
        for task, verdict in ended.items()
        if verdict is None and all(ended[need] is Verdict.PASS for need in needs(task, ended))
    )


def run_verdict(ended: Mapping[TaskKey, Verdict | None]) -> Verdict | None:
    """What a run came to, or None while something can still run: the worst verdict of its tasks."""
    if ready_tasks(ended):
        return None
    verdicts = set(ended.values())
    for verdict in (Verdict.FAIL, Verdict.ERROR):
        if verdict in verdicts:
            return verdict
    return Verdict.PASS


def is_verified(ended: Mapping[TaskKey, Verdict | None], series: str = "") -> bool:
    """Whether everything that was built for a series ("": for all of them) has been verified, and has passed."""
    verdicts = [
        verdict for task, verdict in ended.items() if task.group == "verify" and series in ("", task.series)
    ]
    return bool(verdicts) and all(verdict is Verdict.PASS for verdict in verdicts)


def retry_delay_s(attempts: int, group: str = "") -> int | None:
    """Seconds to wait before another attempt after ``attempts`` that ended in ``error``; None: give up."""
    delays = PATIENT_DELAYS_S if group == "promote" else RETRY_DELAYS_S
    return delays[attempts - 1] if 0 < attempts <= len(delays) else None
