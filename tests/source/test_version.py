"""What templates mean, and the order that versions keep."""

from __future__ import annotations

import dataclasses
import subprocess

import pytest
from debian.debian_support import NativeVersion
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from buildfarm.source import SourceFormat
from buildfarm.source.series import Series
from buildfarm.source.version import (
    DebianVersion,
    Ingredients,
    TemplateError,
    Versions,
    expand,
    make_versions,
    parse_version,
)
from buildfarm.trunk import RevisionInfo

BOOKWORM = Series("bookworm", "debian", "12")
NOBLE = Series("noble", "ubuntu", "24.04")
GIT = RevisionInfo(
    "git", "/srv/x", "main", "abcdef12" + "0" * 32, 12, 1_700_000_000, "A <a@b>", "x", latest_tag="1.5"
)
PACKAGING = dataclasses.replace(GIT, revision="1234567" + "0" * 33, revno=5)
BZR = dataclasses.replace(GIT, vcs="bzr", revision="ada@example.org-20231114-x1y2z3", latest_tag="")


def make(
    template: str = "",
    changelog: str = "2.10-3",
    form: SourceFormat = "quilt",
    trunk: RevisionInfo = GIT,
    series: tuple[Series, ...] = (BOOKWORM, NOBLE),
    **parts: RevisionInfo,
) -> Versions:
    return make_versions(template, form, {"": trunk, **parts}, {"": parse_version(changelog)}, series)


@pytest.mark.parametrize(
    ("template", "expanded"),
    [
        ("{debupstream}-0~{revno}", "2.10~rc1+dfsg1-0~12"),
        ("{debversion}~{revno:packaging}", "1:2.10~rc1+dfsg1-3~5"),
        ("{debupstream-base}{revno}", "2.10~rc1+12"),
        ("{debupstream:packaging}", "3"),
        ("{time}.{date}", "202311142213.20231114"),
        ("{revtime}.{revdate:packaging}", "202311142213.20231114"),
        ("{latest-tag}+git{revno}+{git-commit}", "1.5+git12+abcdef1"),
        ("{git-commit:packaging}", "1234567"),
        ("{epoch}{debupstream}+{snapshot}+{snapshot:packaging}", "1:2.10~rc1+dfsg1+git12.gabcdef1+git5.g1234567"),
        ("1.0~{series}.1", "1.0~debian12.1"),
    ],
)
def test_each_variable_means_what_launchpad_says(template: str, expanded: str) -> None:
    changelogs = {"": parse_version("1:2.10~rc1+dfsg1-3"), "packaging": parse_version("3-1")}
    given_ = Ingredients({"": GIT, "packaging": PACKAGING}, changelogs, BOOKWORM)
    assert expand(template, given_) == expanded


@pytest.mark.parametrize(
    ("upstream", "base"),
    [
        ("1.0", "1.0+"),
        ("1.0~bzr42", "1.0~"),
        ("1.0+svn7", "1.0+"),
        ("1.0+git20abc", "1.0+"),
        ("1.0+dfsg1", "1.0+"),
    ],
)
def test_the_base_of_an_upstream_version_loses_what_a_snapshot_or_a_repack_added(upstream: str, base: str) -> None:
    given_ = Ingredients({"": GIT}, {"": DebianVersion("", upstream, "1")}, BOOKWORM)
    assert expand("{debupstream-base}", given_) == base


def test_the_number_of_a_subversion_revision_comes_from_an_imported_one() -> None:
    imported = dataclasses.replace(BZR, revision="svn-v4:0b1c-22:trunk/x:4711")
    given_ = Ingredients({"": imported}, {}, BOOKWORM)
    assert expand("{svn-revno}", given_) == "4711"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{revision}", "no variable"),
        ("{time:packaging}", "no variable"),
        ("{revno:elsewhere}", "does not have"),
        ("{debupstream", "no partner"),
        ("{debupstream}}", "no partner"),
        ("{debupstream:packaging}", "no debian/changelog"),
        ("{svn-revno}", "Subversion"),
        ("{latest-tag:packaging}", "no tag"),
    ],
)
def test_a_template_that_cannot_be_followed_says_why(template: str, reason: str) -> None:
    untagged = dataclasses.replace(PACKAGING, latest_tag="")
    given_ = Ingredients({"": GIT, "packaging": untagged}, {"": parse_version("1-1")}, BOOKWORM)
    with pytest.raises(TemplateError, match=reason):
        expand(template, given_)


def test_a_commit_id_is_not_asked_of_bazaar() -> None:
    with pytest.raises(TemplateError, match="no git branch"):
        expand("{git-commit}", Ingredients({"": BZR}, {}, BOOKWORM))


@pytest.mark.parametrize(
    ("changelog", "form", "trunk", "version"),
    [
        ("2.10-3", "quilt", GIT, "2.10+git12.gabcdef1-0~debian12.1"),
        ("2.10-3", "quilt", BZR, "2.10+bzr12-0~debian12.1"),
        ("1:2.10-3", "quilt", GIT, "1:2.10+git12.gabcdef1-0~debian12.1"),
        ("2.10", "native", GIT, "2.10+git12.gabcdef1~debian12.1"),
        ("2.10", "native", BZR, "2.10+bzr12~debian12.1"),
    ],
)
def test_without_a_template_the_version_tells_the_commit_and_the_series(
    changelog: str, form: SourceFormat, trunk: RevisionInfo, version: str
) -> None:
    versions = make("", changelog, form, trunk)
    assert versions.by_series["bookworm"] == version
    assert versions.by_series["noble"] == version.replace("debian12", "ubuntu24.04")


def test_every_branch_has_its_part_in_the_upstream_version() -> None:
    versions = make(packaging=PACKAGING, po=BZR)
    assert versions.upstream == "2.10+git12.gabcdef1+git5.g1234567+bzr12"


def test_a_launchpad_template_gets_the_series_and_it_is_said() -> None:
    versions = make("{debupstream}-0~{revno}")
    assert versions.by_series == {
        "bookworm": "2.10+git12.gabcdef1-0~12~debian12.1",
        "noble": "2.10+git12.gabcdef1-0~12~ubuntu24.04.1",
    }
    assert any("~{series}.1 was added" in line for line in versions.assumed)


def test_a_template_that_names_the_series_is_taken_as_it_is() -> None:
    versions = make("{debupstream}+{revno}-1~{series}.7")
    assert versions.by_series["noble"] == "2.10+12-1~ubuntu24.04.7"
    assert versions.assumed == ()


def test_a_quilt_package_gets_the_revision_its_template_lacks_and_it_is_said() -> None:
    versions = make("{debupstream}+r{revno}")
    assert versions.by_series["bookworm"] == "2.10+r12-0~debian12.1"
    assert any("-0 was added" in line for line in versions.assumed)


def test_the_time_of_building_is_the_commits_and_it_is_said() -> None:
    versions = make("{debupstream}+{time}-0")
    assert versions.upstream == "2.10+202311142213+git12.gabcdef1"
    assert any("{time}" in line for line in versions.assumed)


def test_an_epoch_that_a_template_leaves_out_is_said() -> None:
    assert any("epoch 1" in line for line in make("{debupstream}-0", "1:2.10-3").assumed)
    assert not any("epoch" in line for line in make("{debversion}", "1:2.10-3").assumed)


@pytest.mark.parametrize(
    "template",
    ["{debupstream}-0~{revno}", "{debversion}~{revno}", "{latest-tag}+{date}-0ubuntu1", "1.0-{git-commit}"],
)
@pytest.mark.parametrize("trunk", [GIT, dataclasses.replace(BZR, latest_tag="1.5")], ids=["git", "bzr"])
def test_two_commits_of_a_quilt_package_never_share_a_tarballs_name(template: str, trunk: RevisionInfo) -> None:
    if trunk.vcs == "bzr":
        template = template.replace("{git-commit}", "{revno}")
    following = dataclasses.replace(trunk, revision="0" + trunk.revision[1:], revno=13)
    now, later = make(template, trunk=trunk), make(template, trunk=following)
    assert now.upstream != later.upstream
    assert any("{snapshot} was added" in line for line in now.assumed)
    for series in now.by_series:
        pair = now.by_series[series], later.by_series[series]
        subprocess.run(["dpkg", "--compare-versions", pair[0], "lt", pair[1]], check=True)


def test_further_branches_are_told_too_where_the_template_tells_no_commit() -> None:
    assert make("{debupstream}-0", packaging=PACKAGING).upstream == "2.10+git12.gabcdef1+git5.g1234567"


@pytest.mark.parametrize("template", ["{debupstream}+{revno}-0", "{debupstream}+{git-commit}-0", "1~{snapshot}-0"])
def test_an_upstream_part_that_tells_the_commit_is_left_alone(template: str) -> None:
    assert not any("{snapshot} was added" in line for line in make(template).assumed)


def test_a_native_package_cannot_have_a_revision() -> None:
    with pytest.raises(ValueError, match="native package"):
        make("{debupstream}-0~{revno}", "2.10", "native")


def test_series_that_share_a_tarball_cannot_differ_in_its_version() -> None:
    with pytest.raises(ValueError, match="share one tarball"):
        make("{debupstream}+{series}-0")


@pytest.mark.parametrize("tag", ["v1.2", "release/1.2", "1.2 beta", "1:2:3", "1_2", "1.2\n3", "é1"])
def test_a_tag_that_cannot_stand_in_a_version_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="no Debian version"):
        make("{latest-tag}-0", trunk=dataclasses.replace(GIT, latest_tag=tag))


def test_a_version_too_long_for_a_file_name_is_refused() -> None:
    with pytest.raises(ValueError, match="128 characters"):
        make("{latest-tag}-0", trunk=dataclasses.replace(GIT, latest_tag="1" * 200))


@pytest.mark.parametrize("text", ["", "1.0-", "-1", "a1", "1:", ":1", "x:1", "1.0 1", "1.0_1", "1.0/../2-1"])
def test_what_policy_does_not_allow_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="no Debian version"):
        parse_version(text)


@pytest.mark.parametrize("text", ["0", "1.0-1", "1:1.0-1", "1.0-1-2", "1.0~rc1+dfsg-0ubuntu1~24.04", "2:0-0"])
def test_a_version_is_read_and_written_alike(text: str) -> None:
    assert str(parse_version(text)) == text


numbers = st.lists(st.integers(0, 30), min_size=1, max_size=3)
commits = st.text("0123456789abcdef", min_size=40, max_size=40)
suffixes = st.sampled_from(["", "~rc1", "+dfsg1", "+ds", "+git20200101", "~beta2+dfsg"])
vcses = st.sampled_from([GIT, BZR])


def dotted(parts: list[int]) -> str:
    return ".".join(map(str, parts))


def default_version(upstream: str, revno: int, commit: str, trunk: RevisionInfo, series: Series) -> NativeVersion:
    revision = dataclasses.replace(trunk, revno=revno, revision=commit)
    versions = make("", f"{upstream}-1", trunk=revision, series=(series,))
    return NativeVersion(versions.by_series[series.codename])


@given(numbers, suffixes, st.integers(1, 10**6), st.integers(1, 10**6), commits, commits, vcses)
def test_versions_rise_along_the_trunk(
    parts: list[int], suffix: str, revno: int, later: int, commit: str, other: str, trunk: RevisionInfo
) -> None:
    upstream = dotted(parts) + suffix
    earlier_version = default_version(upstream, revno, commit, trunk, NOBLE)
    assert earlier_version < default_version(upstream, revno + later, other, trunk, BOOKWORM)


@given(numbers, suffixes, st.integers(1, 10**6), commits, vcses, st.integers(0, 2), st.integers(1, 5))
def test_a_version_lies_between_its_changelogs_and_the_next_release(
    parts: list[int], suffix: str, revno: int, commit: str, trunk: RevisionInfo, which: int, step: int
) -> None:
    upstream = dotted(parts) + suffix
    which = min(which, len(parts) - 1)
    next_release = dotted([*parts[:which], parts[which] + step])
    version = default_version(upstream, revno, commit, trunk, BOOKWORM)
    assert NativeVersion(f"{upstream}-99") < version < NativeVersion(f"{next_release}-1")
    assert version < NativeVersion(f"{dotted(parts)}.1-1")


@given(numbers, st.integers(1, 10**6), commits)
def test_a_newer_release_of_a_distribution_has_the_higher_version(
    parts: list[int], revno: int, commit: str
) -> None:
    trixie = Series("trixie", "debian", "13")
    old, new = (default_version(dotted(parts), revno, commit, GIT, one) for one in (BOOKWORM, trixie))
    assert old < new


@given(numbers, st.integers(1, 10**4), commits, commits)
def test_two_commits_never_share_a_version(parts: list[int], revno: int, commit: str, other: str) -> None:
    assume(commit[:7] != other[:7])
    upstream = dotted(parts)
    assert default_version(upstream, revno, commit, GIT, NOBLE) != default_version(
        upstream, revno, other, GIT, NOBLE
    )


@settings(max_examples=15, deadline=None)
@given(numbers, suffixes, st.integers(1, 999), commits, vcses)
def test_dpkg_orders_them_so_too(
    parts: list[int], suffix: str, revno: int, commit: str, trunk: RevisionInfo
) -> None:
    upstream = dotted(parts) + suffix
    low, high = (str(default_version(upstream, n, commit, trunk, BOOKWORM)) for n in (revno, revno + 1))
    for left, right in ((f"{upstream}-9", low), (low, high), (high, f"{dotted(parts)}.1-1")):
        subprocess.run(["dpkg", "--compare-versions", left, "lt", right], check=True)


@given(st.text(max_size=30))
def test_any_text_is_a_version_that_dpkg_takes_or_is_refused(text: str) -> None:
    try:
        version = parse_version(text)
    except ValueError:
        return
    assert str(version) == text
    NativeVersion(text)
