"""What an archive ought to hold after some operations, worked out without it; and doing them to a real one."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ppa_tools.address import Address
from ppa_tools.archives.local import LocalArchive, Wanted
from tests.archive.conftest import PPA, SERIES, architecture
from tests.archive.shelf import ME, STABLE, Shelf

ADDRESSES = (PPA, STABLE)
SOURCES = ("a+b", "a-z", "ab", "abc")
SNAPSHOTS = ("first", "second")
WEIGHTS = {
    "add": 6,
    "build": 6,
    "copy": 5,
    "delete": 2,
    "snapshot": 2,
    "roll back": 4,
    "publish": 1,
    "collect": 3,
}
ARCH = architecture()


@dataclass(frozen=True)
class Operation:
    """One thing to do; ``name`` is a source (of a copy: several), or a snapshot."""

    what: str
    ppa: Address = PPA
    name: str = ""
    version: str = ""


@dataclass(frozen=True)
class Held:
    """What a PPA has published: versions by source, and by binary package."""

    sources: Mapping[str, str] = field(default_factory=dict)
    binaries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """What the PPAs hold, and held when they were snapshotted; ``number`` makes versions that are new."""

    held: Mapping[Address, Held] = field(default_factory=lambda: {one: Held() for one in ADDRESSES})
    snapshots: Mapping[tuple[Address, str], Held] = field(default_factory=dict)
    number: int = 0

    def possible(self) -> list[Operation]:
        """What may be done next; everything else would be refused or change nothing."""
        trunk, stable = self.held[PPA], self.held[STABLE]
        found = [Operation("add", PPA, name, f"{self.number + 1}.0-1") for name in SOURCES]
        unbuilt = [name for name in trunk.sources if trunk.binaries.get(name) != trunk.sources[name]]
        found += [Operation("build", PPA, name, trunk.sources[name]) for name in unbuilt]
        newer = [
            name
            for name, version in trunk.sources.items()
            if name not in unbuilt and _key(version) > _key(stable.sources.get(name, "0.0-1"))
        ]
        found += [Operation("copy", STABLE, name) for name in newer]
        found += [Operation("copy", STABLE, " ".join(newer))] if len(newer) > 1 else []
        found += [Operation("delete", one, name) for one in ADDRESSES for name in self.held[one].sources]
        for one in ADDRESSES:
            for name in SNAPSHOTS:
                taken = (one, name) in self.snapshots
                found += [Operation("roll back" if taken else "snapshot", one, name)]
                found += [Operation("forget", one, name)] if taken else []
        found += [Operation("publish", one) for one in ADDRESSES]
        return [*found, Operation("collect")]

    def after(self, one: Operation) -> Model:
        """The model when that is done."""
        before, number = self.held[one.ppa], self.number
        sources, binaries, snapshots = dict(before.sources), dict(before.binaries), dict(self.snapshots)
        match one.what:
            case "add":
                sources[one.name] = one.version
                number += 1
            case "build":
                binaries[one.name] = one.version
            case "copy":
                for name in one.name.split():
                    sources[name] = binaries[name] = self.held[PPA].sources[name]
            case "delete":
                sources.pop(one.name)
                binaries.pop(one.name, None)
            case "snapshot":
                snapshots[one.ppa, one.name] = before
            case "forget":
                snapshots.pop((one.ppa, one.name))
            case "roll back":
                back = snapshots[one.ppa, one.name]
                sources, binaries = dict(back.sources), dict(back.binaries)
        return replace(
            self,
            held={**self.held, one.ppa: Held(sources, binaries)},
            snapshots=snapshots,
            number=number,
        )

    def choose(self, luck: random.Random) -> Operation:
        """One of the possible operations; each kind has its weight, however many there are of it."""
        possible = self.possible()
        kinds = sorted({one.what for one in possible})
        (kind,) = luck.choices(kinds, [WEIGHTS.get(one, 1) for one in kinds])
        return luck.choice([one for one in possible if one.what == kind])


@dataclass(frozen=True)
class Job:
    """An operation with the upload that it sends, where it sends one."""

    operation: Operation
    changes: Path | None


def prepare(operation: Operation, shelf: Shelf) -> Job:
    """Make the upload that an operation sends."""
    if operation.what == "add":
        return Job(operation, shelf.source(operation.name, operation.version))
    if operation.what == "build":
        return Job(operation, shelf.binaries(operation.name, operation.version))
    return Job(operation, None)


def perform(archive: LocalArchive, job: Job) -> None:
    """Do an operation; all of it is durable and published when this returns."""
    one, changes = job.operation, job.changes
    match one.what:
        case "add":
            assert changes is not None
            archive.accept_source(one.ppa, SERIES, changes.parent, changes.name)
            archive.publish(one.ppa)
        case "build":
            assert changes is not None
            archive.accept_binaries(one.ppa, SERIES, ARCH, changes.parent, changes.name, "worker-1")
            archive.publish(one.ppa)
        case "copy":
            archive.copy(PPA, SERIES, one.ppa, SERIES, [Wanted(name) for name in one.name.split()], by=ME)
        case "delete":
            archive.delete(one.ppa, SERIES, [Wanted(one.name)], by=ME)
        case "snapshot":
            archive.snapshot(one.ppa, one.name, by=ME)
        case "forget":
            archive.delete_snapshot(one.ppa, one.name)
        case "roll back":
            archive.roll_back(one.ppa, one.name, by=ME)
        case "publish":
            archive.publish(one.ppa, force=True)
        case "collect":
            archive.collect_garbage(dry_run=False)


def what_is_held(archive: LocalArchive, address: Address) -> Held:
    """What a PPA has published, as its history tells."""
    binaries = {
        row.package: row.version
        for one in archive.publications(address)
        for row in one.binaries
        if row.span.ended_at is None
    }
    return Held({one.source: one.version for one in archive.listing(address)}, binaries)


def agrees(archive: LocalArchive, model: Model) -> bool:
    """Whether an archive holds what the model says."""
    names = {(address, one.name) for address in ADDRESSES for one in archive.snapshots(address)}
    return names == set(model.snapshots) and all(
        what_is_held(archive, address) == held for address, held in model.held.items()
    )


def _key(version: str) -> int:
    return int(version.partition(".")[0])
