"""What every changing command does with its plan: show it, ask, apply it, and tell what became of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from ppa_tools.apply.report import Outcome, Report, Result
from ppa_tools.commands.consent import ask, refuse_guarded, standing_guards
from ppa_tools.commands.ends import Exit
from ppa_tools.commands.output import note, print_json
from ppa_tools.commands.plan_output import plan_json, question, show_plan, show_report, summary
from ppa_tools.commands.progress import telling
from ppa_tools.commands.session import Session
from ppa_tools.plan.actions import Guard, Kind, Plan

RESUME = "Give the same command again to go on: what was asked for is in the journal, and is not asked for twice."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that decide what becomes of a plan."""
    group = parser.add_argument_group("plan and consent")
    group.add_argument(
        "--dry-run", action="store_true", help="show the plan and stop; exit status 3: it changes something"
    )
    group.add_argument("--yes", action="store_true", help="do not ask")
    group.add_argument("--verbose", action="store_true", help="show each package that is skipped, however many")
    group.add_argument("--all-or-nothing", action="store_true", help="do nothing when any package is blocked")
    group.add_argument("--why", default="", metavar="TEXT", help="the reason, for the archive's history")


def carry_out(
    plan: Plan,
    guards: Sequence[Guard],
    opened: Session,
    args: argparse.Namespace,
    at_once: Callable[[], None] | None = None,
) -> int:
    """Show a plan and, with consent, apply it; returns the exit status.

    ``at_once`` applies all of it in one go, where the archive can. Raises CommandError, DoorError.
    """
    standing = standing_guards(plan, guards, args)
    is_json = args.format == "json"
    goes_on = plan.pending and not args.dry_run and not standing
    if not is_json:
        show_plan(plan, args.format, verbose=args.verbose)
    elif not goes_on:
        print_json(plan_json(plan, standing, dry_run=args.dry_run))
    elif not args.yes:
        note(summary(plan))
    refuse_guarded(standing)
    if not plan.pending:
        return Exit.IN_PART if plan.of(Kind.BLOCKED) else Exit.DONE
    if args.dry_run:
        return Exit.PENDING
    ask(question(plan), yes=args.yes)
    if at_once is None:
        report = _apply(plan, opened, args)
    else:
        at_once()
        report = Report(plan, tuple(Result(one, Outcome.DONE) for one in plan.pending))
    if is_json:
        print_json(plan_json(plan, standing, report=report))
    show_report(report, args.format)
    if report.interrupted:
        note(f"interrupted\n  {RESUME}")
        return Exit.INTERRUPTED
    if report.stopped:
        begun = any(one.outcome is not Outcome.NOT_TRIED for one in report.results)
        note(f"{report.stopped}\n  {RESUME}" if begun else report.stopped)
    return Exit.DONE if not args.wait and _is_only_asked_for(report) else report.exit_status


def _is_only_asked_for(report: Report) -> bool:
    """Whether nothing is lacking but what nobody waited for."""
    unseen = all(one.outcome is Outcome.UNKNOWN for one in report.bad)
    return unseen and not report.stopped and not report.plan.of(Kind.BLOCKED)


def _apply(plan: Plan, opened: Session, args: argparse.Namespace) -> Report:
    from ppa_tools.apply.applying import LIMIT_S, apply_plan
    from ppa_tools.apply.journal import open_journal

    addresses = {one.archive for one in plan.pending} | {plan.destination}
    if plan.source is not None:
        addresses.add(plan.source)
    archives = {one: opened.archive(one) for one in addresses}
    with open_journal(plan.destination, opened.instance_of(plan.destination)) as journal, telling() as tell:
        return apply_plan(
            plan,
            archives,
            journal,
            limit_s=max(LIMIT_S, args.limit),
            wait_s=args.limit if args.wait else 0.0,
            progress=tell,
            transfer=opened.transfer,
            why=args.why,
        )
