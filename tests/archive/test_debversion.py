"""Debian's version order, against dpkg itself."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ppa_tools.debversion import split_version, version_key, without_epoch

part = st.text("019aZz.+~", max_size=6)
versions = st.builds(
    lambda epoch, digit, upstream, revision: f"{epoch}{digit}{upstream}{revision}",
    st.sampled_from(["", "", "0:", "1:"]),
    st.sampled_from("019"),
    part,
    st.one_of(st.just(""), st.builds(lambda first, rest: f"-{first}{rest}", st.sampled_from("01a~"), part)),
)


def dpkg_order(one: str, other: str) -> int:
    def holds(relation: str) -> bool:
        return subprocess.run(["dpkg", "--compare-versions", one, relation, other], check=False).returncode == 0

    return -1 if holds("lt") else 1 if holds("gt") else 0


@settings(max_examples=150, deadline=None)
@given(versions, versions)
@example("1.0", "1.0-0")
@example("1.0~rc1", "1.0")
@example("1.0~", "1.0~~")
@example("1a", "1a0")
@example("0:1", "1")
@example("1.0-1~bpo12", "1.0-1")
@example("1.0+b1", "1.0.1")
@example("1.00", "1.0")
def test_the_key_sorts_as_dpkg_does(one: str, other: str) -> None:
    a, b = version_key(one), version_key(other)
    assert (a > b) - (a < b) == dpkg_order(one, other)


@pytest.mark.parametrize(
    "text", ["", "a1", "1_0", "1-", "-1", ":1", "1:", "x:1", "1 0", "1\n", "1/2", "1:2:3", "~1"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no Debian version"):
        split_version(text)


def test_the_parts_of_a_version() -> None:
    assert split_version("2:1.0-rc-1~x") == (2, "1.0-rc", "1~x")
    assert split_version("1.0") == (0, "1.0", "")
    assert without_epoch("2:1.0-1") == "1.0-1"
