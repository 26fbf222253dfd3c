"""Why a copy that was asked for never appeared: the archive does not tell, a look at both sides mostly does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from ppa_tools.address import Address
from ppa_tools.apply.looking import both_sides, gather
from ppa_tools.archives.door import Archive, DoorError
from ppa_tools.plan.actions import Action, Kind, Plan
from ppa_tools.plan.choosing import Pick
from ppa_tools.plan.copying import plan_one
from ppa_tools.plan.facts import Shelf, Terms
from ppa_tools.publication import Side


def likely_reasons(
    actions: Sequence[Action], plan: Plan, archives: Mapping[Address, Archive]
) -> tuple[Mapping[Action, str], tuple[Action, ...]]:
    """Words for each that is not there, by the rules as they hold now; and those that are there after all."""
    reasons: dict[Action, str] = {}
    arrived: list[Action] = []
    by_terms: dict[bool, list[Action]] = defaultdict(list)
    for action in actions:
        by_terms[action.with_binaries].append(action)
    for with_binaries, members in by_terms.items():
        terms = Terms(with_binaries, plan.unembargo, incomplete=True)  # the archive takes what there is
        try:
            told = _look_again(members, plan, archives, terms)
        except DoorError as error:
            told = dict.fromkeys(members, (Kind.COPY, f"nobody could be asked why: {error}"))
        for action, (kind, reason) in told.items():
            if kind is Kind.SKIP:
                arrived.append(action)
            else:
                reasons[action] = reason or _nobody_says(plan.destination)
    return reasons, tuple(arrived)


def _look_again(
    actions: Sequence[Action], plan: Plan, archives: Mapping[Address, Archive], terms: Terms
) -> Mapping[Action, tuple[Kind, str]]:
    source, destination = archives[plan.source or plan.destination], archives[plan.destination]
    names = {action.source for action in actions}
    mine, theirs = both_sides(source, destination, names=names, source_past=True)
    picks = {action: pick for action in actions if (pick := _pick(action, mine)) is not None}
    facts, mine = gather(list(picks.values()), source, destination, (mine, theirs), terms)
    shelf, there = Shelf(mine), Shelf(theirs)
    told = {}
    for action in actions:
        if action.version in there.versions(action.to_series, action.source):
            told[action] = (Kind.SKIP, "")
        elif action not in picks:
            told[action] = (Kind.BLOCKED, f"it is no longer in {action.from_series} of {source.address}")
        else:
            planned = plan_one(picks[action], shelf, there, facts, terms)
            told[action] = (planned.kind, planned.reason)
    return told


def _pick(action: Action, source: Side) -> Pick | None:
    found = [one for one in source.publications if one.key == action.key]
    return Pick(found[0], action.to_series, action.latest) if found else None


def _nobody_says(address: Address) -> str:
    if address.backend == "local":
        return "nothing is seen to be in the way; `buildfarm archive verify` may say more"
    page = f"https://launchpad.net/~{address.owner}/+archive/ubuntu/{address.name}/+packages"
    return f"nothing is seen to be in the way; Launchpad's mail to you, and {page}, say why it failed"
