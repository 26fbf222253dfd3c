"""What stands between a slip of the hand and an empty archive: plans that delete a lot are not applied unasked."""

from __future__ import annotations

from fractions import Fraction

from ppa_tools.plan.actions import Action, Guard, Kind, Plan
from ppa_tools.publication import Side

MANY = Fraction(1, 3)
ALLOW_DELETIONS = "--allow-deletions"
ALLOW_EMPTY_SOURCE = "--allow-empty-source"


def guards(plan: Plan, source: Side | None = None) -> tuple[Guard, ...]:
    """Why a plan needs to be told so: more than a third of the destination would go, all of it, or nothing is in
    the source that it is to be like.

    A package that only changes its version, or moves, does not go.
    """
    going = _going(plan)
    found = []
    if source is not None and going and not any(one.is_active for one in source.publications):
        found.append(Guard(f"{source.address} holds nothing at all: is it the right one?", ALLOW_EMPTY_SOURCE))
    if going and len(going) >= plan.held:
        found.append(Guard(f"everything in {plan.destination} ({plan.held}) would be deleted", ALLOW_DELETIONS))
    elif len(going) > plan.held * MANY:
        share = f"{len(going)} of {plan.held} publications"
        found.append(Guard(f"{share} in {plan.destination} would be deleted: more than a third", ALLOW_DELETIONS))
    return tuple(found)


def _going(plan: Plan) -> list[Action]:
    copies = plan.of(Kind.COPY)
    moved = {one.key for one in copies} if plan.source == plan.destination else set()
    filled = {(one.archive, one.to_series, one.source) for one in copies}
    return [
        one
        for one in plan.of(Kind.DELETE)
        if one.archive == plan.destination
        and one.key not in moved
        and (one.archive, one.to_series, one.source) not in filled
    ]
