"""The source stage: what dpkg-source made, and that it is always the same."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from debian.changelog import Changelog
from debian.deb822 import BuildInfo, Changes, Dsc
from source_package import CHANGELOG, REVISION, Package

from buildfarm.verdict import Verdict

MakePackage = Callable[[str], Package]


def unpack(package: Package, series: str = "bookworm") -> Path:
    """The tree that dpkg-source unpacks, with its patches applied."""
    target = package.workspace.path / "unpacked"
    dsc = package.only("source", ".dsc", series)
    subprocess.run(
        ["dpkg-source", "--no-check", "--extract", dsc, target], check=True, capture_output=True, cwd="/"
    )
    return target


def content(top: Path) -> dict[str, object]:
    """Every path of a tree with its mode and content, but for the changelog and quilt's notes."""
    return {
        str(path.relative_to(top)): path.readlink()
        if path.is_symlink()
        else (path.stat().st_mode & 0o111 != 0, path.read_bytes())
        for path in sorted(top.rglob("*"))
        if (path.is_symlink() or path.is_file()) and path.name != "changelog" and path.parent.name != ".pc"
    }


def digests(package: Package, series: str = "bookworm") -> dict[str, str]:
    directory = package.workspace.directory("source", series)
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in directory.iterdir()
        if file.name not in ("log", "result.json")
    }


def test_the_package_unpacks_to_the_trunks_tree(package: Package) -> None:
    package.write("data/with space", b"\0binary\xff")
    (package.tree / "link").symlink_to("doc/README")
    result = package.run_up_to("source")
    assert result.verdict is Verdict.PASS, result
    assert content(unpack(package)) == content(package.tree)


def test_its_facts_say_what_comes_next(package: Package) -> None:
    facts = package.run_up_to("source").facts
    changes = package.workspace.path / facts["changes"]
    assert facts["changes_sha256"] == hashlib.sha256(changes.read_bytes()).hexdigest()
    assert (package.workspace.path / facts["dsc"]).is_file()
    assert (facts["source"], facts["version"], facts["format"]) == (
        "hello",
        "2.10+git12.gabcdef1-0~debian12.1",
        "3.0 (quilt)",
    )


def test_the_changelog_says_which_commit_this_is(package: Package) -> None:
    package.run_up_to("source")
    changelog = Changelog((unpack(package) / "debian/changelog").read_text(), strict=True)
    newest = next(iter(changelog))
    assert (str(newest.version), newest.distributions, newest.urgency) == (
        "2.10+git12.gabcdef1-0~debian12.1",
        "bookworm",
        "low",
    )
    text = "\n".join(newest.changes())
    assert "Automated build from /srv/hello.git (main) at revision 12 (abcdef1234)." in text
    assert "[ Ada Lövelace <ada@example.org> ]\n  * Greet more loudly" in text
    assert newest.author == "Build Farm <farm@example.org>"
    assert newest.date == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert [str(block.version) for block in changelog][1] == "2.10-3"


@pytest.mark.parametrize(
    ("recipes", "packagings", "signs"),
    [
        ("", "Jane Doe <jane@example.org>", "Jane Doe <jane@example.org>"),
        ("Farm <f@example.org>", "Jane Doe <jane@example.org>", "Farm <f@example.org>"),
        ("", "Jane without address", "Build Farm <buildfarm@localhost>"),
    ],
)
def test_the_entry_is_signed_by_a_name_with_an_address(
    package: Package, recipes: str, packagings: str, signs: str
) -> None:
    package.set_job(maintainer=recipes)
    control = package.tree / "debian/control"
    control.write_text(control.read_text().replace("Jane Doe <jane@example.org>", packagings))
    assert package.run_up_to("source").verdict is Verdict.PASS
    assert Changelog((unpack(package) / "debian/changelog").read_text(), strict=True).author == signs


def test_dsc_changes_and_buildinfo_agree(package: Package) -> None:
    package.run_up_to("source")
    dsc = Dsc(package.only("source", ".dsc").read_bytes())
    changes = Changes(package.only("source", ".changes").read_bytes())
    buildinfo = BuildInfo(package.only("source", ".buildinfo").read_bytes())
    assert dsc["Format"] == "3.0 (quilt)"
    assert {one["Version"] for one in (dsc, changes, buildinfo)} == {"2.10+git12.gabcdef1-0~debian12.1"}
    assert (changes["Distribution"], changes["Architecture"], changes["Source"]) == ("bookworm", "source", "hello")
    assert (changes["Maintainer"], changes["Changed-By"]) == (
        "Jane Doe <jane@example.org>",
        "Build Farm <farm@example.org>",
    )
    assert "dpkg-dev" in str(buildinfo["Installed-Build-Depends"])
    real = digests(package)
    listed = {file["name"]: file["sha256"] for file in changes["Checksums-Sha256"]}
    assert listed == {name: digest for name, digest in real.items() if not name.endswith(".changes")}
    assert {file["name"] for file in dsc["Files"]} <= set(listed)


def test_all_series_share_one_upstream_tarball(package: Package) -> None:
    package.run_up_to("source", "bookworm")
    package.run("source", "noble")
    one, other = (digests(package, series) for series in ("bookworm", "noble"))
    shared = set(one) & set(other)
    assert shared == {"hello_2.10+git12.gabcdef1.orig.tar.xz"}
    assert all(one[name] == other[name] for name in shared)


@pytest.mark.parametrize("native", [False, True])
def test_one_commit_gives_the_same_bytes_anywhere(make_package: MakePackage, native: bool, tmp_path: Path) -> None:
    made = []
    for name, umask, zone in (("one", 0o022, "UTC"), ("two-deeper/down", 0o077, "Asia/Kathmandu")):
        package = make_package(name)
        if native:
            package.write("debian/source/format", "3.0 (native)\n")
            package.write("debian/changelog", CHANGELOG.replace("2.10-3", "2.10"))
        os.utime(package.tree / "debian/control", (1_500_000_000, 1_500_000_000 + len(name)))
        environment = {"PATH": os.environ["PATH"], "TZ": zone, "HOME": str(tmp_path / name), "LC_ALL": "C"}
        for stage in ("tarball", "source"):
            words = [stage, *(["--series", "bookworm"] if stage == "source" else [])]
            subprocess.run(
                [sys.executable, "-m", "buildfarm", "stage", *words, "--workspace", package.workspace.path],
                env=environment,
                umask=umask,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        made.append(digests(package))
    assert made[0] == made[1]
    assert len(made[0]) == (4 if native else 5)


def test_a_renamed_recipe_gives_the_same_bytes(make_package: MakePackage) -> None:
    old, new = make_package("one"), make_package("two")
    new.set_job(recipe="hello-renamed")
    for package in (old, new):
        assert package.run_up_to("source").verdict is Verdict.PASS
    assert digests(old) == digests(new)


@pytest.mark.parametrize("committed_at", [-5, 4_000_000_000, 10**15])
def test_a_commit_of_any_time_is_reproducible(make_package: MakePackage, committed_at: int) -> None:
    made = []
    for name in ("one", "two"):
        package = make_package(name)
        package.set_revisions(trunk=dataclasses.replace(REVISION, committed_at=committed_at))
        assert package.run_up_to("source").verdict is Verdict.PASS
        made.append(digests(package))
    assert made[0] == made[1]


PATCH = "--- a/doc/README\n+++ b/doc/README\n@@ -1 +1 @@\n-Hello.\n+Hello, Debian.\n"


@pytest.mark.parametrize("applied", [False, True])
def test_a_trunk_may_have_its_patches_applied_or_not(package: Package, applied: bool) -> None:
    package.write("debian/patches/series", "hello.patch\n")
    package.write("debian/patches/hello.patch", PATCH)
    if applied:
        package.write("doc/README", "Hello, Debian.\n")
    result = package.run_up_to("source")
    assert result.verdict is Verdict.PASS, result
    assert (unpack(package) / "doc/README").read_text() == "Hello, Debian.\n"


def test_patches_that_do_not_apply_fail_in_dpkgs_words(package: Package) -> None:
    package.write("debian/patches/series", "hello.patch\n")
    package.write("debian/patches/hello.patch", PATCH.replace("-Hello.", "-Something else."))
    result = package.run_up_to("source")
    assert result.verdict is Verdict.FAIL
    assert "dpkg-source refuses" in result.reason
    assert "hello.patch" in result.details
    assert result.outputs == ()


def test_an_epoch_is_in_the_version_and_in_no_file_name(package: Package) -> None:
    package.write("debian/changelog", CHANGELOG.replace("2.10-3", "1:2.10-3"))
    result = package.run_up_to("source")
    assert result.facts["version"] == "1:2.10+git12.gabcdef1-0~debian12.1"
    assert not any(":" in name for name in digests(package))


def test_a_changelog_in_another_encoding_is_kept_as_it_is(package: Package) -> None:
    old = CHANGELOG.replace("Greet.", "Grüße.").encode("latin-1")
    package.write("debian/changelog", old)
    assert package.run_up_to("source").verdict is Verdict.PASS
    assert (unpack(package) / "debian/changelog").read_bytes().endswith(old)


def test_a_changelog_that_is_a_link_in_the_tree_leaves_its_target_alone(package: Package) -> None:
    (package.tree / "debian/changelog").rename(package.tree / "NEWS")
    (package.tree / "debian/changelog").symlink_to("../NEWS")
    result = package.run_up_to("source")
    assert result.verdict is Verdict.PASS, result
    unpacked = unpack(package)
    assert (unpacked / "NEWS").read_text() == CHANGELOG
    assert "Automated build" in (unpacked / "debian/changelog").read_text()


def test_names_that_dpkg_can_pack_arrive(package: Package) -> None:
    for name in (b"with space", b"quote'\"`$(x)", b"latin-\xe9", b"-rf", b"new\nline", b"debian/odd $(x) \xe9\n"):
        package.write(os.fsdecode(name), "x")
    result = package.run_up_to("source")
    assert result.verdict is Verdict.PASS, result
    assert content(unpack(package)) == content(package.tree)


def test_a_link_out_of_the_tree_is_packed_as_a_link_and_not_followed(package: Package) -> None:
    (package.tree / "debian/masked.service").symlink_to("/dev/null")
    (package.tree / "shadow").symlink_to("/etc/shadow")
    result = package.run_up_to("source")
    assert result.verdict is Verdict.PASS, result
    unpacked = unpack(package)
    assert (unpacked / "debian/masked.service").readlink() == Path("/dev/null")
    assert (unpacked / "shadow").readlink() == Path("/etc/shadow")


def test_control_that_names_another_source_fails_in_dpkgs_words(package: Package) -> None:
    package.write(
        "debian/control", (package.tree / "debian/control").read_text().replace("Source: hello", "Source: bye")
    )
    result = package.run_up_to("source")
    assert result.verdict is Verdict.FAIL
    assert "hello" in result.reason
    assert "bye" in result.reason


def test_control_that_dpkg_cannot_read_is_shown_to_the_line(package: Package) -> None:
    package.write("debian/control", (package.tree / "debian/control").read_text() + "\nno field here\n")
    result = package.run_up_to("source")
    assert result.verdict is Verdict.FAIL
    assert result.where == "debian/control:12"


def test_nothing_of_the_package_is_executed(package: Package) -> None:
    package.write("debian/source/options", "compression = gzip\n")
    assert package.run_up_to("source").verdict is Verdict.PASS
    assert not list(package.workspace.path.rglob("rules-were-run"))
    assert not list(Path("/tmp").glob("rules-were-run-*"))


def test_another_branch_is_named_in_the_changelog(package: Package) -> None:
    package.set_revisions(
        packaging=dataclasses.replace(REVISION, vcs="bzr", location="lp:hello", branch="", revno=7)
    )
    package.run_up_to("source")
    assert "With packaging from lp:hello at revision 7." in (unpack(package) / "debian/changelog").read_text()


def test_a_series_without_a_version_is_the_farms_trouble(package: Package) -> None:
    package.run("tarball")
    package.set_job(series=("bookworm", "noble", "trixie"))
    assert package.run("source", "trixie").verdict is Verdict.ERROR
