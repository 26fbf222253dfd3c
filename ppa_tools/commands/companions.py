"""What must come along with packages that are copied: what they need, and neither destination nor base has."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ppa_tools.archives.door import NotThere
from ppa_tools.commands.indexes import base_of, choose_architecture, repository_of
from ppa_tools.commands.session import Session
from ppa_tools.plan.actions import Action, Kind, Plan
from ppa_tools.plan.choosing import Chosen, Selection, SeriesPair, Wanted, choose
from ppa_tools.publication import Side

if TYPE_CHECKING:
    from ppa_tools.apt.closure import Companion
    from ppa_tools.apt.indexes import Reader
    from ppa_tools.apt.stanzas import Holdings

MOST_NEEDS_SHOWN = 2


@dataclass(frozen=True)
class Company:
    """What was chosen with what comes along; ``reasons`` say of that, by series and source, who needs it."""

    chosen: Chosen
    reasons: Mapping[tuple[str, str], str]

    def explain(self, plan: Plan) -> Plan:
        """The plan, with who needs what comes along."""
        return replace(plan, actions=tuple(self._explained(one) for one in plan.actions))

    def _explained(self, one: Action) -> Action:
        reason = self.reasons.get((one.to_series, one.source), "")
        return replace(one, reason=reason) if one.kind is Kind.COPY and reason else one


def with_companions(
    opened: Session, args: argparse.Namespace, chosen: Chosen, side: Side, pairs: Sequence[SeriesPair]
) -> Company:
    """Add to what was chosen what it needs; what nobody has is noted. Raises what reading indexes raises."""
    from ppa_tools.apt.closure import find_closure

    reader = opened.reader
    picks, notes, reasons = list(chosen.picks), list(chosen.notes), {}
    for pair in pairs:
        names = {one.publication.source for one in chosen.picks if one.publication.series == pair.from_series}
        if not names:
            continue
        facts = side.series.get(pair.from_series)
        architecture = choose_architecture("", facts.architectures if facts else (), str(args.source))
        source = reader.read_holdings(repository_of(opened, args.source, pair.from_series), [architecture])
        base = base_of([args.source, args.destination], pair.to_series, architecture, args.base)
        below = reader.read_all(base, [architecture], sources=False)
        published = {one.source for one in source.sources}
        notes += [
            f"{name} is not in the indexes yet: what it needs is not known" for name in sorted(names - published)
        ]
        closure = find_closure(
            sorted(names & published),
            source,
            _destination(opened, reader, args, pair.to_series, architecture),
            _merged(list(below.values())),
            rebuild=not args.with_binaries,
        )
        wanted = tuple(Wanted(one.source, one.version) for one in closure.companions)
        picks += choose(side, Selection(wanted), [pair]).picks
        reasons.update({(pair.to_series, one.source): _reason(one) for one in closure.companions})
        notes += [f"not to be had: {one}" for one in closure.missing]
    return Company(replace(chosen, picks=tuple(picks), notes=tuple(notes)), reasons)


def _destination(
    opened: Session, reader: Reader, args: argparse.Namespace, series: str, architecture: str
) -> Holdings:
    """What the destination has published, which may be nothing yet."""
    from ppa_tools.apt.stanzas import Holdings

    try:
        return reader.read_holdings(repository_of(opened, args.destination, series), [architecture])
    except NotThere:
        return Holdings({})


def _merged(those: Sequence[Holdings]) -> Holdings:
    from ppa_tools.apt.indexes import merge_holdings

    return merge_holdings(those)


def _reason(one: Companion) -> str:
    more = len(one.needs) - MOST_NEEDS_SHOWN
    told = "; ".join(map(str, one.needs[:MOST_NEEDS_SHOWN]))
    return f"{told}; and {more} more" if more > 0 else told
