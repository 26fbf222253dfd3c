"""``buildfarm stage NAME --workspace DIR``: one stage, once; its verdict is the exit status."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from buildfarm.errors import UsageError
from buildfarm.job import Job
from buildfarm.process import adopt_descendants, kill_descendants
from buildfarm.settings import load_settings
from buildfarm.stages import BY_NAME
from buildfarm.workspace import RUNS_MARK_VARIABLE, Workspace, check_runs_mark


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("name", choices=BY_NAME, metavar="NAME", help=", ".join(BY_NAME))
    parser.add_argument("--workspace", type=Path, required=True, metavar="DIR", help="the run's directory")
    parser.add_argument("--series", default="", help="for stages that run once a series")
    parser.add_argument("--architecture", default="", help="for build, publish and what verifies them")
    parser.add_argument(
        "--job", metavar="FILE", help="keep this job.json in the workspace first; - reads standard input"
    )
    parser.epilog = "Exit status: 0 pass or skipped, 1 fail (the package), 2 wrong usage, 3 error (the farm)."


def run(args: argparse.Namespace) -> int:
    """Run the stage."""
    from buildfarm.stages.runner import run_stage

    if mark := os.environ.pop(RUNS_MARK_VARIABLE, ""):
        check_runs_mark(load_settings().runs, mark)
    workspace = Workspace(args.workspace.resolve())
    try:
        if args.job is not None:
            import json

            text = sys.stdin.read() if args.job == "-" else Path(args.job).read_text(encoding="utf-8")
            take_job(workspace, Job.from_json(json.loads(text)))
        workspace.read_job()
    except FileNotFoundError as error:
        raise UsageError(
            f"{error.filename} is not there", resolution="Give the directory of a run, or a job with --job."
        ) from error
    except ValueError as error:
        raise UsageError(f"job.json cannot be used: {error}", where=str(workspace.path)) from error
    adopt_descendants()
    try:
        result = run_stage(
            args.name,
            workspace,
            load_settings(),
            series=args.series,
            architecture=args.architecture,
            watcher=sys.stdout.buffer,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    finally:
        kill_descendants()
    return result.verdict.exit_status


def take_job(workspace: Workspace, job: Job) -> None:
    """Keep a job in a workspace; one that another commit left here (an earlier history's) is emptied first."""
    try:
        kept = workspace.read_job()
    except (FileNotFoundError, ValueError):
        kept = None
    if kept is not None and (kept.recipe, kept.revision) != (job.recipe, job.revision):
        from buildfarm.build.namespaces import remove_owned_tree

        remove_owned_tree(workspace.path)
    if kept != job:
        workspace.write_job(job)
