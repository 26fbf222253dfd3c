"""What archives of both kinds tell of what they hold and held."""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path

import pytest

from ppa_tools.archives.door import NotThere
from ppa_tools.publication import BuildState, File, Status
from tests.ppa_tools.conformance.backends import ARCHITECTURES, JAMMY, NOBLE, Backend


def content_of(file: File) -> bytes:
    if file.url.startswith("http"):
        with urllib.request.urlopen(file.url) as answer:
            data: bytes = answer.read()
            return data
    return Path(file.url).read_bytes()


def test_an_archive_says_what_it_holds(backend: Backend) -> None:
    archive = backend.ppa("trunk")
    backend.put(archive)
    backend.put(archive, "other", "2.0-1", series=JAMMY)
    side = archive.side(with_past=False)
    assert side.address == backend.address("trunk")
    assert not side.private
    assert {JAMMY, NOBLE} <= side.series.keys()
    assert side.versions == 1
    assert {(one.series, one.source, one.version, one.status) for one in side.publications} == {
        (NOBLE, "hello", "1.0-1", Status.PUBLISHED),
        (JAMMY, "other", "2.0-1", Status.PUBLISHED),
    }


def test_a_private_archive_says_so(backend: Backend) -> None:
    assert backend.ppa("secret", private=True).side(with_past=False).private


def test_the_past_is_told_where_it_is_asked_for(backend: Backend) -> None:
    archive = backend.ppa("trunk")
    backend.put(archive)
    backend.put(archive, version="1.0-2")
    backend.settle()
    assert [one.version for one in archive.side(with_past=False).publications] == ["1.0-2"]
    assert [(one.version, one.status) for one in archive.side(with_past=True).publications] == [
        ("1.0-1", Status.SUPERSEDED),
        ("1.0-2", Status.PUBLISHED),
    ]


def test_names_series_and_statuses_narrow_what_is_told(backend: Backend) -> None:
    archive = backend.ppa("trunk")
    backend.put(archive)
    backend.put(archive, version="1.0-2")
    backend.put(archive, "other", "2.0-1", series=JAMMY)
    backend.settle()
    everything = archive.publications()
    assert len(everything) == 3
    assert {one.version for one in archive.publications(names=["other"])} == {"2.0-1"}
    assert {one.version for one in archive.publications(names=["hello", "other", "none"])} == {
        "1.0-1",
        "1.0-2",
        "2.0-1",
    }
    assert {one.version for one in archive.publications(series=[NOBLE])} == {"1.0-1", "1.0-2"}
    assert {one.version for one in archive.publications(statuses=[Status.SUPERSEDED])} == {"1.0-1"}
    assert archive.publications(names=["hell"]) == ()
    assert archive.publications(statuses=[Status.DELETED]) == ()


def test_what_came_since_a_moment_is_told(backend: Backend) -> None:
    archive = backend.ppa("trunk")
    before = backend.put(archive).created_at
    assert before is not None
    backend.pass_days(1)
    backend.put(archive, "other")
    assert [one.source for one in archive.publications(since=before + 3600)] == ["other"]
    assert {one.source for one in archive.publications(since=before - 3600)} == {"hello", "other"}


def test_builds_say_how_far_each_architecture_is(backend: Backend) -> None:
    archive = backend.ppa("trunk")
    half = backend.put(archive, built=ARCHITECTURES[:1])
    none = backend.put(archive, "other", built=())
    builds = archive.builds([half, none])
    assert {one.architecture: one.state for one in builds[half.key]} == {
        "amd64": BuildState.BUILT,
        "arm64": BuildState.NEEDS_BUILDING,
    }
    assert {one.state for one in builds[none.key]} == {BuildState.NEEDS_BUILDING}
    assert {one.architecture for one in builds[half.key] if one.published} == {"amd64"}
    assert not any(one.published for one in builds[none.key])


def test_a_package_for_all_architectures_is_built_on_one(backend: Backend) -> None:
    archive = backend.ppa("trunk")
    one = backend.put(archive, built=["amd64"], package="all")
    (build,) = archive.builds([one])[one.key]
    assert (build.architecture, build.state, build.published) == ("amd64", BuildState.BUILT, True)
    binaries = archive.binaries([one])[one.key]
    assert {(binary.package, binary.architecture) for binary in binaries} == {("hello", "all")}
    assert {binary.index_architecture for binary in binaries} == {"amd64", "arm64"}


def test_binaries_are_told_with_where_they_come_from(backend: Backend) -> None:
    archive = backend.ppa("trunk")
    one = backend.put(archive)
    other = backend.put(archive, "other", built=())
    binaries = archive.binaries([one, other])
    assert {
        (its.package, its.version, its.architecture, its.source, its.source_version, its.series, its.status)
        for its in binaries[one.key]
    } == {("hello", "1.0-1", name, "hello", "1.0-1", NOBLE, Status.PUBLISHED) for name in ARCHITECTURES}
    assert not binaries.get(other.key)


@pytest.mark.parametrize("number", [1, 6])
def test_files_are_what_is_said_of_them(backend: Backend, number: int) -> None:
    archive = backend.ppa("trunk")
    put = [backend.put(archive, f"hello{n}", built=["amd64"]) for n in range(number)]
    sources, binaries = archive.source_files(put), archive.binary_files(put)
    for one in put:
        assert {file.name for file in sources[one.key]} == {
            f"{one.source}_1.0-1.dsc",
            f"{one.source}_1.0-1.debian.tar.gz",
            f"{one.source}_1.0.orig.tar.gz",
        }
        assert [file.name for file in binaries[one.key]] == [f"{one.source}_1.0-1_amd64.deb"]
    for file in (*sources[put[0].key], *binaries[put[0].key]):
        data = content_of(file)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size_bytes, file.sha256)


def test_what_has_ended_is_told_with_its_binaries_while_they_are_kept(backend: Backend) -> None:
    archive = backend.ppa("trunk")
    superseded = backend.put(archive)
    deleted = backend.put(archive, "other")
    backend.put(archive, version="1.0-2")
    archive.ask_deletion(deleted, "a test")
    backend.settle()
    now = {one.key: one for one in archive.publications()}
    for key, status in ((superseded.key, Status.SUPERSEDED), (deleted.key, Status.DELETED)):
        one = now[key]
        binaries = archive.binaries([one])[one.key]
        assert {(its.version, its.index_architecture) for its in binaries} == {
            ("1.0-1", name) for name in ARCHITECTURES
        }
        assert {its.status for its in binaries} == {status}
        assert len(archive.binary_files([one])[one.key]) == len(ARCHITECTURES)
        assert {build.state for build in archive.builds([one])[one.key]} == {BuildState.BUILT}


def test_files_that_are_no_longer_kept_are_not_told(backend: Backend) -> None:
    archive = backend.ppa("trunk")
    one = backend.put(archive)
    archive.ask_deletion(one, "a test")
    backend.settle()
    assert len(archive.source_files([one])[one.key]) == 3
    backend.pass_days(30)
    assert not archive.source_files([one]).get(one.key)


def test_an_archive_that_is_not_there_is_told_with_the_nearest(backend: Backend) -> None:
    backend.ppa("trunk")
    with pytest.raises(NotThere, match="trunk"):
        backend.open("trunc").side(with_past=False)


def test_reading_nothing_asks_nothing_wrong(backend: Backend) -> None:
    archive = backend.ppa("trunk")
    assert archive.side(with_past=True).publications == ()
    assert dict(archive.builds([])) == {}
    assert dict(archive.binaries([])) == {}
    assert dict(archive.source_files([])) == {}
    assert dict(archive.binary_files([])) == {}
