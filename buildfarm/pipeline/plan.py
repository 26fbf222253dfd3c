"""The pipeline as data: groups of stages, the tasks of a run, and the rules that order them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from buildfarm.job import Job
from buildfarm.stages import BY_NAME
from buildfarm.verdict import Verdict

RETRY_DELAYS_S = (10, 60, 300, 900)


@dataclass(frozen=True)
class Group:
    """Stages that run one after another on one worker, as one Buildbot build.

    ``per`` says how often in a run; ``worker`` is the kind of worker; ``after`` is the group whose pass it
    needs. Signing has a worker of its own: untrusted code never sits beside a key.
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
    """Every task of a run, in an order that respects what needs what."""
    tasks = []
    for group in GROUPS.values():
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
        per = BY_NAME[name].per
        if per == "series" and not task.series:
            steps += [(name, series, "") for series in job.series]
        else:
            steps.append((name, task.series if per != "run" else "", task.architecture if per == "build" else ""))
    return tuple(steps)


def needs(task: TaskKey) -> TaskKey | None:
    """The task that must pass before this one may start."""
    after = GROUPS[task.group].after
    if not after:
        return None
    return TaskKey(after, task.series if GROUPS[after].per != "run" else "")


def ready_tasks(ended: Mapping[TaskKey, Verdict | None]) -> tuple[TaskKey, ...]:
    """The tasks that have not ended and whose need has passed. ``ended`` has every task of the run."""
    return tuple(
        task
        for task, verdict in ended.items()
        if verdict is None and ((need := needs(task)) is None or ended[need] is Verdict.PASS)
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


def retry_delay_s(attempts: int) -> int | None:
    """Seconds to wait before another attempt after ``attempts`` that ended in ``error``; None: give up."""
    return RETRY_DELAYS_S[attempts - 1] if 0 < attempts <= len(RETRY_DELAYS_S) else None
