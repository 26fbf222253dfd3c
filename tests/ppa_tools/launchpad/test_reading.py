"""What the backend tells of a PPA is what Launchpad has, in few requests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppa_tools.archives.door import NotThere
from ppa_tools.archives.launchpad import LaunchpadArchive
from ppa_tools.archives.launchpad.paging import PAGE_ROWS
from ppa_tools.publication import ACTIVE, BuildState, Publication, Status
from tests.doubles.launchpad import LaunchpadDouble
from tests.ppa_tools.launchpad.conftest import Open, batch

FIRST_OF_MAY = datetime(2026, 5, 1, tzinfo=UTC).timestamp()
EXPIRED = "its files have been removed"


def packages(ppa: str, count: int, **facts: Any) -> list[dict[str, Any]]:
    return [{"ppa": ppa, "name": f"pkg{number:04}", "version": "1.0-1", **facts} for number in range(count)]


def test_a_publication_tells_how_it_came_and_how_it_went(double: LaunchpadDouble, opened: Open) -> None:
    double.add_ppa("me/source")
    double.add_ppa("me/ppa")
    double.add_package("me/source", "hello", "1.0-1", created_at=FIRST_OF_MAY)
    source, ppa = opened("me/source"), opened("me/ppa")
    ppa.ask_copies(batch(source.publications()))
    double.settle()
    (there,) = ppa.publications(statuses=ACTIVE)
    ppa.ask_deletion(there, "broken on arm64")

    (original,), (copied,) = source.publications(), ppa.publications()

    assert (original.created_at, original.why) == (FIRST_OF_MAY, "")
    assert (copied.source, copied.version, copied.series) == ("hello", "1.0-1", "noble")
    assert (copied.status, copied.by, copied.why) == (Status.DELETED, "me", "copied from ppa:me/source")
    assert (copied.ended_by, copied.end_why) == ("me", "broken on arm64")
    assert copied.created_at is not None
    assert copied.ended_at is not None
    assert copied.created_at <= copied.ended_at


def test_a_side_knows_what_is_obsolete_and_what_is_private(double: LaunchpadDouble, opened: Open) -> None:
    double.add_ppa("me/ppa", private=True)
    double.add_packages(packages("me/ppa", 2))
    double.add_package("me/ppa", "old", "1", status="Superseded")

    side = opened("me/ppa").side(with_past=False)

    assert side.private
    assert side.series["focal"].obsolete
    assert not side.series["noble"].obsolete
    assert [one.source for one in side.publications] == ["pkg0000", "pkg0001"]
    assert not side.with_past


def test_all_of_many_publications_are_read_each_once(double: LaunchpadDouble, opened: Open) -> None:
    double.add_ppa("me/ppa")
    ids = double.add_packages(packages("me/ppa", 3 * PAGE_ROWS + 7))
    ppa = opened("me/ppa")

    found = ppa.publications()

    assert [one.key for one in found] == [str(number) for number in ids]
    assert ppa.stats.requests == 5, "four pages, and one request for how many there are"


@pytest.mark.parametrize("count", [PAGE_ROWS - 1, PAGE_ROWS, PAGE_ROWS + 1, 2 * PAGE_ROWS - 1, 2 * PAGE_ROWS])
def test_no_row_is_lost_where_pages_end(double: LaunchpadDouble, opened: Open, count: int) -> None:
    double.add_ppa("me/ppa")
    double.add_packages(packages("me/ppa", count))

    assert len(opened("me/ppa").publications()) == count


def test_rows_that_move_to_another_page_while_pages_are_read_are_not_lost(
    double: LaunchpadDouble, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    double.add_ppa("me/ppa")
    double.add_packages(packages("me/ppa", 3 * PAGE_ROWS, series="jammy", status="Superseded"))
    double.add_packages(packages("me/ppa", 2 * PAGE_ROWS + 50))
    ppa = opened("me/ppa")
    read_page = ppa._client.session.get
    gone = iter(["pkg0001"])

    def get(url: str, parameters: dict[str, object] | None = None, **how: Any) -> Any:
        answer = read_page(url, parameters, **how)
        if parameters and parameters.get("status") == "Published" and (name := next(gone, "")):
            double.delete_package("me/ppa", name)
        return answer

    monkeypatch.setattr(ppa._client.session, "get", get)
    found = ppa.publications(statuses=ACTIVE)

    assert {one.source for one in found} == {f"pkg{number:04}" for number in range(2 * PAGE_ROWS + 50)} - {
        "pkg0001"
    }


def test_what_is_published_while_it_is_looked_for_is_not_missed(
    double: LaunchpadDouble, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    double.add_ppa("me/ppa")
    double.add_packages(packages("me/ppa", 4 * PAGE_ROWS, status="Superseded", series="jammy"))
    double.add_package("me/ppa", "hello", "1", status="Pending")
    ppa = opened("me/ppa")
    read_page = ppa._client.session.get

    def get(url: str, parameters: dict[str, object] | None = None, **how: Any) -> Any:
        answer = read_page(url, parameters, **how)
        if parameters and parameters.get("status"):
            double.settle()
        return answer

    monkeypatch.setattr(ppa._client.session, "get", get)

    assert [one.source for one in ppa.publications(statuses=ACTIVE)] == ["hello"]


names = st.sets(st.sampled_from([f"pkg{number:04}" for number in range(0, 1000, 90)]), max_size=11)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=names,
    series=st.sets(st.sampled_from(["noble", "jammy", "resolute"])),
    statuses=st.sets(st.sampled_from(list(Status))),
    since=st.none() | st.just(FIRST_OF_MAY),
)
def test_a_filter_finds_just_what_it_says(
    mixed: LaunchpadArchive, names: set[str], series: set[str], statuses: set[Status], since: float | None
) -> None:
    def wanted(one: Publication) -> bool:
        return (
            (not names or one.source in names)
            and (not series or one.series in series)
            and (not statuses or one.status in statuses)
            and (since is None or (one.created_at or 0) >= since)
        )

    found = mixed.publications(names=names, series=series, statuses=statuses, since=since)

    assert set(found) == {one for one in mixed.publications() if wanted(one)}
    assert [one.source for one in found] == sorted(one.source for one in found)


@pytest.fixture
def mixed(double: LaunchpadDouble, opened: Open) -> LaunchpadArchive:
    """A PPA with publications of all kinds, on several pages."""
    double.add_ppa("me/ppa")
    double.add_packages(
        {
            "ppa": "me/ppa",
            "name": f"pkg{number:04}",
            "version": "1.0-1",
            "series": ("noble", "jammy")[number // 9 % 2],
            "status": ("Published", "Superseded", "Pending", "Deleted")[number % 4],
            "created_at": FIRST_OF_MAY + number - 500,
        }
        for number in range(1000)
    )
    return opened("me/ppa")


def test_a_few_names_of_a_big_ppa_cost_a_few_requests(double: LaunchpadDouble, opened: Open) -> None:
    double.add_ppa("me/ppa")
    double.add_packages(packages("me/ppa", 8 * PAGE_ROWS, status="Superseded"))
    ppa = opened("me/ppa")

    found = ppa.publications(names=["pkg0001", "pkg0002", "pkg0003"])

    assert [one.source for one in found] == ["pkg0001", "pkg0002", "pkg0003"]
    assert ppa.stats.requests == 5


def test_a_ppa_that_is_not_there_is_told_with_those_that_are(double: LaunchpadDouble, opened: Open) -> None:
    double.add_ppa("me/stable")
    double.add_ppa("me/testing")

    with pytest.raises(NotThere, match="there is no ppa:me/stabel") as caught:
        opened("me/stabel").side(with_past=True)
    assert caught.value.resolution.startswith("me has ppa:me/stable")

    with pytest.raises(NotThere, match="knows nobody called nobody"):
        opened("nobody/stable", person="").publications()


BUILDS = {
    "built": {"amd64": "Successfully built", "arm64": "Successfully built"},
    "failed": {"amd64": "Successfully built", "arm64": "Failed to build"},
    "building": {"amd64": "Successfully built", "arm64": "Currently building"},
    "waiting": {"amd64": "Failed to build", "arm64": "Needs building"},
    "cancelled": {"amd64": "Cancelled build", "arm64": "Cancelled build"},
    "half": {"amd64": "Successfully built", "arm64": "Cancelled build"},
    "unbuilt": {},
}


def test_every_build_is_told_where_launchpad_sums_up_only_some(double: LaunchpadDouble, opened: Open) -> None:
    double.add_ppa("me/ppa", architectures=["amd64", "arm64"])
    for name, states in BUILDS.items():
        double.add_package("me/ppa", name, "1", builds=states)
    ppa = opened("me/ppa")
    publications = ppa.publications()

    builds = ppa.builds(publications)

    told = {
        one.source: {build.architecture: str(build.state) for build in builds[one.key]} for one in publications
    }
    assert told == BUILDS
    published = {
        one.source: [build.architecture for build in builds[one.key] if build.published] for one in publications
    }
    assert published == {
        "built": ["amd64", "arm64"],
        "failed": ["amd64"],
        "building": ["amd64"],
        "waiting": [],
        "cancelled": [],
        "half": ["amd64"],
        "unbuilt": [],
    }


def test_binaries_count_as_published_only_when_they_are_in_the_index(
    double: LaunchpadDouble, opened: Open
) -> None:
    double.add_ppa("me/ppa", architectures=["amd64", "arm64"])
    double.add_package("me/ppa", "hello", "1", builds={"amd64": "Successfully built", "arm64": "Needs building"})
    ppa = opened("me/ppa")
    double.set_build("me/ppa", "hello", "1", "arm64", "Successfully built")

    def published() -> dict[str, bool]:
        ((builds),) = ppa.builds(ppa.publications()).values()
        assert {one.state for one in builds} == {BuildState.BUILT}
        return {one.architecture: one.published for one in builds}

    assert published() == {"amd64": True, "arm64": False}
    double.settle()
    assert published() == {"amd64": True, "arm64": True}


def test_many_that_wait_to_be_published_are_looked_at_in_few_requests(
    double: LaunchpadDouble, opened: Open
) -> None:
    double.add_ppa("me/ppa", architectures=["amd64", "arm64"])
    double.add_packages(packages("me/ppa", 100, status="Pending"))
    ppa = opened("me/ppa")
    publications = ppa.publications()
    before = ppa.stats.requests

    builds = ppa.builds(publications)

    assert all([one.architecture for one in its] == ["amd64", "arm64"] for its in builds.values())
    assert not any(one.published for its in builds.values() for one in its)
    assert ppa.stats.requests - before <= 4


def test_binaries_are_the_same_asked_in_bulk_and_one_by_one(double: LaunchpadDouble, opened: Open) -> None:
    double.add_ppa("me/ppa", architectures=["amd64", "arm64"])
    both = [{"package": "tool"}, {"package": "tool-doc", "architecture": "all"}]
    double.add_packages(packages("me/ppa", 20, binaries=both))
    ppa = opened("me/ppa")
    publications = ppa.publications()

    in_bulk = ppa.binaries(publications)
    in_bulk_requests = ppa.stats.by_kind["getPublishedBinaries"]
    one_by_one = {one.key: ppa.binaries([one])[one.key] for one in publications}

    assert {key: set(its) for key, its in in_bulk.items()} == {key: set(its) for key, its in one_by_one.items()}
    assert {(one.package, one.architecture, one.index_architecture) for one in in_bulk[publications[0].key]} == {
        ("tool", "amd64", "amd64"),
        ("tool", "arm64", "arm64"),
        ("tool-doc", "all", "amd64"),
        ("tool-doc", "all", "arm64"),
    }
    assert in_bulk_requests == 2


def test_files_are_the_same_from_the_index_and_one_by_one(double: LaunchpadDouble, opened: Open) -> None:
    double.add_ppa("me/ppa", architectures=["amd64", "arm64"])
    both = [{"package": "tool"}, {"package": "tool-doc", "architecture": "all"}]
    double.add_packages(packages("me/ppa", 20, binaries=both))
    ppa = opened("me/ppa")
    publications = ppa.publications()

    sources, debs = ppa.source_files(publications), ppa.binary_files(publications)
    assert "sourceFileUrls" not in ppa.stats.by_kind
    assert "binaryFileUrls" not in ppa.stats.by_kind

    for one in publications[:2]:
        alone = ppa.source_files([one])[one.key]
        assert {(file.name, file.sha256, file.size_bytes) for file in alone} == {
            (file.name, file.sha256, file.size_bytes) for file in sources[one.key]
        }
        alone = ppa.binary_files([one])[one.key]
        assert {(file.name, file.sha256, file.size_bytes) for file in alone} == {
            (file.name, file.sha256, file.size_bytes) for file in debs[one.key]
        }
        assert len(alone) == 3


def test_files_that_are_no_longer_kept_are_not_told(double: LaunchpadDouble, opened: Open) -> None:
    double.add_ppa("me/ppa")
    double.add_package("me/ppa", "old", "1", status="Superseded")
    double.expire_files("me/ppa", "old", "1")
    ppa = opened("me/ppa")
    publications = ppa.publications()

    assert ppa.source_files(publications) == {publications[0].key: ()}
    assert ppa.binary_files(publications) == {publications[0].key: ()}


def test_the_files_of_a_private_ppa_are_told_by_launchpad_alone(double: LaunchpadDouble, opened: Open) -> None:
    double.add_ppa("me/secret", private=True)
    double.add_packages(packages("me/secret", 10))
    ppa = opened("me/secret")

    files = ppa.source_files(ppa.publications())

    assert all(len(its) == 3 for its in files.values())
    assert all(not one["path"].startswith("ppa/") for one in double.requests())
