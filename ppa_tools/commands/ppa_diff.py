"""``ppa-diff``: what two archives hold at different versions, each as it is or as it was at a moment."""

from __future__ import annotations

import argparse

from ppa_tools.commands import arguments
from ppa_tools.commands.arguments import AddressAt
from ppa_tools.commands.command import Command, Example
from ppa_tools.commands.ends import Exit
from ppa_tools.commands.filtering import check_series, check_words, selection
from ppa_tools.commands.moments import read_when
from ppa_tools.commands.output import Column, Table, counted, moment_text, note, print_rows
from ppa_tools.commands.session import Session, session
from ppa_tools.plan.choosing import ChoiceError, Selection, SeriesPair, pair_series
from ppa_tools.plan.comparing import Change, Difference, compare
from ppa_tools.publication import Side

STYLES = {Change.ADDED: "good", Change.REMOVED: "bad", Change.NEWER: "new", Change.OLDER: "warn"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    at = f"{arguments.ARCHIVE_HELP}; as it was at a date or a snapshot: ppa:OWNER/NAME@2026-11-01"
    parser.add_argument("left", metavar="A", type=arguments.address_at, help=at)
    parser.add_argument("right", metavar="B", type=arguments.address_at, help="as A; what differs in B is told")
    group = parser.add_argument_group("which packages")
    arguments.add_filters(group, "source packages")
    arguments.add_series(group)
    group.add_argument(
        "--from-series", metavar="NAME", action="append", default=[], help="series of A, for other ones of B"
    )
    group.add_argument(
        "--to-series", metavar="NAME", action="append", default=[], help="series of B, in the same order"
    )
    parser.add_argument("--exit-code", action="store_true", help="exit status 3 when anything differs")
    arguments.add_format(parser)
    arguments.add_archives(parser)


def run(args: argparse.Namespace) -> int:
    """Tell what differs."""
    wanted = selection(args.include, args.exclude)
    with session(args) as opened:
        left_at, right_at = (_moment(opened, one) for one in (args.left, args.right))
        past = left_at is not None or right_at is not None
        left, right = opened.sides([args.left.address, args.right.address], with_past=past)
    _check(args, wanted, left, right)
    found = [
        one
        for one in compare(left, right, _pairs(args, left), left_at=left_at, right_at=right_at)
        if wanted.admits(one.source) and (not args.series or one.series in args.series)
    ]
    print_rows(_table(args, found), args.format)
    if args.format == "table":
        compared = f"{_side_text(args.left, left_at)} and {_side_text(args.right, right_at)}"
        note(f"{counted(len(found), 'difference')} between {compared}")
    return Exit.PENDING if args.exit_code and found else Exit.DONE


def _moment(opened: Session, side: AddressAt) -> float | None:
    return None if side.when is None else read_when(opened.archive(side.address), side.when)


def _side_text(side: AddressAt, at: float | None) -> str:
    return str(side.address) if at is None else f"{side.address} at {moment_text(at)} UTC"


def _pairs(args: argparse.Namespace, left: Side) -> tuple[SeriesPair, ...]:
    if not args.from_series and not args.to_series:
        return ()
    from ppa_tools.commands.ends import usage_error

    try:
        return pair_series(left, args.from_series, args.to_series)
    except ChoiceError as error:
        raise usage_error(str(error)) from error


def _check(args: argparse.Namespace, wanted: Selection, left: Side, right: Side) -> None:
    """Names and series that neither side ever had are slips of the hand."""
    check_words(wanted, args.series, left, right)
    check_series(args.from_series, left.series, str(left.address))
    check_series(args.to_series, right.series, str(right.address))


def _table(args: argparse.Namespace, found: list[Difference]) -> Table:
    columns = (
        Column("series", "SERIES"),
        Column("source", "SOURCE"),
        Column("left", _heading(args.left), tell=list),
        Column("right", _heading(args.right), tell=list),
        Column("change", "CHANGE", style=lambda change: STYLES[change]),
    )
    return Table(columns, tuple((one.series, one.source, one.left, one.right, one.change) for one in found))


def _heading(side: AddressAt) -> str:
    return str(side)


COMMAND = Command(
    name="ppa-diff",
    summary="compare two archives, each as it is or as it was at a moment",
    description=(
        "Tells of each source package whose versions differ how B has it: added, removed, newer or older. "
        "A@MOMENT is A as it was then, by its history; the embedded archive's snapshots are moments, too."
    ),
    examples=(
        Example("ppa-diff ppa:me/stable ppa:me/trunk", "what a promotion of all would bring"),
        Example("ppa-diff ppa:me/trunk@2026-11-01 ppa:me/trunk", "what has changed in a PPA since then"),
        Example("ppa-diff local:me/trunk@before-2.0 local:me/trunk", "the same, since a snapshot"),
        Example("ppa-diff ppa:me/a ppa:me/b --from-series jammy --to-series noble", "one series against another"),
    ),
    configure=configure,
    run=run,
)
