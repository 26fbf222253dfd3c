"""When a set is due: at its time of day whatever the clocks do, and once for all that was missed."""

from __future__ import annotations

import itertools
import math
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.regress.package_set import PackageSet
from buildfarm.regress.schedule import GRACE_S, next_due

ZURICH = ZoneInfo("Europe/Zurich")
ZONES = st.sampled_from(
    [
        ZoneInfo(name)
        for name in ("UTC", "Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
                     "America/St_Johns", "Africa/Cairo", "Pacific/Chatham")
    ]
)  # fmt: skip
MOMENTS = st.floats(1_600_000_000, 2_000_000_000)
TIMES = st.builds(lambda hour, minute: f"{hour:02}:{minute:02}", st.integers(0, 23), st.integers(0, 59))


def at(time: str) -> PackageSet:
    return PackageSet("x", ("sid",), ("amd64",), at=time)


def every(seconds: int) -> PackageSet:
    return PackageSet("x", ("sid",), ("amd64",), every_s=seconds)


def local(*those: int) -> float:
    return datetime(*those, tzinfo=ZURICH).timestamp()  # type: ignore[arg-type, misc]


def test_a_set_is_due_at_its_time_of_day() -> None:
    started = local(2026, 11, 27, 2, 30)
    assert next_due(at("02:30"), started, started + 1, ZURICH) == local(2026, 11, 28, 2, 30)
    assert next_due(at("02:30"), None, local(2026, 11, 27, 12), ZURICH) == local(2026, 11, 28, 2, 30)


def test_a_set_that_never_ran_is_begun_by_whoever_looks_soon_after_its_time() -> None:
    time = local(2026, 11, 27, 2, 30)
    assert next_due(at("02:30"), None, time + GRACE_S / 2, ZURICH) == time


def test_what_a_farm_that_was_down_has_missed_is_run_once_and_at_once() -> None:
    now = local(2026, 11, 27, 20)
    due = next_due(at("02:30"), local(2026, 11, 20, 2, 30), now, ZURICH)
    assert due <= now
    assert next_due(at("02:30"), now, now + 1, ZURICH) == local(2026, 11, 28, 2, 30)
    assert next_due(every(3600), now - 86400, now, ZURICH) <= now
    assert next_due(every(3600), now, now + 1, ZURICH) == now + 3600


def test_a_time_that_the_clocks_leave_out_comes_all_the_same_and_one_that_comes_twice_is_the_first() -> None:
    # Europe/Zurich: 2027-03-28 02:00 is 03:00, 2027-10-31 03:00 is 02:00 again.
    spring = next_due(at("02:30"), local(2027, 3, 27, 2, 30), local(2027, 3, 27, 3), ZURICH)
    assert datetime.fromtimestamp(spring, ZURICH).strftime("%d %H:%M") == "28 03:30"
    autumn = next_due(at("02:30"), local(2027, 10, 30, 2, 30), local(2027, 10, 30, 3), ZURICH)
    assert autumn == datetime(2027, 10, 31, 2, 30, fold=0, tzinfo=ZURICH).timestamp()
    assert next_due(at("02:30"), autumn, autumn + 1, ZURICH) == local(2027, 11, 1, 2, 30)


def test_a_clock_that_was_set_back_stops_no_set() -> None:
    now = local(2026, 11, 27, 12)
    assert next_due(at("02:30"), now + 10 * 86400, now, ZURICH) == local(2026, 11, 28, 2, 30)
    assert next_due(every(3600), now + 10 * 86400, now, ZURICH) == now + 3600


def test_a_set_with_neither_runs_only_by_hand() -> None:
    assert next_due(PackageSet("x", ("sid",), ("amd64",)), None, 1.8e9, ZURICH) == math.inf


@given(TIMES, MOMENTS, ZONES)
def test_the_next_time_is_after_the_last_start_and_within_a_day_and_a_change_of_the_clocks(
    time: str, last: float, zone: ZoneInfo
) -> None:
    due = next_due(at(time), last, last, zone)
    assert last < due <= last + 26 * 3600
    shown = datetime.fromtimestamp(due, zone)
    left_out = datetime.fromisoformat(f"{shown.date()}T{time}").replace(tzinfo=zone)
    assert shown.strftime("%H:%M") == time or left_out.timestamp() == due


@settings(deadline=None, max_examples=50)
@given(TIMES, MOMENTS, ZONES, st.integers(600, int(GRACE_S)), st.booleans())
def test_whoever_looks_at_least_once_an_hour_starts_it_once_a_day(
    time: str, begin: float, zone: ZoneInfo, step_s: int, never_ran: bool
) -> None:
    last = None if never_ran else begin
    days = []
    for number in range(int(5 * 86400 / step_s)):
        now = begin + number * step_s
        due = next_due(at(time), last, now, zone)
        if due <= now:
            assert now - due <= GRACE_S + step_s
            days.append(datetime.fromtimestamp(due, zone).date())
            last = now
    assert len(days) in (4, 5, 6)
    assert all(after - before == timedelta(days=1) for before, after in itertools.pairwise(days))
