"""Running a recipe's stages on this machine, without Buildbot: how a failure is reproduced."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from subprocess import call

from buildfarm.job import Job
from buildfarm.pipeline.plan import stages_of, tasks_of
from buildfarm.settings import HOME_VARIABLE, ROOT_VARIABLE, Settings
from buildfarm.stages import BY_NAME, STAGES
from buildfarm.trunk.location import reaching_environment
from buildfarm.verdict import StageResult, Verdict
from buildfarm.workspace import Workspace

LEAVES_THE_WORKSPACE = ("sign", "upload", "publish", "promote")


def local_steps(job: Job, until: str, *, publish: bool) -> tuple[tuple[str, str, str], ...]:
    """The (stage, series, architecture) steps up to and including ``until``, in order.

    What signs or sends anything is left out unless ``publish``.
    """
    last = STAGES.index(BY_NAME[until])
    return tuple(
        (name, series, architecture)
        for task in tasks_of(job)
        for name, series, architecture in stages_of(job, task)
        if STAGES.index(BY_NAME[name]) <= last and (publish or name not in LEAVES_THE_WORKSPACE)
    )


def run_steps(
    job: Job,
    workspace: Workspace,
    settings: Settings,
    steps: tuple[tuple[str, str, str], ...],
    begins: Callable[[str], None] = lambda _line: None,
) -> Iterator[StageResult]:
    """Run the steps, each as ``buildfarm stage`` in a process of its own, until one does not pass."""
    workspace.write_job(job)
    environment = reaching_environment(**{HOME_VARIABLE: str(settings.home), ROOT_VARIABLE: str(settings.root)})
    for name, series, architecture in steps:
        argv = [sys.executable, "-m", "buildfarm", "stage", name, "--workspace", str(workspace.path)]
        argv += ["--series", series] if series else []
        argv += ["--architecture", architecture] if architecture else []
        target = "-".join(part for part in (series, architecture) if part)
        begins(f"{name} {target}".rstrip())
        status = call(argv, env=environment)
        result = workspace.read_result(name, target)
        if result is None or result.verdict.exit_status != status:
            result = StageResult(
                name, target, Verdict.ERROR, f"the stage ended with exit status {status}", 0.0, 0.0
            )
        yield result
        if result.verdict in (Verdict.FAIL, Verdict.ERROR):
            return
