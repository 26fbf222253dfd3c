"""What is published, built and kept: batches, filters, build states, and files that are real packages."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
from pathlib import Path

import pytest
import requests

from tests.doubles.conftest import LogIn
from tests.doubles.launchpad import LaunchpadDouble

TRUNK = "~me/+archive/ubuntu/trunk"


def sources(double: LaunchpadDouble, **query: object) -> dict[str, object]:
    parameters = {"ws.op": "getPublishedSources", **query}
    answer = requests.get(f"{double.api}/{TRUNK}", params={k: str(v) for k, v in parameters.items()})
    answer.raise_for_status()
    found: dict[str, object] = answer.json()
    return found


def names(found: dict[str, object]) -> list[str]:
    return [entry["display_name"] for entry in found["entries"]]  # type: ignore[attr-defined]


def test_batches_are_75_unless_said_otherwise_and_link_to_the_next(double: LaunchpadDouble) -> None:
    double.add_packages({"ppa": "me/trunk", "name": f"p{n:03}", "version": "1"} for n in range(160))
    first = sources(double)
    assert len(names(first)) == 75
    assert requests.get(str(first["total_size_link"])).json() == 160
    assert "total_size" not in first
    second = requests.get(str(first["next_collection_link"])).json()
    third = requests.get(second["next_collection_link"]).json()
    assert [*names(first), *names(second), *names(third)] == [f"p{n:03} 1 in noble" for n in range(160)]
    assert third["total_size"] == 160
    assert "next_collection_link" not in third


def test_a_batch_above_300_is_refused(double: LaunchpadDouble) -> None:
    url = f"{double.api}/{TRUNK}?ws.op=getPublishedSources&ws.size="
    assert requests.get(url + "300").status_code == 200
    answer = requests.get(url + "301")
    assert (answer.status_code, answer.text) == (400, 'Maximum for "ws.size" parameter is 300.')


def test_launchpadlib_counts_and_iterates_over_batches(double: LaunchpadDouble, log_in: LogIn) -> None:
    double.add_packages({"ppa": "me/trunk", "name": f"p{n}", "version": "1"} for n in range(100))
    found = log_in("me").people("me").getPPAByName(name="trunk").getPublishedSources()
    assert len(found) == 100
    assert len({one.self_link for one in found}) == 100


def test_sources_are_found_by_every_filter(double: LaunchpadDouble) -> None:
    for version, series in (("1.9", "noble"), ("1.10", "noble"), ("1.10~22.04", "jammy")):
        double.add_package("me/trunk", "hello", version, series=series)
    double.add_package("me/trunk", "hello-world", "2", created_at=double.now() - 1000, status="Superseded")
    by_version = ["hello 1.10 in noble", "hello 1.10~22.04 in jammy", "hello 1.9 in noble"]
    assert names(sources(double)) == [*by_version, "hello-world 2 in noble"]
    assert names(sources(double, source_name="hello", exact_match="true")) == by_version
    assert names(sources(double, order_by_date="true"))[-1] == "hello-world 2 in noble"
    assert (
        names(sources(double, status="Published", distro_series=f"{double.api}/ubuntu/jammy")) == by_version[1:2]
    )
    assert names(sources(double, source_name="hello", version='"1.10"', exact_match="true")) == by_version[:1]
    assert names(sources(double, source_name="hello", version="1.10", exact_match="true")) == []
    assert len(names(sources(double, created_since_date="2020-01-01T00:00:00+00:00"))) == 4
    assert names(sources(double, pocket="Proposed")) == []


@pytest.mark.parametrize(
    "query",
    ["version=1", "exact_match=True", "status=Gone", "distro_series=noble", "created_since_date=yesterday"],
)
def test_a_filter_that_makes_no_sense_is_refused(double: LaunchpadDouble, query: str) -> None:
    assert requests.get(f"{double.api}/{TRUNK}?ws.op=getPublishedSources&{query}").status_code == 400


def test_the_highest_version_supersedes_the_others_in_its_series(double: LaunchpadDouble) -> None:
    double.add_package("me/trunk", "hello", "2")
    double.add_package("me/trunk", "hello", "1")
    double.add_package("me/trunk", "hello", "1", series="jammy")
    said = [(one["version"], one["series"], one["status"]) for one in double.sources("me/trunk")]
    assert said == [("2", "noble", "Published"), ("1", "noble", "Superseded"), ("1", "jammy", "Published")]


def test_builds_are_summed_up_for_many_sources_at_once(double: LaunchpadDouble, log_in: LogIn) -> None:
    double.add_ppa("me/trunk", architectures=["amd64", "arm64"])
    states = {
        "FULLYBUILT": ("Successfully built", "Successfully built"),
        "BUILDING": ("Successfully built", "Currently building"),
        "NEEDSBUILD": ("Failed to build", "Needs building"),
        "FAILEDTOBUILD": ("Successfully built", "Dependency wait"),
    }
    ids = [
        double.add_package("me/trunk", word.lower(), "1", builds=dict(zip(("amd64", "arm64"), built, strict=True)))
        for word, built in states.items()
    ]
    archive = log_in("me").people("me").getPPAByName(name="trunk")
    summaries = archive.getBuildSummariesForSourceIds(source_ids=ids)
    assert [summaries[str(one)]["status"] for one in ids] == list(states)
    assert [build["arch_tag"] for build in summaries[str(ids[1])]["builds"]] == ["arm64"]
    double.set_build("me/trunk", "building", "1", "arm64", "Successfully built")
    assert archive.getBuildSummariesForSourceIds(source_ids=ids)[str(ids[1])]["status"] == "FULLYBUILT_PENDING"
    double.settle()
    assert archive.getBuildSummariesForSourceIds(source_ids=ids)[str(ids[1])]["status"] == "FULLYBUILT"
    records = archive.getBuildRecords(source_name="needsbuild")
    assert [one.buildstate for one in records] == ["Successfully built", "Failed to build"]


def test_a_request_line_that_is_too_long_is_refused(double: LaunchpadDouble) -> None:
    ids = ",".join(map(str, range(2000)))
    answer = requests.get(f"{double.api}/{TRUNK}?ws.op=getBuildSummariesForSourceIds&source_ids=[{ids}]")
    assert answer.status_code == 414


def test_files_are_what_their_sums_say_and_dpkg_unpacks_them(
    double: LaunchpadDouble, log_in: LogIn, tmp_path: Path
) -> None:
    greet = {"package": "greet", "architecture": "any", "fields": {"Depends": "greet-data (= ${binary:Version})"}}
    data = {"package": "greet-data", "architecture": "all", "files": {"/usr/share/greet/words": "hello\n"}}
    double.add_package("me/trunk", "greet", "1:1.0-1", binaries=[greet, data])
    (source,) = log_in("me").people("me").getPPAByName(name="trunk").getPublishedSources()
    for one in source.sourceFileUrls(include_meta=True):
        content = requests.get(one["url"]).content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (one["size"], one["sha256"])
        (tmp_path / one["url"].rpartition("/")[2]).write_bytes(content)
    subprocess.run(
        ["dpkg-source", "-x", "greet_1.0-1.dsc", "unpacked"], cwd=tmp_path, check=True, capture_output=True
    )
    assert "Package: greet-data" in (tmp_path / "unpacked/debian/control").read_text()
    for binary in source.getPublishedBinaries():
        (one,) = binary.binaryFileUrls(include_meta=True)
        content = requests.get(one["url"]).content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (one["size"], one["sha256"])
        (tmp_path / "one.deb").write_bytes(content)
        shown = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", "one.deb"], cwd=tmp_path, check=True, capture_output=True
        ).stdout
        assert (b"usr/share/greet/words" in shown) == (binary.binary_package_name == "greet-data")


def test_the_apt_repository_has_what_is_published(double: LaunchpadDouble) -> None:
    double.add_package("me/trunk", "hello", "1.0-1")
    double.add_package("me/trunk", "later", "1.0-1", status="Pending")
    root = f"{double.repository('me/trunk')}"
    dist = f"{root}/dists/noble"
    packages = gzip.decompress(requests.get(f"{dist}/main/binary-amd64/Packages.gz").content).decode()
    facts = dict(line.split(": ", 1) for line in packages.splitlines() if ": " in line)
    assert packages.count("Package: ") == 1
    deb = requests.get(f"{root}/{facts['Filename']}").content
    assert hashlib.sha256(deb).hexdigest() == facts["SHA256"]
    listed = requests.get(f"{dist}/Release").text
    assert (
        f"{hashlib.sha256(packages.encode()).hexdigest()} {len(packages)} main/binary-amd64/Packages\n" in listed
    )
    sources = gzip.decompress(requests.get(f"{dist}/main/source/Sources.gz").content).decode()
    assert sources.startswith("Package: hello\n")


def test_what_is_dumped_loads_as_the_same_world(double: LaunchpadDouble) -> None:
    double.add_package("me/trunk", "hello", "1", builds={"amd64": "Failed to build"})
    double.add_package("me/trunk", "world", "1", status="Deleted", comment="why")
    state, before = double.dump(), double.sources("me/trunk")
    double.reset()
    double.load(state)
    after = double.sources("me/trunk")
    assert [one | {"id": 0} for one in after] == [one | {"id": 0} for one in before]


def test_what_is_for_all_architectures_is_built_once_and_published_on_each(
    double: LaunchpadDouble, log_in: LogIn
) -> None:
    double.add_ppa("me/trunk", architectures=["amd64", "arm64"])
    double.add_package("me/trunk", "words", "1", binaries=[{"package": "words", "architecture": "all"}])
    (source,) = log_in("me").people("me").getPPAByName(name="trunk").getPublishedSources()
    assert [one.arch_tag for one in source.getBuilds()] == ["amd64"]
    published = [one.distro_arch_series_link.rpartition("/")[2] for one in source.getPublishedBinaries()]
    assert published == ["amd64", "arm64"]
