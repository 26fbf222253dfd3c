"""``buildfarm vm pool``: keep machines ready, in the foreground; a part of the farm where vm.ready asks for it."""

from __future__ import annotations

import argparse
import sys

from buildfarm.errors import UsageError
from buildfarm.settings import Settings


def configure(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the arguments."""
    parser = actions.add_parser(
        "pool",
        help="keep machines ready for the recipes' next builds",
        description="Keep machines ready, woken and waiting, for the next builds of the recipes; runs until it is "
        "stopped. `buildfarm up` starts it where farm.toml has ready = N in [vm].",
    )
    parser.add_argument(
        "--ready", type=int, metavar="N", help="how many of each kind (default: vm.ready in farm.toml, or 1)"
    )
    parser.set_defaults(act=run)


def run(settings: Settings, args: argparse.Namespace) -> int:
    """Be the pool."""
    from buildfarm.farm import open_farm
    from buildfarm.verify.ready import kinds
    from buildfarm.vm.pool import Pool, run_until_signalled, socket_path

    count = args.ready if args.ready is not None else settings.vm.ready or 1
    if count < 1:
        raise UsageError("--ready: a number from 1 on is wanted")
    pool = Pool(
        socket_path(settings.home),
        count,
        lambda: tuple(kinds(settings, open_farm().book.recipes.values(), sys.stdout.buffer)),
        lambda line: print(line, flush=True),
    )
    run_until_signalled(pool)
    return 0
