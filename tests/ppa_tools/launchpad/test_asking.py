"""Copies and deletions are asked for once, and however that ends is told truly."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from ppa_tools.address import parse_address
from ppa_tools.archives.door import DoorError, NoRights, Refused, Uncertain, Unreachable
from ppa_tools.archives.launchpad import LaunchpadArchive, LaunchpadClient
from ppa_tools.archives.launchpad.credentials import Login
from ppa_tools.archives.launchpad.instances import find_instance
from ppa_tools.archives.launchpad.session import Limits
from ppa_tools.publication import ACTIVE, Status
from tests.doubles.launchpad import LaunchpadDouble
from tests.ppa_tools.launchpad.conftest import QUICK, Open, batch, posts

IMPATIENT = Limits(connect_s=5, read_s=0.2, tries=2, first_wait_s=0.001)


@pytest.fixture
def source(double: LaunchpadDouble, opened: Open) -> LaunchpadArchive:
    """Three packages of ``ppa:me/source``, beside an empty ``ppa:me/target``."""
    double.add_ppa("me/source")
    double.add_ppa("me/target")
    double.add_packages({"ppa": "me/source", "name": name, "version": "1.0"} for name in ("a", "b", "c"))
    return opened("me/source")


def test_planning_and_copying_a_hundred_packages_takes_twelve_requests(
    double: LaunchpadDouble, connect: Callable[..., LaunchpadClient]
) -> None:
    for key in ("me/source", "me/target"):
        double.add_ppa(key)
        double.add_packages({"ppa": key, "name": f"{key[3:]}{n}", "version": "1.0-1"} for n in range(100))
    client = connect("me")
    source, target = (LaunchpadArchive(client, parse_address(f"ppa:me/{name}")) for name in ("source", "target"))

    wanted = source.side(with_past=False).publications
    target.side(with_past=True)
    assert len(source.builds(wanted)) == 100
    for at in range(0, 100, target.batch_size):
        target.ask_copies(batch(wanted[at : at + target.batch_size]))
    arrived = target.publications(names=[one.source for one in wanted], statuses=ACTIVE)

    assert len(arrived) == 100
    assert source.stats.requests + target.stats.requests == len(double.requests()) <= 12


def test_what_is_newest_is_copied_in_one_request(
    double: LaunchpadDouble, source: LaunchpadArchive, opened: Open
) -> None:
    target = opened("me/target")

    target.ask_copies(batch(source.publications()))

    assert posts(double) == ["copyPackages"]
    (there,) = {(one.series, one.status) for one in target.publications()}
    assert there == ("noble", Status.PENDING)
    assert [one["with_binaries"] for one in double.copies()] == [True, True, True]


def test_a_version_is_copied_by_itself_though_it_looks_like_a_number(
    double: LaunchpadDouble, source: LaunchpadArchive, opened: Open
) -> None:
    double.add_package("me/source", "a", "2.0")
    (old,) = (one for one in source.publications(names=["a"]) if one.version == "1.0")

    opened("me/target").ask_copies(batch((old,), latest=False, with_binaries=False, to_series="resolute"))

    assert posts(double) == ["copyPackage"]
    (job,) = double.copies()
    assert (job["version"], job["to_series"], job["with_binaries"]) == ("1.0", "resolute", False)


def test_a_refusal_names_what_is_refused_and_the_rest_is_asked_for(
    double: LaunchpadDouble, source: LaunchpadArchive, opened: Open
) -> None:
    a, b, _ = source.publications()
    double.delete_package("me/source", "a")
    gone = batch((a, b), latest=False)
    gone = type(gone)(**{**vars(gone), "copies": (type(gone.copies[0])("a", "9"), gone.copies[1])})

    with pytest.raises(Refused, match=r"a 9: a is not published in source of me"):
        opened("me/target").ask_copies(gone)

    assert [one["name"] for one in double.copies()] == ["b"]


def test_who_may_not_write_a_ppa_is_told_what_to_do(
    double: LaunchpadDouble, source: LaunchpadArchive, opened: Open
) -> None:
    wanted = batch(source.publications())

    with pytest.raises(NoRights, match="does not let you copy 3 packages") as caught:
        opened("me/target", person="stranger").ask_copies(wanted)
    assert "have you in its team" in caught.value.resolution

    with pytest.raises(NoRights, match="no credentials") as caught:
        opened("me/target", person="").ask_copies(wanted)
    assert "LP_CREDENTIALS_FILE" in caught.value.resolution
    assert double.copies() == []


@pytest.mark.parametrize(
    ("kind", "facts", "error", "taken"),
    [
        ("cut-before", {}, Uncertain, False),
        ("cut-after", {}, Uncertain, True),
        ("status", {"status": 502, "taken": True}, Uncertain, True),
        ("status", {"status": 504}, Uncertain, False),
        ("status", {"status": 503}, Unreachable, False),
        ("status", {"status": 500}, Unreachable, False),
        ("hang", {"seconds": 2}, Uncertain, False),
    ],
)
def test_a_copy_in_doubt_is_not_asked_for_again(
    double: LaunchpadDouble,
    source: LaunchpadArchive,
    opened: Open,
    kind: str,
    facts: dict[str, object],
    error: type[DoorError],
    taken: bool,
) -> None:
    wanted, target = batch(source.publications()), opened("me/target", limits=IMPATIENT)
    double.fault(kind, method="POST", **facts)

    with pytest.raises(error):
        target.ask_copies(wanted)

    assert posts(double) == ["copyPackages"]
    assert len(double.copies()) == (3 if taken else 0)


def test_copies_asked_for_one_by_one_are_in_doubt_once_some_were_taken(
    double: LaunchpadDouble, source: LaunchpadArchive, opened: Open
) -> None:
    wanted, target = batch(source.publications(), latest=False), opened("me/target")
    double.fault("status", status=503, method="POST", at=2)

    with pytest.raises(Uncertain, match="1 of 3"):
        target.ask_copies(wanted)

    assert [one["name"] for one in double.copies()] == ["a"]


def test_what_breaks_in_the_answer_of_a_change_that_was_taken_is_no_matter(
    double: LaunchpadDouble, source: LaunchpadArchive, opened: Open
) -> None:
    wanted, target = batch(source.publications()), opened("me/target")
    double.fault("truncate", method="POST")

    target.ask_copies(wanted)

    assert len(double.copies()) == 3


def test_nothing_is_in_doubt_where_nobody_listens(double: LaunchpadDouble, source: LaunchpadArchive) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    login = Login({"LP_CREDENTIALS": double.token("me").text})
    client = LaunchpadClient(find_instance(f"http://127.0.0.1:{port}"), login, QUICK)
    target = LaunchpadArchive(client, parse_address("ppa:me/target"))

    with pytest.raises(Unreachable, match="nothing takes connections there"):
        target.ask_copies(batch(source.publications()))


def test_a_deletion_goes_with_its_reason(double: LaunchpadDouble, source: LaunchpadArchive) -> None:
    first, *_ = source.publications()

    source.ask_deletion(first, "it is gone from the other side")

    (deletion,) = double.deletions()
    assert (deletion["source"], deletion["by"]) == ("a", "me")
    assert deletion["comment"] == "it is gone from the other side"


def test_a_deletion_whose_answer_was_lost_is_looked_for_and_not_asked_again(
    double: LaunchpadDouble, source: LaunchpadArchive
) -> None:
    first, *_ = source.publications()
    double.fault("cut-after", op="requestDeletion")

    source.ask_deletion(first, "")

    assert posts(double) == ["requestDeletion"]
    assert len(double.deletions()) == 1


def test_a_deletion_that_did_not_arrive_is_in_doubt(double: LaunchpadDouble, source: LaunchpadArchive) -> None:
    first, *_ = source.publications()
    double.fault("cut-before", op="requestDeletion")

    with pytest.raises(Uncertain):
        source.ask_deletion(first, "")

    assert double.deletions() == []


def test_many_deletions_are_asked_for_at_once(double: LaunchpadDouble, opened: Open) -> None:
    double.add_ppa("me/ppa")
    double.add_packages({"ppa": "me/ppa", "name": f"pkg{n}", "version": "1"} for n in range(40))
    ppa = opened("me/ppa")
    publications = ppa.publications()

    gone = ppa.ask_deletions(publications, "a test")

    assert gone == {one.key for one in publications}
    assert len(double.deletions()) == len(posts(double)) == 40


def test_of_many_deletions_those_that_came_to_grief_are_told(double: LaunchpadDouble, opened: Open) -> None:
    double.add_ppa("me/ppa")
    double.add_packages({"ppa": "me/ppa", "name": f"pkg{n}", "version": "1"} for n in range(40))
    ppa = opened("me/ppa")
    publications = ppa.publications()
    double.fault("cut-after", op="requestDeletion", at=5)
    double.fault("cut-before", op="requestDeletion", at=10)

    gone = ppa.ask_deletions(publications, "a test")

    names = {one.source for one in publications if one.key in gone}
    assert names == {one["source"] for one in double.deletions()}
    assert 9 <= len(names) < 20, "no more are asked for once one is in doubt"
    assert len(double.deletions()) == len(gone)
