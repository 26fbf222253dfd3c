"""What a worker is asked to do for a build: all that it needs to know, from what is on record."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from buildfarm.errors import UsageError
from buildfarm.job import from_plain
from buildfarm.regress.model import RebuildJob

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
class BuildOrder:
    """One build. ``environment`` is the id of the one to build in; "" is what the archives have, as they stood
    after ``newer_than`` (epoch seconds): all of a night see them as they were when it began, or later.
    ``expected_bytes`` is the disk that it took before (0: unknown). With ``culprit`` it is a search, of many
    builds."""

    job: RebuildJob
    environment: str = ""
    newer_than: float = 0.0
    expected_bytes: int = 0
    culprit: CulpritOrder | None = None

    def to_json(self) -> dict[str, Any]:
        """The order as plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> BuildOrder:
        """The order that ``to_json`` wrote; raises ValueError on anything else."""
        return from_plain(BuildOrder, data)


def order_for(nights: Nights, night: Night, rebuild: Rebuild, build: Build) -> BuildOrder:
    """The order for a build that is due; raises UsageError for a search that lost what it compares with."""
    passed = nights.last_pass(build.job.subject)
    expected_bytes = passed.report.disk_bytes if passed is not None and passed.report is not None else 0
    if build.kind != "culprit":
        return BuildOrder(build.job, build.environment, night.started_at, expected_bytes)
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
    return BuildOrder(rebuild.job, build.environment, night.started_at, expected_bytes, culprit)


def _day(at: float | None) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at)) if at is not None else ""
