"""Waiting until versions are published, built on every architecture, and in the index that apt reads."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ppa_tools.apt.stanzas import BinaryPackage, Holdings, IndexDamaged
from ppa_tools.archives.door import Archive, DoorError, NotThere, Unreachable
from ppa_tools.plan.choosing import nearest_names, newest
from ppa_tools.plan.rules import why_too_low
from ppa_tools.publication import ACTIVE, Binary, Build, BuildState, Publication

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0

ReadIndex = Callable[[str, Sequence[str]], Holdings]
"""What the apt indexes of a series hold for some architectures; raises DoorError, IndexDamaged."""


class Stage(enum.StrEnum):
    """How far a source version is. ``INDEXED``: apt can get all of its packages; the last two are ends, too."""

    ABSENT = "not there"
    REQUESTED = "requested"
    PENDING = "pending"
    BUILDING = "building"
    BUILT = "built"
    INDEXED = "in the index"
    FAILED = "failed"
    GONE = "gone"


ENDS_BADLY = (Stage.FAILED, Stage.GONE)


@dataclass(frozen=True)
class Awaited:
    """A source that is waited for in a series; ``version`` "" is the newest that is active at the time."""

    source: str
    series: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.source} {self.version}".rstrip() + f" in {self.series}"


@dataclass(frozen=True)
class Sighting:
    """How far one is: the version that is meant, why it is no further, its builds, and what apt's index has of it.

    ``packages`` come with their SHA-256, from the index itself; none where it was not read.
    """

    awaited: Awaited
    stage: Stage
    version: str = ""
    why: str = ""
    builds: tuple[Build, ...] = ()
    packages: tuple[BinaryPackage, ...] = ()


@dataclass(frozen=True)
class Waited:
    """How the waiting ended; ``timed_out`` when the limit has passed."""

    sightings: tuple[Sighting, ...]
    timed_out: bool = False

    @property
    def is_good(self) -> bool:
        """Whether everything is in the index."""
        return all(one.stage is Stage.INDEXED for one in self.sightings)


def wait_for(
    archive: Archive,
    awaited: Sequence[Awaited],
    *,
    limit_s: float,
    requested: Collection[Awaited] = (),
    read_index: ReadIndex | None = None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    progress: Callable[[Sequence[Sighting], str], None] = lambda _sightings, _trouble: None,
) -> Waited:
    """Look until everything is in the index, something has failed, or ``limit_s`` has passed.

    ``requested`` are known to have been asked for (the journal says so). Without ``read_index`` the archive is
    believed about what is in its index. ``progress`` gets what is seen, and what trouble there was in looking; a
    connection that breaks is waited out. Raises NotThere and NoRights.
    """
    deadline = clock() + limit_s
    pause_s = FIRST_PAUSE_S
    watch = _Watch(archive, tuple(awaited), frozenset(requested), read_index)
    while True:
        trouble = ""
        try:
            watch.look()
        except Unreachable as error:
            trouble = str(error.args[0])
        progress(watch.sightings, trouble)
        if not trouble and watch.is_over:
            return Waited(watch.sightings)
        left_s = deadline - clock()
        if left_s <= 0:
            return Waited(watch.sightings, timed_out=True)
        sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)


class _Watch:
    """What has been seen so far; what is in the index is not looked at again."""

    def __init__(
        self,
        archive: Archive,
        awaited: tuple[Awaited, ...],
        requested: Collection[Awaited],
        read_index: ReadIndex | None,
    ) -> None:
        self._archive = archive
        self._requested = requested
        self._read_index = read_index
        self._seen = {one: Sighting(one, Stage.ABSENT) for one in awaited}
        self._strangers_were_looked_for = False

    @property
    def sightings(self) -> tuple[Sighting, ...]:
        return tuple(self._seen.values())

    @property
    def is_over(self) -> bool:
        stages = [one.stage for one in self.sightings]
        return any(stage in ENDS_BADLY for stage in stages) or all(stage is Stage.INDEXED for stage in stages)

    def look(self) -> None:
        """See how far everything is; raises as the archive."""
        open_ones = [one for one, seen in self._seen.items() if seen.stage is not Stage.INDEXED]
        rows = self._archive.publications(
            names={one.source for one in open_ones}, series={one.series for one in open_ones}
        )
        found = {one: _find(one, rows) for one in open_ones}
        active = {one: row for one, row in found.items() if row is not None and row.is_active}
        builds = self._archive.builds(list(active.values())) if active else {}
        for one in open_ones:
            row = found[one]
            if one in active:
                self._seen[one] = _built(one, active[one], builds.get(active[one].key, ()))
            elif one in self._requested:
                self._seen[one] = Sighting(one, Stage.REQUESTED, one.version, "asked for; it has not come yet")
            elif row is not None and one.version:
                self._seen[one] = Sighting(one, Stage.GONE, row.version, _how_it_went(row, rows))
            elif too_low := _why_too_low(one, rows):
                self._seen[one] = Sighting(one, Stage.FAILED, one.version, f"it cannot come: {too_low}")
            else:
                self._seen[one] = Sighting(one, Stage.ABSENT, one.version, self._seen[one].why)
        self._look_at_the_index({one: row for one, row in active.items() if self._seen[one].stage is Stage.BUILT})
        absent = [one for one in open_ones if found[one] is None and one not in self._requested]
        if absent and not self._strangers_were_looked_for:
            self._look_for_strangers(absent)

    def _look_at_the_index(self, built: Mapping[Awaited, Publication]) -> None:
        """Only what is there with all of its packages, as the archive lists them, is in the index."""
        late = {one for one in built if not all(build.published for build in self._seen[one].builds)}
        if self._read_index is None:
            for one in built.keys() - late:
                self._seen[one] = replace(self._seen[one], stage=Stage.INDEXED, why="as the archive says")
            return
        binaries = self._archive.binaries(list(built.values())) if built else {}
        for series in sorted({one.series for one in built}):
            here = {one: binaries.get(row.key, ()) for one, row in built.items() if one.series == series}
            architectures = sorted({binary.index_architecture for its in here.values() for binary in its})
            try:
                holdings = self._read_index(series, architectures)
            except (NotThere, Unreachable, IndexDamaged) as error:
                words = error.args[0] if isinstance(error, DoorError) else error
                for one in here:
                    self._seen[one] = replace(self._seen[one], why=f"the index cannot be read yet: {words}")
                continue
            for one, its in here.items():
                self._seen[one] = _indexed(self._seen[one], its, holdings)

    def _look_for_strangers(self, absent: Sequence[Awaited]) -> None:
        """Of what is not known as a source: is it a binary package, or what may have been meant?"""
        self._strangers_were_looked_for = True
        series = {one.series for one in absent}
        rows = self._archive.publications(series=series, statuses=ACTIVE)
        binaries = self._archive.binaries(rows) if rows else {}
        sources = {binary.package: binary.source for its in binaries.values() for binary in its}
        names = {row.source for row in rows}
        for one in absent:
            if one.source in names:
                continue
            if (source := sources.get(one.source)) is not None:
                why = f"{one.source} is a binary package of the source {source}: wait for that"
                self._seen[one] = Sighting(one, Stage.FAILED, one.version, why)
            elif near := nearest_names(one.source, names):
                self._seen[one] = replace(self._seen[one], why=f"there is {', '.join(near)}")


def _find(one: Awaited, rows: Sequence[Publication]) -> Publication | None:
    """The publication that is meant: the active one, else the last that was."""
    mine = [row for row in rows if (row.source, row.series) == (one.source, one.series)]
    fitting = [row for row in mine if one.version in ("", row.version)]
    return newest(row for row in fitting if row.is_active) or (fitting[-1] if fitting else None)


def _why_too_low(one: Awaited, rows: Sequence[Publication]) -> str:
    place = (one.source, one.series)
    return why_too_low(one.version, [row for row in rows if row.is_active and (row.source, row.series) == place])


def _how_it_went(row: Publication, rows: Sequence[Publication]) -> str:
    now = [one.version for one in rows if one.is_active and (one.source, one.series) == (row.source, row.series)]
    instead = f"; {', '.join(now)} is there" if now else ""
    return f"it was there, and is {row.status.lower()}{instead}"


def _built(one: Awaited, row: Publication, builds: tuple[Build, ...]) -> Sighting:
    """How far the builds are."""
    waiting = (*(state for state in BuildState if state.is_under_way), BuildState.DEPENDENCY_WAIT)
    failed = [build for build in builds if build.state is not BuildState.BUILT and build.state not in waiting]
    under_way = [build for build in builds if build.state in waiting]
    if failed:
        words = ", ".join(f"{build.architecture}: {build.state.lower()} {build.url}".rstrip() for build in failed)
        return Sighting(one, Stage.FAILED, row.version, words, builds)
    if under_way or not builds:
        words = ", ".join(f"{build.architecture}: {build.state.lower()}" for build in under_way)
        begun = any(build.state is not BuildState.NEEDS_BUILDING for build in builds)
        stage = Stage.BUILDING if begun else Stage.PENDING
        return Sighting(one, stage, row.version, words or "there are no builds of it yet", builds)
    late = ", ".join(build.architecture for build in builds if not build.published)
    words = f"not published yet for {late}" if late else "not in the index yet"
    return Sighting(one, Stage.BUILT, row.version, words, builds)


def _indexed(seen: Sighting, binaries: Sequence[Binary], holdings: Holdings) -> Sighting:
    wanted = {(one.index_architecture, one.package, one.version) for one in binaries if one.status in ACTIVE}
    there: dict[tuple[str, str, str], BinaryPackage] = {}
    for architecture, packages in holdings.binaries.items():
        for one in packages:
            if (one.source, one.source_version) == (seen.awaited.source, seen.version):
                there[architecture, one.package, one.version] = one
    built_on = {build.architecture for build in seen.builds}
    if wanted and wanted <= there.keys() and built_on <= {architecture for architecture, *_ in there}:
        return replace(seen, stage=Stage.INDEXED, why="", packages=tuple(dict.fromkeys(there.values())))
    lacking = sorted({f"{package} for {architecture}" for architecture, package, _ in wanted - there.keys()})
    return replace(seen, why=f"not in the index yet: {', '.join(lacking)}" if lacking else seen.why)
