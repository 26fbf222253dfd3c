"""``buildfarm archive``: the embedded archive's PPAs, what is in them, and the process that serves them."""

from __future__ import annotations

import argparse

from buildfarm.commands.archive import access, moments, packages, ppas, upkeep
from buildfarm.embedded_archive import opened_archive
from buildfarm.settings import load_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments; every action says by ``act`` which function does it."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for module in (ppas, packages, moments, access, upkeep):
        module.configure(actions)


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    settings = load_settings()
    with opened_archive(settings) as archive:
        status: int = args.act(archive, settings, args)
    return status
