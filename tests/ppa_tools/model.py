"""A test's model of archives behind their door: in memory, with Launchpad's rules, a clock of its own, and faults.

It is no double of Launchpad (``tests/doubles/launchpad`` is): it has no requests, only what ``door.Archive``
promises, written anew from the rules, so that plans and their carrying out can be tried thousands of times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ppa_tools.address import Address, parse_address
from ppa_tools.archives.door import CopyBatch, DoorError, Stats, Uncertain, Unreachable
from ppa_tools.debversion import split_version, version_key, without_epoch
from ppa_tools.publication import Build, BuildState, File, Publication, SeriesFacts, Side, Status

ARCHITECTURES = ("amd64", "arm64")
SERIES = {name: SeriesFacts(name, ARCHITECTURES) for name in ("jammy", "noble")}
SERIES["lucid"] = SeriesFacts("lucid", ARCHITECTURES, obsolete=True)
ALL_BUILT = (BuildState.BUILT, BuildState.BUILT)


class Killed(BaseException):
    """The process that talks to an archive dies here."""


@dataclass(frozen=True)
class Release:
    """A source and its builds; ``content`` tells apart those of one version that differ."""

    source: str
    version: str
    content: str = "x"
    states: tuple[BuildState, ...] = ALL_BUILT
    orig: str = "o"

    def source_names(self) -> dict[str, str]:
        _, upstream, revision = split_version(self.version)
        names = {f"{self.source}_{without_epoch(self.version)}.dsc": f"{self.content} {self.version}"}
        if revision:
            names[f"{self.source}_{upstream}.orig.tar.xz"] = self.orig
        return names

    def binary_names(self) -> dict[str, str]:
        return {
            f"{self.source}_{without_epoch(self.version)}_{name}.deb": f"{self.content} {self.version}"
            for name, state in zip(ARCHITECTURES, self.states, strict=True)
            if state is BuildState.BUILT
        }


@dataclass
class Fault:
    """What happens at the ``at``-th thing that is asked: the connection breaks, or this process dies."""

    at: int
    processed: bool
    kills: bool = False


@dataclass
class World:
    """The time, and the faults, of all archives in it."""

    now: float = 1_000_000.0
    asked: int = 0
    fault: Fault | None = None

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Job:
    due: float
    archive: ModelArchive
    batch: CopyBatch
    names: tuple[tuple[str, str, str], ...]


@dataclass
class ModelArchive:
    """One archive; ``taken`` counts what it was made to do, ``failed`` says why jobs did nothing."""

    world: World
    address: Address
    neighbours: dict[Address, ModelArchive]
    is_immediate: bool = False
    batch_size: int = 3
    delay_s: float = 4.0
    private: bool = False
    stats: Stats = field(default_factory=Stats)
    rows: list[Publication] = field(default_factory=list)
    releases: dict[str, Release] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)
    jobs: list[Job] = field(default_factory=list)
    taken: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    # What tests do to it

    def upload(self, series: str, release: Release) -> str:
        """Publish a release, unless the rules say no: then why."""
        return self._publish(series, release, {**release.source_names(), **release.binary_names()})

    def end(self, series: str, source: str) -> None:
        for row in self.active(series, source):
            self._end(row, Status.DELETED)

    def active(self, series: str = "", source: str = "") -> list[Publication]:
        return [
            row for row in self.rows if row.is_active and series in ("", row.series) and source in ("", row.source)
        ]

    def held(self) -> dict[tuple[str, str], str]:
        return {(row.series, row.source): row.version for row in self.active()}

    # The door

    def side(self, *, with_past: bool, names: Collection[str] = (), series: Collection[str] = ()) -> Side:
        self._reach()
        rows = self._select(names, series, () if with_past else (Status.PENDING, Status.PUBLISHED))
        return Side(self.address, self.private, SERIES, rows, with_past=with_past)

    def publications(
        self,
        *,
        names: Collection[str] = (),
        series: Collection[str] = (),
        statuses: Collection[Status] = (),
        since: float | None = None,
    ) -> tuple[Publication, ...]:
        self._reach()
        return tuple(
            row for row in self._select(names, series, statuses) if since is None or (row.created_at or 0) >= since
        )

    def builds(self, publications: Sequence[Publication]) -> Mapping[str, tuple[Build, ...]]:
        self._reach()
        return {
            one.key: tuple(
                Build(name, state, published=state is BuildState.BUILT and one.is_active)
                for name, state in zip(ARCHITECTURES, self.releases[one.key].states, strict=True)
            )
            for one in publications
        }

    def binaries(self, publications: Sequence[Publication]) -> Mapping[str, tuple[object, ...]]:
        raise AssertionError("neither a plan nor applying it asks for binaries")

    def source_files(self, publications: Sequence[Publication]) -> Mapping[str, tuple[File, ...]]:
        self._reach()
        return {one.key: self._files(one, self.releases[one.key].source_names()) for one in publications}

    def binary_files(self, publications: Sequence[Publication]) -> Mapping[str, tuple[File, ...]]:
        self._reach()
        return {one.key: self._files(one, self.releases[one.key].binary_names()) for one in publications}

    def ask_copies(self, batch: CopyBatch) -> None:
        with_fault = self._reach(changes=True)
        if with_fault is None or with_fault.processed:
            assert len(batch.copies) <= self.batch_size
            if batch.latest:
                names = tuple((one.source, "", "") for one in batch.copies)
            else:
                names = tuple((one.source, one.version, one.key) for one in batch.copies)
            self.taken.update(("copy", batch.to_series, one.source, one.version) for one in batch.copies)
            self.jobs.append(Job(self.world.now + (0 if self.is_immediate else self.delay_s), self, batch, names))
        self._break(with_fault)

    def ask_deletion(self, publication: Publication, why: str) -> None:
        assert why
        with_fault = self._reach(changes=True)
        if with_fault is None or with_fault.processed:
            self.taken["delete", publication.series, publication.source, publication.version] += 1
            for row in self.active():
                if row.key == publication.key:
                    self._end(row, Status.DELETED)
        self._break(with_fault)

    def close(self) -> None:
        pass

    # Inside

    def _reach(self, *, changes: bool = False) -> Fault | None:
        """Count what is asked; reading breaks at once, changing when it has been seen to."""
        self._work()
        self.world.asked += 1
        fault = self.world.fault
        if fault is None or fault.at != self.world.asked:
            return None
        if not changes:
            self._break(fault, Unreachable)
        return fault

    def _break(self, fault: Fault | None, broken: type[DoorError] = Uncertain) -> None:
        if fault is not None:
            raise Killed if fault.kills else broken("the connection broke")

    def _select(
        self, names: Collection[str], series: Collection[str], statuses: Collection[Status]
    ) -> tuple[Publication, ...]:
        return tuple(
            row
            for row in self.rows
            if (not names or row.source in names)
            and (not series or row.series in series)
            and (not statuses or row.status in statuses)
        )

    def _files(self, one: Publication, names: Mapping[str, str]) -> tuple[File, ...]:
        if one.key in self.expired:
            return ()
        return tuple(File(name, f"mem:{name}", content, 1) for name, content in names.items())

    def _work(self) -> None:
        for job in [job for job in self.jobs if job.due <= self.world.now]:
            self.jobs.remove(job)
            source = self.neighbours[job.batch.source]
            for name, version, _ in job.names:
                self._copy(source, job.batch, name, version)

    def _copy(self, source: ModelArchive, batch: CopyBatch, name: str, version: str) -> None:
        fitting = [
            row
            for row in source.rows
            if (row.series, row.source) == (batch.from_series, name)
            and (row.version == version if version else row.is_active)
        ]
        if not fitting:
            return
        row = max(fitting, key=lambda one: (version_key(one.version), one.is_active, int(one.key.split("#")[1])))
        release = source.releases[row.key]
        why_not = self._why_not(source, row, release, batch)
        if not why_not:
            names = release.source_names() | (release.binary_names() if batch.with_binaries else {})
            why_not = self._publish(batch.to_series, release, names)
        if why_not:
            self.failed.append(f"{name} {version or row.version}: {why_not}")

    def _why_not(self, source: ModelArchive, row: Publication, release: Release, batch: CopyBatch) -> str:
        if batch.to_series not in SERIES or SERIES[batch.to_series].obsolete:
            return "no such series"
        if source.private and not self.private and not batch.unembargo:
            return "it is private"
        if row.key in source.expired:
            return "files expired"
        if batch.with_binaries and BuildState.BUILT not in release.states:
            return "no binaries"
        there = [one for one in self.rows if one.source == row.source and one.version == row.version]
        if not batch.with_binaries and any(self.releases[one.key].binary_names() for one in there):
            return "same version already has published binaries"
        return ""

    def _publish(self, series: str, release: Release, names: Mapping[str, str]) -> str:
        active = self.active(series, release.source)
        if any(version_key(row.version) > version_key(release.version) for row in active):
            return "a newer version is there"
        if any(row.version == release.version for row in active):
            return "it is there"
        for name, content in names.items():
            if self.names.get(name, content) != content:
                return f"{name} has other contents"
        for row in active:
            self._end(row, Status.SUPERSEDED)
        self.names.update(names)
        key = f"{self.address}#{len(self.rows)}"
        self.releases[key] = release
        now = self.world.now
        self.rows.append(
            Publication(key, release.source, release.version, series, Status.PUBLISHED, created_at=now)
        )
        return ""

    def _end(self, row: Publication, status: Status) -> None:
        self.rows[self.rows.index(row)] = replace(row, status=status, ended_at=self.world.now)


def archives(
    *names: str, immediate: Iterable[str] = (), world: World | None = None
) -> dict[Address, ModelArchive]:
    """Archives that know each other."""
    world = world or World()
    found: dict[Address, ModelArchive] = {}
    for name in names:
        address = parse_address(name)
        found[address] = ModelArchive(world, address, found, is_immediate=name in immediate)
    return found
