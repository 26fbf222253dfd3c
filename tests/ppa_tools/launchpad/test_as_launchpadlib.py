"""What is asked is what launchpadlib, Launchpad's own client, would ask, in the same encoding."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from launchpadlib.credentials import Credentials
from launchpadlib.launchpad import Launchpad

from ppa_tools.publication import Status
from tests.doubles.launchpad import LaunchpadDouble
from tests.ppa_tools.launchpad.conftest import Open, batch

CHOICES = ("status", "build_state")
SINCE = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def world(double: LaunchpadDouble) -> LaunchpadDouble:
    double.add_ppa("me/source")
    double.add_ppa("me/target")
    double.add_packages({"ppa": "me/source", "name": name, "version": "1.0"} for name in ("a", "b", "g++"))
    return double


@pytest.fixture
def theirs(world: LaunchpadDouble, tmp_path: Path) -> Any:
    """The same Launchpad by launchpadlib."""
    credentials = Credentials.load_from_path(str(world.token("me").save(tmp_path / "credentials")))
    return Launchpad(credentials, None, None, world.url, cache=str(tmp_path / "cache"), version="devel")


def asked(double: LaunchpadDouble) -> dict[str, dict[str, object]]:
    """The last request for each operation: its parameters, decoded."""
    return {
        one["op"]: {
            name: value if name in CHOICES else json.loads(value)
            for name, (value,) in {**one["query"], **one["form"]}.items()
            if name not in ("ws.size", "ws.op")
        }
        for one in double.requests()
        if one["op"]
    }


def test_copies_and_deletions_are_asked_for_as_by_launchpadlib(
    world: LaunchpadDouble, theirs: Any, opened: Open
) -> None:
    source, target = (theirs.load(f"{world.api}/~me/+archive/ubuntu/{name}") for name in ("source", "target"))
    how = {"from_series": "noble", "to_series": "resolute", "to_pocket": "Release", "include_binaries": True}
    target.copyPackages(from_archive=source, source_names=["a", "b", "g++"], **how)
    target.copyPackage(from_archive=source, source_name="g++", version="1.0", **how)
    source.getPublishedSources()[0].requestDeletion(removal_comment="100% gone & forgotten: \N{SNOWMAN}")
    expected = asked(world)
    world.control("clear_log")

    mine, there = opened("me/source"), opened("me/target")
    rows = mine.publications()
    there.ask_copies(batch(rows, to_series="resolute"))
    there.ask_copies(batch(rows[-1:], to_series="resolute", latest=False))
    mine.ask_deletion(rows[0], "100% gone & forgotten: \N{SNOWMAN}")

    found = asked(world)
    for operation in ("copyPackages", "copyPackage", "requestDeletion"):
        assert found[operation] == expected[operation]


def test_publications_are_asked_for_as_by_launchpadlib(world: LaunchpadDouble, theirs: Any, opened: Open) -> None:
    source = theirs.load(f"{world.api}/~me/+archive/ubuntu/source")
    list(
        source.getPublishedSources(
            source_name="g++",
            exact_match=True,
            status="Published",
            distro_series=theirs.load(f"{world.api}/ubuntu/noble"),
            created_since_date=SINCE,
        )
    )
    source.getBuildSummariesForSourceIds(source_ids=[101, 102])
    expected = asked(world)
    world.control("clear_log")

    mine = opened("me/source")
    rows = mine.publications(names=["g++"], series=["noble"], statuses=[Status.PUBLISHED], since=SINCE.timestamp())
    mine.builds(rows)

    found = asked(world)
    assert found["getPublishedSources"] == expected["getPublishedSources"] | {"order_by_date_ascending": True}
    assert [one.source for one in rows] == ["g++"]
    assert type(found["getBuildSummariesForSourceIds"]["source_ids"]) is list
    assert found["getBuildSummariesForSourceIds"].keys() == expected["getBuildSummariesForSourceIds"].keys()
