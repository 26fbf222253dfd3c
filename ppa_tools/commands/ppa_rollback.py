"""``ppa-rollback``: takes an archive back to what it held at a moment, as far as its files are still kept."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ppa_tools.archives.door import Archive
from ppa_tools.commands import arguments
from ppa_tools.commands.carrying_out import add_arguments as add_consent
from ppa_tools.commands.carrying_out import carry_out
from ppa_tools.commands.command import Command, Example
from ppa_tools.commands.filtering import check_words, selection
from ppa_tools.commands.moments import DATES, read_when
from ppa_tools.commands.output import moment_text, note
from ppa_tools.commands.session import session
from ppa_tools.plan.actions import Kind


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("archive", metavar=arguments.ARCHIVE, type=arguments.address, help=arguments.ARCHIVE_HELP)
    parser.add_argument(
        "to",
        metavar="TO",
        help=f"a date or time: {DATES}; or a snapshot of the embedded archive".replace("%", "%%"),
    )
    parser.add_argument("packages", metavar="PACKAGE", nargs="*", help="these source packages alone, or patterns")
    group = parser.add_argument_group("which packages")
    arguments.add_series(group)
    group = parser.add_argument_group("deletions")
    group.add_argument(
        "--allow-deletions", action="store_true", help="even more than a third of it, or everything in it"
    )
    add_consent(parser)
    arguments.add_waiting(parser, "45m")
    arguments.add_format(parser)
    arguments.add_archives(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, ask, and go back."""
    from ppa_tools.apply.looking import ask
    from ppa_tools.plan.facts import Shelf, questions
    from ppa_tools.plan.guard import guards
    from ppa_tools.plan.returning import AS_IT_WAS, plan_return, to_bring_back

    wanted = selection(args.packages)
    with session(args) as opened:
        archive = opened.archive(args.archive)
        moment = read_when(archive, args.to)
        side = archive.side(with_past=True)
        check_words(wanted, args.series, side)
        names = {one.source for one in side.publications if wanted.admits(one.source)} if args.packages else set()
        shelf = Shelf(side)
        picks = [
            one for one in to_bring_back(side, moment, args.series) if not names or one.publication.source in names
        ]
        facts = ask(questions(picks, shelf, shelf, AS_IT_WAS), archive, archive)
        plan = plan_return(side, moment, facts, series=args.series, names=names)
        if args.format == "table":
            note(f"{args.archive} as it was at {moment_text(moment)} UTC:")
        is_whole = not names and not plan.of(Kind.BLOCKED)
        at_once = _at_once(archive, moment, args) if is_whole and args.archive.backend == "local" else None
        return carry_out(plan, guards(plan), opened, args, at_once)


def _at_once(archive: Archive, moment: float, args: argparse.Namespace) -> Callable[[], None]:
    """The embedded archive goes back in one transaction: apt sees the archive before or after."""
    from ppa_tools.archives.embedded import EmbeddedArchive

    assert isinstance(archive, EmbeddedArchive)
    return lambda: archive.roll_back(moment, args.series, args.why)


COMMAND = Command(
    name="ppa-rollback",
    summary="take an archive back to what it held at a moment",
    description=(
        "What came since is deleted, and what was there comes back, while its files are kept: on Launchpad by "
        "deletion and by copying the earlier version within the archive. What cannot come back is told before "
        "anything is done, and what replaced it stays."
    ),
    examples=(
        Example("ppa-rollback ppa:me/stable 2026-11-01T12:00 --dry-run", "what would change, and what is lost"),
        Example("ppa-rollback ppa:me/stable 2026-11-01 hello 'qt*'", "some packages alone"),
        Example("ppa-rollback local:me/stable before-2.0 --why '2.0 does not start'", "to a snapshot"),
    ),
    configure=configure,
    run=run,
)
