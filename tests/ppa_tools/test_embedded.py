"""What is the embedded archive's own behind the door: who asked is in its history, and trouble is told apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ppa_tools.archives.door import Refused, Uncertain
from ppa_tools.publication import Status
from tests.archive.conftest import Signer, signer  # noqa: F401
from tests.archive.shelf import Shelf
from tests.ppa_tools.conformance.backends import NOBLE, OWNER, Embedded, batch, held, only


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Shelf:  # noqa: F811
    return Shelf(tmp_path_factory.mktemp("shelf"), signer)


@pytest.fixture
def embedded(tmp_path: Path, shelf: Shelf) -> Iterator[Embedded]:
    one = Embedded(tmp_path, shelf)
    yield one
    one.close()


def test_whoever_asked_stands_in_the_history(embedded: Embedded) -> None:
    trunk, stable = embedded.ppa("trunk"), embedded.ppa("stable")
    stable.ask_copies(batch(trunk, embedded.put(trunk)))
    (change,) = [one for one in embedded.local.changes(stable.address, series=NOBLE) if one.what == "copy"]
    assert (change.by, change.why) == (OWNER, "copied from local:me/trunk noble: a test")


def test_a_refused_batch_names_every_package_that_stands_in_the_way(embedded: Embedded) -> None:
    trunk, stable = embedded.ppa("trunk"), embedded.ppa("stable")
    good, low = embedded.put(trunk, "good"), embedded.put(trunk, "low")
    bare = embedded.put(trunk, "bare", built=())
    embedded.put(stable, "low", "1.0-2")
    with pytest.raises(Refused) as caught:
        stable.ask_copies(batch(trunk, good, low, bare))
    assert "low 1.0-1: 1.0-2 is there, which is newer" in str(caught.value)
    assert "bare 1.0-1: it has no binaries yet" in str(caught.value)
    assert held(stable) == [(NOBLE, "low", "1.0-2")]


def test_what_is_in_the_history_and_could_not_be_published_is_uncertain_and_may_be_asked_again(
    embedded: Embedded,
) -> None:
    trunk, stable = embedded.ppa("trunk"), embedded.ppa("stable")
    one = embedded.put(trunk)
    keys = embedded.local.root / "keys/me/stable"
    embedded.local.stop_agents()
    keys.rename(keys.with_name("aside"))
    with pytest.raises(Uncertain, match="keys of local:me/stable"):
        stable.ask_copies(batch(trunk, one))
    assert only(stable).status is Status.PENDING
    keys.with_name("aside").rename(keys)
    stable.ask_copies(batch(trunk, one))
    assert only(stable).status is Status.PUBLISHED
    assert len(stable.publications()) == 1


def test_several_versions_that_are_kept_are_all_told(embedded: Embedded) -> None:
    trunk = embedded.ppa("trunk")
    embedded.local.configure(trunk.address, versions=2, by=OWNER)
    for version in ("1.0-1", "1.0-2", "1.0-3"):
        embedded.put(trunk, version=version)
    side = trunk.side(with_past=False)
    assert side.versions == 2
    assert [one.version for one in side.publications] == ["1.0-2", "1.0-3"]
