"""``ppa``: all commands as subcommands of one. Imports what is wanted."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from ppa_tools.commands.command import Command, Parser
from ppa_tools.commands.ends import Exit

COMMANDS = ("copy", "sync", "list", "conflicts", "diff", "history", "rollback", "wait", "completion", "manpage")
DESCRIPTION = """\
Tools for PPAs, on Launchpad and in the embedded archive.

Each command is there under its own name as well (ppa-copy). `ppa COMMAND --help`
has its options, examples and exit statuses."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ppa``; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and not words[0].startswith("-"):
        if words[0] in COMMANDS:
            return load(words[0])(words[1:], prog=f"ppa {words[0]}")
        return _unknown(words[0])
    parser = umbrella()
    parser.parse_args(words)
    parser.print_help()
    return Exit.USAGE


def load(short: str) -> Command:
    """A command, by its name after ``ppa-``."""
    command: Command = importlib.import_module(f"ppa_tools.commands.ppa_{short}").COMMAND
    return command


def umbrella() -> argparse.ArgumentParser:
    """The parser of ``ppa`` with those of all commands in it."""
    parser = Parser(
        prog="ppa",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    actions = parser.add_subparsers(metavar="COMMAND", title="commands")
    for short in COMMANDS:
        command = load(short)
        command.configure(actions.add_parser(short, help=command.summary, **command.words))
    return parser


class _Version(argparse.Action):
    """Finding the version costs more than starting."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"ppa {version('buildfarm')}")
        parser.exit()


def _unknown(word: str) -> int:
    import difflib

    near = difflib.get_close_matches(word, COMMANDS, n=1)
    hint = f"did you mean `ppa {near[0]}`?" if near else f"there are {', '.join(COMMANDS)}"
    print(f"ppa: there is no command {word!r}\n  {hint[0].upper()}{hint[1:]}", file=sys.stderr)
    return Exit.USAGE


if __name__ == "__main__":
    sys.exit(main())
