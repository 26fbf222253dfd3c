"""The state of the double and how it comes about: people, PPAs, packages; what is due happens in ``settle``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ppa_tools.debversion import version_key

from tests.doubles.launchpad.model import (
    ACTIVE,
    BUILT,
    DELETED,
    NEEDS_BUILDING,
    PENDING,
    PUBLISHED,
    SUPERSEDED,
    Archive,
    BinaryPublication,
    BinaryRelease,
    BinarySpec,
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
    """Everything the double knows. Not safe for threads: whoever uses it holds ``server.lock``."""

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
        self.run_job: Callable[[World, CopyJob], None] = lambda _world, _job: None

    # Time and numbers

    def now(self) -> float:
        return self._clock() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Let time pass, for this world only."""
        self._ahead_s += seconds
        self.settle()

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
            found.fingerprint = f"{abs(hash(key)):040X}"[:40]
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

    # Packages

    def add_package(
        self,
        ppa: str,
        name: str,
        version: str,
        *,
        series: str = "noble",
        status: str = PUBLISHED,
        binaries: Iterable[str | Mapping[str, Any]] | None = None,
        builds: Mapping[str, str] | None = None,
        content: str = "",
        orig: str = "",
        fields: Mapping[str, str] | None = None,
        created_at: float | None = None,
        creator: str = "",
        comment: str = "",
    ) -> SourcePublication:
        """A source published in a PPA with its builds and binaries.

        The same name, version, ``content`` and ``orig`` elsewhere is the same release, as if it had been copied,
        with its binaries, unless ``builds`` says otherwise; other content is a different source.
        """
        archive = self.archive(ppa)
        if series not in self.series:
            raise Unknown(f"there is no series {series!r}")
        key = (name, version, content, orig)
        release = self.releases.get(key)
        is_known = release is not None
        if release is None:
            release = self._new_release(archive, key, binaries, fields, creator)
        now = self.now() if created_at is None else created_at
        publication = self.publish_source(archive, series, release, PENDING, now, creator=creator or archive.owner)
        if builds is None and is_known and release.builds:
            self._share_binaries(publication)
        else:
            states = builds if builds is not None else dict.fromkeys(archive.architectures, BUILT)
            for architecture, state in states.items():
                self.set_build(self.new_build(release, archive, series, architecture, now), state, publication)
        for one in (publication, *publication.binaries):
            self._enter(one, status, now, creator or archive.owner, comment)
        return publication

    def _new_release(
        self,
        archive: Archive,
        key: tuple[str, str, str, str],
        binaries: Iterable[str | Mapping[str, Any]] | None,
        fields: Mapping[str, str] | None,
        creator: str,
    ) -> Release:
        name, version, content, orig = key
        specs = tuple(
            BinarySpec(one) if isinstance(one, str) else BinarySpec(**one)
            for one in (binaries if binaries is not None else (name,))
        )
        release = Release(
            self.new_id(),
            name,
            version,
            content,
            orig,
            specs,
            dict(fields or {}),
            creator or archive.owner or "ubuntu-archive",
            archive.private,
        )
        self.releases[key] = release
        self.names.add(name)
        return release

    def _enter(self, publication: Publication, status: str, now: float, by: str, comment: str) -> None:
        publication.status = status
        if status == PENDING:
            return
        self.pending.remove(publication)
        publication.published_at = now
        if status == PUBLISHED:
            self._dominate(publication, now)
            return
        publication.superseded_at = now
        if status == DELETED:
            publication.removed_by, publication.removal_comment = by, comment
        self.ended.append(publication)

    def _share_binaries(self, publication: SourcePublication) -> None:
        """Publish the release's binaries here too, as a copy would have."""
        for build in publication.release.builds:
            if build.state == BUILT:
                for binary in build.binaries:
                    self.publish_binary(publication, binary, copied_from=build.archive)

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
        self, source: SourcePublication, binary: BinaryRelease, *, copied_from: Archive | None = None
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
                self.now(),
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

    def new_build(self, release: Release, archive: Archive, series: str, architecture: str, now: float) -> Build:
        build = Build(self.new_id(), release, archive, series, architecture, NEEDS_BUILDING, now)
        self.builds[build.id] = build
        release.builds.append(build)
        archive.touch()
        return build

    def set_build(self, build: Build, state: str, publication: SourcePublication) -> None:
        """Let a build come into a state; built, its binaries become Pending beside the source."""
        build.state = state
        build.rendered.clear()
        build.archive.touch()
        if state != BUILT or build.binaries:
            return
        build.finished_at = self.now()
        builds_all = not any(one.architecture == "all" for other in build.release.builds for one in other.binaries)
        for spec in build.release.binaries:
            if spec.architecture == "all" and not builds_all:
                continue
            own = "all" if spec.architecture == "all" else build.architecture
            if own != "all" and spec.architecture not in ("any", own):
                continue
            build.binaries.append(BinaryRelease(self.new_id(), spec, build.release.version, own, build))
        for binary in build.binaries:
            self.publish_binary(publication, binary)

    # What happens by itself

    def settle(self, *, everything: bool = False) -> None:
        """Let happen what is due by now; with ``everything`` also what waits to be told, and at once."""
        while True:
            now = self.now()
            due = [
                one for one in self.waiting_jobs if everything or (one.due_at is not None and one.due_at <= now)
            ]
            for job in due:
                self.waiting_jobs.remove(job)
                self.run_job(self, job)
            if self.settings.build_delay_s is not None or everything:
                self._finish_builds(now, everything)
            published = self._publish_due(now, everything)
            if not (due or published):
                break
        if self.ended:
            self._remove_files(now)

    def _finish_builds(self, now: float, everything: bool) -> None:
        delay = self.settings.build_delay_s
        for build in list(self.builds.values()):
            late = everything or (delay is not None and build.created_at + delay <= now)
            if build.state == NEEDS_BUILDING and late:
                for publication in build.archive.by_source.get(build.release.name, ()):
                    if publication.release is build.release and publication.series == build.series:
                        self.set_build(build, BUILT, publication)

    def _publish_due(self, now: float, everything: bool) -> bool:
        delay = self.settings.publish_delay_s
        if not self.pending or (delay is None and not everything):
            return False
        due = [one for one in self.pending if everything or one.created_at + (delay or 0) <= now]
        if due:
            self.pending = [one for one in self.pending if one not in set(due)]
        for one in due:
            one.status, one.published_at = PUBLISHED, now
            self._changed(one)
            self._dominate(one, now)
        return bool(due)

    def _changed(self, publication: Publication) -> None:
        publication.rendered.clear()
        publication.archive.touch()

    def _dominate(self, newer: Publication, now: float) -> None:
        """What is published supersedes the lower versions of the same name in its series."""
        if isinstance(newer, SourcePublication):
            rivals: list[Publication] = [
                one
                for one in newer.archive.by_source[newer.release.name]
                if one.series == newer.series and one.status in ACTIVE
            ]
        else:
            assert isinstance(newer, BinaryPublication)
            rivals = [
                one
                for source in newer.archive.by_source[newer.binary.build.release.name]
                if source.series == newer.series
                for one in source.binaries
                if one.status in ACTIVE
                and one.architecture == newer.architecture
                and one.binary.spec.package == newer.binary.spec.package
            ]
        best = version_key(_version(newer))
        for one in rivals:
            if one is not newer and one.status == PUBLISHED and version_key(_version(one)) <= best:
                self.end(one, SUPERSEDED, now)

    def end(self, publication: Publication, status: str, now: float, *, by: str = "", comment: str = "") -> None:
        """Supersede or delete one."""
        if publication in self.pending:
            self.pending.remove(publication)
        publication.status, publication.superseded_at = status, now
        if status == DELETED:
            publication.removed_by, publication.removal_comment = by, comment
        self.ended.append(publication)
        self._changed(publication)

    def delete(self, source: SourcePublication, by: str, comment: str, request: int = 0) -> None:
        """What ``requestDeletion`` does: the source and its active binaries go at once."""
        now = self.now()
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

    def _remove_files(self, now: float) -> None:
        kept_s = self.settings.files_kept_s
        due = [one for one in self.ended if (one.superseded_at or now) + kept_s <= now]
        if not due:
            return
        self.ended = [one for one in self.ended if one not in set(due)]
        for one in due:
            one.removed_at = now
            self._changed(one)
        for release in {one.release for one in due if isinstance(one, SourcePublication)}:
            if all(one.removed_at for one in self.sources.values() if one.release is release):
                release.expired = release.binaries_expired = True


def _version(publication: Publication) -> str:
    if isinstance(publication, SourcePublication):
        return publication.release.version
    assert isinstance(publication, BinaryPublication)
    return publication.binary.version
