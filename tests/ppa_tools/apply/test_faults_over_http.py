"""A sync of 50 packages on Launchpad's double, the connection cut at each request in turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ppa_tools.address import Address, parse_address
from ppa_tools.apply.applying import apply_plan
from ppa_tools.apply.journal import open_journal
from ppa_tools.apply.report import Report
from ppa_tools.archives.door import Unreachable
from ppa_tools.archives.launchpad import LaunchpadArchive, LaunchpadClient
from ppa_tools.archives.launchpad.credentials import Login
from ppa_tools.archives.launchpad.instances import find_instance
from ppa_tools.archives.launchpad.session import Limits
from tests.doubles.launchpad import LaunchpadDouble
from tests.ppa_tools.tools import sync_plan

SOURCE, DESTINATION = parse_address("ppa:me/trunk"), parse_address("ppa:me/stable")
PACKAGES = [f"package-{number:02}" for number in range(50)]
GONE = ("gone-a", "gone-b", "gone-c")
QUICK = Limits(connect_s=5, read_s=5, first_wait_s=0.001)


@pytest.fixture(scope="module")
def double() -> Iterator[LaunchpadDouble]:
    with LaunchpadDouble(copy_delay_s=5, publish_delay_s=5) as double:
        yield double


def furnish(double: LaunchpadDouble) -> None:
    """A trunk of 50 packages in two series; the destination has ten of them older, ten in step, and others."""
    double.reset()
    for key in ("me/trunk", "me/stable"):
        double.add_ppa(key)
    trunk = [
        {"ppa": "me/trunk", "name": name, "version": "1.2-1", "series": "noble" if number % 2 else "jammy"}
        for number, name in enumerate(PACKAGES)
    ]
    stable = [{**one, "ppa": "me/stable"} for one in trunk[:10]]
    stable += [{**one, "ppa": "me/stable", "version": "1.1-1"} for one in trunk[10:20]]
    stable += [{"ppa": "me/stable", "name": name, "version": "1.0-1"} for name in GONE]
    double.add_packages([*trunk, *stable])
    double.advance(3600)
    double.clear_log()


def run_once(double: LaunchpadDouble, state: Path) -> Report | None:
    """What ppa-sync does, with the double's clock; None where the archives could not be read."""
    client = LaunchpadClient(
        find_instance(double.url), Login({"LP_CREDENTIALS": double.token("me").text}, use_keyring=False), QUICK
    )
    archives: dict[Address, LaunchpadArchive] = {
        address: LaunchpadArchive(client, address) for address in (SOURCE, DESTINATION)
    }
    try:
        plan = sync_plan(archives[SOURCE], archives[DESTINATION])
        with open_journal(DESTINATION, "production", environment={"XDG_STATE_HOME": str(state)}) as journal:
            return apply_plan(plan, archives, journal, clock=double.now, sleep=double.advance, settle_s=120)
    except Unreachable:
        return None
    finally:
        client.close()


def check_end(double: LaunchpadDouble) -> None:
    held = {
        (one["series"], one["source"]): one["version"]
        for one in double.sources("me/stable")
        if one["status"] in ("Pending", "Published")
    }
    assert held == {("noble" if number % 2 else "jammy", name): "1.2-1" for number, name in enumerate(PACKAGES)}
    copied = Counter((one["to_series"], one["name"]) for one in double.copies())
    assert set(copied.values()) == {1}
    assert len(copied) == 40
    deleted = Counter(one["source"] for one in double.deletions())
    assert deleted == dict.fromkeys(GONE, 1)


def count_requests(double: LaunchpadDouble, state: Path) -> int:
    furnish(double)
    report = run_once(double, state)
    assert report is not None
    assert report.exit_status == 0, report
    check_end(double)
    return len(double.requests())


def test_a_sync_asks_once_and_little(double: LaunchpadDouble, tmp_path: Path) -> None:
    assert count_requests(double, tmp_path) <= 25


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "cut-before"},
        {"kind": "cut-after"},
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 504, "taken": True},
    ],
    ids=["cut before", "cut after", "503", "504 after"],
)
def test_a_sync_cut_at_any_request_is_right_after_one_more_run(
    double: LaunchpadDouble, tmp_path: Path, fault: dict[str, Any]
) -> None:
    for at in range(1, count_requests(double, tmp_path) + 1):
        furnish(double)
        double.fault(at=at, **fault)
        run_once(double, tmp_path / str(at))
        double.clear_faults()
        last = run_once(double, tmp_path / str(at))
        assert last is not None
        assert last.exit_status == 0, last
        check_end(double)
