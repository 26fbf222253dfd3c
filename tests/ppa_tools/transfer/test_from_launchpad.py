"""From Launchpad to the embedded archive: the same bytes, by the rules of a copy, and told where from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ppa_tools.archives.door import NotThere, Refused
from ppa_tools.archives.downloading import Fetched, Limits
from ppa_tools.archives.transfer import Means, ask_transfer
from ppa_tools.publication import BuildState, File, Publication, Status
from tests.archive.soundness import check_archive
from tests.ppa_tools.conformance.backends import (
    ARCHITECTURES,
    JAMMY,
    NOBLE,
    Embedded,
    Launchpad,
    batch,
    held,
    only,
)

QUICK = Means(limits=Limits(first_wait_s=0.01))


def left_behind(embedded: Embedded) -> list[Path]:
    return list(embedded.local.incoming.iterdir())


def test_a_package_arrives_with_its_binaries_and_its_origin(launchpad: Launchpad, embedded: Embedded) -> None:
    trunk, mirror = launchpad.ppa("trunk"), embedded.ppa("mirror")
    one = launchpad.put(trunk)
    ask_transfer(trunk, mirror, batch(trunk, one), QUICK)
    there = only(mirror)
    assert there.status is Status.PUBLISHED
    assert there.why == "copied from ppa:me/trunk noble: a test"
    assert {(its.architecture, its.state, its.published) for its in mirror.builds([there])[there.key]} == {
        (name, BuildState.BUILT, True) for name in ARCHITECTURES
    }
    for ask in ("source_files", "binary_files"):
        mine, theirs = getattr(trunk, ask)([one])[one.key], getattr(mirror, ask)([there])[there.key]
        assert {(file.name, file.sha256) for file in mine} == {(file.name, file.sha256) for file in theirs}
    check_archive(embedded.local)
    assert left_behind(embedded) == []


def test_it_may_go_to_another_series_and_without_binaries(launchpad: Launchpad, embedded: Embedded) -> None:
    trunk, mirror = launchpad.ppa("trunk"), embedded.ppa("mirror")
    one = launchpad.put(trunk)
    ask_transfer(trunk, mirror, batch(trunk, one, to_series=JAMMY, with_binaries=False), QUICK)
    there = only(mirror, series=JAMMY)
    assert {its.state for its in mirror.builds([there])[there.key]} == {BuildState.NEEDS_BUILDING}


def test_what_failed_to_build_somewhere_comes_with_what_there_is(launchpad: Launchpad, embedded: Embedded) -> None:
    trunk, mirror = launchpad.ppa("trunk"), embedded.ppa("mirror")
    one = launchpad.put(trunk, built=ARCHITECTURES[:1])
    with pytest.raises(Refused, match="it is not built yet on arm64"):
        ask_transfer(trunk, mirror, batch(trunk, one), QUICK)
    launchpad.double.set_build("me/trunk", "hello", "1.0-1", "arm64", "Failed to build")
    ask_transfer(trunk, mirror, batch(trunk, one), QUICK)
    there = only(mirror)
    assert {(its.architecture, its.state) for its in mirror.builds([there])[there.key]} == {
        ("amd64", BuildState.BUILT),
        ("arm64", BuildState.NEEDS_BUILDING),
    }


def test_only_binaries_that_the_series_has_an_index_for_are_fetched(
    launchpad: Launchpad, embedded: Embedded
) -> None:
    trunk, mirror = launchpad.ppa("trunk"), embedded.ppa("mirror")
    embedded.local.remove_architecture(mirror.address, NOBLE, "arm64", by="me")
    one = launchpad.put(trunk)
    launchpad.double.clear_log()
    ask_transfer(trunk, mirror, batch(trunk, one), QUICK)
    asked = [its["path"] for its in launchpad.double.requests()]
    assert any(path.endswith("_amd64.deb") for path in asked)
    assert not any(path.endswith("_arm64.deb") for path in asked)
    assert held(mirror) == [(NOBLE, "hello", "1.0-1")]


def test_asking_again_changes_nothing(launchpad: Launchpad, embedded: Embedded) -> None:
    trunk, mirror = launchpad.ppa("trunk"), embedded.ppa("mirror")
    one = launchpad.put(trunk)
    ask_transfer(trunk, mirror, batch(trunk, one), QUICK)
    before = mirror.publications()
    ask_transfer(trunk, mirror, batch(trunk, one), QUICK)
    assert mirror.publications() == before


def test_an_import_goes_on_in_the_embedded_archive(launchpad: Launchpad, embedded: Embedded) -> None:
    trunk, mirror, stable = launchpad.ppa("trunk"), embedded.ppa("mirror"), embedded.ppa("stable")
    ask_transfer(trunk, mirror, batch(trunk, launchpad.put(trunk)), QUICK)
    stable.ask_copies(batch(mirror, only(mirror)))
    assert held(stable) == [(NOBLE, "hello", "1.0-1")]
    check_archive(embedded.local)


def test_all_arrive_or_none(launchpad: Launchpad, embedded: Embedded) -> None:
    trunk, mirror = launchpad.ppa("trunk"), embedded.ppa("mirror")
    embedded.put(mirror, version="1.1-1")
    before = held(mirror)
    wanted = [launchpad.put(trunk), launchpad.put(trunk, "other")]
    with pytest.raises(Refused, match=r"hello 1\.0-1: 1\.1-1 is there, which is newer"):
        ask_transfer(trunk, mirror, batch(trunk, *wanted), QUICK)
    assert held(mirror) == before
    check_archive(embedded.local)


def test_a_name_stands_for_the_same_content(launchpad: Launchpad, embedded: Embedded) -> None:
    trunk, mirror = launchpad.ppa("trunk"), embedded.ppa("mirror")
    mirror.ask_deletion(embedded.put(mirror), "a test")
    with pytest.raises(Refused, match="with other content"):
        ask_transfer(trunk, mirror, batch(trunk, launchpad.put(trunk)), QUICK)


def test_what_is_private_stays_private(launchpad: Launchpad, embedded: Embedded) -> None:
    secret, mirror = launchpad.ppa("secret", private=True), embedded.ppa("mirror")
    one = launchpad.put(secret)
    with pytest.raises(Refused, match="is private and local:me/mirror is public"):
        ask_transfer(secret, mirror, batch(secret, one), QUICK)
    assert held(mirror) == []
    ask_transfer(secret, mirror, batch(secret, one, unembargo=True), QUICK)
    assert held(mirror) == [(NOBLE, "hello", "1.0-1")]


def test_what_is_private_may_be_mirrored_in_private(launchpad: Launchpad, embedded: Embedded) -> None:
    secret, mirror = launchpad.ppa("secret", private=True), embedded.ppa("mirror", private=True)
    ask_transfer(secret, mirror, batch(secret, launchpad.put(secret)), QUICK)
    assert held(mirror) == [(NOBLE, "hello", "1.0-1")]


def test_no_credentials_are_sent_for_files_that_everybody_may_have(
    launchpad: Launchpad, embedded: Embedded
) -> None:
    trunk, mirror = launchpad.ppa("trunk"), embedded.ppa("mirror")
    one = launchpad.put(trunk)
    launchpad.double.clear_log()
    ask_transfer(trunk, mirror, batch(trunk, one), QUICK)
    assert {its["who"] for its in launchpad.double.requests() if "/+sourcefiles/" in its["path"]} == {""}


def test_what_had_come_when_it_was_cut_off_is_not_fetched_again(launchpad: Launchpad, embedded: Embedded) -> None:
    trunk, mirror = launchpad.ppa("trunk"), embedded.ppa("mirror")
    one = launchpad.put(trunk)
    told: list[Fetched] = []

    def cut(fetched: Fetched) -> None:
        told.append(fetched)
        if fetched.done_files == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask_transfer(trunk, mirror, batch(trunk, one), Means(limits=Limits(workers=1), tell=cut))
    assert held(mirror) == []
    launchpad.double.clear_log()
    ask_transfer(trunk, mirror, batch(trunk, one), QUICK)
    asked = [its["path"] for its in launchpad.double.requests() if "files/" in its["path"]]
    assert 0 < len(asked) <= 2
    assert held(mirror) == [(NOBLE, "hello", "1.0-1")]


def test_what_is_larger_than_the_limit_is_not_begun(launchpad: Launchpad, embedded: Embedded) -> None:
    trunk, mirror = launchpad.ppa("trunk"), embedded.ppa("mirror")
    one = launchpad.put(trunk)
    with pytest.raises(Refused, match="are the most that is downloaded"):
        ask_transfer(trunk, mirror, batch(trunk, one), Means(limits=Limits(file_bytes=10)))
    with pytest.raises(Refused, match="go at once"):
        ask_transfer(trunk, mirror, batch(trunk, one), Means(limits=Limits(whole_bytes=100)))


def test_files_that_are_no_longer_kept_are_told(launchpad: Launchpad, embedded: Embedded) -> None:
    trunk, mirror = launchpad.ppa("trunk"), embedded.ppa("mirror")
    one = launchpad.put(trunk)
    launchpad.double.expire_files("me/trunk", "hello", "1.0-1")
    with pytest.raises(Refused, match=r"ppa:me/trunk keeps no files of hello 1\.0-1"):
        ask_transfer(trunk, mirror, batch(trunk, one), QUICK)


def test_a_name_that_leads_elsewhere_is_refused(launchpad: Launchpad, embedded: Embedded) -> None:
    trunk, mirror = launchpad.ppa("trunk"), embedded.ppa("mirror")
    one = launchpad.put(trunk)

    class Odd:
        """The archive, but for the names of files."""

        def __getattr__(self, name: str) -> Any:
            return getattr(trunk, name)

        def source_files(self, publications: Sequence[Publication]) -> Mapping[str, tuple[File, ...]]:
            found = trunk.source_files(publications).items()
            return {key: tuple(replace(one, name=f"../{one.name}") for one in its) for key, its in found}

    with pytest.raises(Refused, match="is no name for a file"):
        ask_transfer(Odd(), mirror, batch(trunk, one), QUICK)
    assert left_behind(embedded) == []


def test_a_series_that_is_not_there_is_told(launchpad: Launchpad, embedded: Embedded) -> None:
    trunk, mirror = launchpad.ppa("trunk"), embedded.ppa("mirror")
    with pytest.raises(NotThere, match="no series resolute"):
        ask_transfer(trunk, mirror, batch(trunk, launchpad.put(trunk), to_series="resolute"), QUICK)


def test_progress_is_told_up_to_the_end(launchpad: Launchpad, embedded: Embedded) -> None:
    trunk, mirror = launchpad.ppa("trunk"), embedded.ppa("mirror")
    one = launchpad.put(trunk)
    told: list[Fetched] = []
    ask_transfer(trunk, mirror, batch(trunk, one), Means(tell=told.append))
    last = told[-1]
    assert (last.done_files, last.done_bytes) == (last.total_files, last.total_bytes) == (5, last.total_bytes)
