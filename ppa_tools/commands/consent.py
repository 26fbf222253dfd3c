"""Consent before anything is changed: guards, ``--dry-run``, ``--yes``, and asking somebody at a terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ppa_tools.commands.ends import CommandError, Exit, usage_error
from ppa_tools.plan.actions import Guard, Kind, Plan

ALL_OR_NOTHING = "--all-or-nothing"


def standing_guards(plan: Plan, guards: Sequence[Guard], args: argparse.Namespace) -> tuple[Guard, ...]:
    """The guards that no option has told off, and that of ``--all-or-nothing``."""
    standing = [one for one in guards if not getattr(args, _dest(one.option), False)]
    if blocked := len(plan.of(Kind.BLOCKED)):
        reason = f"{blocked} of the packages cannot be copied, and all or nothing was asked for"
        standing += [Guard(reason, f"leaving {ALL_OR_NOTHING} out")] if args.all_or_nothing else []
    return tuple(standing)


def refuse_guarded(guards: Sequence[Guard]) -> None:
    """Raise CommandError when a guard stands in the way."""
    if guards:
        reasons = "; ".join(one.reason for one in guards)
        options = " ".join(dict.fromkeys(one.option for one in guards))
        raise CommandError(
            f"refused: {reasons}",
            resolution=f"Nothing was done. If it is meant, say so by {options}.",
            status=Exit.GUARDED,
        )


def ask(question: str, *, yes: bool) -> None:
    """Go on with a yes only; raises CommandError."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise usage_error(
            f"{question} Nobody is there to say so",
            "Nothing was done. --yes says it beforehand; --dry-run only looks.",
        )
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was done")


def _dest(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")
