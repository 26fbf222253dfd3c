"""Planning a copy: each of what was chosen to its series, or why it is left alone or cannot come."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from ppa_tools.plan.actions import Action, Kind, Plan, in_order
from ppa_tools.plan.choosing import Chosen, Missing, Pick, fits
from ppa_tools.plan.facts import Facts, Shelf, Terms
from ppa_tools.plan.rules import why_not, why_not_the_same, why_not_there, why_too_low
from ppa_tools.publication import Side

ALREADY_THERE = "already there"
"""What the reason begins with of a copy that nothing is to be done for."""

SEVERAL_SERIES = (
    "Launchpad copies a version to one series after the other, and waits minutes in between when they get in "
    "each other's way"
)


def plan_copy(
    chosen: Chosen, source: Side, destination: Side, facts: Facts, terms: Terms, *, move: bool = False
) -> Plan:
    """Copy what was chosen; with ``move``, each is deleted at its source after it has arrived.

    What is there already is skipped (and, with ``move``, deleted at its source). What moved earlier is skipped
    too, though ``chosen`` lacks it: ``really_missing`` finds what is on neither side.
    """
    mine, theirs = Shelf(source), Shelf(destination)
    rivals = _by_place(chosen.picks)
    actions = [plan_one(pick, mine, theirs, facts, terms, rivals[_place(pick)]) for pick in _once(chosen.picks)]
    if move:
        actions += [*_departures(chosen.picks, actions, source), *_moved_earlier(chosen.missing, theirs)]
    series = {action.to_series for action in actions}
    notes = list(chosen.notes)
    spread = Counter((action.source, action.version) for action in actions if action.kind is Kind.COPY)
    if destination.address.backend == "ppa" and any(count > 1 for count in spread.values()):
        notes.append(SEVERAL_SERIES)
    held = sum(one.is_active and one.series in series for one in destination.publications)
    return Plan(source.address, destination.address, in_order(actions), held, terms.unembargo, tuple(notes))


def plan_one(
    pick: Pick, source: Shelf, destination: Shelf, facts: Facts, terms: Terms, versions: Iterable[str] = ()
) -> Action:
    """The copy of one publication, or why not; ``versions`` are all that are meant for its place."""
    one = pick.publication
    active = destination.versions(pick.to_series, one.source)
    if one.version in active:
        if reason := why_not_the_same(pick, source, destination, facts):
            return _action(pick, Kind.BLOCKED, destination, terms, reason)
        return _action(pick, Kind.SKIP, destination, terms, ALREADY_THERE)
    if others := sorted({*versions} - {one.version}):
        reason = f"{', '.join(others)} is wanted in {pick.to_series} as well; one version can be copied there"
        return _action(pick, Kind.BLOCKED, destination, terms, reason)
    if reason := why_not(pick, source, destination, facts, terms):
        return _action(pick, Kind.BLOCKED, destination, terms, reason)
    return _action(pick, Kind.COPY, destination, terms)


def to_be_asked(picks: Iterable[Pick], source: Shelf, destination: Shelf, terms: Terms) -> tuple[Pick, ...]:
    """Those whose builds and files matter: not there yet, and nothing known so far stands in their way."""
    return tuple(
        pick
        for pick in _once(picks)
        if pick.publication.version not in destination.versions(pick.to_series, pick.publication.source)
        and not why_not_there(pick.to_series, source.side, destination.side, terms)
        and not why_too_low(
            pick.publication.version, destination.in_place(pick.to_series, pick.publication.source)
        )
    )


def really_missing(chosen: Chosen, destination: Side, *, move: bool) -> tuple[Missing, ...]:
    """What is not to be found; of what is being moved, only what the destination does not hold either."""
    if not move:
        return chosen.missing
    moved = {action.source for action in _moved_earlier(chosen.missing, Shelf(destination))}
    there = [one.source for one in destination.publications if one.is_active]
    return tuple(
        one
        for one in chosen.missing
        if (one.source not in moved if one.source else not any(fits(name, [one.asked]) for name in there))
    )


def _action(pick: Pick, kind: Kind, destination: Shelf, terms: Terms, reason: str = "") -> Action:
    one = pick.publication
    active = destination.versions(pick.to_series, one.source)
    return Action(
        kind,
        destination.side.address,
        one.source,
        one.version,
        pick.to_series,
        from_series=one.series,
        replaces=active[-1] if active and kind is not Kind.SKIP else "",
        reason=reason,
        with_binaries=terms.with_binaries,
        key=one.key,
        latest=pick.latest,
    )


def _departures(picks: Iterable[Pick], copies: Sequence[Action], source: Side) -> Iterable[Action]:
    """What goes at its source: what is active there, and is, or comes to, all the places it is meant for."""
    planned = {(action.to_series, action.source, action.version): action for action in copies}
    meant: dict[str, list[Pick]] = defaultdict(list)
    for pick in picks:
        meant[pick.publication.key].append(pick)
    for its in meant.values():
        one = its[0].publication
        actions = [planned[(*_place(pick), one.version)] for pick in its]
        stays = any(action.archive == source.address and action.to_series == one.series for action in actions)
        if stays or not one.is_active or any(action.kind is Kind.BLOCKED for action in actions):
            continue
        coming = [action for action in actions if action.kind is Kind.COPY]
        if any(action.key != one.key for action in coming):
            kind, reason = Kind.SKIP, "it goes once its like has come; run this again then"
        else:
            kind, reason = Kind.DELETE, "moved" if coming else "moved: it is there already"
        yield Action(kind, source.address, one.source, one.version, one.series, reason=reason, key=one.key)


def _moved_earlier(missing: Iterable[Missing], destination: Shelf) -> Iterable[Action]:
    for lack in missing:
        name, _, version = lack.asked.partition("=")
        rows = [one for key, held in destination.active.items() if key[1] == name for one in held]
        for one in rows:
            if lack.source and version in ("", one.version):
                reason = f"{ALREADY_THERE}, and no longer where it came from"
                yield Action(
                    Kind.SKIP, destination.side.address, name, one.version, one.series, reason=reason, key=one.key
                )


def _once(picks: Iterable[Pick]) -> Iterable[Pick]:
    """Each version once for a series: the same may be meant by several of its publications."""
    seen: dict[tuple[str, str, str], Pick] = {}
    for pick in picks:
        seen.setdefault((*_place(pick), pick.publication.version), pick)
    return seen.values()


def _by_place(picks: Iterable[Pick]) -> dict[tuple[str, str], set[str]]:
    versions: dict[tuple[str, str], set[str]] = defaultdict(set)
    for pick in picks:
        versions[_place(pick)].add(pick.publication.version)
    return versions


def _place(pick: Pick) -> tuple[str, str]:
    return pick.to_series, pick.publication.source
