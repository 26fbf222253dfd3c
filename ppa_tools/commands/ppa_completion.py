"""``ppa completion``: what bash, zsh and fish need to complete the commands' words, made from their parsers."""

from __future__ import annotations

import argparse
import sys

from ppa_tools.commands.command import Command, Example
from ppa_tools.commands.ends import Exit
from ppa_tools.commands.main import COMMANDS, load, umbrella

SHELLS = ("bash", "zsh", "fish")
DIRECTORIES = ("local_archive", "directory")


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("shell", choices=SHELLS)
    parser.add_argument(
        "command", nargs="?", choices=command_names(), metavar="COMMAND", help="for this one alone (all of them)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    names = [args.command] if args.command else command_names()
    for name in names:
        sys.stdout.write(completion(name, args.shell) + "\n")
    return Exit.DONE


def command_names() -> list[str]:
    """All that is installed: ``ppa``, and each command that has a name of its own."""
    return ["ppa", *(f"ppa-{short}" for short in COMMANDS if short not in ("completion", "manpage"))]


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of an installed command."""
    return umbrella() if name == "ppa" else load(name.removeprefix("ppa-")).parser()


def completion(name: str, shell: str) -> str:
    """The completion script of an installed command."""
    import shtab

    parser = parser_of(name)
    _mark_directories(parser, shtab.DIRECTORY)
    text: str = shtab.complete(parser, shell)
    return text


def _mark_directories(parser: argparse.ArgumentParser, directory: object) -> None:
    for action in parser._actions:
        if action.dest in DIRECTORIES:
            action.complete = directory  # type: ignore[attr-defined]
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _mark_directories(inner, directory)


COMMAND = Command(
    name="ppa-completion",
    summary="print what a shell needs to complete these commands",
    description="Prints a script for bash, zsh or fish.",
    examples=(
        Example('eval "$(ppa completion bash)"', "in ~/.bashrc"),
        Example('eval "$(ppa completion zsh)"', "in ~/.zshrc, after compinit"),
        Example("ppa completion fish > ~/.config/fish/completions/ppa.fish", "for fish; once"),
    ),
    configure=configure,
    run=run,
)
