"""Two environments compared name what changed, by source, in words; what came along belongs to who needs it."""

from __future__ import annotations

import pytest

from buildfarm.build.manifest import EnvironmentPackage
from buildfarm.regress.environment_diff import compare, suspect_text
from buildfarm.regress.model import Suspect


def package(name, version, source="", **more):
    return EnvironmentPackage(name, version, more.pop("architecture", "amd64"), source, **more)


def suspects(before, after):
    return {one.source: one for one in compare(before, after).suspects}


def test_binaries_of_one_source_are_one_suspect():
    before = [
        package("libfoo1", "1.2-1", "libfoo"),
        package("libfoo-dev", "1.2-1", "libfoo"),
        package("make", "4"),
    ]
    after = [package("libfoo1", "1.3-1", "libfoo"), package("libfoo-dev", "1.3-1", "libfoo"), package("make", "4")]
    diff = compare(before, after)
    assert diff.suspects == (Suspect("libfoo", "1.2-1", "1.3-1", ("libfoo-dev", "libfoo1")),)
    assert suspect_text(diff.suspects[0]) == "libfoo 1.2-1 to 1.3-1"
    assert [str(one) for one in diff.changed] == ["libfoo-dev 1.2-1 to 1.3-1", "libfoo1 1.2-1 to 1.3-1"]
    assert [one.name for one in diff.unchanged] == ["make"]


def test_other_content_under_the_same_version_is_a_change():
    before, after = package("foo", "1.0", sha256="a" * 64), package("foo", "1.0", sha256="b" * 64)
    (suspect,) = compare([before], [after]).suspects
    assert suspect_text(suspect) == "foo 1.0, whose content changed while its version did not"


def test_a_sum_that_nobody_knows_is_no_change():
    assert compare([package("foo", "1.0")], [package("foo", "1.0", sha256="b" * 64)]).suspects == ()


def test_binaries_built_anew_from_the_same_source_are_told_by_their_own_versions():
    before = [package("libfoo1", "1.2-1", "libfoo", source_version="1.2-1")]
    after = [package("libfoo1", "1.2-1+b1", "libfoo", source_version="1.2-1")]
    assert suspect_text(suspects(before, after)["libfoo"]) == "libfoo 1.2-1 to 1.2-1+b1"


def test_a_new_dependency_belongs_to_who_needs_it():
    before = [package("foo", "1")]
    after = [package("foo", "2", depends="libnew1"), package("libnew1", "5", "libnew", depends="newer-data"),
             package("newer-data", "5", "newer", architecture="all")]  # fmt: skip
    found = suspects(before, after)
    assert set(found) == {"foo"}
    assert found["foo"].packages == ("foo", "libnew1", "newer-data")
    assert found["foo"].before == "1"


def test_what_nobody_needs_is_a_suspect_itself():
    found = suspects([package("gone", "3"), package("base", "1")], [package("came", "4"), package("base", "1")])
    assert suspect_text(found["came"]) == "came 4, which was not there before"
    assert suspect_text(found["gone"]) == "gone 3, which is not there any more"


def test_an_alternative_that_was_taken_instead_is_a_suspect_itself():
    user = package("user", "1", depends="mta-a | mta-b")
    found = suspects([user, package("mta-a", "1")], [user, package("mta-b", "2")])
    assert set(found) == {"mta-a", "mta-b"}


def test_another_soname_is_a_change_of_its_source():
    before = [package("libbar1", "1.0", "bar"), package("libbar-dev", "1.0", "bar", depends="libbar1 (= 1.0)")]
    after = [package("libbar2", "2.0", "bar"), package("libbar-dev", "2.0", "bar", depends="libbar2 (= 2.0)")]
    found = suspects(before, after)
    assert suspect_text(found["bar"]) == "bar 1.0 to 2.0"
    assert found["bar"].packages == ("libbar-dev", "libbar1", "libbar2")


def test_foreign_architectures_are_packages_of_their_own():
    before = [package("libc6", "2.36"), package("libc6", "2.36", architecture="i386"), package("make", "1")]
    after = [package("libc6", "2.36"), package("libc6", "2.37", architecture="i386"), package("make", "1")]
    assert compare(before, after).suspects == (Suspect("libc6", "2.36", "2.37", ("libc6:i386",)),)


def test_those_that_need_only_each_other_end_as_suspects_too():
    after = [package("base", "1"), package("one", "1", depends="other"), package("other", "1", depends="one")]
    assert set(suspects([package("base", "1")], after)) == {"one", "other"}


def test_a_package_twice_is_no_environment():
    with pytest.raises(ValueError, match="foo twice"):
        compare([package("foo", "1"), package("foo", "2")], [])
