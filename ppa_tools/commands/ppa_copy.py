"""``ppa-copy``: copies packages from one archive to another, or moves them."""

from __future__ import annotations

import argparse

from ppa_tools.commands import arguments
from ppa_tools.commands.carrying_out import add_arguments as add_consent
from ppa_tools.commands.carrying_out import carry_out
from ppa_tools.commands.command import Command, Example
from ppa_tools.commands.companions import Company, with_companions
from ppa_tools.commands.ends import usage_error
from ppa_tools.commands.filtering import check_series, refuse_missing
from ppa_tools.commands.indexes import add_base, readable_indexes
from ppa_tools.commands.session import session
from ppa_tools.plan.choosing import Selection
from ppa_tools.publication import Side


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    arguments.add_source_and_destination(parser)
    parser.add_argument(
        "packages", metavar="PACKAGE[=VERSION]", nargs="*", type=arguments.package, help="source packages"
    )
    group = parser.add_argument_group("which packages")
    group.add_argument("--all", action="store_true", help="all that SRC holds")
    arguments.add_filters(group, "source packages")
    arguments.add_series_pairs(group)
    group.add_argument(
        "--with-dependencies",
        action="store_true",
        help="with what they need and neither DST nor its base distribution has",
    )
    add_base(group)
    arguments.add_terms(parser)
    parser.add_argument("--move", action="store_true", help="delete each from SRC once it has arrived")
    add_consent(parser)
    arguments.add_waiting(parser, "45m")
    arguments.add_format(parser)
    arguments.add_archives(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, ask, copy."""
    if not (args.packages or args.all or args.include):
        raise usage_error("no packages are named", "Name some, or give --all or --include 'GLOB'.")
    if args.packages and args.all:
        raise usage_error("packages are named, and --all as well", "Give one of them.")
    from ppa_tools.apply.looking import both_sides, gather
    from ppa_tools.plan.choosing import ChoiceError, choose, pair_series
    from ppa_tools.plan.copying import plan_copy, really_missing
    from ppa_tools.plan.guard import guards

    selection = Selection(tuple(args.packages), args.all, tuple(args.include), tuple(args.exclude))
    terms = arguments.terms(args)
    with session(args) as opened:
        source, destination = opened.pair(args.source, args.destination)
        past = any(one.version for one in args.packages)
        sides = both_sides(source, destination, source_past=past)
        check_series(args.from_series, sides[0].series, str(args.source))
        try:
            pairs = pair_series(sides[0], _from_series(args, sides[0]), args.to_series)
        except ChoiceError as error:
            raise usage_error(str(error)) from error
        chosen = choose(sides[0], selection, pairs)
        refuse_missing(really_missing(chosen, sides[1], move=args.move))
        company = Company(chosen, {})
        if args.with_dependencies:
            with readable_indexes():
                company = with_companions(opened, args, chosen, sides[0], pairs)
        facts, mine = gather(company.chosen.picks, source, destination, sides, terms, move=args.move)
        plan = company.explain(plan_copy(company.chosen, mine, sides[1], facts, terms, move=args.move))
        return carry_out(plan, guards(plan), opened, args)


def _from_series(args: argparse.Namespace, side: Side) -> list[str]:
    """The series that were named; or, of packages that were named, those they are in."""
    if args.from_series or args.to_series or args.include or args.all:
        return list(args.from_series)
    names = {one.source for one in args.packages}
    return sorted({one.series for one in side.publications if one.source in names})


COMMAND = Command(
    name="ppa-copy",
    summary="copy packages from one archive to another, or move them",
    description=(
        "Plans first: what would be copied, what is there already, and what Launchpad would refuse, with the "
        "reason. Then asks, copies, and looks until everything has arrived. Interrupted, it goes on when given "
        "again: nothing is copied twice."
    ),
    examples=(
        Example("ppa-copy ppa:me/trunk ppa:me/stable hello world=1.2-1", "two packages, one at a certain version"),
        Example(
            "ppa-copy ppa:me/trunk ppa:me/stable --include 'qt*' --dry-run", "what a copy of all of Qt would do"
        ),
        Example(
            "ppa-copy ppa:me/a ppa:me/b --all --from-series jammy --to-series noble --rebuild", "into a new series"
        ),
        Example("ppa-copy ppa:me/trunk ppa:me/m1 hello --with-dependencies", "with the backports that it needs"),
    ),
    configure=configure,
    run=run,
)
