"""``buildfarm up``: start what does not run yet, and say where to look."""

from __future__ import annotations

import argparse
import sys

from buildfarm.farm import Farm, open_farm
from buildfarm.parts import (
    await_part,
    be_part,
    living,
    one_at_a_time,
    part_names,
    resume_if_stopped,
    start_part,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.epilog = "Exit status: 0 every part runs, 2 farm.toml is unusable, 3 a part could not be started."
    parser.add_argument("--foreground", metavar="PART", help="be this part, in the foreground (for systemd)")


def run(args: argparse.Namespace) -> int:
    """Start the farm."""
    farm = open_farm()
    if args.foreground:
        be_part(farm, args.foreground)
    start_farm(farm)
    settings = farm.settings
    print(f"web status   {settings.web_url}")
    print(f"archive      {settings.archive_url}/")
    print(f"log in as    admin, password in {settings.secrets / 'admin-password'}")
    return 0


def start_farm(farm: Farm) -> None:
    """Start the parts that do not run; recipes that cannot be read are named and left out."""
    for problem in farm.problems:
        print(f"left out: {problem}", file=sys.stderr)
    _ = farm.admin_password
    with one_at_a_time(farm.settings):
        for name in part_names(farm):
            if resume_if_stopped(farm.settings, name):
                print(f"{name:12} was stopped, and goes on", flush=True)
            one = living(farm.settings, name)
            if one is not None:
                print(f"{name:12} runs already (process {one.pid})", flush=True)
                continue
            start_part(farm, name)
            if name != farm.signer:  # it connects to the master, which is yet to come, and wants its key
                await_part(farm, name)
            one = living(farm.settings, name)
            print(f"{name:12} started (process {one.pid if one else '?'})", flush=True)
        for name in part_names(farm):
            await_part(farm, name)
