"""``buildfarm logs``: what the farm's own processes say."""

from __future__ import annotations

import argparse
import subprocess

from buildfarm.errors import UsageError
from buildfarm.farm import open_farm
from buildfarm.parts import last_lines, part_names


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("part", nargs="?", metavar="PART", help="archive, master, signer, worker-1 (default: all)")
    parser.add_argument("-n", "--lines", type=int, default=20, help="how many last lines of each (default 20)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as lines come")


def run(args: argparse.Namespace) -> int:
    """Show the last lines of each part's log."""
    farm = open_farm()
    names = part_names(farm)
    if args.part is not None and args.part not in names:
        raise UsageError(f"no part {args.part!r}", resolution=f"Parts: {', '.join(names)}.")
    wanted = [args.part] if args.part else list(names)
    if args.follow:
        files = [
            str(farm.settings.logs / f"{name}.{kind}")
            for name in wanted
            for kind in ("out", "log")
            if (farm.settings.logs / f"{name}.{kind}").exists()
        ]
        if not files:
            raise UsageError("nothing has been logged yet", resolution="Start the farm with `buildfarm up`.")
        return subprocess.call(["tail", "-n", str(args.lines), "-F", "--", *files])
    for name in wanted:
        print(f"== {name}")
        print(last_lines(farm.settings, name, args.lines) or "(nothing yet)")
    return 0
