"""What people read about a stage that did not pass, on its page and in the terminal."""

from __future__ import annotations

import shlex
from pathlib import Path

from buildfarm.history.store import Run
from buildfarm.job import Job
from buildfarm.settings import Settings
from buildfarm.stages import VERIFYING
from buildfarm.verdict import StageResult, Verdict


def explain(run: Run, result: StageResult, settings: Settings) -> str:
    """What a person reads about a stage that did not pass: what, where, evidence, what to do, how to reproduce."""
    whose = (
        "the package's"
        if result.verdict is Verdict.FAIL
        else "the farm's own trouble; tried again while tries are left"
    )
    parts = [
        f"{result.stage} {result.target}".rstrip() + f": {result.verdict} ({whose})",
        f"{result.where}: {result.reason}" if result.where else result.reason,
        result.resolution,
        f"To reproduce it, in the farm's checkout:\n    {reproduce_command(run, result, settings)}",
        result.details,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def reproduce_command(run: Run, result: StageResult, settings: Settings) -> str:
    """The command, given in the farm's checkout, that does the same by hand.

    It runs the same stages on the same revision; or, where that takes what was published, the stage alone, in the
    run's own workspace.
    """
    command = ".venv/bin/buildfarm" if (settings.root / ".venv/bin/buildfarm").exists() else "buildfarm"
    words = [command]
    if settings.home != settings.root / "var":
        words += ["--home", _from_root(settings.home, settings)]
    if result.stage in (*VERIFYING, "promote"):
        workspace = _from_root(settings.runs / run.run_id, settings)
        return shlex.join(
            [*words, "stage", result.stage, "--workspace", workspace, *_target(run.job, result.target)]
        )
    return shlex.join([*words, "run", run.recipe, "--revision", run.revision, "--until", result.stage])


def _from_root(path: Path, settings: Settings) -> str:
    return str(path.relative_to(settings.root) if path.is_relative_to(settings.root) else path)


def _target(job: Job, target: str) -> tuple[str, ...]:
    """A target's options; both its parts may have dashes."""
    for series in job.series:
        if target == series:
            return "--series", series
        for architecture in job.architectures:
            if target == f"{series}-{architecture}":
                return "--series", series, "--architecture", architecture
    return ()
