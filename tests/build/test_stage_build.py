"""The build stage: what it makes, whom it blames, what it leaves behind, what it shows.

On the farm's own layers, and where it says so by sbuild; whoever built, the stage says the same.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildfarm.build.bootstrap import FAST_DISK
from buildfarm.build.sbuild import SLOW_DISK, ExtraRepository, scratch_name
from buildfarm.job import BuildRules
from buildfarm.settings import BuildSettings
from buildfarm.stages.build import builds_for
from buildfarm.verdict import Verdict

Bench = Any


def rules(script: str) -> str:
    """A debian/rules that runs ``script`` before it builds."""
    lines = "".join(f"\t{line}\n" for line in script.strip().splitlines())
    return f"#!/usr/bin/make -f\n%:\n\tdh $@\n\noverride_dh_auto_build:\n{lines}"


def build_with(bench: Bench, script: str, **job: Any) -> Any:
    (bench.tree / "debian/rules").write_text(rules(script))
    return bench.build(**job)


def leftovers(bench: Bench) -> list[Path]:
    name = scratch_name(bench.workspace.path, f"{bench.series}-{bench.architecture}")
    by_sbuild = [path for place in (FAST_DISK, SLOW_DISK) for path in place.glob(f"{name}*")]
    return [*by_sbuild, *(bench.settings.cache / "scratch").glob("*")]


@pytest.fixture(params=["layers", pytest.param("sbuild", marks=pytest.mark.slow)])
def each(bench: Bench, request: pytest.FixtureRequest) -> Bench:
    """The bench, with each of the two ways to build."""
    bench.settings = replace(bench.settings, build=BuildSettings(request.param))
    return bench


@pytest.fixture
def by_sbuild(bench: Bench) -> Bench:
    bench.settings = replace(bench.settings, build=BuildSettings("sbuild"))
    return bench


def test_a_source_package_becomes_checked_binaries(each: Bench) -> None:
    result = each.build()

    assert result.verdict is Verdict.PASS, result.details
    names = {Path(ref.path).name for ref in result.outputs}
    arch = each.architecture
    assert names == {
        "tally_1.0_all.deb",
        f"tally_1.0_{arch}.buildinfo",
        f"tally_1.0_{arch}.changes",
        "build.log",
        "lintian.txt",
    }
    assert {Path(ref.path).name for ref in result.inputs} == {"job.json", "tally_1.0.dsc", "tally_1.0.tar.xz"}
    assert result.facts["packages"] == ["tally_1.0_all.deb"]
    assert result.facts["package_s"] > 0
    deb = each.workspace.path / next(ref.path for ref in result.outputs if ref.path.endswith(".deb"))
    assert (
        "/usr/share/tally/tally/words.py"
        in subprocess.run(["dpkg", "--contents", deb], capture_output=True, text=True, check=True).stdout
    )
    assert not leftovers(each)


def test_a_foreign_architecture_is_the_farms_trouble(bench: Bench) -> None:
    foreign = "s390x" if bench.architecture != "s390x" else "amd64"
    bench.architecture = foreign

    result = bench.build(architectures=(foreign,))

    assert result.verdict is Verdict.ERROR
    assert f"cannot build for {foreign}" in result.reason


def test_a_second_architecture_does_not_build_all_again(bench: Bench) -> None:
    result = bench.build(architectures=("s390x", bench.architecture))

    assert result.verdict is Verdict.SKIPPED


def test_a_foreign_architecture_with_nothing_to_build_needs_no_machine(bench: Bench) -> None:
    native, foreign = bench.architecture, "s390x" if bench.architecture != "s390x" else "amd64"
    bench.architecture = foreign

    result = bench.build(architectures=(native, foreign))

    assert (result.verdict, result.reason) == (
        Verdict.SKIPPED,
        "the source builds for all, nothing of it here",
    )


@pytest.mark.parametrize(
    ("stated", "arch_all", "expected"),
    [
        (("any",), False, True),
        (("all",), True, True),
        (("all",), False, False),
        (("any", "all"), False, True),
        (("linux-any",), False, True),
        (("hurd-any", "s390x"), True, False),
        (("any-amd64",), False, True),
    ],
)
def test_architecture_words_are_matched_as_dpkg_does(
    stated: tuple[str, ...], arch_all: bool, expected: bool
) -> None:
    assert builds_for(stated, "amd64", arch_all=arch_all) is expected


def test_a_failing_build_is_the_packages_fault_with_its_first_error(each: Bench) -> None:
    result = build_with(each, "@echo 'main.c:3: error: no such thing'; exit 1")

    assert result.verdict is Verdict.FAIL
    assert result.reason == "the build failed: main.c:3: error: no such thing"
    assert not leftovers(each)


def test_missing_build_dependencies_are_named(each: Bench) -> None:
    control = (each.tree / "debian/control").read_text()
    (each.tree / "debian/control").write_text(control.replace("(= 13)", "(= 13), no-such-package-at-all"))

    result = each.build()

    assert result.verdict is Verdict.FAIL
    assert result.reason.startswith("unmet ")
    assert "no-such-package-at-all but it is not installable" in result.reason


def test_a_build_that_hangs_fails_by_its_limit_and_leaves_nothing(each: Bench) -> None:
    result = build_with(each, "echo waiting; sleep 2345", build=BuildRules(timeout_s=25))

    assert result.verdict is Verdict.FAIL
    assert result.reason == "the build was stopped: not done after 25 s (timeout_s)"
    assert not leftovers(each)
    assert subprocess.run(["pgrep", "-fx", "sleep 2345"], check=False).returncode == 1


@pytest.mark.slow
def test_a_mirror_that_hangs_is_not_the_packages_fault(by_sbuild: Bench) -> None:
    """A PPA that accepts connections and never answers, as build-dependency source of a real sbuild."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}/demo/trunk"
        repository = ExtraRepository(uri, by_sbuild.series, "main", b"no key")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("buildfarm.stages.build._own_ppa", lambda _context, _assumed: (repository,))
            result = by_sbuild.build(build=BuildRules(timeout_s=12))

    assert result.verdict is Verdict.ERROR
    assert result.reason == "sbuild did not reach the build in time (12 s, timeout_s)"
    assert "mirror" in result.resolution
    assert not leftovers(by_sbuild)


def test_a_hostile_rules_file_finds_no_keys_no_environment_and_no_network(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILDFARM_SECRET", "hush-hush")
    monkeypatch.setenv("DEB_SIGN_KEYID", "hush-hush")
    secret = tmp_path / "private.key"
    secret.write_text("hush-hush")
    secret.chmod(0o600)
    home = Path.home()

    result = build_with(
        bench,
        f"""
env | sort; id; echo uid=$$(id -u)
cat {secret} /proc/*/environ || true
cat /proc/1/root{secret} || true
ls -a {home} {home}/.gnupg {home}/.ssh || true
tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sed 's/^/net=/'
""",
    )

    assert result.verdict is Verdict.PASS, result.details
    log = (bench.workspace.directory("build", f"{bench.series}-{bench.architecture}") / "build.log").read_text()
    assert "hush-hush" not in log
    assert "uid=0\n" not in log
    assert [line for line in log.splitlines() if line.startswith("net=")] == ["net=lo"]


def test_lintian_can_refuse_what_was_built(each: Bench) -> None:
    (each.tree / "debian/copyright").unlink()

    result = each.build(build=BuildRules(lintian_fail_on="error"))

    assert result.verdict is Verdict.FAIL
    assert result.reason.startswith("lintian: 1 errors: E: tally: no-copyright-file")


def test_a_build_killed_with_its_farm_leaves_nothing_to_the_next(each: Bench) -> None:
    (each.tree / "debian/rules").write_text(rules("echo waiting; sleep 2346"))
    each.workspace.write_job(each.job)
    each.samples.make_source_package(each.tree, each.workspace.directory("source", each.series))
    backend = each.settings.build.backend
    (each.settings.home / "farm.toml").write_text(f'[build]\nbackend = "{backend}"\n')
    words = [sys.executable, "-m", "buildfarm", "--home", str(each.settings.home), "stage", "build"]
    words += ["--workspace", str(each.workspace.path), "--series", each.series]
    words += ["--architecture", each.architecture]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=each.settings.root) as farm:
        deadline = time.monotonic() + 120
        while not _running("sleep 2346") and time.monotonic() < deadline:
            time.sleep(0.2)
        farm.send_signal(signal.SIGKILL)
    if backend == "sbuild":
        assert leftovers(each)
    for pid in _running("sleep 2346"):
        with contextlib.suppress(ProcessLookupError):  # on layers the kernel ends it with its farm
            os.kill(pid, signal.SIGKILL)
    result = build_with(each, "true")

    assert result.verdict is Verdict.PASS, result.details
    assert not leftovers(each)


def _running(command: str) -> list[int]:
    found = subprocess.run(["pgrep", "-fx", command], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def test_dependencies_come_from_the_ppa_itself(bench: Bench, tmp_path: Path) -> None:
    """A PPA made by hand: a package that is nowhere else satisfies a build-dependency."""
    with _served_ppa(tmp_path, bench.series, bench.architecture) as port:
        archive = replace(bench.settings.archive, port=port)
        bench.settings = replace(bench.settings, archive=archive)
        control = (bench.tree / "debian/control").read_text()
        (bench.tree / "debian/control").write_text(control.replace("(= 13)", "(= 13), only-in-the-ppa (>= 2)"))

        result = bench.build(archive="local:demo/trunk")

    assert result.verdict is Verdict.PASS, result.details
    assert not result.assumed


def test_a_ppa_that_has_no_such_series_is_left_out_and_told(tmp_path: Path, host_series: str) -> None:
    from buildfarm.build.ppa_source import find_ppa
    from ppa_tools.address import parse_address

    with _served_ppa(tmp_path, host_series, "amd64") as port:
        found = find_ppa(parse_address("local:demo/trunk"), "another", f"http://127.0.0.1:{port}")

    assert isinstance(found, str)
    assert found.startswith("local:demo/trunk has nothing for another yet")


class _served_ppa:  # noqa: N801 (used as a function in `with`)
    """A signed one-package apt repository over HTTP at /demo/trunk; gives its port."""

    def __init__(self, tmp_path: Path, series: str, architecture: str) -> None:
        self.root, self.series, self.architecture = tmp_path / "www", series, architecture

    def __enter__(self) -> int:
        ppa = self.root / "demo/trunk"
        packages = ppa / f"dists/{self.series}/main/binary-{self.architecture}"
        packages.mkdir(parents=True)
        tree = self.root / "pkg/DEBIAN"
        tree.mkdir(parents=True)
        tree.chmod(0o755)  # whatever the umask: dpkg-deb insists
        (tree / "control").write_text(
            "Package: only-in-the-ppa\nVersion: 2.0\nArchitecture: all\nMaintainer: T <t@example.org>\n"
            "Description: for tests\n"
        )
        _call("dpkg-deb", "--build", "--root-owner-group", tree.parent, ppa / "only.deb")
        listing = _call("apt-ftparchive", "packages", ".", cwd=ppa)
        (packages / "Packages").write_text(listing)
        release = _call(
            "apt-ftparchive",
            *("-o", f"APT::FTPArchive::Release::Suite={self.series}"),
            *("-o", f"APT::FTPArchive::Release::Codename={self.series}"),
            *("-o", "APT::FTPArchive::Release::Components=main"),
            *("-o", f"APT::FTPArchive::Release::Architectures={self.architecture}"),
            "release",
            ".",
            cwd=ppa / f"dists/{self.series}",
        )
        (self.root / "Release").write_text(release)
        home = self.root / "gpg"
        home.mkdir(mode=0o700)
        gpg = ("gpg", "--homedir", home, "--batch", "--passphrase", "")
        _call(*gpg, "--quick-generate-key", "T <t@example.org>", "ed25519", "sign", "never")
        _call(*gpg, "--clearsign", "--output", ppa / f"dists/{self.series}/InRelease", self.root / "Release")
        (ppa / "key.asc").write_text(_call(*gpg, "--armor", "--export"))
        _call("gpgconf", "--homedir", home, "--kill", "all")
        shutil.rmtree(home)
        self.server = subprocess.Popen(
            [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.server.stdout is not None
        return int(self.server.stdout.readline().split(" port ")[1].split()[0])

    def __exit__(self, *_: object) -> None:
        self.server.kill()
        self.server.wait()


def _call(*words: Any, cwd: Path | None = None) -> str:
    return subprocess.run(
        [str(word) for word in words], cwd=cwd, check=True, capture_output=True, text=True
    ).stdout
