"""``buildfarm run RECIPE``: the same stages as on the farm, here, without Buildbot."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from buildfarm.job import Job
from buildfarm.settings import Settings
from buildfarm.stages import BY_NAME, VERIFYING
from buildfarm.verdict import StageResult, Verdict


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("recipe", help="the recipe's name")
    parser.add_argument("--revision", default="", metavar="R", help="a commit, tag or branch (default: the tip)")
    parser.add_argument(
        "--until",
        default="publish",
        choices=BY_NAME,
        metavar="STAGE",
        help="the last stage: " + ", ".join(BY_NAME),
    )
    parser.add_argument(
        "--publish", action="store_true", help="also sign, upload, publish and promote (left out otherwise)"
    )
    parser.add_argument(
        "--afresh",
        action="store_true",
        help="with the recipe and its other branches as they are now, even where the farm ran this commit before",
    )
    parser.add_argument("--workspace", type=Path, metavar="DIR", help="where to work (default: below var/local)")
    parser.epilog = (
        "Stages that passed in the workspace before, on the same inputs, are not run again. "
        "Exit status: 0 passed, 1 the package failed, 2 wrong usage, 3 the farm's own trouble."
    )


def run(args: argparse.Namespace) -> int:
    """Run the stages and say what they came to."""
    from buildfarm.farm import open_farm
    from buildfarm.pipeline.local import local_steps, run_steps
    from buildfarm.pipeline.pin import pin_parts
    from buildfarm.recipe.jobs import branch_of, job_for
    from buildfarm.trunk import open_trunk
    from buildfarm.workspace import Workspace

    farm = open_farm()
    recipe = farm.book.find(args.recipe)
    revision = open_trunk(branch_of(recipe), farm.settings.cache).resolve(args.revision)
    path = args.workspace or farm.settings.home / "local" / f"{recipe.name}-{revision[-12:]}"
    job = None if args.afresh else _recorded_job(farm.settings, recipe.name, revision)
    if job is None:
        job = pin_parts(job_for(recipe, revision, f"{recipe.name}-local"), farm.settings.cache)
    steps = local_steps(job, args.until, publish=args.publish)
    if left_out := _left_out(args.until, publish=args.publish):
        print(f"left out: {', '.join(left_out)} (--publish includes them)", file=sys.stderr, flush=True)
    results = list(
        run_steps(
            job, Workspace(path.resolve()), farm.settings, steps, lambda step: print(f"== {step}", flush=True)
        )
    )
    print(f"\n{recipe.name} at {revision}, in {path}")
    for result in results:
        print(f"  {summary_line(result)}")
    return results[-1].verdict.exit_status if results else Verdict.PASS.exit_status


def _recorded_job(settings: Settings, recipe: str, revision: str) -> Job | None:
    """What this farm's own run of the commit was asked, its nested branches pinned; None when it never ran."""
    if not settings.history_file.exists():
        return None
    from buildfarm.history import open_history

    run = open_history(settings.history_file).run_of(recipe, revision)
    if run is None:
        return None
    print(f"as run {run.run_id} had it (--afresh takes the recipe as it is now)", flush=True)
    return replace(run.job, run_id=f"{recipe}-local")


def _left_out(until: str, *, publish: bool) -> tuple[str, ...]:
    """What is not run although a last stage like this one asks for it: what is verified must be published."""
    from buildfarm.pipeline.local import LEAVES_THE_WORKSPACE

    if publish or until not in (*LEAVES_THE_WORKSPACE, *VERIFYING):
        return ()
    names = list(BY_NAME)
    return tuple(name for name in LEAVES_THE_WORKSPACE if names.index(name) <= names.index(until))


def summary_line(result: StageResult) -> str:
    """A stage in one line."""
    name = f"{result.stage} {result.target}".rstrip()
    return f"{result.verdict:8} {name:26} {result.duration_s:7.1f} s  {result.reason}"
