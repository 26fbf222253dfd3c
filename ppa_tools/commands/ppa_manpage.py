"""``ppa manpage``: the commands' manual pages, made from their parsers."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from ppa_tools.commands.command import Command, Example
from ppa_tools.commands.ends import Exit
from ppa_tools.commands.main import load
from ppa_tools.commands.ppa_completion import command_names, parser_of


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("command", nargs="?", default="ppa", choices=command_names(), metavar="COMMAND")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="write the pages of all commands there")


def run(args: argparse.Namespace) -> int:
    """Print a page, or write all."""
    if args.directory is None:
        sys.stdout.write(page(args.command))
        return Exit.DONE
    args.directory.mkdir(parents=True, exist_ok=True)
    for name in command_names():
        (args.directory / f"{name}.1").write_text(page(name), encoding="utf-8")
    return Exit.DONE


def page(name: str) -> str:
    """The manual page of an installed command."""
    from ppa_tools.commands.manpages import manual_page

    command = None if name == "ppa" else load(name.removeprefix("ppa-"))
    others = [other for other in command_names() if other != name]
    at = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())  # https://reproducible-builds.org
    return manual_page(parser_of(name), command, others, at)


COMMAND = Command(
    name="ppa-manpage",
    summary="print a command's manual page, or write those of all",
    description="Manual pages are made from what the commands' parsers know.",
    examples=(
        Example("ppa manpage ppa-copy | man -l -", "read a page"),
        Example("ppa manpage --directory ~/.local/share/man/man1", "have them where man looks"),
    ),
    configure=configure,
    run=run,
)
