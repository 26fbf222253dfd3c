"""Copying packages from one series of a PPA to another, by Launchpad's rules: all that was asked for, or nothing.

The facts of both sides are read at once, however many packages; ``judge`` decides on each; then all is written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection

from ppa_tools.address import Address
from ppa_tools.archives import history as h
from ppa_tools.archives.accept import over_quota, over_the_limit
from ppa_tools.archives.domination import Arrival, Build, Plan, Standing, builds_for, plan_arrival
from ppa_tools.archives.errors import ChangeRefused, UploadRefused
from ppa_tools.archives.outcomes import Outcome, Place, Wanted
from ppa_tools.archives.pool import pool_directory
from ppa_tools.debversion import version_key

COPIED_FROM = "copied from"


@dataclass(frozen=True)
class Candidate:
    """A source that is to be published, and all that belongs to it where it comes from.

    ``architectures`` are the words of its Architecture field; ``binaries`` name the index that they came from.
    """

    source: h.NewSource
    architectures: tuple[str, ...]
    built_on: tuple[str, ...]
    binaries: tuple[h.NewBinary, ...]
    files: Mapping[str, h.NameInPPA]


@dataclass(frozen=True)
class Destination:
    """What the other side holds of a source, and of the names that would come."""

    publications: tuple[h.SourcePublication, ...]
    standing: tuple[Standing, ...]
    names: Mapping[str, h.NameInPPA]


@dataclass(frozen=True)
class Judgement:
    """What is to be done about a candidate, or why it cannot be."""

    candidate: Candidate
    is_there: bool
    plan: Plan
    why_not: str = ""


def copy(
    conn: Connection,
    source: Place,
    destination: Place,
    wanted: Sequence[Wanted] | None,
    *,
    binaries: bool,
    now: float,
    by: str,
    why: str,
) -> tuple[Outcome, ...]:
    """Copy packages, in the caller's transaction; ``wanted`` of None is all that is active.

    Raises ChangeRefused, which names every package that stands in the way, and why.
    """
    because = words_of_origin(source.ppa.address, source.series.name, why)
    candidates = _find_candidates(conn, source, wanted, because, binaries=binaries)
    known = source.series.architectures
    change, done = settle(conn, destination, candidates, known, binaries=binaries, because=because, now=now, by=by)
    if change is not None:
        with_binaries = [one.source.release_id for one in candidates if one.binaries]
        h.copy_builds(conn, change, source.series.id, with_binaries)
    return done


def words_of_origin(address: Address, series: str, why: str) -> str:
    """Why a copy is there, as histories tell it."""
    origin = f"{COPIED_FROM} {address} {series}"
    return f"{origin}: {why}" if why else origin


def settle(
    conn: Connection,
    destination: Place,
    candidates: Sequence[Candidate],
    source_architectures: Sequence[str],
    *,
    binaries: bool,
    because: str,
    now: float,
    by: str,
) -> tuple[h.Change | None, tuple[Outcome, ...]]:
    """Judge candidates, and publish them all: the change this was, None where nothing changed, and the outcomes.

    Raises ChangeRefused, which names every package that stands in the way, and why.
    """
    sides = _look_at(conn, destination, candidates)
    judged = [
        judge(candidate, side, destination, source_architectures, binaries=binaries)
        for candidate, side in zip(candidates, sides, strict=True)
    ]
    if refused := [f"{_name(one.candidate)}: {one.why_not}" for one in judged if one.why_not]:
        raise ChangeRefused(f"nothing was copied to {destination.ppa.address}", refused)
    to_do = [one for one in judged if not one.is_there or one.plan.visible]
    change = None
    if to_do:
        change = _carry_out(conn, destination, list(zip(judged, sides, strict=True)), because, now, by)
    done = {id(one) for one in to_do}
    return change, tuple(
        Outcome(
            destination.series.name,
            one.candidate.source.source,
            one.candidate.source.version,
            "copied" if id(one) in done else "already there",
            len(one.plan.visible),
        )
        for one in judged
    )


def judge(
    candidate: Candidate,
    side: Destination,
    place: Place,
    source_architectures: Sequence[str],
    *,
    binaries: bool,
) -> Judgement:
    """Decide on one package; ``place`` is where it goes to, ``source_architectures`` what it was built for."""
    nothing = Plan((), (), ())
    source, architectures = candidate.source, place.series.architectures
    active = [one for one in side.publications if _is_active(one)]
    is_there = any(one.version == source.version for one in active)
    if why_not := _why_not(candidate, side, active, source_architectures, binaries=binaries):
        return Judgement(candidate, is_there, nothing, why_not)
    arrivals = {
        Arrival(index, one.package, one.version, one.architecture)
        for one in candidate.binaries
        for index in (architectures if one.architecture == "all" else (one.architecture,))
        if index in architectures
    }
    outdated = () if is_there else over_the_limit(active, place.ppa.settings.versions - 1)
    beside = frozenset(one.version for one in active if one.id not in outdated) - {source.version}
    build = Build(source.source, source.version, candidate.built_on, candidate.architectures, beside)
    try:
        plan = plan_arrival(build, sorted(arrivals, key=_order), side.standing)
    except UploadRefused as error:
        return Judgement(candidate, is_there, nothing, str(error))
    return Judgement(candidate, is_there, plan)


def _why_not(
    candidate: Candidate,
    side: Destination,
    active: Sequence[h.SourcePublication],
    source_architectures: Sequence[str],
    *,
    binaries: bool,
) -> str:
    """The rule that a copy would break, in words; "" where it breaks none."""
    version = candidate.source.version
    for name, file in sorted(candidate.files.items()):
        there = side.names.get(name)
        if there is not None and there.sha256 != file.sha256:
            return f"{name} is or was there with other content, and a file name stands for the same for ever"
        if file.expired:
            return f"{name} is no longer kept"
    higher = [one.version for one in active if version_key(one.version) > version_key(version)]
    if higher and version not in {one.version for one in active}:
        return f"{max(higher, key=version_key)} is there, which is newer"
    if not binaries:
        return ""
    if not candidate.binaries:
        return "it has no binaries yet; wait for its builds, or copy its source alone"
    waited_for = [
        one
        for one in source_architectures
        if builds_for(candidate.architectures, one) and one not in candidate.built_on
    ]
    if waited_for:
        return f"it is not built yet on {', '.join(waited_for)}; wait, or copy its source alone"
    return ""


def _find_candidates(
    conn: Connection, place: Place, wanted: Sequence[Wanted] | None, because: str, *, binaries: bool
) -> list[Candidate]:
    names = None if wanted is None else [one.source for one in wanted]
    found = h.select_source_publications(conn, place.ppa, series=place.series.name, sources=names)
    chosen = _choose(found, wanted, place)
    release_ids = [one.release_id for one in chosen]
    words = h.source_architectures(conn, release_ids)
    built = h.built_architectures(conn, place.ppa, series=place.series.name, release_ids=release_ids)
    files = h.files_of_sources(conn, release_ids)
    of_version = _binaries_by_version(conn, place, names) if binaries else {}
    its = {one.id: _of_source(one, of_version.get((one.source, one.version), {}).values()) for one in chosen}
    debs = h.files_of_binaries(conn, [row.release_id for rows in its.values() for row in rows])
    every = {name for rows in files.values() for name, _ in rows} | {name for name, _ in debs.values()}
    known = h.names_in_ppa(conn, place.ppa.id, every)
    return [
        Candidate(
            h.NewSource(one.release_id, one.source, one.version, because, one.id),
            words[one.release_id],
            built.get((place.series.name, one.release_id), ()),
            tuple(h.published_again(row, because) for row in its[one.id]),
            {
                name: known[name]
                for name in (
                    *(name for name, _ in files[one.release_id]),
                    *(debs[row.release_id][0] for row in its[one.id]),
                )
            },
        )
        for one in chosen
    ]


def _choose(
    found: Iterable[h.SourcePublication], wanted: Sequence[Wanted] | None, place: Place
) -> list[h.SourcePublication]:
    by_name: dict[str, list[h.SourcePublication]] = defaultdict(list)
    for one in found:
        by_name[one.source].append(one)
    if wanted is None:
        wanted = [Wanted(name) for name in sorted(by_name) if any(_is_active(one) for one in by_name[name])]
    chosen: dict[str, h.SourcePublication] = {}
    lacking = []
    for each in wanted:
        rows = by_name.get(each.source, [])
        fitting = [one for one in rows if (one.version == each.version if each.version else _is_active(one))]
        if not fitting:
            others = sorted({one.version for one in rows}, key=version_key)
            lacking.append(f"{each}: not there" + (f"; there was {', '.join(others)}" if others else ""))
            continue
        newest = max(fitting, key=lambda one: (version_key(one.version), one.id))
        if chosen.setdefault(newest.source, newest) is not newest:
            lacking.append(f"{each}: asked for twice; one version of a source is copied at a time")
    if lacking:
        raise ChangeRefused(f"{place.ppa.address} has not all of that in {place.series.name}", lacking)
    return list(chosen.values())


def _is_active(one: h.SourcePublication) -> bool:
    return one.span.status in h.ACTIVE


def _binaries_by_version(
    conn: Connection, place: Place, names: Sequence[str] | None
) -> dict[tuple[str, str], dict[tuple[str, str], h.BinaryPublication]]:
    """The last publication of each binary of each source version."""
    rows = h.select_binary_publications(conn, place.ppa, series=place.series.name, sources=names)
    found: dict[tuple[str, str], dict[tuple[str, str], h.BinaryPublication]] = defaultdict(dict)
    for row in rows:
        found[row.source, row.source_version][row.index_architecture, row.package] = row
    return found


def _of_source(
    source: h.SourcePublication, binaries: Iterable[h.BinaryPublication]
) -> tuple[h.BinaryPublication, ...]:
    """The binaries that go with a source: those that were deleted only where it was deleted itself."""
    deleted = h.Status.DELETED
    return tuple(row for row in binaries if row.span.status != deleted or source.span.status == deleted)


def _look_at(conn: Connection, place: Place, candidates: Sequence[Candidate]) -> list[Destination]:
    names = [one.source.source for one in candidates]
    series = place.series.name
    publications: dict[str, list[h.SourcePublication]] = defaultdict(list)
    for one in h.select_source_publications(conn, place.ppa, series=series, sources=names):
        publications[one.source].append(one)
    packages = {binary.package for one in candidates for binary in one.binaries}
    own = h.select_binary_publications(conn, place.ppa, series=series, sources=names, active=True)
    strangers = h.select_binary_publications(conn, place.ppa, series=series, packages=packages, active=True)
    rows = {row.id: row for row in (*own, *strangers)}.values()
    by_source, by_package = defaultdict(dict), defaultdict(dict)  # type: ignore[var-annotated]
    for row in rows:
        standing = Standing(
            row.id,
            row.index_architecture,
            row.package,
            row.version,
            row.architecture,
            row.source,
            row.source_version,
        )
        by_source[row.source][row.id] = standing
        by_package[row.package][row.id] = standing
    known = h.names_in_ppa(conn, place.ppa.id, {name for one in candidates for name in one.files})
    return [
        Destination(
            tuple(publications[one.source.source]),
            tuple(
                {
                    **by_source[one.source.source],
                    **{key: row for its in one.binaries for key, row in by_package[its.package].items()},
                }.values()
            ),
            {name: known[name] for name in one.files if name in known},
        )
        for one in candidates
    ]


def _carry_out(
    conn: Connection,
    destination: Place,
    judged: Sequence[tuple[Judgement, Destination]],
    because: str,
    now: float,
    by: str,
) -> h.Change:
    fresh = [(one.candidate.source, side) for one, side in judged if not one.is_there]
    _name_files(conn, destination.ppa, [one.candidate for one, _ in judged])
    change = h.begin_change(conn, destination.series, now, by, "copy", because)
    ids = h.add_sources(conn, change, [source for source, _ in fresh])
    keep = destination.ppa.settings.versions - 1
    for source, side in fresh:
        active = [row for row in side.publications if _is_active(row)]
        ended = over_the_limit(active, keep)
        h.end_sources(conn, change, ended, h.Status.SUPERSEDED, f"{source.version} has come", ids[source.source])
    new = [binary for one, _ in judged for binary in _new_binaries(one)]
    successors = h.add_binaries(conn, change, new)
    for one, _ in judged:
        for row in one.plan.ended:
            successor = successors.get((row.index, row.package))
            why_ended = f"{_name(one.candidate)} has come"
            h.end_binaries(conn, change, [row.id], h.Status.SUPERSEDED, why_ended, successor)
    return change


def _name_files(conn: Connection, ppa: h.PPA, candidates: Sequence[Candidate]) -> None:
    named = [
        (name, file.sha256, f"{pool_directory(one.source.source)}/{name}", file.size_bytes)
        for one in candidates
        for name, file in one.files.items()
    ]
    if over := over_quota(conn, ppa, [(name, size_bytes) for name, _, _, size_bytes in named]):
        raise ChangeRefused(f"nothing was copied to {ppa.address}", [over])
    h.name_files(conn, ppa.id, named)


def _new_binaries(one: Judgement) -> Iterable[h.NewBinary]:
    rows = {(row.package, row.architecture): row for row in one.candidate.binaries}
    for arrival in one.plan.visible:
        yield replace(rows[arrival.package, arrival.architecture], index_architecture=arrival.index)


def _order(arrival: Arrival) -> tuple[str, str, str]:
    return (arrival.index, arrival.package, arrival.architecture)


def _name(candidate: Candidate) -> str:
    return f"{candidate.source.source} {candidate.source.version}"
