"""The commands against Launchpad, as its double behaves: logging in, waiting, what never came, and its rights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.launchpad import LaunchpadDouble
from tests.ppa_tools.commands.conftest import Shell

COPY = ("ppa-copy", "ppa:me/trunk", "ppa:me/stable")


@pytest.fixture(scope="module")
def running_double() -> Iterator[LaunchpadDouble]:
    with LaunchpadDouble(copy_delay_s=0, publish_delay_s=0) as double:
        yield double


@pytest.fixture
def double(running_double: LaunchpadDouble) -> LaunchpadDouble:
    running_double.reset()
    for name in ("trunk", "stable"):
        running_double.add_ppa(f"me/{name}")
    running_double.add_package("me/trunk", "hello", "1.0-1")
    return running_double


@pytest.fixture
def anybody(double: LaunchpadDouble, tmp_path: Path) -> Shell:
    """Somebody without credentials."""
    return Shell(tmp_path, {"PPA_INSTANCE": double.url, "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"})


@pytest.fixture
def shell(double: LaunchpadDouble, anybody: Shell) -> Shell:
    """The owner of the PPAs."""
    return Shell(anybody.directory, {**anybody.variables, "LP_CREDENTIALS": double.token("me").text})


def asked(double: LaunchpadDouble) -> list[str]:
    return [one["op"] for one in double.requests() if one["method"] == "POST"]


def test_anybody_may_read(anybody: Shell) -> None:
    said = anybody("ppa-list", "ppa:me/trunk", "--builds", "--stats")
    assert said.lines[1].split()[:3] == ["noble", "hello", "1.0-1"]
    assert "amd64: built" in said.out
    assert "requests, " in said.err
    assert "trunk" in anybody("ppa-list", "ppa:me/trnk", status=2).err


def test_without_credentials_nothing_is_changed_and_what_to_do_is_said(
    anybody: Shell, double: LaunchpadDouble
) -> None:
    said = anybody(*COPY, "hello", "--yes", status=5)
    assert "LP_CREDENTIALS" in said.err
    assert asked(double) == []


def test_the_rights_of_another_are_no_rights(double: LaunchpadDouble, anybody: Shell) -> None:
    stranger = Shell(anybody.directory, {**anybody.variables, "LP_CREDENTIALS": double.token("you").text})
    said = stranger(*COPY, "hello", "--yes", status=5)
    assert "ppa:me/stable" in said.err + said.out
    assert double.token("you").secret not in said.err + said.out


def test_packages_are_copied_and_seen_to_arrive(shell: Shell, double: LaunchpadDouble) -> None:
    double.set(copy_delay_s=1)
    double.add_package("me/trunk", "world", "2.0-1")
    said = shell(*COPY, "--all", "--yes")
    assert said.err.endswith("2 done\n")
    assert asked(double) == ["copyPackages"]
    assert len(shell("ppa-list", "ppa:me/stable", "--format", "lines").lines) == 2


def test_what_never_appears_is_named_with_the_likely_reason(shell: Shell, double: LaunchpadDouble) -> None:
    double.set(copy_delay_s=3600)
    said = shell(*COPY, "hello", "--yes", "--limit", "2s", status=1)
    assert "never appeared" in said.out
    assert "1 never appeared" in said.err


def test_what_nobody_waited_for_is_not_asked_for_again(shell: Shell, double: LaunchpadDouble) -> None:
    double.set(copy_delay_s=2)
    shell(*COPY, "hello", "--yes", "--no-wait")
    assert asked(double) == ["copyPackages"]
    shell(*COPY, "hello", "--yes")
    assert asked(double) == ["copyPackages"]
