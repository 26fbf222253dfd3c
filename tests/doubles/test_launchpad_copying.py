"""Copies and deletions: taken at once, done later, and refused in silence."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import requests
from lazr.restfulclient.errors import BadRequest, NotFound, Unauthorized

from tests.doubles.conftest import LogIn
from tests.doubles.launchpad import LaunchpadDouble

Prepare = Callable[[LaunchpadDouble], object]


def held(double: LaunchpadDouble, ppa: str) -> list[tuple[str, str, str, str]]:
    return [(one["source"], one["version"], one["series"], one["status"]) for one in double.sources(ppa)]


def ask(
    double: LaunchpadDouble, session: requests.Session, names: list[str], **facts: object
) -> requests.Response:
    form = {
        "ws.op": "copyPackages",
        "source_names": names,
        "from_archive": f"{double.api}/~me/+archive/ubuntu/trunk",
        "to_pocket": "Release",
        "to_series": "noble",
        "include_binaries": True,
        **facts,
    }
    encoded = {name: value if isinstance(value, str) else json.dumps(value) for name, value in form.items()}
    return session.post(f"{double.api}/~me/+archive/ubuntu/stable", data=encoded)


def test_a_copy_is_nothing_then_pending_then_published_with_its_binaries(
    double: LaunchpadDouble, log_in: LogIn
) -> None:
    double.set(copy_delay_s=60, publish_delay_s=600)
    double.add_package("me/trunk", "hello", "1.0-1", binaries=["hello", "libhello"])
    launchpad = log_in("me")
    trunk, stable = (launchpad.people("me").getPPAByName(name=one) for one in ("trunk", "stable"))
    stable.copyPackage(
        source_name="hello", version="1.0-1", from_archive=trunk, to_pocket="Release", include_binaries=True
    )
    assert len(stable.getPublishedSources()) == 0
    double.advance(61)
    (copied,) = stable.getPublishedSources()
    assert (copied.status, copied.copied_from_archive_link) == ("Pending", trunk.self_link)
    double.advance(601)
    copied.lp_refresh()
    assert copied.status == "Published"
    assert {one.binary_package_name for one in copied.getPublishedBinaries()} == {"hello", "libhello"}


def test_a_bulk_copy_takes_the_latest_and_skips_in_silence_what_is_not_active(
    double: LaunchpadDouble, log_in: LogIn
) -> None:
    for name, version, status in (("a", "1", "Superseded"), ("a", "2", "Published"), ("b", "1", "Deleted")):
        double.add_package("me/trunk", name, version, status=status)
    launchpad = log_in("me")
    trunk, stable = (launchpad.people("me").getPPAByName(name=one) for one in ("trunk", "stable"))
    stable.copyPackages(source_names=["a", "b"], from_archive=trunk, to_pocket="Release", include_binaries=True)
    double.settle()
    assert held(double, "me/stable") == [("a", "2", "noble", "Published")]
    with pytest.raises(BadRequest, match="None of the supplied package names"):
        stable.copyPackages(source_names=["b"], from_archive=trunk, to_pocket="Release")
    with pytest.raises(NotFound, match="No such source package"):
        stable.copyPackages(source_names=["a", "unheard-of"], from_archive=trunk, to_pocket="Release")
    assert len(double.copies()) == 1


@pytest.mark.parametrize(("version", "status"), [("devel", 200), ("1.0", 400)])
def test_only_the_devel_api_copies_later(
    double: LaunchpadDouble, session: requests.Session, version: str, status: int
) -> None:
    double.add_package("me/trunk", "hello", "1")
    form = {"source_name": "hello", "version": '"1"', "to_pocket": "Release"}
    form |= {"ws.op": "copyPackage", "from_archive": f"{double.api}/~me/+archive/ubuntu/trunk"}
    answer = session.post(f"{double.url}/{version}/~me/+archive/ubuntu/stable", data=form)
    assert answer.status_code == status


def newer_in_stable(double: LaunchpadDouble) -> None:
    double.add_package("me/stable", "hello", "2")


def other_source_deleted_long_ago(double: LaunchpadDouble) -> None:
    double.add_package("me/stable", "hello", "1.0-1", content="other", series="jammy", status="Deleted")


def other_orig_once(double: LaunchpadDouble) -> None:
    double.add_package("me/stable", "hello", "1.0-0", orig="other", status="Deleted")


def not_built(double: LaunchpadDouble) -> None:
    double.add_package("me/trunk", "hello", "1.0-2", builds={"amd64": "Failed to build"})


def expired_source(double: LaunchpadDouble) -> None:
    double.expire_files("me/trunk", "hello", "1.0-1")


def expired_binaries(double: LaunchpadDouble) -> None:
    double.expire_files("me/trunk", "hello", "1.0-1", binaries_only=True)


def building_there(double: LaunchpadDouble) -> None:
    double.add_package(
        "me/stable", "hello", "1.0-1", series="jammy", builds={"amd64": "Currently building"}, status="Pending"
    )


def pending_there(double: LaunchpadDouble) -> None:
    double.add_package("me/stable", "hello", "1.0-1", status="Pending")


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (newer_in_stable, "version older than the hello 2"),
        (other_source_deleted_long_ago, "a different source with the same version"),
        (other_orig_once, "hello_1.0.orig.tar.gz already exists in destination archive with different contents"),
        (not_built, "source has no binaries to be copied"),
        (expired_source, "source contains expired files"),
        (expired_binaries, "source has expired binaries"),
        (building_there, "same version already building in the destination archive"),
        (pending_there, "same version has unpublished binaries"),
    ],
)
def test_what_the_rules_forbid_is_taken_and_never_comes(
    double: LaunchpadDouble, session: requests.Session, prepare: Prepare, why: str
) -> None:
    double.set(copy_delay_s=0)
    double.add_package("me/trunk", "hello", "1.0-1")
    prepare(double)
    before = held(double, "me/stable")
    assert ask(double, session, ["hello"]).status_code == 200
    assert held(double, "me/stable") == before
    (job,) = double.copies()
    assert job["state"] == "failed"
    assert why in job["error"]


def test_a_lower_version_comes_in_after_a_deletion(double: LaunchpadDouble, session: requests.Session) -> None:
    double.add_package("me/trunk", "hello", "1")
    double.add_package("me/stable", "hello", "2")
    double.delete_package("me/stable", "hello")
    ask(double, session, ["hello"])
    double.settle()
    assert held(double, "me/stable") == [("hello", "2", "noble", "Deleted"), ("hello", "1", "noble", "Published")]


def test_the_same_copy_again_changes_nothing(double: LaunchpadDouble, session: requests.Session) -> None:
    double.add_package("me/trunk", "hello", "1")
    for _ in range(2):
        ask(double, session, ["hello"])
        double.settle()
    assert held(double, "me/stable") == [("hello", "1", "noble", "Published")]
    assert [one["state"] for one in double.copies()] == ["done", "done"]


def test_what_was_not_built_everywhere_is_built_again_where_it_arrives(
    double: LaunchpadDouble, log_in: LogIn, session: requests.Session
) -> None:
    for ppa in ("me/trunk", "me/stable"):
        double.add_ppa(ppa, architectures=["amd64", "arm64"])
    half = {"amd64": "Successfully built", "arm64": "Failed to build"}
    double.add_package("me/trunk", "hello", "1", builds=half)
    double.set(copy_delay_s=0)
    ask(double, session, ["hello"])
    (copied,) = log_in("me").people("me").getPPAByName(name="stable").getPublishedSources()
    builds = {one.arch_tag: (one.buildstate, one.archive_link.rpartition("/")[2]) for one in copied.getBuilds()}
    assert builds == {"amd64": ("Successfully built", "trunk"), "arm64": ("Needs building", "stable")}


def test_a_private_source_goes_public_only_with_consent(
    double: LaunchpadDouble, session: requests.Session
) -> None:
    double.add_ppa("me/trunk", private=True)
    double.add_package("me/trunk", "hello", "1")
    for unembargo in (False, True):
        ask(double, session, ["hello"], unembargo=unembargo)
        double.settle()
    assert [one["state"] for one in double.copies()] == ["failed", "done"]


def test_a_move_deletes_where_it_came_from(double: LaunchpadDouble, session: requests.Session) -> None:
    double.add_package("me/trunk", "hello", "1")
    ask(double, session, ["hello"], move=True)
    double.settle()
    assert held(double, "me/trunk") == [("hello", "1", "noble", "Deleted")]
    assert held(double, "me/stable") == [("hello", "1", "noble", "Published")]


def test_one_source_to_several_series_waits_for_its_lock(
    double: LaunchpadDouble, session: requests.Session
) -> None:
    double.set(copy_delay_s=1, publish_delay_s=0, lock_retry_s=420)
    double.add_package("me/trunk", "hello", "1")
    for series in ("noble", "questing"):
        ask(double, session, ["hello"], to_series=series)
    double.advance(10)
    assert [one["state"] for one in double.copies()] == ["done", "waiting"]
    double.advance(420)
    assert [one["state"] for one in double.copies()] == ["done", "done"]


@pytest.mark.parametrize(
    ("facts", "status", "said"),
    [
        ({"to_series": "lunar"}, 400, "lunar is obsolete and will not accept new uploads."),
        ({"to_series": "nowhere"}, 404, "No such distribution series: 'nowhere'."),
        ({"to_pocket": "Updates"}, 400, "PPA uploads must be for the RELEASE pocket."),
        ({"from_archive": "elsewhere"}, 400, 'from_archive: No such object "elsewhere".'),
    ],
)
def test_some_refusals_are_said_at_once(
    double: LaunchpadDouble, session: requests.Session, facts: dict[str, str], status: int, said: str
) -> None:
    double.add_package("me/trunk", "hello", "1")
    answer = ask(double, session, ["hello"], **facts)
    assert (answer.status_code, answer.text) == (status, said)
    assert double.copies() == []


def test_who_has_no_rights_copies_and_deletes_nothing(double: LaunchpadDouble, log_in: LogIn) -> None:
    double.add_package("me/trunk", "hello", "1")
    launchpad = log_in("you")
    trunk, stable = (launchpad.people("me").getPPAByName(name=one) for one in ("trunk", "stable"))
    with pytest.raises(BadRequest, match="Signer has no upload rights to this PPA"):
        stable.copyPackages(source_names=["hello"], from_archive=trunk, to_pocket="Release")
    with pytest.raises(Unauthorized):
        trunk.getPublishedSources()[0].requestDeletion()
    with requests.Session() as reader:
        reader.headers["Authorization"] = double.token("me", permission="READ_PUBLIC").header
        assert ask(double, reader, ["hello"]).status_code == 401
    assert (double.copies(), double.deletions()) == ([], [])


def test_a_team_shares_the_rights_of_its_ppas(double: LaunchpadDouble, session: requests.Session) -> None:
    double.add_person("release-team", members=["me"])
    double.add_ppa("release-team/stable")
    double.add_package("me/trunk", "hello", "1")
    form = {
        "ws.op": "copyPackage",
        "source_name": "hello",
        "version": '"1"',
        "from_archive": f"{double.api}/~me/+archive/ubuntu/trunk",
        "to_pocket": "Release",
    }
    assert session.post(f"{double.api}/~release-team/+archive/ubuntu/stable", data=form).status_code == 200


def test_a_deleted_source_goes_with_its_binaries_and_later_its_files(
    double: LaunchpadDouble, log_in: LogIn
) -> None:
    double.add_package("me/trunk", "hello", "1", binaries=["hello", "libhello"])
    archive = log_in("me").people("me").getPPAByName(name="trunk")
    (source,) = archive.getPublishedSources()
    source.requestDeletion(removal_comment="no longer needed")
    assert (source.status, source.removal_comment) == ("Deleted", "no longer needed")
    assert {one.status for one in archive.getPublishedBinaries()} == {"Deleted"}
    assert [one["source"] for one in double.deletions()] == ["hello"]
    (url, *_) = source.sourceFileUrls()
    assert requests.get(url).status_code == 200
    double.advance(8 * 86400)
    assert source.sourceFileUrls() == []
    assert requests.get(url).status_code == 404
