"""``ppa-conflicts``: what several archives hold at different versions, and which one apt would take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ppa_tools.address import parse_address
from ppa_tools.commands import arguments
from ppa_tools.commands.command import Command, Example
from ppa_tools.commands.ends import Exit, usage_error
from ppa_tools.commands.filtering import Filter, check_names, check_series
from ppa_tools.commands.output import Column, Table, counted, note, print_rows
from ppa_tools.commands.session import session

if TYPE_CHECKING:
    from ppa_tools.apt.conflicting import Conflict, Found, Pin


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
    group = parser.add_argument_group("how apt would choose")
    group.add_argument(
        "--pin",
        metavar="PPA=PRIORITY",
        action="append",
        default=[],
        type=_pin,
        help="apt's priority for what comes from a PPA (500); may be repeated",
    )
    parser.add_argument("--exit-code", action="store_true", help="exit status 3 when anything is found")
    arguments.add_format(parser)
    arguments.add_archives(parser)


def run(args: argparse.Namespace) -> int:
    """Tell what the archives do not agree about."""
    from ppa_tools.apt.conflicting import find_conflicts, held_of_side

    addresses = list(dict.fromkeys(args.archives))
    if len(addresses) < 2:
        raise usage_error("one archive has no conflicts", "Name two or more.")
    if strangers := [one.address for one in args.pin if one.address not in addresses]:
        raise usage_error(f"--pin names {strangers[0]}, which is none of the archives")
    wanted = Filter(tuple(args.include), tuple(args.exclude))
    with session(args) as opened:
        sides = opened.sides(addresses, with_past=False)
    where = ", ".join(map(str, addresses))
    check_series(args.series, [name for side in sides for name in side.series], where)
    known = [one.source for side in sides for one in side.publications]
    check_names(wanted.unmatched(known), known, where)
    held = [(side.address, [one for one in held_of_side(side) if wanted.admits(one.source)]) for side in sides]
    found = find_conflicts(held, pins=args.pin, series=args.series)
    print_rows(_table(found.conflicts), args.format)
    if args.format == "table":
        _sum_up(found)
    return Exit.PENDING if args.exit_code and found.conflicts else Exit.DONE


def _sum_up(found: Found) -> None:
    for address, conflicts in found.displaced_by_ppa().items():
        packages = counted(len({one.package for one in conflicts}), "package")
        note(f"{address} would run against other versions of {packages} than it was developed with")
    note(counted(len(found.conflicts), "conflict"))


def _table(conflicts: tuple[Conflict, ...]) -> Table:
    columns = (
        Column("series", "SERIES"),
        Column("source", "SOURCE"),
        Column("chosen", "APT TAKES", say=_offer_text),
        Column("displaced", "INSTEAD OF", say=lambda offers: ", ".join(map(_offer_text, offers)) or "-"),
    )
    rows = tuple(
        (one.series, one.package, _offer(one.chosen), [_offer(offer) for offer in one.displaced])
        for one in conflicts
    )
    return Table(columns, rows)


def _offer(offer: Any) -> dict[str, Any] | None:
    if offer is None:
        return None
    return {"archive": str(offer.address), "version": offer.version, "priority": offer.priority}


def _offer_text(offer: dict[str, Any] | None) -> str:
    return "none: pins forbid all" if offer is None else f"{offer['version']} of {offer['archive']}"


def _pin(text: str) -> Pin:
    from ppa_tools.apt.conflicting import Pin

    address, equals, priority = text.rpartition("=")
    try:
        return Pin(parse_address(address), int(priority))
    except ValueError as error:
        said = str(error) if equals and not address else f"{text!r} is no pin: ppa:owner/name=600 is wanted"
        raise argparse.ArgumentTypeError(said) from error


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
    ),
    configure=configure,
    run=run,
)
