"""What the archive's actions share: their usual arguments, who asks, tables and JSON, and asking back."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from buildfarm.errors import FarmError, UsageError
from buildfarm.settings import Settings
from ppa_tools.address import Address, parse_address

if TYPE_CHECKING:
    from ppa_tools.archives.local import LocalArchive, Outcome, Wanted

    Act = Callable[[LocalArchive, Settings, argparse.Namespace], int]

Actions = Any  # what add_subparsers returns has no public name


def add_action(actions: Actions, name: str, summary: str, act: Act) -> argparse.ArgumentParser:
    """An action, which ``act`` does."""
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + ".", allow_abbrev=False
    )
    parser.set_defaults(act=act)
    return parser


def add_group(actions: Actions, name: str, summary: str) -> Actions:
    """A word that has actions of its own."""
    parser = actions.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
    return parser.add_subparsers(dest="what", metavar="ACTION", required=True)


def add_archive(parser: argparse.ArgumentParser, name: str = "archive", *, optional: bool = False) -> None:
    """The PPA that an action is about."""
    parser.add_argument(name, metavar="local:OWNER/NAME", type=local_address, nargs="?" if optional else None)


def add_format(parser: argparse.ArgumentParser) -> None:
    """For people, or for programs."""
    parser.add_argument("--format", choices=("table", "json"), default="table", help="json is for programs")


def add_series(parser: argparse.ArgumentParser) -> None:
    """One series of the PPA."""
    parser.add_argument("--series", default="", metavar="NAME", help="this series alone")


def add_why(parser: argparse.ArgumentParser) -> None:
    """What the history keeps."""
    parser.add_argument("--why", default="", metavar="TEXT", help="the reason, for the history")


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Consent beforehand."""
    parser.add_argument("--yes", action="store_true", help="do not ask")


def local_address(text: str) -> Address:
    """The address of a PPA of the embedded archive, for argparse."""
    try:
        address = parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if address.backend != "local":
        raise argparse.ArgumentTypeError(f"{text} is on Launchpad; the embedded archive has local:owner/name")
    return address


def number(kind: Callable[[str], Any], what: str) -> Callable[[str], Any]:
    """A number that is not negative, for argparse."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no {what}") from None
        if not 0 <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is no {what}")
        return value

    return read


def wanted_packages(words: Sequence[str], *, all_of_them: bool) -> list[Wanted] | None:
    """The packages that were named (PACKAGE or PACKAGE=VERSION); None is all that are active."""
    from ppa_tools.archives.local import Wanted

    if bool(words) == all_of_them:
        raise UsageError(
            "packages are wanted, or --all", resolution="PACKAGE or PACKAGE=VERSION, source packages."
        )
    if all_of_them:
        return None
    return [Wanted(*word.split("=", 1)) for word in words]


def only_series(archive: LocalArchive, address: Address, given: str, option: str = "--series") -> str:
    """The series that is meant: the one given, or the only one there is."""
    known = [one.name for one in archive.series(address)]
    if given or len(known) == 1:
        return given or known[0]
    raise UsageError(
        f"{address} has {'the series ' + ', '.join(known) if known else 'no series'}",
        resolution=f"Say which by {option}.",
    )


def user() -> str:
    """Who asks, for the history."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name
        return f"uid {os.getuid()}"


def ask(question: str, *, yes: bool) -> None:
    """Go on with a yes only. Raises UsageError where nobody can be asked, FarmError after a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody is there to say so", resolution="--yes says it beforehand.")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise FarmError("nothing was done")


def print_outcomes(outcomes: Sequence[Outcome], how: str) -> None:
    """What became of packages."""
    if how == "json":
        print_json([vars(one) for one in outcomes])
        return
    rows = [(one.series, one.source, one.version, one.what, str(one.binaries)) for one in outcomes]
    print_table(("SERIES", "SOURCE", "VERSION", "WHAT", "BINARIES"), rows)


def print_json(data: object) -> None:
    """For programs."""
    print(json.dumps(data, indent=2))


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """For people."""
    lines = [head, *rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
