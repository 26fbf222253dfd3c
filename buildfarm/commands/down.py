"""``buildfarm down``: stop the farm; nothing is lost, what was running goes on at the next ``up``."""

from __future__ import annotations

import argparse
import signal
import sys

from buildfarm.errors import UsageError
from buildfarm.farm import stop_agents
from buildfarm.parts import await_end, living, one_at_a_time, running_parts, signal_part, stop_part
from buildfarm.settings import Settings, load_settings, settings_of_home

WAIT_LIMIT_S = 24 * 3600.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("--wait", action="store_true", help="let what runs end first")


def run(args: argparse.Namespace) -> int:
    """Stop the parts, the last started first; also those that the settings no longer name."""
    settings = _settings()
    waited = args.wait and _await_runs(settings)
    with one_at_a_time(settings):
        if waited and living(settings, "master") is not None:
            print("the farm was started again meanwhile, and is left running")
            return 0
        stopped = waited
        # Buildbot's own stop cancels running builds for good; after a kill it runs them again.
        if stop_part(settings, "master", signal.SIGKILL):
            stopped = True
            print("master       stopped")
        for name in reversed(running_parts(settings)):
            if stop_part(settings, name, signal.SIGTERM):
                stopped = True
                print(f"{name:12} stopped")
        stop_agents(settings)
    if not stopped:
        print(f"nothing of the farm runs here ({settings.home})")
    return 0


def _settings() -> Settings:
    """The farm's settings, or as much of them as it takes to stop it."""
    try:
        return load_settings()
    except UsageError as error:
        settings = settings_of_home()
        print(f"{error}\nstopping what runs in {settings.home} all the same", file=sys.stderr, flush=True)
        return settings


def _await_runs(settings: Settings) -> bool:
    """Let the master end what runs, without the lock, so that a plain ``down`` can cut it short.

    False when no master ran, or what runs is not over at the limit.
    """
    with one_at_a_time(settings):
        running = _running(settings)
        master = signal_part(settings, "master", signal.SIGUSR1)
    if master is None:
        return False
    print(f"master       finishes what runs: {', '.join(running) or 'nothing'}", flush=True)
    if not await_end(settings, "master", master, WAIT_LIMIT_S):
        return False
    print("master       stopped", flush=True)
    return True


def _running(settings: Settings) -> tuple[str, ...]:
    """The tasks that were given out, each with its run."""
    if not settings.history_file.exists():
        return ()
    from buildfarm.history import open_history

    submitted = open_history(settings.history_file).submitted_tasks()
    return tuple(f"{run.run_id} ({task.key})" for run, task in submitted)
