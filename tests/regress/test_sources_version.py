"""The version of a rebuild sorts just below the true one, as dpkg sorts."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from buildfarm.errors import UsageError
from buildfarm.regress.version import regression_version
from ppa_tools.debversion import split_version, version_key

DAY = date(2026, 11, 27)
DAYS = st.dates(date(2000, 1, 1), date(2999, 1, 1))
VERSIONS = st.from_regex(r"([0-9]{1,2}:)?[0-9][0-9a-z.+~]{0,6}(-[0-9a-z.+~]{1,5})?", fullmatch=True)


def test_its_form() -> None:
    assert regression_version("1:8.2.36-1~deb12u1", DAY) == "1:8.2.36-1~deb12u1~regression20261127"
    assert regression_version("1.0", DAY, 2) == "1.0~regression20261127.2"


@given(VERSIONS, DAYS, st.integers(0, 99))
def test_it_is_below_the_version_that_was_rebuilt_with_the_same_upstream_part_and_epoch(
    version: str, day: date, again: int
) -> None:
    made = regression_version(version, day, again)
    assert version_key(made) < version_key(version)
    epoch, upstream, revision = split_version(version)
    assert split_version(made)[0] == epoch
    if revision:
        assert split_version(made)[1] == upstream


@given(VERSIONS, VERSIONS, DAYS)
def test_it_is_above_every_older_version_but_those_before_the_same(version: str, older: str, day: date) -> None:
    assume(version_key(older) < version_key(version))
    assume(version_key(older) < version_key(f"{version}~"))
    assert version_key(older) < version_key(regression_version(version, day))


@given(VERSIONS, DAYS, st.integers(1, 1000), st.integers(0, 9), st.integers(0, 9))
def test_a_later_rebuild_is_above_an_earlier(version: str, day: date, days: int, again: int, more: int) -> None:
    earlier = version_key(regression_version(version, day, again))
    assert earlier < version_key(regression_version(version, day, again + more + 1))
    assert earlier < version_key(regression_version(version, day + timedelta(days), more))


@pytest.mark.parametrize("version", ["", "x", "1 0", "1-", "1" * 250])
def test_what_gets_no_suffix_is_refused(version: str) -> None:
    with pytest.raises(UsageError, match="gets no ~regression20261127"):
        regression_version(version, DAY)
