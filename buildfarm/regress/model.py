"""The words of nightly rebuilds as plain values: what is asked for, what one build said, what a rebuild came to.

A **night** is one round over a package set, at whatever hour. In it each **subject** (a package in a series for an
architecture) has one **rebuild**, which ends with one verdict. A rebuild takes one or more **builds**: the first;
where that failed and had not before, the same again, alone on its worker; a control package on the same worker;
for a new failure the search for its culprit; and for a pass its publication, where one is wanted. An
**environment** is the exact set of packages that a build ran in; what a build was given, its source version and
its environment, is its **input**.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from buildfarm.build.limits import BuildLimits as BuildLimits
from buildfarm.job import from_plain

Outcome = Literal["pass", "fail", "dependency-wait", "error"]
BuildKind = Literal["first", "again", "control", "culprit", "publish"]

NOT_PUBLISHED = "not published: "
"""With this a reason begins that tells why what passed went to no archive."""

LOOK_AGAIN_S = "look_again_s"
"""The fact of a report that its build goes on elsewhere: in so many seconds one may look again."""


class RebuildVerdict(enum.StrEnum):
    """What a rebuild came to, compared with those before it."""

    NEW_FAILURE = "new failure"
    STILL_FAILING = "still failing"
    FIXED = "fixed"
    STILL_PASSING = "still passing"
    FLAKY = "flaky"
    INFRASTRUCTURE = "infrastructure"
    DEPENDENCY_WAIT = "dependency wait"


@dataclass(frozen=True)
class SourceFile:
    """A file of a source package, as a signed Sources index vouches for it."""

    name: str
    url: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class ExtraSources:
    """A repository that build-dependencies may come from besides the series' own: deb822 ``.sources`` text without
    Signed-By, and the keys (ASCII armour) that vouch for it."""

    sources: str
    key: str


@dataclass(frozen=True)
class Subject:
    """What is followed from night to night; ``str()`` reads ``hello bookworm-amd64``."""

    package: str
    series: str
    architecture: str

    def __str__(self) -> str:
        return f"{self.package} {self.series}-{self.architecture}"


@dataclass(frozen=True)
class LeftOut:
    """What a set names and is not rebuilt; the subject's package may be the pattern that named it, or ``*`` for
    all of a series."""

    subject: Subject
    reason: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}"


@dataclass(frozen=True)
class RebuildJob:
    """One subject of a night: which source version is rebuilt, and how.

    ``files`` has the .dsc first. ``arch_all``: what is Architecture: all is built, too. ``options`` are words of
    DEB_BUILD_OPTIONS. ``publish`` is an archive address for what was built ("" is nowhere).
    """

    set: str
    package: str
    version: str
    series: str
    architecture: str
    files: tuple[SourceFile, ...]
    arch_all: bool = True
    extra: tuple[ExtraSources, ...] = ()
    limits: BuildLimits = BuildLimits()
    options: tuple[str, ...] = ()
    publish: str = ""

    @property
    def subject(self) -> Subject:
        """What it is a rebuild of."""
        return Subject(self.package, self.series, self.architecture)

    @property
    def is_launchpads(self) -> bool:
        """Whether Launchpad builds it, not the farm."""
        return self.publish.startswith("ppa:")

    def to_json(self) -> dict[str, Any]:
        """The job as plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> RebuildJob:
        """The job that ``to_json`` wrote; raises ValueError on anything else."""
        return from_plain(RebuildJob, data)


@dataclass(frozen=True)
class TestCounts:
    """What the test suites in a build's log counted."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Suspect:
    """A change of a source package's binaries between two environments: "" for a version that was not there."""

    source: str
    before: str
    after: str
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Culprit:
    """What the search for a failure's cause found.

    ``suspects`` is the smallest set found of changes that turn the result; ``confirmed`` says that it was shown
    both ways: with only them at their earlier versions the build passes, and with only them at their later ones
    it fails. Without suspects ``words`` say why the environment does not explain it. ``builds`` and ``duration_s``
    are what it cost, ``changed`` is how many sources differed.
    """

    words: str
    suspects: tuple[Suspect, ...] = ()
    confirmed: bool = False
    changed: int = 0
    builds: int = 0
    duration_s: float = 0.0


@dataclass(frozen=True)
class BuildReport:
    """What one build came to.

    ``environment`` is the id of the exact packages it ran in ("" when none stood). ``stage`` is where it failed
    (sbuild's word); ``reason`` is one line for people. ``first_error`` are the log's lines around the first error.
    ``fingerprint`` names the cause ("" for none): failures with one fingerprint have one cause; ``cause`` is it in
    words. ``broken_tests`` are those of the failing tests that it fails by although its own rules forgave them.
    ``naming`` is the way in which the tests are named (``build.logs.NAMING``); 0: more failed than are named.
    Times in seconds: ``prepare_s`` until the package's own build began, ``build_s`` its own build, ``total_s``
    all. ``log`` and ``artifacts`` are paths relative to the build's directory.
    """

    outcome: Outcome
    reason: str
    environment: str = ""
    stage: str = ""
    details: str = ""
    first_error: tuple[str, ...] = ()
    failing_tests: tuple[str, ...] = ()
    broken_tests: tuple[str, ...] = ()
    naming: int = 0
    tests: TestCounts | None = None
    fingerprint: str = ""
    cause: str = ""
    prepare_s: float = 0.0
    build_s: float = 0.0
    total_s: float = 0.0
    disk_bytes: int = 0
    log: str = ""
    artifacts: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    culprit: Culprit | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> BuildReport:
        """The report that ``to_json`` wrote; raises ValueError on anything else."""
        return from_plain(BuildReport, data)
