"""What Launchpad knows: people, series, PPAs, source releases, builds, and what is published of them where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

Found = TypeVar("Found")
PENDING, PUBLISHED, SUPERSEDED, DELETED = "Pending", "Published", "Superseded", "Deleted"
ACTIVE = (PENDING, PUBLISHED)
STATUSES = (PENDING, PUBLISHED, SUPERSEDED, DELETED, "Obsolete")
BUILT, NEEDS_BUILDING = "Successfully built", "Needs building"
BUILDING = ("Currently building", "Gathering build output", "Uploading build")
FAILED = ("Failed to build", "Dependency wait", "Chroot problem", "Failed to upload")
BUILD_STATES = (BUILT, NEEDS_BUILDING, *BUILDING, *FAILED, "Build for superseded Source", "Cancelled build")
KEPT_ARCHITECTURES = ("amd64", "arm64", "armhf", "i386")


@dataclass(slots=True)
class Person:
    """A person, or a team of people; ``members`` are names of persons."""

    name: str
    display_name: str
    is_team: bool = False
    members: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Series:
    """A series of the distribution; nothing is copied to an Obsolete one."""

    name: str
    version: str
    status: str
    architectures: tuple[str, ...] = KEPT_ARCHITECTURES

    @property
    def active(self) -> bool:
        return self.status not in ("Obsolete", "Future")

    @property
    def supported(self) -> bool:
        return self.status in ("Supported", "Current Stable Release")


@dataclass(slots=True)
class BinarySpec:
    """A binary package that a source builds, with what stands in its control file and what it owns."""

    package: str
    architecture: str = "any"
    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Release:
    """An uploaded source: ``content`` and ``orig`` stand for the bytes of its files."""

    id: int
    name: str
    version: str
    content: str
    orig: str
    binaries: tuple[BinarySpec, ...]
    fields: dict[str, str]
    creator: str
    restricted: bool
    builds: list[Build] = field(default_factory=list)
    expired: bool = False
    binaries_expired: bool = False

    @property
    def upstream(self) -> str:
        """The version without epoch and revision, as the orig tarball has it; "" for a native package."""
        without_epoch = self.version.partition(":")[2] or self.version
        return without_epoch.rpartition("-")[0]

    @property
    def noepoch(self) -> str:
        return self.version.partition(":")[2] or self.version

    def file_keys(self) -> dict[str, tuple[str, str, str]]:
        """The names of its files, each with what makes its bytes what they are: equal keys are equal bytes."""
        stem = f"{self.name}_{self.noepoch}"
        own = (self.name, self.version, self.content)
        if not self.upstream:
            return {f"{stem}.dsc": own, f"{stem}.tar.gz": own}
        orig = (self.name, self.upstream, self.orig)
        return {
            f"{stem}.dsc": (*own[:2], f"{self.content}|{self.orig}"),
            f"{stem}.debian.tar.gz": own,
            f"{self.name}_{self.upstream}.orig.tar.gz": orig,
        }


@dataclass(slots=True, eq=False)
class Build:
    """A build of a release for one architecture of a series; ``archive`` is where it is, or was, built."""

    id: int
    release: Release
    archive: Archive
    series: str
    architecture: str
    state: str
    created_at: float
    finished_at: float | None = None
    binaries: list[BinaryRelease] = field(default_factory=list)
    rendered: dict[str, str] = field(default_factory=dict)
    log: str = ""
    began_at: float | None = None
    missing: str = ""
    retried: int = 0


@dataclass(slots=True, eq=False)
class BinaryRelease:
    """A .deb; ``architecture`` is its own, or ``all``."""

    id: int
    spec: BinarySpec
    version: str
    architecture: str
    build: Build

    @property
    def file_name(self) -> str:
        noepoch = self.version.partition(":")[2] or self.version
        return f"{self.spec.package}_{noepoch}_{self.architecture}.deb"


@dataclass(slots=True, eq=False)
class Publication:
    """What source and binary publications have alike. Moments are seconds since the epoch."""

    id: int
    archive: Archive
    series: str
    status: str
    created_at: float
    published_at: float | None = None
    superseded_at: float | None = None
    removed_at: float | None = None
    removed_by: str = ""
    removal_comment: str = ""
    creator: str = ""
    copied_from: Archive | None = None
    rendered: dict[str, str] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        return self.status in ACTIVE


@dataclass(slots=True, eq=False, kw_only=True)
class SourcePublication(Publication):
    """A release published in a series of an archive."""

    release: Release
    binaries: list[BinaryPublication] = field(default_factory=list)


@dataclass(slots=True, eq=False, kw_only=True)
class BinaryPublication(Publication):
    """A .deb published for one architecture of a series of an archive."""

    binary: BinaryRelease
    architecture: str


@dataclass(slots=True, eq=False)
class Archive:
    """A PPA, or (``name`` "primary", no owner) the archive of the distribution itself."""

    owner: str
    name: str
    display_name: str
    private: bool = False
    architectures: tuple[str, ...] = ("amd64",)
    uploaders: set[str] = field(default_factory=set)
    subscribers: set[str] = field(default_factory=set)
    fingerprint: str | None = None
    description: str = ""
    sources: list[SourcePublication] = field(default_factory=list)
    binaries: list[BinaryPublication] = field(default_factory=list)
    by_source: dict[str, list[SourcePublication]] = field(default_factory=dict)
    file_keys: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    _found: dict[object, object] = field(default_factory=dict)

    @property
    def is_ppa(self) -> bool:
        return bool(self.owner)

    @property
    def path(self) -> str:
        return f"~{self.owner}/+archive/ubuntu/{self.name}" if self.is_ppa else f"ubuntu/+archive/{self.name}"

    @property
    def reference(self) -> str:
        return f"~{self.owner}/ubuntu/{self.name}" if self.is_ppa else "ubuntu"

    @property
    def key(self) -> str:
        """How the builder and the log name it: ``owner/name``, or ``ubuntu``."""
        return f"{self.owner}/{self.name}" if self.is_ppa else "ubuntu"

    def touch(self) -> None:
        """What was found in it before is no longer true."""
        self._found.clear()

    def remember(self, key: object, make: Callable[[], Found]) -> Found:
        """What was made for a key since the archive changed last."""
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = make()
        return cast("Found", found)


@dataclass(slots=True)
class CopyJob:
    """A copy that was accepted, and how it ended: ``error`` is what the web page alone would show."""

    id: int
    target: Archive
    source: Archive
    name: str
    version: str
    to_series: str
    from_series: str
    with_binaries: bool
    unembargo: bool
    move: bool
    requester: str
    asked_at: float
    due_at: float | None
    request: int = 0
    state: str = "waiting"
    error: str = ""


@dataclass(slots=True)
class Settings:
    """How long things take, in seconds; None means: until the test says so (``settle``).

    ``lock_retry_s`` is how long a copy waits for another of the same source and version to the same archive.
    ``files_kept_s`` is how long the files of what was superseded or deleted stay. ``idle_s`` is how long a
    connection may be silent before it is closed.
    """

    latency_s: float = 0.0
    copy_delay_s: float | None = 0.05
    publish_delay_s: float | None = 0.05
    build_delay_s: float | None = None
    lock_retry_s: float = 0.0
    files_kept_s: float = 7 * 86400.0
    idle_s: float | None = None
