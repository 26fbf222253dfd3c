"""How to ask Launchpad for publications in the fewest requests: its operations take one name, series or status."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ppa_tools.archives.launchpad.instances import Instance
from ppa_tools.publication import Publication, Status

FEW = 8
"""As many names are asked for one by one before it is tried by status."""

MOST_STATUSES = 2

STATUS_ORDER = (Status.PENDING, Status.PUBLISHED, Status.SUPERSEDED, Status.DELETED, Status.OBSOLETE)
"""As publications go through them: asked for in this order, none is missed that moves on meanwhile."""

Parameters = Mapping[str, object]


@dataclass(frozen=True)
class Filter:
    """Which publications are wanted; empty: any."""

    names: Collection[str] = ()
    series: Collection[str] = ()
    statuses: Collection[Status] = ()
    since: float | None = None

    def admits(self, one: Publication) -> bool:
        """Whether a publication is wanted."""
        return (
            (not self.names or one.source in self.names)
            and (not self.series or one.series in self.series)
            and (not self.statuses or one.status in self.statuses)
            and (self.since is None or (one.created_at is not None and one.created_at >= self.since))
        )


@dataclass(frozen=True)
class Narrow:
    """Requests that find what is wanted with less besides; ``in_turn``: one after the other."""

    queries: tuple[Parameters, ...]
    in_turn: bool = False


def broad(wanted: Filter, instance: Instance) -> Parameters:
    """One query that finds all that is wanted, and maybe more.

    Oldest first: what is created while it is read comes at its end, and shifts nothing.
    """
    found: dict[str, object] = {"ws.op": "getPublishedSources", "order_by_date_ascending": True}
    if wanted.since is not None:
        found["created_since_date"] = datetime.fromtimestamp(wanted.since, UTC).isoformat()
    if len(wanted.series) == 1:
        found["distro_series"] = instance.series_url(*wanted.series)
    if len(wanted.statuses) == 1:
        (found["status"],) = wanted.statuses
    if len(wanted.names) == 1:
        found |= _named(*wanted.names)
    return found


def narrow(wanted: Filter, base: Parameters, pages_left: int, share: float) -> Narrow | None:
    """Several queries that cost less than the ``pages_left`` of the broad one; None where none do.

    ``share`` is how much of the broad one's first page was wanted: where most is, no status is worth a query.
    """
    by_names = Narrow(tuple({**base, **_named(name)} for name in sorted(wanted.names)))
    in_order = [status for status in STATUS_ORDER if status in wanted.statuses]
    by_status = Narrow(tuple({**base, "status": status} for status in in_order), in_turn=True)
    candidates = []
    if 1 < len(by_names.queries) <= FEW:
        candidates.append(by_names)
    if 1 < len(in_order) <= MOST_STATUSES and len(in_order) + share * pages_left < pages_left:
        candidates.append(by_status)
    if len(by_names.queries) > FEW:
        candidates.append(by_names)
    return next((one for one in candidates if len(one.queries) < pages_left), None)


def _named(name: str) -> Parameters:
    return {"source_name": name, "exact_match": True}
