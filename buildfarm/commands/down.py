"""``buildfarm down``: stop the farm; nothing is lost, what was running goes on at the next ``up``."""

from __future__ import annotations

import argparse
import signal

from buildfarm.farm import open_farm
from buildfarm.parts import living, one_at_a_time, part_names, stop_part

WAIT_LIMIT_S = 24 * 3600.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("--wait", action="store_true", help="let what runs end first")


def run(args: argparse.Namespace) -> int:
    """Stop the parts, the last started first."""
    farm = open_farm()
    settings = farm.settings
    with one_at_a_time(settings):
        stopped = living(settings, "master") is not None
        if living(settings, "master") is not None:
            if args.wait:
                print("master       finishes what runs", flush=True)
                stop_part(settings, "master", signal.SIGUSR1, WAIT_LIMIT_S)
            else:
                # Buildbot's own stop cancels running builds for good; after a kill it runs them again.
                stop_part(settings, "master", signal.SIGKILL)
            print("master       stopped")
        for name in reversed(part_names(farm)):
            if name != "master" and stop_part(settings, name, signal.SIGTERM):
                stopped = True
                print(f"{name:12} stopped")
        farm.stop_agents()
        if not stopped:
            print("nothing of the farm runs here")
    return 0
