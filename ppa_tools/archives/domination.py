"""What arriving binaries end, and what is too late to be seen: Launchpad's domination, decided purely.

Old binaries stay until the newer source's binaries of their architecture arrive, so that apt never sees a package
gone while another machine still builds it. A package for all architectures arrives with one architecture's build;
in the indexes of the others the old one stays beside it as long as old packages there may need it. Where the newer
source builds no more, nothing more will come: the old ones end with the newer one's first build.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ppa_tools.archives.errors import UploadRefused
from ppa_tools.debversion import version_key


@dataclass(frozen=True)
class Arrival:
    """A binary package that arrives in one architecture's index; ``architecture`` is its own, perhaps "all"."""

    index: str
    package: str
    version: str
    architecture: str


@dataclass(frozen=True)
class Standing:
    """A binary that is active in an index of the same series."""

    id: int
    index: str
    package: str
    version: str
    architecture: str
    source: str
    source_version: str


@dataclass(frozen=True)
class Build:
    """The build (or, for a copy, all builds) that the binaries come from; ``source_architectures`` as in the .dsc.

    ``beside`` are the other versions of the source that stay published with this one.
    """

    source: str
    version: str
    built_on: tuple[str, ...]
    source_architectures: tuple[str, ...]
    beside: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Plan:
    """``visible`` are to be published; ``outdated`` came after what supersedes them; ``ended`` are over."""

    visible: tuple[Arrival, ...]
    outdated: tuple[tuple[Arrival, Standing], ...]
    ended: tuple[Standing, ...]


def plan_arrival(build: Build, arrivals: Iterable[Arrival], standing: Iterable[Standing]) -> Plan:
    """Decide what becomes of arriving binaries and of those that stand.

    ``standing`` are the active binaries of the same source, and of other sources with the same package names.
    Raises UploadRefused where a version would go down.
    """
    rows = list(standing)
    own = [row for row in rows if row.source == build.source]
    there = {(row.index, row.package, row.architecture) for row in own if row.source_version == build.version}
    rivals = [row for row in own if row.source_version not in build.beside]
    newer = [row for row in rivals if version_key(row.source_version) > version_key(build.version)]
    older = [row for row in rivals if version_key(row.source_version) < version_key(build.version)]
    strangers = [row for row in rows if row.source != build.source]
    visible: list[Arrival] = []
    outdated: list[tuple[Arrival, Standing]] = []
    replaced: list[Standing] = []
    for arrival in arrivals:
        if (arrival.index, arrival.package, arrival.architecture) in there:
            continue
        if (over := next((row for row in newer if _outdates(row, arrival)), None)) is not None:
            outdated.append((arrival, over))
            continue
        _refuse_lower(arrival, (*older, *strangers))
        visible.append(arrival)
        replaced += [row for row in strangers if _same_place(row, arrival)]
    indexes = {arrival.index for arrival in visible}
    dropped = _dropped(build, indexes, older) if visible else []
    ended = (*_dominated(build, indexes, older), *dropped, *replaced)
    return Plan(tuple(visible), tuple(outdated), ended)


def builds_for(source_architectures: Collection[str], architecture: str) -> bool:
    """Whether a source has packages for this very architecture; a wildcard (``linux-any``) counts as yes."""
    return any(word == architecture or "any" in word.split("-") for word in source_architectures)


def _dominated(build: Build, indexes: Collection[str], older: list[Standing]) -> list[Standing]:
    ended: list[Standing] = []
    for index in sorted(indexes):
        here = [row for row in older if row.index == index]
        more_to_come = index not in build.built_on and builds_for(build.source_architectures, index)
        old_ones_need_it = any(row.architecture != "all" for row in here)
        if not (more_to_come and old_ones_need_it):
            ended += here
    return ended


def _dropped(build: Build, indexes: Collection[str], older: list[Standing]) -> list[Standing]:
    """What ends in the indexes that nothing arrived in, and that this source builds no more for."""
    all_is_to_come = "all" in build.source_architectures
    return [
        row
        for row in older
        if row.index not in indexes
        and not builds_for(build.source_architectures, row.index)
        and not (row.architecture == "all" and all_is_to_come)
    ]


def _outdates(row: Standing, arrival: Arrival) -> bool:
    """Whether an active binary of a newer source makes this one of no use in its index."""
    return row.index == arrival.index and (row.package == arrival.package or row.architecture != "all")


def _same_place(row: Standing, arrival: Arrival) -> bool:
    return (row.index, row.package) == (arrival.index, arrival.package)


def _refuse_lower(arrival: Arrival, rivals: Iterable[Standing]) -> None:
    for row in rivals:
        if _same_place(row, arrival) and version_key(arrival.version) <= version_key(row.version):
            raise UploadRefused(
                f"{arrival.package} {arrival.version} is not newer than {row.version} "
                f"(from {row.source} {row.source_version}), which is published for {row.index}"
            )
