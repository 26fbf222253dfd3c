"""Ending publications by hand: deleting and superseding packages, with the binaries that belong to them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from ppa_tools.archives import history as h
from ppa_tools.archives.copying import Outcome, Place, Wanted
from ppa_tools.archives.errors import ChangeRefused


def end_packages(
    conn: Connection,
    place: Place,
    wanted: Sequence[Wanted] | None,
    status: h.Status,
    *,
    now: float,
    by: str,
    why: str,
) -> tuple[Outcome, ...]:
    """Delete or supersede what is active, in the caller's transaction; ``wanted`` of None is all there is.

    As on Launchpad, binaries go with their source. Raises ChangeRefused when something is not there to be ended.
    """
    names = None if wanted is None else {one.source for one in wanted}
    where = {"series": place.series.name, "sources": names, "active": True}
    sources = h.select_source_publications(conn, place.ppa, **where)  # type: ignore[arg-type]
    chosen = sources if wanted is None else _choose(sources, wanted, place)
    versions = {(one.source, one.version) for one in chosen}
    binaries = [
        row
        for row in h.select_binary_publications(conn, place.ppa, **where)  # type: ignore[arg-type]
        if (row.source, row.source_version) in versions
    ]
    verb = "delete" if status is h.Status.DELETED else "supersede"
    change = h.begin_change(conn, place.series, now, by, verb, why)
    h.end_sources(conn, change, [one.id for one in chosen], status, why)
    h.end_binaries(conn, change, [row.id for row in binaries], status, why)
    counts = dict.fromkeys(versions, 0)
    for row in binaries:
        counts[row.source, row.source_version] += 1
    return tuple(
        Outcome(place.series.name, one.source, one.version, f"{verb}d", counts[one.source, one.version])
        for one in chosen
    )


def _choose(
    sources: Sequence[h.SourcePublication], wanted: Sequence[Wanted], place: Place
) -> list[h.SourcePublication]:
    chosen: dict[int, h.SourcePublication] = {}
    lacking = []
    for each in wanted:
        fitting = [one for one in sources if one.source == each.source and each.version in ("", one.version)]
        chosen |= {one.id: one for one in fitting}
        if not fitting:
            lacking.append(f"{each} is not published")
    if lacking:
        raise ChangeRefused(f"{place.ppa.address} has not all of that in {place.series.name}", lacking)
    return list(chosen.values())
