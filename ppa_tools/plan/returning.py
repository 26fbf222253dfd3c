"""Planning a return to what an archive held at an earlier moment: what came since goes, what went comes back.

A version comes back as a copy within the archive, while its files are kept. A lower version comes only where no
higher one is active, so what replaced it is deleted first; and it stays where the older one cannot come back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ppa_tools.debversion import version_key
from ppa_tools.plan.actions import Action, Kind, Plan, in_order
from ppa_tools.plan.choosing import Pick
from ppa_tools.plan.comparing import active_at
from ppa_tools.plan.facts import Facts, Shelf, Terms
from ppa_tools.plan.rules import why_files_are_gone, why_not_built, why_not_there, why_too_low
from ppa_tools.publication import Publication, Side

AS_IT_WAS = Terms(with_binaries=True, unembargo=False, incomplete=True)
"""What comes back does so with the binaries that it had: there may have been none for some architectures."""


def to_bring_back(side: Side, moment: float, series: Collection[str] = ()) -> tuple[Pick, ...]:
    """What was active at a moment and is not now; ``series`` may narrow it. Its facts are needed for the plan."""
    changed = _changed(side, moment, series)
    return tuple(Pick(one, one.series, latest=False) for _, _, back, _ in changed for one in back)


def plan_return(
    side: Side, moment: float, facts: Facts, *, series: Collection[str] = (), names: Collection[str] = ()
) -> Plan:
    """Take an archive, or some ``series`` or ``names`` of it, back to what it held at a moment (UTC seconds).

    ``side`` must be with its past, and ``facts`` know what was said ``to_bring_back``.
    """
    shelf = Shelf(side)
    actions: list[Action] = []
    for where, name, back, gone in _changed(side, moment, series):
        if not names or name in names:
            actions += _return_one(shelf, back, gone, shelf.in_place(where, name), facts)
    held = sum(one.is_active and (not series or one.series in series) for one in side.publications)
    return Plan(side.address, side.address, in_order(actions), held)


def _changed(
    side: Side, moment: float, series: Collection[str]
) -> Iterable[tuple[str, str, list[Publication], list[Publication]]]:
    """Places whose versions are others now: what is to come back, and what is to go."""
    then: dict[tuple[str, str], dict[str, Publication]] = {}
    now: dict[tuple[str, str], dict[str, Publication]] = {}
    for held, rows in ((then, active_at(side.publications, moment)), (now, active_at(side.publications, None))):
        for one in rows:
            if not series or one.series in series:
                held.setdefault((one.series, one.source), {})[one.version] = one
    for where, name in sorted(then.keys() | now.keys()):
        before, after = then.get((where, name), {}), now.get((where, name), {})
        if side.versions == 1:
            before, after = _without_leavers(before, after)
        back = [before[version] for version in sorted(before.keys() - after.keys(), key=version_key)]
        gone = [after[version] for version in sorted(after.keys() - before.keys(), key=version_key)]
        if back or gone:
            yield where, name, back, gone


def _without_leavers(
    before: dict[str, Publication], after: dict[str, Publication]
) -> tuple[dict[str, Publication], dict[str, Publication]]:
    """Less the older versions that stood beside a newer one until the archive had published that."""
    target = max(before, key=version_key, default="")
    if target in after:
        after = {version: one for version, one in after.items() if version_key(version) >= version_key(target)}
    return ({target: before[target]} if target else {}), after


def _return_one(
    shelf: Shelf,
    back: Sequence[Publication],
    gone: Sequence[Publication],
    active: Sequence[Publication],
    facts: Facts,
) -> Iterable[Action]:
    staying = [one for one in active if one not in gone]
    reasons = {one.key: _why_not_back(one, shelf, staying, facts) for one in back}
    lost = bool(back) and not staying and reasons[back[-1].key] != ""
    replaced = gone[-1].version if gone else ""
    for one in back:
        reason = reasons[one.key]
        if lost and not reason:
            reason = f"{back[-1].version}, which was newer, cannot come back"
        if reason:
            reason += f"; {replaced} stays" if lost and replaced else ""
            yield _action(shelf, Kind.BLOCKED, one, reason, replaced)
        else:
            yield _action(shelf, Kind.COPY, one, "it was there then", replaced)
    coming = [] if lost else [one for one in back if not reasons[one.key]]
    for one in gone:
        if lost:
            yield _action(shelf, Kind.SKIP, one, f"it stays, as {back[-1].version} cannot come back")
        elif shelf.side.versions > 1 or not _is_superseded(one, coming):
            yield _action(shelf, Kind.DELETE, one, _why_it_goes(coming))


def _is_superseded(one: Publication, coming: Sequence[Publication]) -> bool:
    """Whether it goes by itself, as a higher version comes."""
    return any(version_key(row.version) > version_key(one.version) for row in coming)


def _why_it_goes(coming: Sequence[Publication]) -> str:
    return f"it came since; {coming[-1].version} comes back" if coming else "it came since"


def _why_not_back(one: Publication, shelf: Shelf, staying: Sequence[Publication], facts: Facts) -> str:
    side = shelf.side
    if reason := why_not_there(one.series, side, side, AS_IT_WAS):
        return reason
    if reason := why_too_low(one.version, staying):
        return f"{reason}, and stays"
    return why_files_are_gone(one, facts, AS_IT_WAS) or why_not_built(one, facts, AS_IT_WAS)


def _action(shelf: Shelf, kind: Kind, one: Publication, reason: str, replaces: str = "") -> Action:
    copies = kind in (Kind.COPY, Kind.BLOCKED)
    return Action(
        kind,
        shelf.side.address,
        one.source,
        one.version,
        one.series,
        from_series=one.series if copies else "",
        replaces=replaces if copies else "",
        reason=reason,
        key=one.key,
        latest=False,
    )
