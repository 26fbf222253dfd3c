"""Ending publications by hand: deleting and superseding packages, with the binaries that belong to them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from ppa_tools.archives import history as h
from ppa_tools.archives.errors import ChangeRefused
from ppa_tools.archives.outcomes import Outcome, Place, Wanted, outcomes


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

    As on Launchpad, binaries go with their source; with the last version of a source go those of older versions,
    too, which were there until its own would come. Raises ChangeRefused when something is not there to be ended.
    """
    names = None if wanted is None else {one.source for one in wanted}
    where = {"series": place.series.name, "sources": names, "active": True}
    sources = h.select_source_publications(conn, place.ppa, **where)  # type: ignore[arg-type]
    chosen = sources if wanted is None else _choose(sources, wanted, place)
    versions = {(one.source, one.version) for one in chosen}
    staying = {one.source for one in sources if (one.source, one.version) not in versions}
    binaries = [
        row
        for row in h.select_binary_publications(conn, place.ppa, **where)  # type: ignore[arg-type]
        if row.source not in staying or (row.source, row.source_version) in versions
    ]
    verb = "delete" if status is h.Status.DELETED else "supersede"
    change = h.begin_change(conn, place.series, now, by, verb, why)
    h.end_sources(conn, change, [one.id for one in chosen], status, why)
    h.end_binaries(conn, change, [row.id for row in binaries], status, why)
    return outcomes(place.series.name, f"{verb}d", chosen, binaries)


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
