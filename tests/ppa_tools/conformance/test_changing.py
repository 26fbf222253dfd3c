"""Copies and deletions: what arrives, what never does, and what histories say of it, on both kinds of archives."""

from __future__ import annotations

import pytest

from ppa_tools.archives.door import Archive, CopyBatch, DeletesTogether, DoorError, NotThere, Refused
from ppa_tools.plan.actions import Kind
from ppa_tools.plan.facts import Terms
from ppa_tools.publication import BuildState, Publication, Status
from tests.ppa_tools.conformance.backends import (
    ARCHITECTURES,
    JAMMY,
    NOBLE,
    OWNER,
    Backend,
    batch,
    copy,
    copy_in_vain,
    held,
    only,
)
from tests.ppa_tools.tools import copy_plan


@pytest.fixture
def trunk(backend: Backend) -> Archive:
    return backend.ppa("trunk")


@pytest.fixture
def stable(backend: Backend) -> Archive:
    return backend.ppa("stable")


def reasons(source: Archive, destination: Archive, *, with_binaries: bool = True) -> list[str]:
    """Why the plan says that what is copied cannot be."""
    plan = copy_plan(source, destination, terms=Terms(with_binaries=with_binaries))
    return [one.reason for one in plan.of(Kind.BLOCKED)]


# What arrives


def test_a_copy_brings_the_binaries_along(backend: Backend, trunk: Archive, stable: Archive) -> None:
    copy(backend, trunk, stable, backend.put(trunk))
    assert held(stable) == [(NOBLE, "hello", "1.0-1")]
    there = only(stable)
    assert there.status is Status.PUBLISHED
    builds = stable.builds([there])[there.key]
    assert {(one.architecture, one.state, one.published) for one in builds} == {
        (name, BuildState.BUILT, True) for name in ARCHITECTURES
    }
    assert {one.index_architecture for one in stable.binaries([there])[there.key]} == set(ARCHITECTURES)


def test_a_copy_without_binaries_is_to_be_built(backend: Backend, trunk: Archive, stable: Archive) -> None:
    copy(backend, trunk, stable, backend.put(trunk), with_binaries=False)
    there = only(stable)
    assert not stable.binaries([there]).get(there.key)
    assert {one.state for one in stable.builds([there])[there.key]} == {BuildState.NEEDS_BUILDING}


def test_copies_of_one_batch_all_arrive(backend: Backend, trunk: Archive, stable: Archive) -> None:
    copy(
        backend,
        trunk,
        stable,
        *(backend.put(trunk, f"hello{n}", built=["amd64"], package="all") for n in range(5)),
    )
    assert held(stable) == [(NOBLE, f"hello{n}", "1.0-1") for n in range(5)]


def test_a_copy_supersedes_what_is_older(backend: Backend, trunk: Archive, stable: Archive) -> None:
    copy(backend, trunk, stable, backend.put(trunk))
    copy(backend, trunk, stable, backend.put(trunk, version="1.0-2"))
    assert [(one.version, one.status) for one in stable.publications()] == [
        ("1.0-1", Status.SUPERSEDED),
        ("1.0-2", Status.PUBLISHED),
    ]


def test_a_copy_may_go_to_another_series(backend: Backend, trunk: Archive, stable: Archive) -> None:
    copy(backend, trunk, stable, backend.put(trunk), to_series=JAMMY)
    assert held(stable) == [(JAMMY, "hello", "1.0-1")]


def test_an_earlier_version_is_copied_when_it_is_named(backend: Backend, trunk: Archive, stable: Archive) -> None:
    earlier = backend.put(trunk)
    backend.put(trunk, version="1.0-2")
    copy(backend, trunk, stable, earlier, latest=False)
    assert held(stable) == [(NOBLE, "hello", "1.0-1")]


def test_copying_again_publishes_nothing_twice(backend: Backend, trunk: Archive, stable: Archive) -> None:
    one = backend.put(trunk)
    copy(backend, trunk, stable, one)
    copy(backend, trunk, stable, one)
    assert len(stable.publications()) == 1


def test_what_is_private_is_given_away_by_a_word_of_consent(backend: Backend, stable: Archive) -> None:
    secret = backend.ppa("secret", private=True)
    copy(backend, secret, stable, backend.put(secret), unembargo=True)
    assert held(stable) == [(NOBLE, "hello", "1.0-1")]


def test_what_is_public_may_be_copied_to_a_private_archive(backend: Backend, trunk: Archive) -> None:
    secret = backend.ppa("secret", private=True)
    copy(backend, trunk, secret, backend.put(trunk))
    assert held(secret) == [(NOBLE, "hello", "1.0-1")]


# What never does


def test_a_lower_version_never_arrives(backend: Backend, trunk: Archive, stable: Archive) -> None:
    one = backend.put(trunk)
    backend.put(stable, version="1.0-2")
    assert "1.0-2" in reasons(trunk, stable)[0]
    copy_in_vain(backend, trunk, stable, one)


def test_another_source_with_the_same_version_never_arrives(
    backend: Backend, trunk: Archive, stable: Archive
) -> None:
    one = backend.put(trunk)
    backend.put(stable, content="other", series=JAMMY)
    assert reasons(trunk, stable)
    copy_in_vain(backend, trunk, stable, one)
    copy_in_vain(backend, trunk, stable, one, to_series=JAMMY)


def test_a_source_without_the_binaries_that_were_asked_for_never_arrives(
    backend: Backend, trunk: Archive, stable: Archive
) -> None:
    one = backend.put(trunk, built=())
    assert reasons(trunk, stable)
    copy_in_vain(backend, trunk, stable, one)
    assert not reasons(trunk, stable, with_binaries=False)


def test_what_is_not_built_everywhere_is_not_planned(backend: Backend, trunk: Archive, stable: Archive) -> None:
    backend.put(trunk, built=ARCHITECTURES[:1])
    (reason,) = reasons(trunk, stable)
    assert ARCHITECTURES[1] in reason


def test_a_source_whose_files_have_gone_never_arrives(backend: Backend, trunk: Archive, stable: Archive) -> None:
    one = backend.put(trunk)
    trunk.ask_deletion(one, "a test")
    backend.settle()
    backend.pass_days(30)
    copy_in_vain(backend, trunk, stable, one, latest=False)


def test_a_name_stands_for_the_same_content_even_after_a_deletion(
    backend: Backend, trunk: Archive, stable: Archive
) -> None:
    one = backend.put(trunk)
    stable.ask_deletion(backend.put(stable, content="other"), "a test")
    backend.settle()
    assert held(stable) == []
    assert reasons(trunk, stable)
    copy_in_vain(backend, trunk, stable, one)


def test_what_is_private_stays_private(backend: Backend, stable: Archive) -> None:
    secret = backend.ppa("secret", private=True)
    one = backend.put(secret)
    assert "private" in reasons(secret, stable)[0]
    copy_in_vain(backend, secret, stable, one)


def test_nothing_is_copied_to_a_series_that_is_not_there(
    backend: Backend, trunk: Archive, stable: Archive
) -> None:
    one = backend.put(trunk)
    with pytest.raises(DoorError):
        stable.ask_copies(batch(trunk, one, to_series="nowhere"))
    assert held(stable) == []


def test_a_name_that_is_not_there_is_refused(backend: Backend, trunk: Archive, stable: Archive) -> None:
    backend.put(trunk)
    absent = Publication("0", "absent", "1.0-1", NOBLE, Status.PUBLISHED)
    with pytest.raises(DoorError, match="absent"):
        stable.ask_copies(batch(trunk, absent))
    assert held(stable) == []


# Deletions


def test_a_source_is_deleted_with_its_binaries(backend: Backend, trunk: Archive) -> None:
    one = backend.put(trunk)
    backend.put(trunk, "other")
    trunk.ask_deletion(one, "it is not wanted")
    backend.settle()
    assert held(trunk) == [(NOBLE, "other", "1.0-1")]
    (gone,) = trunk.publications(names=["hello"])
    assert gone.status is Status.DELETED
    assert {its.status for its in trunk.binaries([gone]).get(gone.key, ())} <= {Status.DELETED}


def test_deleting_again_is_fine(backend: Backend, trunk: Archive) -> None:
    one = backend.put(trunk)
    for _ in range(2):
        trunk.ask_deletion(one, "it is not wanted")
    assert held(trunk) == []


def test_deletions_that_are_taken_together_are_as_those_that_are_not(backend: Backend, trunk: Archive) -> None:
    put = [backend.put(trunk, f"hello{n}", built=["amd64"], package="all") for n in range(3)]
    put.append(backend.put(trunk, "other", series=JAMMY))
    trunk.ask_deletion(put[0], "a test")
    if isinstance(trunk, DeletesTogether):
        trunk.ask_deletions([put[0], put[1], put[3]], "a test")
    else:
        for one in (put[0], put[1], put[3]):
            trunk.ask_deletion(one, "a test")
    backend.settle()
    assert held(trunk) == [(NOBLE, "hello2", "1.0-1")]


def test_what_was_never_there_cannot_be_deleted(backend: Backend, trunk: Archive) -> None:
    absent = Publication("987654", "absent", "1.0-1", NOBLE, Status.PUBLISHED)
    with pytest.raises(NotThere):
        trunk.ask_deletion(absent, "a test")


def test_what_has_ended_does_not_take_its_successor_along(backend: Backend, trunk: Archive) -> None:
    one = backend.put(trunk)
    backend.put(trunk, version="1.0-2")
    backend.settle()
    trunk.ask_deletion(one, "it is not wanted")
    backend.settle()
    assert held(trunk) == [(NOBLE, "hello", "1.0-2")]


def test_after_a_deletion_a_lower_version_may_come(backend: Backend, trunk: Archive, stable: Archive) -> None:
    one = backend.put(trunk)
    stable.ask_deletion(backend.put(stable, version="1.0-2"), "go back")
    backend.settle()
    assert not reasons(trunk, stable)
    copy(backend, trunk, stable, one)
    assert held(stable) == [(NOBLE, "hello", "1.0-1")]


def test_a_deleted_version_may_be_copied_back(backend: Backend, trunk: Archive, stable: Archive) -> None:
    one = backend.put(trunk)
    copy(backend, trunk, stable, one)
    stable.ask_deletion(only(stable), "a mistake")
    backend.settle()
    copy(backend, trunk, stable, one)
    assert held(stable) == [(NOBLE, "hello", "1.0-1")]
    there = only(stable)
    assert {its.status for its in stable.binaries([there])[there.key]} == {Status.PUBLISHED}


# Histories


def test_a_deletion_says_who_and_why(backend: Backend, trunk: Archive) -> None:
    trunk.ask_deletion(backend.put(trunk), "it is not wanted")
    backend.settle()
    (gone,) = trunk.publications()
    assert gone.ended_at is not None
    assert (gone.ended_by, gone.end_why) == (OWNER, "it is not wanted")


def test_a_copy_says_who_and_where_from(backend: Backend, trunk: Archive, stable: Archive) -> None:
    copy(backend, trunk, stable, backend.put(trunk))
    there = only(stable)
    assert there.by == OWNER
    assert str(trunk.address) in there.why
    assert there.created_at is not None
    assert there.published_at is not None
    assert there.created_at <= there.published_at


# Honesty


def test_what_talking_costs_is_counted(backend: Backend, trunk: Archive) -> None:
    before = trunk.stats.requests
    trunk.publications()
    assert trunk.stats.requests > before
    assert sum(trunk.stats.by_kind.values()) == trunk.stats.requests


def test_a_batch_from_another_kind_of_archive_is_refused(backend: Backend, trunk: Archive) -> None:
    other = "ppa" if backend.kind == "local" else "local"
    one = backend.put(trunk)
    made = batch(trunk, one)
    address = type(trunk.address)(other, OWNER, "elsewhere")  # type: ignore[arg-type]
    with pytest.raises((Refused, DoorError)):
        trunk.ask_copies(CopyBatch(address, NOBLE, NOBLE, made.copies))
