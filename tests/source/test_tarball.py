"""The tarball stage: versions kept for the stages after it, and upstream's tarball."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from source_package import REVISION, Package

from buildfarm.errors import FarmTrouble
from buildfarm.source import read_version
from buildfarm.verdict import Verdict

MakePackage = Callable[[str], Package]

PATCH = """\
--- a/doc/README
+++ b/doc/README
@@ -1 +1 @@
-Hello.
+Hello, Debian.
"""
SECOND_PATCH = """\
--- a/doc/README
+++ b/doc/README
@@ -1 +1,2 @@
 Hello, Debian.
+Twice.
--- /dev/null
+++ b/debian-only.txt
@@ -0,0 +1 @@
+new
"""


def members(tarball: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(tarball, encoding="utf-8", errors="surrogateescape") as tar:
        return {member.name: member for member in tar}


def test_the_versions_are_kept_for_all_series(package: Package) -> None:
    result = package.run("tarball")
    assert result.verdict is Verdict.PASS
    info = read_version(package.workspace)
    assert info.versions == {
        "bookworm": "2.10+git12.gabcdef1-0~debian12.1",
        "noble": "2.10+git12.gabcdef1-0~ubuntu24.04.1",
    }
    assert info.distributions == {"bookworm": "debian", "noble": "ubuntu"}
    assert (info.source, info.dpkg_format, info.upstream_version) == (
        "hello",
        "3.0 (quilt)",
        "2.10+git12.gabcdef1",
    )
    assert {ref.path for ref in result.outputs} == {"tarball/version.json", f"tarball/{info.orig}"}


def test_before_it_ran_there_is_no_version(package: Package) -> None:
    with pytest.raises(FarmTrouble, match="version cannot be read"):
        read_version(package.workspace)


def test_upstreams_tarball_is_the_tree_without_packaging(package: Package) -> None:
    package.write(".pc/applied-patches", "x")
    package.write("src/debian/kept", "a directory of that name elsewhere is upstream's")
    (package.tree / "link").symlink_to("doc//README")
    (package.tree / "empty").mkdir()
    package.run("tarball")
    found = members(package.only("tarball", ".orig.tar.xz", ""))
    top = "hello-2.10+git12.gabcdef1"
    assert list(found) == [
        top,
        *(f"{top}/{name}" for name in ("doc", "doc/README", "empty", "hello.sh", "link")),
        *(f"{top}/src{name}" for name in ("", "/debian", "/debian/kept")),
    ]
    assert found[f"{top}/hello.sh"].mode == 0o755
    assert found[f"{top}/doc/README"].mode == 0o644
    assert found[f"{top}/link"].linkname == "doc//README"
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in found.values()} == {(1_700_000_000, 0, 0, "", "")}


def test_names_of_any_bytes_are_kept(package: Package) -> None:
    names = [b"with space", b"new\nline", b"quote'\"`$(x)", b"latin-\xe9", b"-rf", b"d" * 200]
    for name in names:
        package.write(os.fsdecode(name), "x")
    package.run("tarball")
    found = {os.fsencode(name.partition("/")[2]) for name in members(package.only("tarball", ".xz", ""))}
    assert set(names) <= found


def test_the_same_commit_gives_the_same_tarball(make_package: MakePackage) -> None:
    digests = []
    for name, mode, times in (("one", 0o775, 1), ("two", 0o700, 1_900_000_000)):
        package = make_package(name)
        (package.tree / "hello.sh").chmod(mode)
        (package.tree / "doc").chmod(mode)
        os.utime(package.tree / "doc/README", (times, times))
        package.run("tarball")
        digests.append(hashlib.sha256(package.only("tarball", ".orig.tar.xz", "").read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def with_patches(package: Package) -> Package:
    package.write("debian/patches/series", "# ours\nhello.patch\nsecond.patch -p1\n")
    package.write("debian/patches/hello.patch", PATCH)
    package.write("debian/patches/second.patch", SECOND_PATCH)
    return package


def test_patches_applied_in_the_trunk_are_taken_back(make_package: MakePackage) -> None:
    unapplied, applied = (with_patches(make_package(name)) for name in ("unapplied", "applied"))
    applied.write("doc/README", "Hello, Debian.\nTwice.\n")
    applied.write("debian-only.txt", "new\n")
    origs = []
    for package in (unapplied, applied):
        package.run("tarball")
        origs.append(package.only("tarball", ".orig.tar.xz", "").read_bytes())
    assert origs[0] == origs[1]
    assert (applied.tree / "debian-only.txt").exists()


def test_a_patch_cannot_reach_out_of_the_tree(package: Package, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("Hello.\n")
    depth = "../" * len(package.tree.parts)
    package.write("debian/patches/series", f"evil.patch\n../../{depth}{victim}\n")
    package.write("debian/patches/evil.patch", PATCH.replace("a/doc/README", f"a/{depth}{victim}"))
    package.run("tarball")
    package.run("source", "bookworm")
    assert victim.read_text() == "Hello.\n"


def test_a_native_package_has_no_upstream_tarball(package: Package) -> None:
    package.write("debian/source/format", "3.0 (native)\n")
    package.write("debian/changelog", "hello (2.10) unstable; urgency=low\n")
    result = package.run("tarball")
    assert result.verdict is Verdict.PASS
    assert read_version(package.workspace).orig == ""
    assert [ref.path for ref in result.outputs] == ["tarball/version.json"]


@pytest.mark.parametrize(("version", "form"), [("2.10-3", "3.0 (quilt)"), ("2.10", "3.0 (native)")])
@pytest.mark.parametrize("stated", [None, "1.0\n"])
def test_an_old_or_missing_format_follows_the_changelog_and_it_is_said(
    package: Package, version: str, form: str, stated: str | None
) -> None:
    (package.tree / "debian/source/format").unlink()
    if stated:
        package.write("debian/source/format", stated)
    package.write("debian/changelog", f"hello ({version}) unstable; urgency=low\n")
    result = package.run("tarball")
    assert read_version(package.workspace).dpkg_format == form
    assert any(form in line for line in result.assumed)


def test_a_nested_branch_is_named_in_the_version(package: Package) -> None:
    from buildfarm.job import Branch, SourcePart

    nested = SourcePart("nest", "packaging", Branch("git", "/srv/packaging"), into="debian")
    package.set_job(parts=(nested,), version_template="{debupstream:packaging}+{revno}-{revno:packaging}")
    package.set_revisions(packaging=dataclasses.replace(REVISION, revno=5))
    assert package.run("tarball").verdict is Verdict.PASS
    assert read_version(package.workspace).versions["bookworm"] == "2.10+12-5~debian12.1"


@pytest.mark.parametrize(
    ("path", "content", "where", "reason"),
    [
        ("debian/changelog", "<<<<<<< HEAD\n", "debian/changelog:1:1", "changelog cannot be read"),
        ("debian/changelog", "hello (1-1)\n", "debian/changelog:1:12", "changelog cannot be read"),
        ("debian/changelog", None, "debian/changelog", "missing"),
        ("debian/control", None, "debian/control", "missing"),
        ("debian/control", "Source hello\n", "debian/control:1:1", "field"),
        ("debian/control", "Source: hello\n", "debian/control:1:1", "Maintainer"),
        ("debian/source/format", "2.0\n", "debian/source/format:1:1", "'2.0'"),
        ("debian", None, "debian", "no debian/ directory"),
    ],
)
def test_broken_packaging_is_the_packages_fault_and_shown_where(
    package: Package, path: str, content: str | None, where: str, reason: str
) -> None:
    if content is not None:
        package.write(path, content)
    elif path == "debian":
        (package.tree / path).rename(package.tree / "packaging")
    else:
        (package.tree / path).unlink()
    result = package.run("tarball")
    assert result.verdict is Verdict.FAIL
    assert result.where == where
    assert reason in result.reason
    assert result.resolution or "field" in reason


def test_a_broken_changelog_comes_with_dpkgs_own_words(package: Package) -> None:
    package.write("debian/changelog", "no changelog at all\n")
    assert "dpkg-parsechangelog: warning" in package.run("tarball").details


@pytest.mark.parametrize("path", ["debian/control", "debian/changelog", "debian/source/format", "debian/rules"])
def test_packaging_is_not_read_through_a_link_out_of_the_tree(package: Package, path: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    (package.tree / path).rename(secret)
    (package.tree / path).symlink_to(secret)
    result = package.run("tarball")
    assert result.verdict is Verdict.FAIL
    assert "out of the tree" in result.reason
    assert result.where == path


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../elsewhere", "loop"])
def test_a_link_in_the_packaging_that_leads_nowhere_inside_is_refused(package: Package, target: str) -> None:
    (package.tree / "debian/extra").mkdir()
    (package.tree / "debian/extra/loop").symlink_to(target)
    result = package.run("tarball")
    assert result.verdict is Verdict.FAIL
    assert result.where == "debian/extra/loop"


def test_a_series_that_is_none_is_the_recipes_fault(package: Package) -> None:
    package.set_job(series=("bookwurm",))
    result = package.run("tarball")
    assert result.verdict is Verdict.FAIL
    assert "bookwurm" in result.reason


def test_a_template_that_makes_no_version_is_shown(package: Package) -> None:
    package.set_job(version_template="{latest-tag}-0")
    package.set_revisions(trunk=dataclasses.replace(REVISION, latest_tag="release/1.0"))
    result = package.run("tarball")
    assert result.verdict is Verdict.FAIL
    assert "'/' may not stand in it" in result.reason
    assert "{latest-tag}-0" in result.details


def test_what_no_package_can_hold_is_refused_by_its_escaped_name(package: Package) -> None:
    os.mkfifo(package.tree / "pipe\nhere")
    result = package.run("tarball")
    assert result.verdict is Verdict.FAIL
    assert result.where == "pipe\\nhere"


@pytest.mark.parametrize(("stage", "series"), [("tarball", ""), ("source", "bookworm")])
def test_what_is_packed_follows_an_edited_tree(package: Package, stage: str, series: str) -> None:
    assert package.run_up_to("source").verdict is Verdict.PASS
    kept = package.run(stage, series)
    assert package.run(stage, series) == kept
    package.write("debian/copyright", "edited to try something")
    assert package.run(stage, series).started_at != kept.started_at


def test_a_source_name_too_long_for_file_names_is_the_packages_fault(package: Package) -> None:
    changelog = (package.tree / "debian/changelog").read_text()
    package.write("debian/changelog", changelog.replace("hello", "h" * 250, 1))
    result = package.run("tarball")
    assert (result.verdict, result.where) == (Verdict.FAIL, "debian/changelog:1:1")
    assert "250 characters" in result.reason
    package.write("debian/changelog", changelog.replace("hello", "h" * 100, 1))
    control = (package.tree / "debian/control").read_text()
    package.write("debian/control", control.replace("Source: hello", f"Source: {'h' * 100}"))
    assert package.run_up_to("source").verdict is Verdict.PASS
