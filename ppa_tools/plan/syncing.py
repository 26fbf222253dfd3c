"""Planning a sync: the destination is to hold what the source holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ppa_tools.debversion import version_key
from ppa_tools.plan.actions import Action, Kind, Plan, in_order
from ppa_tools.plan.choosing import Selection, SeriesPair, choose, fits
from ppa_tools.plan.copying import plan_copy
from ppa_tools.plan.facts import Facts, Shelf, Terms
from ppa_tools.publication import Publication, Side


def plan_sync(
    source: Side,
    destination: Side,
    selection: Selection,
    pairs: Sequence[SeriesPair],
    facts: Facts,
    terms: Terms,
    *,
    no_delete: bool = False,
    protect: Sequence[str] = (),
) -> Plan:
    """Copy what is missing or older; delete what is gone from the source, unless ``no_delete``.

    The newest active version of each side counts. What is newer in the destination stays, and is said. What the
    selection does not mean is left alone on both sides; what fits a ``protect`` glob is copied, but not deleted.
    What a blocked copy would replace stays as it is.
    """
    copies = plan_copy(choose(source, selection, pairs), source, destination, facts, terms)
    theirs = Shelf(destination)
    actions = [_ahead(action, theirs) for action in copies.actions]
    wanted = {(action.to_series, action.source) for action in actions}
    series = {pair.to_series for pair in pairs}
    for (where, name), rows in theirs.active.items():
        if where in series and (where, name) not in wanted and selection.means(name):
            kept = "protected" if fits(name, protect) else "nothing is to be deleted" if no_delete else ""
            actions += _farewell(rows, source, destination, kept)
    held = sum(one.is_active and one.series in series for one in destination.publications)
    return Plan(source.address, destination.address, in_order(actions), held, terms.unembargo, copies.notes)


def _ahead(action: Action, destination: Shelf) -> Action:
    """A sync does not mind that the destination is ahead: nothing is blocked then."""
    versions = destination.versions(action.to_series, action.source)
    if action.kind is not Kind.BLOCKED or not versions:
        return action
    if version_key(versions[-1]) <= version_key(action.version):
        return action
    return replace(
        action, kind=Kind.SKIP, reason=f"{versions[-1]} is there, which is newer; left as it is", replaces=""
    )


def _farewell(rows: Sequence[Publication], source: Side, destination: Side, kept: str) -> Iterable[Action]:
    reason = f"{source.address} does not hold it" + (f"; {kept}" if kept else "")
    for one in rows:
        kind = Kind.SKIP if kept else Kind.DELETE
        yield Action(kind, destination.address, one.source, one.version, one.series, reason=reason, key=one.key)
