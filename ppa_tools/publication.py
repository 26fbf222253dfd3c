"""Publications as every archive has them: a source version in a series, its builds, its binaries, its files."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from ppa_tools.address import Address


class Status(enum.StrEnum):
    """Where a publication stands, in Launchpad's words."""

    PENDING = "Pending"
    PUBLISHED = "Published"
    SUPERSEDED = "Superseded"
    DELETED = "Deleted"
    OBSOLETE = "Obsolete"


ACTIVE = (Status.PENDING, Status.PUBLISHED)
"""What is in the index, or will be: ask for both to see what is current."""


class BuildState(enum.StrEnum):
    """How far the build of a source on one architecture is, in Launchpad's words; others count as failed."""

    NEEDS_BUILDING = "Needs building"
    BUILDING = "Currently building"
    UPLOADING = "Uploading build"
    GATHERING = "Gathering build output"
    BUILT = "Successfully built"
    FAILED = "Failed to build"
    DEPENDENCY_WAIT = "Dependency wait"
    CHROOT_PROBLEM = "Chroot problem"
    SUPERSEDED = "Build for superseded Source"
    FAILED_UPLOAD = "Failed to upload"
    CANCELLING = "Cancelling build"
    CANCELLED = "Cancelled build"

    @property
    def is_under_way(self) -> bool:
        """Whether waiting may still help."""
        return self in (self.NEEDS_BUILDING, self.BUILDING, self.UPLOADING, self.GATHERING)


@dataclass(frozen=True)
class Build:
    """The build of one source publication on one architecture; ``published``: its binaries are in the index."""

    architecture: str
    state: BuildState
    published: bool = False
    url: str = ""


@dataclass(frozen=True)
class Publication:
    """A source version in a series of an archive.

    ``key`` is what the archive knows it by. Moments are in seconds since the epoch, UTC; None where they have not
    come, or are not told. ``by`` and ``why`` say how it came, ``ended_by`` and ``end_why`` how it went.
    """

    key: str
    source: str
    version: str
    series: str
    status: Status
    created_at: float | None = None
    published_at: float | None = None
    ended_at: float | None = None
    by: str = ""
    why: str = ""
    ended_by: str = ""
    end_why: str = ""

    @property
    def is_active(self) -> bool:
        """Whether it is in the index, or will be."""
        return self.status in ACTIVE

    def __str__(self) -> str:
        return f"{self.source} {self.version}"


@dataclass(frozen=True)
class Binary:
    """A binary package in the index of one architecture; ``architecture`` is the package's own, or ``all``."""

    package: str
    version: str
    architecture: str
    index_architecture: str
    source: str
    source_version: str
    series: str
    status: Status


@dataclass(frozen=True)
class File:
    """A file of a publication: where it can be had (a URL, or a path), and what it must be."""

    name: str
    url: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class SeriesFacts:
    """A series that an archive can have packages for; nothing is copied to an ``obsolete`` one."""

    name: str
    architectures: tuple[str, ...] = ()
    obsolete: bool = False


@dataclass(frozen=True)
class Side:
    """What planning needs to know of an archive.

    ``publications`` are all there are and were where they were asked for with their past, else the active ones.
    """

    address: Address
    private: bool
    series: Mapping[str, SeriesFacts]
    publications: tuple[Publication, ...] = ()
    with_past: bool = True
    versions: int = 1
    """How many versions of a source it keeps published; Launchpad keeps one."""
