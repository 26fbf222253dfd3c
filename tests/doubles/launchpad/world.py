"""The state of the double: people, PPAs, and what is published, built, superseded and deleted in them."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from ppa_tools.debversion import version_key
from tests.doubles.launchpad.model import (
    BUILT,
    DELETED,
    FAILED,
    NEEDS_BUILDING,
    PENDING,
    PUBLISHED,
    SUPERSEDED,
    Archive,
    BinaryPublication,
    BinaryRelease,
    Build,
    CopyJob,
    Person,
    Publication,
    Release,
    Series,
    Settings,
    SourcePublication,
)

SERIES = (
    Series("focal", "20.04", "Obsolete"),
    Series("jammy", "22.04", "Supported"),
    Series("lunar", "23.04", "Obsolete"),
    Series("mantic", "23.10", "Obsolete"),
    Series("noble", "24.04", "Supported"),
    Series("questing", "25.10", "Supported"),
    Series("resolute", "26.04", "Current Stable Release"),
    Series("stonking", "26.10", "Active Development"),
)


class Unknown(Exception):
    """The builder was asked for what is not there."""


class World:
    """Everything the double knows. Not safe for threads: whoever uses it holds ``Double.lock``."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._ahead_s = 0.0
        self._next_id = 100
        self.settings = Settings()
        self.people: dict[str, Person] = {}
        self.series: dict[str, Series] = {one.name: one for one in SERIES}
        self.archives: dict[str, Archive] = {}
        self.releases: dict[tuple[str, str, str, str], Release] = {}
        self.names: set[str] = set()
        self.sources: dict[int, SourcePublication] = {}
        self.binaries: dict[int, BinaryPublication] = {}
        self.builds: dict[int, Build] = {}
        self.jobs: list[CopyJob] = []
        self.waiting_jobs: list[CopyJob] = []
        self.pending: list[Publication] = []
        self.ended: list[Publication] = []
        self.deletions: list[dict[str, Any]] = []
        self.oldest_ended = math.inf

    # Time and numbers

    def now(self) -> float:
        return self._clock() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Let time pass, for this world only; what is due then has not happened yet."""
        self._ahead_s += seconds

    def new_id(self) -> int:
        self._next_id += 1
        return self._next_id

    # People and archives

    def add_person(self, name: str, *, members: Iterable[str] = (), display_name: str = "") -> Person:
        """A person, or with members a team; one that is known gets the members too."""
        found = self.people.get(name)
        if found is None:
            found = self.people[name] = Person(name, display_name or name.title())
        for member in members:
            found.is_team = True
            found.members.add(self.add_person(member).name)
        return found

    def in_team(self, person: str, team: str) -> bool:
        found = self.people.get(team)
        return person == team or (found is not None and any(self.in_team(person, one) for one in found.members))

    def add_archive(self, key: str, **facts: Any) -> Archive:
        """``owner/name``, or ``ubuntu`` for the primary archive; raises Unknown for what is neither."""
        owner, _, name = key.removeprefix("ppa:").partition("/")
        key = f"{owner}/{name}" if name else owner
        if not name and owner != "ubuntu":
            raise Unknown(f"{key!r} is neither owner/name nor ubuntu")
        if name:
            self.add_person(owner)
        found = self.archives.get(key)
        if found is None:
            display_name = f"{name} of {owner}" if name else "Primary Archive for Ubuntu"
            found = Archive(owner if name else "", name or "primary", display_name)
            found.fingerprint = hashlib.sha1(key.encode()).hexdigest().upper()
            self.archives[key] = found
        for fact, value in facts.items():
            current = getattr(found, fact)
            setattr(found, fact, type(current)(value) if isinstance(current, (set, tuple)) else value)
        return found

    def archive(self, key: str) -> Archive:
        """Raises Unknown."""
        found = self.archives.get(key.removeprefix("ppa:"))
        if found is None:
            raise Unknown(f"there is no PPA {key!r}; add it first")
        return found

    def may_read(self, person: str, archive: Archive) -> bool:
        if not archive.private:
            return True
        return bool(person) and (person in archive.subscribers or self.may_write(person, archive))

    def may_write(self, person: str, archive: Archive) -> bool:
        if not person:
            return False
        return person in archive.uploaders or (archive.is_ppa and self.in_team(person, archive.owner))

    # Publications and builds

    def publish_source(
        self,
        archive: Archive,
        series: str,
        release: Release,
        status: str,
        now: float,
        *,
        creator: str,
        copied_from: Archive | None = None,
    ) -> SourcePublication:
        """A new publication, to be published when its time comes."""
        one = SourcePublication(
            self.new_id(), archive, series, status, now, creator=creator, copied_from=copied_from, release=release
        )
        self.sources[one.id] = one
        archive.sources.append(one)
        archive.by_source.setdefault(release.name, []).append(one)
        archive.file_keys.update(release.file_keys())
        archive.touch()
        self.pending.append(one)
        return one

    def publish_binary(
        self, source: SourcePublication, binary: BinaryRelease, now: float, *, copied_from: Archive | None = None
    ) -> list[BinaryPublication]:
        """Publish a .deb beside its source, ``all`` on each architecture, where it is not active already."""
        archive, available = source.archive, self.series[source.series].architectures
        wanted = (
            [one for one in archive.architectures if one in available]
            if binary.architecture == "all"
            else [one for one in (binary.architecture,) if one in available]
        )
        there = {one.architecture for one in source.binaries if one.binary is binary and one.active}
        made = [
            BinaryPublication(
                self.new_id(),
                archive,
                source.series,
                PENDING,
                now,
                creator=source.creator,
                copied_from=copied_from,
                binary=binary,
                architecture=architecture,
            )
            for architecture in wanted
            if architecture not in there
        ]
        for one in made:
            self.binaries[one.id] = one
            archive.binaries.append(one)
            source.binaries.append(one)
            self.pending.append(one)
        archive.touch()
        return made

    def to_build(self, release: Release, archive: Archive, series: str) -> list[str]:
        """The architectures that a release is built on; what is only ``all`` is built once."""
        allowed = [one for one in archive.architectures if one in self.series[series].architectures]
        wanted = {spec.architecture for spec in release.binaries}
        found = [one for one in allowed if "any" in wanted or one in wanted]
        return found or (allowed[:1] if "all" in wanted else [])

    def new_build(self, release: Release, archive: Archive, series: str, architecture: str, now: float) -> Build:
        build = Build(self.new_id(), release, archive, series, architecture, NEEDS_BUILDING, now)
        self.builds[build.id] = build
        release.builds.append(build)
        archive.touch()
        return build

    def set_build(self, build: Build, state: str, publication: SourcePublication, now: float) -> None:
        """Let a build come into a state; built, its binaries become Pending beside the source."""
        build.state = state
        if state in FAILED:
            build.finished_at = now
        build.rendered.clear()
        build.archive.touch()
        if state != BUILT or build.binaries:
            return
        build.finished_at = now
        builds_all = not any(one.architecture == "all" for other in build.release.builds for one in other.binaries)
        for spec in build.release.binaries:
            if spec.architecture == "all" and not builds_all:
                continue
            own = "all" if spec.architecture == "all" else build.architecture
            if own != "all" and spec.architecture not in ("any", own):
                continue
            build.binaries.append(BinaryRelease(self.new_id(), spec, build.release.version, own, build))
        for binary in build.binaries:
            self.publish_binary(publication, binary, now)

    def changed(self, publication: Publication) -> None:
        """What was written of it is no longer true."""
        publication.rendered.clear()
        publication.archive.touch()

    def dominate(self, newer: Publication, now: float) -> None:
        """Of what is published of a name in a series, the highest version stays, and supersedes the others."""
        rivals = [one for one in _rivals(newer) if one.status == PUBLISHED]
        best = max(rivals, key=lambda one: (version_key(_version(one)), one.id))
        for one in rivals:
            if one is not best:
                self.end(one, SUPERSEDED, now)

    def end(self, publication: Publication, status: str, now: float, *, by: str = "", comment: str = "") -> None:
        """Supersede or delete one."""
        if publication in self.pending:
            self.pending.remove(publication)
        publication.status, publication.superseded_at = status, now
        if status == DELETED:
            publication.removed_by, publication.removal_comment = by, comment
        self.ended.append(publication)
        self.oldest_ended = min(self.oldest_ended, now)
        self.changed(publication)

    def delete(self, source: SourcePublication, by: str, comment: str, now: float, request: int = 0) -> None:
        """What ``requestDeletion`` does: the source and its active binaries go at once."""
        self.end(source, DELETED, now, by=by, comment=comment)
        for one in source.binaries:
            if one.active:
                self.end(one, DELETED, now, by=by, comment=comment)
        self.deletions.append(
            {
                "ppa": source.archive.key,
                "source": source.release.name,
                "version": source.release.version,
                "series": source.series,
                "by": by,
                "comment": comment,
                "at": now,
                "request": request,
            }
        )


def _rivals(publication: Publication) -> list[Publication]:
    """What the index of a series has, or had, of the same name."""
    if isinstance(publication, SourcePublication):
        found = publication.archive.by_source[publication.release.name]
        return [one for one in found if one.series == publication.series]
    assert isinstance(publication, BinaryPublication)
    return [
        one
        for source in publication.archive.by_source[publication.binary.build.release.name]
        if source.series == publication.series
        for one in source.binaries
        if one.architecture == publication.architecture
        and one.binary.spec.package == publication.binary.spec.package
    ]


def _version(publication: Publication) -> str:
    if isinstance(publication, SourcePublication):
        return publication.release.version
    assert isinstance(publication, BinaryPublication)
    return publication.binary.version
