"""``buildfarm repro RUN``: the very environment of a kept build, open in a shell, or built in again."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from buildfarm.errors import UsageError
from buildfarm.settings import Settings, load_settings
from ppa_tools.plain_text import plain_line

if TYPE_CHECKING:
    from buildfarm.regress.orders import BuildOrder


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("run", metavar="RUN", help="the number of a build (#123 or 123), or a pack from elsewhere")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--build", action="store_true", help="build again, and no shell")
    how.add_argument("--unpack", action="store_true", help="a shell beside the unpacked source, nothing built")
    how.add_argument("--pack", type=Path, metavar="FILE", help="write all it takes into FILE, for another machine")
    parser.add_argument(
        "--network", action="store_true", help="a shell with the network, which builds do not have"
    )
    parser.epilog = (
        "Without --build: the source is built until it ends, and a shell opens in the tree as it was left. "
        "Exit status: the shell's; with --build 0 it passes, 1 it fails, 3 trouble of the farm, "
        "4 dependencies are missing; 2 wrong usage."
    )


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    from buildfarm.process import adopt_descendants, kill_descendants
    from buildfarm.regress.places import places_of
    from buildfarm.regress.reproducing import find_kept, open_shell, read_pack, write_pack

    if args.network and (args.build or args.pack is not None):
        raise UsageError("--network is for a shell: builds have none", resolution="Leave it out, or open a shell.")
    settings = load_settings()
    number = args.run.removeprefix("#")
    if number.isdecimal() and len(number) < 12:
        kept = find_kept(int(number), settings)
    elif Path(args.run).is_file():
        with places_of(settings).store.held():  # what it puts there is on no record until all of it is
            kept = read_pack(Path(args.run), settings)
    else:
        raise UsageError(f"{args.run!r} is neither a build's number nor a pack's file")
    kept = replace(kept, told=plain_line(kept.told))
    out = sys.stdout.buffer
    if args.pack is not None:
        write_pack(kept, args.pack, settings, out)
        return 0
    print(kept.told, flush=True)
    adopt_descendants()
    try:
        if args.build:
            return _again(kept.order, settings)
        return open_shell(kept, settings, out, build=not args.unpack, network=args.network)
    finally:
        kill_descendants()


def _again(order: BuildOrder, settings: Settings) -> int:
    from buildfarm.commands.rebuild import EXIT_STATUS
    from buildfarm.regress.one_build import run_build
    from buildfarm.regress.reproducing import own_place

    with own_place(settings) as directory:
        report = run_build(order, directory / "build", settings, sys.stdout.buffer)
    print(plain_line(f"{report.outcome}: {report.reason}"))
    return EXIT_STATUS[report.outcome]
