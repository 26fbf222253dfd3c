"""What people read about a stage that did not pass, on its page and in the terminal."""

from __future__ import annotations

import shlex

from buildfarm.history.store import Run
from buildfarm.settings import Settings
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
        f"To reproduce it, in the farm's checkout:\n    {reproduce_command(run, result.stage, settings)}",
        result.details,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def reproduce_command(run: Run, stage: str, settings: Settings) -> str:
    """The command, given in the farm's checkout, that runs the same stages on the same revision by hand."""
    command = ".venv/bin/buildfarm" if (settings.root / ".venv/bin/buildfarm").exists() else "buildfarm"
    words = [command, "run", run.recipe, "--revision", run.revision, "--until", stage]
    if settings.home != settings.root / "var":
        inside = settings.home.is_relative_to(settings.root)
        words[1:1] = ["--home", str(settings.home.relative_to(settings.root) if inside else settings.home)]
    return shlex.join(words)
