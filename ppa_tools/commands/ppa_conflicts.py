"""``ppa-conflicts``: what several archives hold at different versions, and what of them put together breaks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ppa_tools.address import Address, parse_address
from ppa_tools.archives.words import read_size
from ppa_tools.commands import arguments
from ppa_tools.commands.command import Command, Example
from ppa_tools.commands.ends import Exit, usage_error
from ppa_tools.commands.filtering import check_words, selection
from ppa_tools.commands.indexes import add_base, readable_indexes
from ppa_tools.commands.session import session
from ppa_tools.publication import Side

if TYPE_CHECKING:
    from ppa_tools.apt.conflicting import Held, Pin


DOWNLOAD_LIMIT = "256M"


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "archives",
        metavar=arguments.ARCHIVE,
        nargs="+",
        type=arguments.address,
        help=f"{arguments.ARCHIVE_HELP}; in the order of apt's sources",
    )
    group = parser.add_argument_group("which packages")
    arguments.add_filters(group, "source packages")
    arguments.add_series(group)
    group.add_argument("--binaries", action="store_true", help="compare binary packages as well, by apt's indexes")
    group = parser.add_argument_group("how apt would choose")
    group.add_argument(
        "--pin",
        metavar="PPA[/GLOB]=PRIORITY",
        action="append",
        default=[],
        type=_pin,
        help="apt's priority for what comes from a PPA, or for packages of it (500); may be repeated",
    )
    group = parser.add_argument_group("what breaks")
    group.add_argument(
        "--installable",
        action="store_true",
        help="have apt's solver prove what could no longer be installed or built, and find files that two own",
    )
    group.add_argument(
        "--download-limit",
        metavar="SIZE",
        type=arguments.size,
        default=read_size(DOWNLOAD_LIMIT),
        help=f"download packages up to this in all, to see what files they own ({DOWNLOAD_LIMIT})",
    )
    group.add_argument("--architecture", metavar="NAME", default="", help="for this one (this machine's)")
    add_base(group)
    parser.add_argument("--exit-code", action="store_true", help="exit status 3 when anything is found")
    arguments.add_format(parser)
    arguments.add_archives(parser)


def run(args: argparse.Namespace) -> int:
    """Tell what the archives do not agree about."""
    from ppa_tools.apt.conflicting import find_conflicts, held_of_side
    from ppa_tools.commands.conflict_output import Findings, show

    addresses = _addresses(args)
    wanted = selection(args.include, args.exclude)
    with session(args) as opened:
        sides = opened.sides(addresses, with_past=False)
        check_words(wanted, args.series, *sides)
        series = args.series or _shared_series(sides)
        held: list[tuple[Address, list[Held]]] = [(side.address, held_of_side(side)) for side in sides]
        findings = Findings()
        if args.binaries or args.installable:
            from ppa_tools.commands.merging import held_in_indexes, what_breaks

            with readable_indexes():
                if args.binaries:
                    held = held_in_indexes(opened, args, sides, series)
                if args.installable:
                    findings = what_breaks(opened, args, sides, series)
    chosen = [(address, [one for one in its if wanted.admits(one.source)]) for address, its in held]
    findings = findings.with_conflicts(find_conflicts(chosen, pins=args.pin, series=args.series))
    show(findings, args.format)
    return Exit.PENDING if args.exit_code and findings.anything else Exit.DONE


def _addresses(args: argparse.Namespace) -> list[Address]:
    addresses = list(dict.fromkeys(args.archives))
    if len(addresses) < 2:
        raise usage_error("one archive has no conflicts", "Name two or more.")
    if strangers := [one.address for one in args.pin if one.address not in addresses]:
        raise usage_error(f"--pin names {strangers[0]}, which is none of the archives")
    if args.installable and args.format in ("csv", "lines"):
        raise usage_error(f"--installable finds more than {args.format} can show", "Give --format json, or table.")
    return addresses


def _shared_series(sides: Sequence[Side]) -> list[str]:
    """The series that two or more have packages for."""
    held = [{one.series for one in side.publications} for side in sides]
    return sorted(name for name in set().union(*held) if sum(name in its for its in held) > 1)


def _pin(text: str) -> Pin:
    from ppa_tools.apt.conflicting import Pin

    where, _, priority = text.rpartition("=")
    owner, _, rest = where.partition("/")
    name, _, glob = rest.partition("/")
    try:
        return Pin(parse_address(f"{owner}/{name}"), int(priority), glob or "*")
    except ValueError as error:
        wanted = "ppa:owner/name=600 or 'ppa:owner/name/qt*=600' is wanted"
        raise argparse.ArgumentTypeError(f"{text!r} is no pin: {wanted}") from error


COMMAND = Command(
    name="ppa-conflicts",
    summary="tell what several archives hold at different versions, and which one apt would take",
    description=(
        "Whoever adds several PPAs to a machine gets one version of each package: the one of the highest "
        "priority, then the highest. The projects of the other PPAs then run against a version that they were not "
        "developed with. Tells of each such package what apt takes, and instead of what."
    ),
    examples=(
        Example("ppa-conflicts ppa:me/app ppa:them/libs", "what one of them has at another version"),
        Example("ppa-conflicts ppa:a/x ppa:b/y --series noble --exit-code", "for a check: exit status 3 when any"),
        Example("ppa-conflicts ppa:a/x ppa:b/y --pin ppa:a/x=600", "as apt chooses with a pin"),
        Example("ppa-conflicts ppa:a/x ppa:b/y --installable", "what the two break in each other, too"),
    ),
    configure=configure,
    run=run,
)
