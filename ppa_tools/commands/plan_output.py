"""Plans and what became of them, as people and programs read them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, TextIO

from ppa_tools.apply.report import Report, Result
from ppa_tools.commands.output import Column, Table, counted, note, print_rows
from ppa_tools.plain_text import plain_line
from ppa_tools.plan.actions import Action, Guard, Kind, Plan

KIND_STYLES = {Kind.COPY: "good", Kind.DELETE: "bad", Kind.SKIP: "dim", Kind.BLOCKED: "warn"}
COUNT_WORDS = {Kind.COPY: "to copy", Kind.DELETE: "to delete", Kind.BLOCKED: "blocked", Kind.SKIP: "skipped"}
MOST_SKIPPED = 10


def show_plan(plan: Plan, how: str, *, verbose: bool, out: TextIO | None = None) -> None:
    """Print a plan; a table leaves out what is skipped where that is much, and says so."""
    skipped = plan.of(Kind.SKIP)
    hide = how == "table" and not verbose and len(skipped) > MOST_SKIPPED
    actions = [one for one in plan.actions if not (hide and one.kind is Kind.SKIP)]
    several = len({one.archive for one in actions}) > 1
    rows = tuple(_row(one) for one in actions)
    print_rows(Table(_columns(several=several), rows), how, nothing="", out=out)
    if how != "table":
        return
    say = out or sys.stderr
    if hide:
        reasons = Counter(one.reason for one in skipped)
        for reason, count in reasons.most_common():
            print(plain_line(f"skipped: {counted(count, 'package')}, {reason}"), file=say)
        print("(--verbose shows each that is skipped)", file=say)
    for text in plan.notes:
        print(plain_line(f"note: {text}"), file=say)
    print(summary(plan), file=say)


def summary(plan: Plan) -> str:
    """A plan in a line: 12 to copy, 3 to delete, 1 blocked."""
    counts = [(len(plan.of(kind)), words) for kind, words in COUNT_WORDS.items()]
    return ", ".join(f"{count:,} {words}" for count, words in counts if count) or "nothing to do"


def question(plan: Plan) -> str:
    """What is asked before a plan is applied."""
    parts = []
    if copies := plan.of(Kind.COPY):
        parts.append(f"copy {counted(len(copies), 'package')} to {plan.destination}")
    deletions = Counter(one.archive for one in plan.of(Kind.DELETE))
    parts += [f"delete {counted(count, 'package')} from {archive}" for archive, count in deletions.items()]
    text = " and ".join(parts)
    return f"{text[0].upper()}{text[1:]}?"


def show_report(report: Report, how: str) -> None:
    """Print what is not as it was planned, and a summary."""
    bad = tuple((*_row(one.action)[:-1], one.outcome, one.why) for one in report.bad)
    if bad and how == "table":
        several = len({one.action.archive for one in report.bad}) > 1
        columns = (*_columns(several=several)[:-1], Column("outcome", "OUTCOME", style=lambda _: "bad"), _WHY)
        print_rows(Table(columns, bad), how)
    elif bad:
        for result in report.bad:
            note(f"{result.action}: {result.outcome}{': ' + result.why if result.why else ''}")
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in report.counts.items() if count)
    note(counts or "nothing was done")


def plan_json(
    plan: Plan, guards: Sequence[Guard], *, dry_run: bool = False, report: Report | None = None
) -> dict[str, Any]:
    """A plan, and what became of it where it was applied, as JSON values."""
    told: dict[str, Any] = {
        "source": None if plan.source is None else str(plan.source),
        "destination": str(plan.destination),
        "dry_run": dry_run,
        "counts": plan.counts,
        "guards": [{"reason": one.reason, "option": one.option} for one in guards],
        "notes": list(plan.notes),
        "actions": [_action_json(one) for one in plan.actions],
    }
    if report is not None:
        told["results"] = [_result_json(one) for one in report.results]
        told["stopped"] = report.stopped
    return told


def _action_json(one: Action) -> dict[str, Any]:
    return {
        "kind": str(one.kind),
        "archive": str(one.archive),
        "source": one.source,
        "version": one.version,
        "from_series": one.from_series,
        "to_series": one.to_series,
        "replaces": one.replaces,
        "with_binaries": one.with_binaries,
        "reason": one.reason,
    }


def _result_json(one: Result) -> dict[str, Any]:
    return {**_action_json(one.action), "outcome": str(one.outcome), "why": one.why}


_WHY = Column("why", "WHY")


def _columns(*, several: bool) -> tuple[Column, ...]:
    return (
        Column("kind", "ACTION", style=lambda kind: KIND_STYLES[kind]),
        Column("archive", "PPA" if several else ""),
        Column("source", "SOURCE"),
        Column("version", "VERSION"),
        Column("from_series"),
        Column("to_series"),
        Column(heading="SERIES"),
        Column("replaces", "REPLACES"),
        Column("reason", "WHY"),
    )


def _row(one: Action) -> tuple[Any, ...]:
    same = one.from_series in ("", one.to_series)
    series = one.to_series if same else f"{one.from_series} to {one.to_series}"
    archive, place = str(one.archive), (one.from_series, one.to_series, series)
    return (one.kind, archive, one.source, one.version, *place, one.replaces, one.reason)
