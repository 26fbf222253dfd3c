"""When a set is due: a time of day in a time zone, whatever its clocks do, or an interval. Pure, but for one."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from buildfarm.regress.package_set import PackageSet

LOCALTIME = Path("/etc/localtime")
GRACE_S = 3600.0
"""How long after its time of day a set that never ran is still begun: who looks less often than this misses it."""


def next_due(wanted: PackageSet, last_started_at: float | None, now: float, zone: tzinfo) -> float:
    """When a set is to be started next, in seconds since the epoch; what is not after ``now`` is due at once.

    ``last_started_at`` is the start of its last night, None for one that never ran. Whatever was missed in
    between comes to one night. A time of day that the clocks leave out is one hour later that day, one that they
    show twice is the first. ``math.inf`` for a set that runs only by hand.
    """
    if wanted.every_s:
        return now if last_started_at is None else min(last_started_at, now) + wanted.every_s
    if not wanted.at:
        return math.inf
    after = now - GRACE_S if last_started_at is None else min(last_started_at, now)
    return _next_occurrence(time.fromisoformat(wanted.at), after, zone)


def _next_occurrence(at: time, after: float, zone: tzinfo) -> float:
    """The first moment later than ``after`` at which clocks in ``zone`` show ``at``."""
    day = datetime.fromtimestamp(after, zone).date()
    return next(
        moment for moment in (_moment(day + timedelta(n), at, zone) for n in range(-1, 4)) if moment > after
    )


def _moment(day: date, at: time, zone: tzinfo) -> float:
    return datetime.combine(day, at, zone).timestamp()


def local_zone(environ: Mapping[str, str] = os.environ, localtime: Path = LOCALTIME) -> tzinfo:
    """The time zone of this machine: the environment's TZ where it names one, else /etc/localtime, else UTC."""
    name = environ.get("TZ", "").removeprefix(":")
    if name:
        with contextlib.suppress(OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
            return ZoneInfo(name)
    try:
        with localtime.open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    except (OSError, ValueError):
        return ZoneInfo("UTC")
