"""``ppa-sync``: makes one archive hold what another holds."""

from __future__ import annotations

import argparse

from ppa_tools.commands import arguments
from ppa_tools.commands.carrying_out import add_arguments as add_consent
from ppa_tools.commands.carrying_out import carry_out
from ppa_tools.commands.command import Command, Example
from ppa_tools.commands.ends import usage_error
from ppa_tools.commands.filtering import check_series, refuse_missing
from ppa_tools.commands.session import session


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    arguments.add_source_and_destination(parser)
    group = parser.add_argument_group("which packages")
    arguments.add_filters(group, "source packages")
    arguments.add_series_pairs(group)
    group = parser.add_argument_group("deletions")
    group.add_argument("--no-delete", action="store_true", help="delete nothing from DST")
    group.add_argument(
        "--protect", metavar="GLOB", action="append", default=[], help="do not delete these; may be repeated"
    )
    group.add_argument(
        "--allow-deletions", action="store_true", help="even more than a third of DST, or everything in it"
    )
    group.add_argument("--allow-empty-source", action="store_true", help="even when SRC holds nothing")
    arguments.add_terms(parser)
    add_consent(parser)
    arguments.add_waiting(parser, "45m")
    arguments.add_format(parser)
    arguments.add_archives(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, ask, copy and delete."""
    if args.source == args.destination and not args.to_series:
        raise usage_error(f"{args.source} is both sides", "Name two archives, or --from-series and --to-series.")
    from ppa_tools.apply.looking import both_sides, gather
    from ppa_tools.plan.choosing import ChoiceError, Selection, choose, fits, pair_series
    from ppa_tools.plan.guard import guards
    from ppa_tools.plan.syncing import plan_sync

    include, exclude = tuple(args.include), tuple(args.exclude)
    selection = Selection(everything=True, include=include, exclude=exclude)
    terms = arguments.terms(args)
    with session(args) as opened:
        source, destination = opened.pair(args.source, args.destination)
        sides = both_sides(source, destination)
        check_series(args.from_series, sides[0].series, str(args.source))
        try:
            pairs = pair_series(sides[0], args.from_series, args.to_series, in_step=sides[1])
        except ChoiceError as error:
            raise usage_error(str(error)) from error
        chosen = choose(sides[0], selection, pairs)
        there = [one.source for one in sides[1].publications if one.is_active]
        refuse_missing([one for one in chosen.missing if not any(fits(name, [one.asked]) for name in there)])
        facts, mine = gather(chosen.picks, source, destination, sides, terms)
        deleting = {"no_delete": args.no_delete, "protect": tuple(args.protect)}
        plan = plan_sync(mine, sides[1], selection, pairs, facts, terms, **deleting)
        return carry_out(plan, guards(plan, mine), opened, args)


COMMAND = Command(
    name="ppa-sync",
    summary="make one archive hold what another holds",
    description=(
        "Copies what DST lacks or has older, and deletes from DST what SRC does not hold. What is newer in DST "
        "stays. A plan that would delete more than a third of DST, or everything, is stopped unless told to go on."
    ),
    examples=(
        Example(
            "ppa-sync ppa:me/trunk ppa:me/mirror --dry-run", "what would change; exit status 3 when anything does"
        ),
        Example("ppa-sync ppa:me/trunk ppa:me/mirror --yes", "from cron"),
        Example("ppa-sync ppa:me/trunk ppa:me/stable --exclude '*-dbg' --protect 'legacy-*'", "with exceptions"),
    ),
    configure=configure,
    run=run,
)
