"""What the commands do with archives: look, plan, apply; once as it is, or in a world with faults."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ppa_tools.address import Address
from ppa_tools.apply.applying import apply_plan
from ppa_tools.apply.journal import open_journal
from ppa_tools.apply.looking import ask, both_sides, gather
from ppa_tools.apply.report import Report
from ppa_tools.archives.door import Archive
from ppa_tools.plan.actions import Plan
from ppa_tools.plan.choosing import Selection, choose, pair_series
from ppa_tools.plan.copying import plan_copy
from ppa_tools.plan.facts import Shelf, Terms, questions
from ppa_tools.plan.returning import AS_IT_WAS, plan_return, to_bring_back
from ppa_tools.plan.syncing import plan_sync
from tests.ppa_tools.model import World

EVERYTHING = Selection(everything=True)


def sync_plan(source: Archive, destination: Archive, *, terms: Terms | None = None, **options: object) -> Plan:
    terms = terms or Terms()
    mine, theirs = both_sides(source, destination)
    pairs = pair_series(mine, (), (), in_step=theirs)
    facts, mine = gather(choose(mine, EVERYTHING, pairs).picks, source, destination, (mine, theirs), terms)
    return plan_sync(mine, theirs, EVERYTHING, pairs, facts, terms, **options)  # type: ignore[arg-type]


def copy_plan(
    source: Archive,
    destination: Archive,
    selection: Selection = EVERYTHING,
    *,
    from_series: Sequence[str] = (),
    to_series: Sequence[str] = (),
    terms: Terms | None = None,
    move: bool = False,
) -> Plan:
    terms = terms or Terms()
    mine, theirs = both_sides(source, destination, source_past=any(one.version for one in selection.wanted))
    chosen = choose(mine, selection, pair_series(mine, from_series, to_series))
    facts, mine = gather(chosen.picks, source, destination, (mine, theirs), terms, move=move)
    return plan_copy(chosen, mine, theirs, facts, terms, move=move)


def return_plan(archive: Archive, moment: float) -> Plan:
    side = archive.side(with_past=True)
    shelf = Shelf(side)
    facts = ask(questions(to_bring_back(side, moment), shelf, shelf, AS_IT_WAS), archive, archive)
    return plan_return(side, moment, facts)


def carry_out(
    plan: Plan,
    archives: dict[Address, Archive],
    state: Path,
    world: World,
    *,
    settle_s: float = 60.0,
    limit_s: float = 600.0,
    wait_s: float = math.inf,
) -> Report:
    with open_journal(plan.destination, "production", environment={"XDG_STATE_HOME": str(state)}) as journal:
        return apply_plan(
            plan,
            archives,
            journal,
            settle_s=settle_s,
            limit_s=limit_s,
            wait_s=wait_s,
            clock=world.clock,
            sleep=world.sleep,
            why="a test",
        )
