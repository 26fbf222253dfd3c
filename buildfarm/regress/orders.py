"""What a worker is asked to do for a build: all that it needs to know, from what is on record."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from buildfarm.errors import UsageError
from buildfarm.job import from_plain
from buildfarm.regress.forgiven import WatchedTests, key_of_test
from buildfarm.regress.lookups import OWN_KINDS
from buildfarm.regress.model import RebuildJob
from buildfarm.regress.version import regression_version
from buildfarm.settings import Settings
from buildfarm.source.changelog import Entry

if TYPE_CHECKING:
    from buildfarm.regress.nights import Nights
    from buildfarm.regress.records import Build, Night, Rebuild


@dataclass(frozen=True)
class CulpritOrder:
    """The search for a failure's cause: between the environment ``before``, where ``passed_version`` passed on the
    day ``passed``, and the order's own. ``fingerprint`` is the failure's; ``since`` is when it was first seen.
    ``builds`` and ``duration_s`` are what the search may cost."""

    before: str
    passed_version: str
    passed: str
    since: str
    fingerprint: str
    builds: int
    duration_s: float


@dataclass(frozen=True)
class NewVersion:
    """The version that a source is given, by one more changelog entry, before it is built and published;
    ``at`` (epoch seconds) is the entry's time."""

    version: str
    at: int


@dataclass(frozen=True)
class Publication:
    """What is published: what the build of this number made."""

    build: int


@dataclass(frozen=True)
class OnLaunchpad:
    """A build that Launchpad does. ``attempt`` names this one among all of its source version; ``again``: what did
    not pass there is to be built once more."""

    attempt: str
    again: bool


@dataclass(frozen=True)
class BuildOrder:
    """One build. ``environment`` is the id of the one to build in; "" is what the archives have, as they stood
    after ``newer_than`` (epoch seconds): all of a night see them as they were when it began, or later.
    ``expected_bytes`` is the disk that it took before (0: unknown). With ``culprit`` it is a search, of many
    builds; with ``publication`` nothing is built, and a build's results go to the job's archive. ``new_version``
    is the one that the source is built as; without, it keeps its own. ``near`` is an environment that is made
    first where ``environment`` is little else. With ``on_launchpad`` the farm builds nothing: Launchpad does.
    ``watch`` is what the tests of a build that passes are held to; without, they are what the package's rules say.
    """

    job: RebuildJob
    environment: str = ""
    newer_than: float = 0.0
    expected_bytes: int = 0
    culprit: CulpritOrder | None = None
    new_version: NewVersion | None = None
    publication: Publication | None = None
    near: str = ""
    on_launchpad: OnLaunchpad | None = None
    watch: WatchedTests | None = None

    @property
    def version(self) -> str:
        """The version that is built."""
        return self.new_version.version if self.new_version is not None else self.job.version

    def to_json(self) -> dict[str, Any]:
        """The order as plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> BuildOrder:
        """The order that ``to_json`` wrote; raises ValueError on anything else."""
        return from_plain(BuildOrder, data)


def regression_entry(job: RebuildJob, new: NewVersion, settings: Settings) -> Entry:
    """The changelog entry of a new version: the same for one night, whoever writes it."""
    changes = (
        f"Rebuilt by {settings.farm.name} from the sources of {job.version}, unchanged but for this entry.",
        f"It shows whether they still build on {datetime.fromtimestamp(new.at, UTC):%Y-%m-%d}; it fixes nothing.",
    )
    author = f"{settings.farm.name} <{settings.farm.email}>"
    return Entry(job.package, new.version, job.series, "medium", (("", changes),), author, new.at)


def order_for(nights: Nights, night: Night, rebuild: Rebuild, build: Build) -> BuildOrder:
    """The order for a build that is due.

    Raises UsageError for a search that lost what it compares with, and for a publication of what has no version
    that an archive would take, or nothing that passed.
    """
    if build.kind == "publish":
        return _publication(nights, night, rebuild, build)
    if build.kind in OWN_KINDS and build.job.is_launchpads:
        again = build.kind == "again" or bool(build.tries)
        attempt = f"{build.id}.{len(build.tries)}" if again else "first"
        version = published_version(nights, night, rebuild)
        return BuildOrder(build.job, new_version=version, on_launchpad=OnLaunchpad(attempt, again))
    new_version = _new_version(nights, night, rebuild) if build.kind != "control" else None
    watch = _watch(nights, night, rebuild, build)
    passed = nights.last_pass(build.job.subject)
    expected_bytes = passed.report.disk_bytes if passed is not None and passed.report is not None else 0
    if build.kind != "culprit":
        return BuildOrder(
            build.job, build.environment, night.started_at, expected_bytes, new_version=new_version, watch=watch
        )
    failed = nights.build(rebuild.decided_by) if rebuild.decided_by is not None else None
    passed = nights.last_pass(rebuild.subject, before=failed)
    if passed is None or passed.report is None:
        raise UsageError(f"no pass of {rebuild.subject} is kept to compare with")
    rules = night.settings
    since = rebuild.since if rebuild.since is not None else night.started_at
    culprit = CulpritOrder(
        before=passed.report.environment,
        passed_version=passed.job.version,
        passed=_day(passed.ended_at),
        since=_day(since),
        fingerprint=rebuild.fingerprint,
        builds=rules.culprit_builds,
        duration_s=float(rules.culprit_s),
    )
    return BuildOrder(
        rebuild.job, build.environment, night.started_at, expected_bytes, culprit, new_version, watch=watch
    )


def _watch(nights: Nights, night: Night, rebuild: Rebuild, build: Build) -> WatchedTests | None:
    """What a build's tests are held to: the passes before; after a build that failed by some tests, these, without
    those that broke in nights before if others are left.

    None where the set does not want it, where nothing is known, and in the search after a failure by the rules.
    """
    if build.kind == "control" or not night.settings.watch_tests:
        return None
    known, before = nights.tests_known(night, rebuild)
    failed = nights.last_failure(rebuild)
    if broken := frozenset(map(key_of_test, failed.broken_tests if failed is not None else ())):
        return WatchedTests(only=tuple(sorted(broken - before or broken)))
    if build.kind == "culprit":
        return None
    if known is not None:
        return WatchedTests(known=tuple(sorted(known)))
    return WatchedTests(only=tuple(sorted(before))) if before else None


def _publication(nights: Nights, night: Night, rebuild: Rebuild, build: Build) -> BuildOrder:
    passed = [
        one
        for one in nights.builds(rebuild)
        if one.kind in OWN_KINDS and one.report is not None and one.report.outcome == "pass"
    ]
    if not passed:
        raise UsageError(f"no build of {rebuild.subject} passed in night {night.number}")
    new_version = published_version(nights, night, rebuild)
    return BuildOrder(build.job, new_version=new_version, publication=Publication(passed[-1].id))


def published_version(nights: Nights, night: Night, rebuild: Rebuild) -> NewVersion:
    """The version that a rebuild's results have in the archive that takes them; raises UsageError for none.

    It has the day (UTC) on which the night began. What else of this source version goes to the archive on that
    day, from other series or nights, has other numbers; architectures of one series and night share one.
    """
    day = datetime.fromtimestamp(night.started_at, UTC).date()
    version = regression_version(rebuild.job.version, day, nights.earlier_that_day(night, rebuild))
    return NewVersion(version, int(night.started_at))


def _new_version(nights: Nights, night: Night, rebuild: Rebuild) -> NewVersion | None:
    """The version that a rebuild is built as; its own (None) where nothing is published, or no other is fit."""
    try:
        return published_version(nights, night, rebuild) if rebuild.job.publish else None
    except UsageError:
        return None


def _day(at: float | None) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at)) if at is not None else ""
