"""Comparing what a series held at two generations, and bringing back what it held at one."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from ppa_tools.archives import history as h
from ppa_tools.archives.accept import name_again, over_quota
from ppa_tools.archives.errors import ArchiveError, ChangeRefused
from ppa_tools.archives.outcomes import Outcome, Place, outcomes
from ppa_tools.debversion import version_key


@dataclass(frozen=True)
class Difference:
    """A package whose versions differ between two moments; none on one side means that it was not there.

    ``architecture`` is "source", or the index that a binary package stands in. A package may stand with the same
    versions and other content (deleted, and built again): ``rebuilt``.
    """

    series: str
    architecture: str
    package: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def rebuilt(self) -> bool:
        """Whether only the content differs."""
        return self.before == self.after


def find_snapshot(conn: Connection, ppa: h.PPA, name: str) -> h.Snapshot:
    """A snapshot by its name; raises ArchiveError, naming those there are."""
    known = h.list_snapshots(conn, ppa)
    found = [one for one in known if one.name == name]
    if not found:
        names = ", ".join(one.name for one in known) or "none"
        raise ArchiveError(f"{ppa.address} has no snapshot {name}; it has {names}")
    return found[0]


def generation_of(conn: Connection, ppa: h.PPA, series: h.Series, when: str | float) -> int:
    """The generation of a series at a snapshot (its name) or a moment; 0 when it was not yet."""
    if isinstance(when, str):
        return dict(find_snapshot(conn, ppa, when).generations).get(series.name, 0)
    return h.generation_at(conn, series, when)


def describe(when: str | float) -> str:
    """A snapshot or a moment in words, for the history."""
    if isinstance(when, str):
        return f"snapshot {when}"
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(when))


def differences(conn: Connection, series: h.Series, before: int, after: int) -> tuple[Difference, ...]:
    """What changed in a series from one generation to another, sources first."""
    sources, packages = h.touched_since(conn, series, min(before, after))

    def source_rows(generation: int) -> Iterator[tuple[tuple[str, str], str, int]]:
        for one in h.held_sources(conn, series, generation, sources):
            yield ("", one.source), one.version, one.release_id

    def binary_rows(generation: int) -> Iterator[tuple[tuple[str, str], str, int]]:
        for one in h.held_binaries(conn, series, generation, packages):
            yield (one.index_architecture, one.package), one.version, one.release_id

    return (
        *_differ(series.name, source_rows(before), source_rows(after)),
        *_differ(series.name, binary_rows(before), binary_rows(after)),
    )


def roll_back(
    conn: Connection, place: Place, generation: int, target: str, *, now: float, by: str, why: str
) -> tuple[Outcome, ...]:
    """Bring back what the series held at a generation, in the caller's transaction.

    What came since is deleted; what went since is published again, as a new publication of the same content.
    Raises ChangeRefused, naming them, when files are no longer kept.
    """
    series = place.series
    sources, packages = h.touched_since(conn, series, generation)
    then = h.held_sources(conn, series, generation, sources)
    now_held = h.held_sources(conn, series, series.generation, sources)
    then_binaries = h.held_binaries(conn, series, generation, packages)
    now_binaries = h.held_binaries(conn, series, series.generation, packages)
    kept = {one.release_id for one in then} & {one.release_id for one in now_held}
    places = {(row.index_architecture, row.release_id) for row in then_binaries}
    kept_binaries = places & {(row.index_architecture, row.release_id) for row in now_binaries}
    back = [one for one in then if one.release_id not in kept]
    gone = [one for one in now_held if one.release_id not in kept]
    back_binaries = [
        row
        for row in then_binaries
        if (row.index_architecture, row.release_id) not in kept_binaries
        and row.index_architecture in series.architectures
    ]
    gone_binaries = [row for row in now_binaries if (row.index_architecture, row.release_id) not in kept_binaries]
    if not (back or gone or back_binaries or gone_binaries):
        return ()
    _bring_files_back(conn, place.ppa, back, back_binaries)
    because = f"rolled back to {target}" + (f": {why}" if why else "")
    change = h.begin_change(conn, series, now, by, "rollback", because)
    h.end_sources(conn, change, [one.id for one in gone], h.Status.DELETED, because)
    h.end_binaries(conn, change, [row.id for row in gone_binaries], h.Status.DELETED, because)
    h.add_sources(
        conn, change, [h.NewSource(one.release_id, one.source, one.version, because, one.id) for one in back]
    )
    h.add_binaries(conn, change, [h.published_again(row, because) for row in back_binaries])
    return (
        *outcomes(series.name, "deleted", gone, gone_binaries),
        *outcomes(series.name, "restored", back, back_binaries),
    )


def check_series_are_there(conn: Connection, ppa: h.PPA, when: str | float) -> None:
    """Raise ChangeRefused when a series that held something at a moment was deleted since."""
    lost = []
    for one in h.list_deleted_series(conn, ppa):
        generation = generation_of(conn, ppa, one, when)
        if h.held_sources(conn, one, generation) or h.held_binaries(conn, one, generation):
            lost.append(
                f"its series {one.name} was deleted since: create it again, or roll back the others one by one"
            )
    if lost:
        raise ChangeRefused(f"{ppa.address} was not rolled back", lost)


def _bring_files_back(
    conn: Connection, ppa: h.PPA, sources: Iterable[h.HeldSource], binaries: Iterable[h.HeldBinary]
) -> None:
    by_release = {one.release_id: f"{one.source} {one.version}" for one in sources}
    by_binary = {row.release_id: f"{row.package} {row.version}" for row in binaries}
    whose = {
        name: by_release[release_id]
        for release_id, rows in h.files_of_sources(conn, by_release).items()
        for name, _ in rows
    }
    whose |= {name: by_binary[key] for key, (name, _) in h.files_of_binaries(conn, by_binary).items()}
    known = h.names_in_ppa(conn, ppa.id, whose)
    lost = sorted(f"{whose[name]}: {name} is no longer kept" for name, one in known.items() if one.expired)
    if lost:
        raise ChangeRefused(f"{ppa.address} cannot be rolled back so far", lost)
    if over := over_quota(conn, ppa, [(one.name, one.size_bytes) for one in known.values()]):
        raise ChangeRefused(f"{ppa.address} was not rolled back", [over])
    name_again(conn, ppa, sorted(whose))


def _differ(
    series: str,
    before: Iterable[tuple[tuple[str, str], str, int]],
    after: Iterable[tuple[tuple[str, str], str, int]],
) -> list[Difference]:
    sides: list[dict[tuple[str, str], set[tuple[str, int]]]] = []
    for rows in (before, after):
        held: dict[tuple[str, str], set[tuple[str, int]]] = defaultdict(set)
        for key, version, release_id in rows:
            held[key].add((version, release_id))
        sides.append(held)
    then, now = sides
    return [
        Difference(series, key[0] or "source", key[1], _versions(then.get(key)), _versions(now.get(key)))
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key)
    ]


def _versions(held: set[tuple[str, int]] | None) -> tuple[str, ...]:
    return tuple(sorted((version for version, _ in held or ()), key=version_key))
