"""``buildfarm vm``: machines that packages are tried in, and the images they begin with."""

from __future__ import annotations

import argparse

from buildfarm.commands.vm import image, pool
from buildfarm.commands.vm import run as run_machine
from buildfarm.settings import load_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments; every action says by ``act`` which function does it."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for module in (run_machine, image, pool):
        module.configure(actions)


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    status: int = args.act(load_settings(), args)
    return status
