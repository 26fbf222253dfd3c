"""Waiting tells how far each is, ends when apt can get all of it, and early when it never will."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from ppa_tools.apply.waiting import Awaited, ReadIndex, Sighting, Stage, Waited, wait_for
from ppa_tools.apt.stanzas import BinaryPackage, Holdings
from ppa_tools.archives.door import NotThere, Unreachable
from ppa_tools.publication import Binary, Build, BuildState, Publication, Status
from tests.ppa_tools.model import Release, World, archives

HELLO = Awaited("hello", "noble", "1.0-1")
BUILT, BUILDING, NEEDS = BuildState.BUILT, BuildState.BUILDING, BuildState.NEEDS_BUILDING


class Scene:
    """An archive to which things happen at certain looks, and an index that apt would read."""

    def __init__(self) -> None:
        (self.archive,) = archives("ppa:o/p").values()
        self.world: World = self.archive.world
        self.archive.binaries = self.binaries  # type: ignore[method-assign]
        self.index: dict[str, list[BinaryPackage]] = {}
        self.stages: list[list[Stage]] = []
        self.troubles: list[str] = []
        self.events: dict[int, list[object]] = {}
        self.slept = 0

    def upload(self, version: str = "1.0-1", *states: BuildState, name: str = "hello") -> None:
        self.archive.upload("noble", Release(name, version, states=states or (NEEDS, NEEDS)))

    def build(self, *states: BuildState, name: str = "hello") -> None:
        for row in self.archive.active(source=name):
            self.archive.releases[row.key] = replace(self.archive.releases[row.key], states=states)

    def publish(self, *architectures: str, name: str = "hello", version: str = "1.0-1") -> None:
        for architecture in architectures:
            empty = [""] * 6
            one = BinaryPackage(f"{name}-bin", version, architecture, name, version, *empty, "", "f.deb", 1, "5ha")  # type: ignore[arg-type, call-arg]
            self.index.setdefault(architecture, []).append(one)

    def binaries(self, publications: Sequence[Publication]) -> Mapping[str, tuple[Binary, ...]]:
        def binary(one: Publication, arch: str) -> Binary:
            names = (f"{one.source}-bin", one.version, arch, arch, one.source, one.version, one.series)
            return Binary(*names, Status.PUBLISHED)

        return {one.key: (binary(one, "amd64"), binary(one, "arm64")) for one in publications}

    def read_index(self, series: str, architectures: Sequence[str]) -> Holdings:
        assert (series, list(architectures)) == ("noble", ["amd64", "arm64"])
        return Holdings({name: self.index.get(name, []) for name in architectures})

    def at(self, look: int, *event: object) -> None:
        """What happens after so many looks: a method's name and its arguments."""
        self.events.setdefault(look, []).append(event)

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        self.world.sleep(seconds)
        for name, *arguments in self.events.get(self.slept, []):  # type: ignore[misc]
            getattr(self, name)(*arguments)

    def see(self, sightings: Sequence[Sighting], trouble: str) -> None:
        stages = [one.stage for one in sightings]
        if not self.stages or self.stages[-1] != stages:
            self.stages.append(stages)
        self.troubles += [trouble] if trouble else []

    def wait(
        self, *awaited: Awaited, read_index: ReadIndex | None = None, limit_s: float = 3600, **how: object
    ) -> Waited:
        return wait_for(
            self.archive,
            awaited or (HELLO,),
            limit_s=limit_s,
            read_index=read_index or self.read_index,
            clock=self.world.clock,
            sleep=self.sleep,
            progress=self.see,
            **how,  # type: ignore[arg-type]
        )


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_each_stage_is_told_until_apt_can_get_all_of_it(scene: Scene) -> None:
    scene.at(1, "upload")
    scene.at(2, "build", BUILT, BUILDING)
    scene.at(3, "build", BUILT, BUILT)
    scene.at(4, "publish", "amd64")
    scene.at(5, "publish", "arm64")
    waited = scene.wait(requested=[HELLO])
    assert [one for (one,) in scene.stages] == [
        Stage.REQUESTED,
        Stage.PENDING,
        Stage.BUILDING,
        Stage.BUILT,
        Stage.INDEXED,
    ]
    assert waited.is_good
    (found,) = waited.sightings
    assert {(one.architecture, one.sha256) for one in found.packages} == {("amd64", "5ha"), ("arm64", "5ha")}


def test_half_an_index_is_not_enough_and_what_lacks_is_named(scene: Scene) -> None:
    scene.upload("1.0-1", BUILT, BUILT)
    scene.publish("amd64")
    waited = scene.wait(limit_s=60)
    assert (waited.is_good, waited.timed_out) == (False, True)
    (found,) = waited.sightings
    assert (found.stage, found.why) == (Stage.BUILT, "not in the index yet: hello-bin for arm64")


def test_an_older_version_in_the_index_is_not_taken_for_it(scene: Scene) -> None:
    scene.upload("1.0-1", BUILT, BUILT)
    scene.publish("amd64", "arm64", version="0.9-1")
    assert not scene.wait(limit_s=60).is_good


def test_a_failed_build_ends_the_waiting_at_once(scene: Scene) -> None:
    scene.upload("1.0-1", BUILDING, BUILDING)
    scene.upload("1.0-1", BUILDING, BUILDING, name="slow")
    scene.at(1, "build", BUILT, BuildState.FAILED)
    waited = scene.wait(HELLO, Awaited("slow", "noble"))
    assert (waited.is_good, waited.timed_out, scene.slept) == (False, False, 1)
    assert [(one.stage, one.why) for one in waited.sightings] == [
        (Stage.FAILED, "arm64: failed to build"),
        (Stage.BUILDING, "amd64: currently building, arm64: currently building"),
    ]


def test_a_build_that_waits_for_a_dependency_may_yet_succeed(scene: Scene) -> None:
    scene.upload("1.0-1", BUILT, BuildState.DEPENDENCY_WAIT)
    scene.at(2, "build", BUILT, BUILT)
    scene.at(2, "publish", "amd64", "arm64")
    assert scene.wait().is_good


def test_what_was_superseded_is_not_waited_for(scene: Scene) -> None:
    scene.upload()
    scene.at(1, "upload", "1.1-1")
    (found,) = scene.wait().sightings
    assert (found.stage, found.why) == (Stage.GONE, "it was there, and is superseded; 1.1-1 is there")


def test_what_cannot_come_any_more_is_not_waited_for(scene: Scene) -> None:
    scene.upload("2.0-1")
    (found,) = scene.wait().sightings
    assert (found.stage, found.why) == (Stage.FAILED, "it cannot come: 2.0-1 is there, which is newer")


def test_without_a_version_the_newest_counts(scene: Scene) -> None:
    scene.upload("1.0-1")
    scene.at(1, "upload", "1.1-1", BUILT, BUILT)
    scene.at(1, "publish_newer")
    scene.publish_newer = lambda: scene.publish("amd64", "arm64", version="1.1-1")  # type: ignore[attr-defined]
    (found,) = scene.wait(Awaited("hello", "noble")).sightings
    assert (found.stage, found.version) == (Stage.INDEXED, "1.1-1")


def test_the_name_of_a_binary_package_is_told_from_that_of_a_source(scene: Scene) -> None:
    scene.upload("1.0-1", BUILT, BUILT)
    (found,) = scene.wait(Awaited("hello-bin", "noble")).sightings
    assert found.stage is Stage.FAILED
    assert found.why == "hello-bin is a binary package of the source hello: wait for that"


def test_a_name_that_is_not_there_is_waited_for_with_the_nearest_told(scene: Scene) -> None:
    scene.upload("1.0-1", BUILT, BUILT)
    waited = scene.wait(Awaited("helo", "noble"), limit_s=30)
    assert waited.timed_out
    assert (waited.sightings[0].stage, waited.sightings[0].why) == (Stage.ABSENT, "there is hello")


def test_the_same_in_another_series_is_not_it(scene: Scene) -> None:
    scene.archive.upload("jammy", Release("hello", "1.0-1"))
    assert scene.wait(limit_s=30).sightings[0].stage is Stage.ABSENT


def test_a_broken_connection_is_waited_out(scene: Scene) -> None:
    scene.upload("1.0-1", BUILT, BUILT)
    scene.publish("amd64", "arm64")
    look, fails = scene.archive.publications, iter([True, True])

    def flaky(**how: object) -> tuple[Publication, ...]:
        if next(fails, False):
            raise Unreachable("the socket went to sleep")
        return look(**how)  # type: ignore[arg-type]

    scene.archive.publications = flaky  # type: ignore[method-assign]
    assert scene.wait().is_good
    assert scene.troubles == ["the socket went to sleep"] * 2


def test_an_index_that_is_not_there_yet_is_waited_for(scene: Scene) -> None:
    scene.upload("1.0-1", BUILT, BUILT)

    def none(series: str, architectures: Sequence[str]) -> Holdings:
        raise NotThere("no InRelease")

    (found,) = scene.wait(read_index=none, limit_s=30).sightings
    assert (found.stage, found.why) == (Stage.BUILT, "the index cannot be read yet: no InRelease")


def test_the_archive_is_believed_where_no_index_can_be_read(scene: Scene) -> None:
    scene.upload("1.0-1", BUILT, BUILT)
    waited = wait_for(
        scene.archive, [HELLO], limit_s=10, clock=scene.world.clock, sleep=scene.world.sleep, progress=scene.see
    )
    assert waited.is_good
    assert waited.sightings[0].why == "as the archive says"


def test_what_is_built_and_not_published_is_not_in_the_index(scene: Scene) -> None:
    scene.upload("1.0-1", BUILT, BUILT)
    told = scene.archive.builds

    def late(publications: Sequence[Publication]) -> Mapping[str, tuple[Build, ...]]:
        return {key: (its[0], replace(its[1], published=False)) for key, its in told(publications).items()}

    scene.archive.builds = late  # type: ignore[method-assign]
    waited = wait_for(scene.archive, [HELLO], limit_s=10, clock=scene.world.clock, sleep=scene.world.sleep)
    assert (waited.sightings[0].stage, waited.sightings[0].why) == (Stage.BUILT, "not published yet for arm64")
