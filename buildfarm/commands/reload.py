"""``buildfarm reload``: take up changed recipes; what runs goes on with the recipe it began with."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time

from buildfarm.errors import FarmTrouble
from buildfarm.farm import open_farm
from buildfarm.parts import living

DONE = b"configuration update complete"
REFUSED = (b"configuration update aborted", b"reconfig aborted")
USUAL = (
    "beginning configuration update",
    "Loading configuration from",
    "recipe left out",
    "package set left out",
    "configuration update ab",
)
LIMIT_S = 60.0


def configure(parser: argparse.ArgumentParser) -> None:
    """No arguments."""
    parser.epilog = (
        "Exit status: 0 taken up, 1 recipes or sets were left out, 2 farm.toml is unusable,"
        " 3 the master kept what it had or does not answer."
    )


def run(_args: argparse.Namespace) -> int:
    """Ask the master, and wait for its word."""
    farm = open_farm()
    for problem in farm.problems:
        print(f"left out: {problem}", file=sys.stderr)
    master = living(farm.settings, "master")
    if master is None:
        raise FarmTrouble("the master does not run", resolution="Start it with `buildfarm up`.")
    log = farm.settings.logs / "master.log"
    offset = log.stat().st_size if log.exists() else 0
    os.kill(master.pid, signal.SIGHUP)
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        time.sleep(0.1)
        if log.stat().st_size < offset:
            offset = 0
        with log.open("rb") as file:
            file.seek(offset)
            said = file.read()
        if DONE in said:
            count = len(farm.book.recipes)
            print(f"{count} recipe{'' if count == 1 else 's'} in use, {len(farm.problems)} left out")
            return 1 if farm.problems else 0
        if REFUSED[0] in said or REFUSED[1] in said:
            raise FarmTrouble(
                "the master kept its old configuration",
                details=_errors(said),
                resolution="Mend what it names, then reload again.",
            )
    raise FarmTrouble("the master did not answer", resolution=f"See {log}.")


def _errors(said: bytes) -> str:
    """What the master said of it, without the times and what it says at every reload."""
    lines = (re.sub(r"^\S+ \S+ \[-\] ", "", line).strip() for line in said.decode("utf-8", "replace").splitlines())
    return "\n".join(line for line in lines if not line.startswith(USUAL))[-2000:]
