"""The commands against Launchpad, as its double behaves: logging in, waiting, what never came, and its rights."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppa_tools.address import Address
from ppa_tools.archives.local import LocalArchive
from tests.doubles.launchpad import LaunchpadDouble
from tests.ppa_tools.commands.conftest import BIN, Shell

COPY = ("ppa-copy", "ppa:me/trunk", "ppa:me/stable")


@pytest.fixture(scope="module")
def running_double() -> Iterator[LaunchpadDouble]:
    with LaunchpadDouble(copy_delay_s=0, publish_delay_s=0) as double:
        yield double


@pytest.fixture
def double(running_double: LaunchpadDouble) -> LaunchpadDouble:
    running_double.reset()
    for name in ("trunk", "stable"):
        running_double.add_ppa(f"me/{name}")
    running_double.add_package("me/trunk", "hello", "1.0-1")
    return running_double


@pytest.fixture
def anybody(double: LaunchpadDouble, tmp_path: Path) -> Shell:
    """Somebody without credentials."""
    return Shell(tmp_path, {"PPA_INSTANCE": double.url, "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"})


@pytest.fixture
def shell(double: LaunchpadDouble, anybody: Shell) -> Shell:
    """The owner of the PPAs."""
    return Shell(anybody.directory, {**anybody.variables, "LP_CREDENTIALS": double.token("me").text})


def asked(double: LaunchpadDouble) -> list[str]:
    return [one["op"] for one in double.requests() if one["method"] == "POST"]


def test_anybody_may_read(anybody: Shell) -> None:
    said = anybody("ppa-list", "ppa:me/trunk", "--builds", "--stats")
    assert said.lines[1].split()[:3] == ["noble", "hello", "1.0-1"]
    assert "amd64: built" in said.out
    assert "requests, " in said.err
    assert "trunk" in anybody("ppa-list", "ppa:me/trnk", status=2).err


def test_without_credentials_nothing_is_changed_and_what_to_do_is_said(
    anybody: Shell, double: LaunchpadDouble
) -> None:
    said = anybody(*COPY, "hello", "--yes", status=5)
    assert "LP_CREDENTIALS" in said.err
    assert "in the journal" not in said.err
    assert asked(double) == []


def test_the_rights_of_another_are_no_rights(double: LaunchpadDouble, anybody: Shell) -> None:
    stranger = Shell(anybody.directory, {**anybody.variables, "LP_CREDENTIALS": double.token("you").text})
    said = stranger(*COPY, "hello", "--yes", status=5)
    assert "ppa:me/stable" in said.err + said.out
    assert double.token("you").secret not in said.err + said.out


def test_packages_are_copied_and_seen_to_arrive(shell: Shell, double: LaunchpadDouble) -> None:
    double.set(copy_delay_s=1)
    double.add_package("me/trunk", "world", "2.0-1")
    said = shell(*COPY, "--all", "--yes")
    assert said.err.endswith("2 done\n")
    assert asked(double) == ["copyPackages"]
    assert len(shell("ppa-list", "ppa:me/stable", "--format", "lines").lines) == 2


def test_what_has_not_come_in_time_is_waited_for_by_the_next_run(shell: Shell, double: LaunchpadDouble) -> None:
    double.set(copy_delay_s=3600)
    said = shell(*COPY, "hello", "--yes", "--limit", "1s", status=1)
    assert "asked for, not seen yet" in said.out
    double.settle()
    assert "already there" in shell(*COPY, "hello", "--yes").out
    assert asked(double) == ["copyPackages"]


def test_what_nobody_waited_for_is_not_asked_for_again(shell: Shell, double: LaunchpadDouble) -> None:
    double.set(copy_delay_s=3)
    said = shell(*COPY, "hello", "--yes", "--no-wait")
    assert "1 unknown" in said.err
    assert asked(double) == ["copyPackages"]
    assert shell(*COPY, "hello", "--yes").err.endswith("1 already\n")
    assert asked(double) == ["copyPackages"]


def test_a_package_is_waited_for_until_apt_can_get_it(shell: Shell, double: LaunchpadDouble) -> None:
    double.set(publish_delay_s=2, copy_delay_s=2)
    shell(*COPY, "hello", "--yes", "--no-wait")
    (told,) = shell("ppa-wait", "ppa:me/stable", "hello=1.0-1", "--series", "noble", "--format", "json").json
    assert (told["state"], told["version"]) == ("in the index", "1.0-1")
    (package,) = told["packages"]
    assert len(package["sha256"]) == 64


def test_a_build_that_failed_ends_the_waiting(shell: Shell, double: LaunchpadDouble) -> None:
    double.add_package("me/trunk", "broken", "1.0-1", builds={"amd64": "Failed to build"})
    said = shell("ppa-wait", "ppa:me/trunk", "broken", status=1)
    assert "amd64: failed to build" in said.out
    said = shell("ppa-wait", "ppa:me/trunk", "helo", "--series", "noble", "--limit", "1s", status=1)
    assert "there is hello" in said.out
    assert "gave up after 1 s: 1 package not in the index yet" in said.err


def test_dependencies_come_along_and_tell_who_needs_them(shell: Shell, double: LaunchpadDouble) -> None:
    double.add_package(
        "me/trunk",
        "app",
        "1.0-1",
        binaries=[{"package": "app", "architecture": "any", "fields": {"Depends": "libdeep (>= 2)"}}],
    )
    double.add_package("me/trunk", "deep", "2.0-1", binaries=["libdeep"])
    base = f"deb [trusted=yes] {double.repository('ubuntu')} noble main"
    double.add_ppa("ubuntu")
    double.add_package("ubuntu", "base-files", "13")
    told = shell(
        *COPY, "app", "--with-dependencies", "--base", base, "--dry-run", "--format", "json", status=3
    ).json
    assert [(one["source"], one["reason"]) for one in told["actions"]] == [
        ("app", ""),
        ("deep", "needed by app: libdeep (>= 2)"),
    ]


def test_what_two_ppas_break_in_each_other_is_proved(shell: Shell, double: LaunchpadDouble) -> None:
    needs = {"package": "app", "architecture": "any", "fields": {"Depends": "libdeep (<< 2)"}}
    double.add_package("me/trunk", "app", "1.0-1", binaries=[needs])
    double.add_package("me/trunk", "deep", "1.0-1", binaries=["libdeep"])
    double.add_package("me/stable", "deep", "2.0-1", binaries=["libdeep"])
    for ppa, name in (("trunk", "one"), ("stable", "two")):
        owns = {"package": name, "architecture": "any", "files": {"usr/bin/same": name}}
        double.add_package(f"me/{ppa}", name, "1.0-1", binaries=[owns])
    double.add_ppa("ubuntu")
    double.add_package("ubuntu", "base-files", "13")
    base = f"deb [trusted=yes] {double.repository('ubuntu')} noble main"
    words = ("ppa-conflicts", "ppa:me/trunk", "ppa:me/stable", "--binaries", "--installable", "--base", base)
    said = shell(*words, "--exit-code", status=3)
    assert "2.0-1 of ppa:me/stable" in said.out
    told = shell(*words, "--format", "json").json
    assert [(one["package"], one["fine_in"]) for one in told["broken"]] == [("app", ["ppa:me/trunk"])]
    assert {one["package"] for one in told["conflicts"]} == {"deep", "libdeep"}
    (clash,) = told["files"]
    assert (clash["one"], clash["other"]) == ("one 1.0-1 (ppa:me/trunk)", "two 1.0-1 (ppa:me/stable)")
    assert [path.lstrip("./") for path in clash["paths"]] == ["usr/bin/same"]
    assert "csv" in shell(*words, "--format", "csv", status=2).err


def test_an_interrupted_run_is_taken_up_by_the_same_command(shell: Shell, double: LaunchpadDouble) -> None:
    double.set(copy_delay_s=3600)
    words = [BIN / COPY[0], *COPY[1:], "hello", "--yes"]
    with subprocess.Popen(words, env=shell.environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("waiting:"):
                process.send_signal(signal.SIGINT)
                break
        told = process.stderr.read()
        assert process.wait(timeout=30) == 130
    assert "Give the same command again to go on" in told
    assert "Traceback" not in told
    double.settle()
    shell(*COPY, "hello", "--yes")
    assert asked(double) == ["copyPackages"]


def test_packages_come_from_launchpad_to_the_embedded_archive(
    shell: Shell, double: LaunchpadDouble, tmp_path: Path
) -> None:
    archive = LocalArchive(tmp_path / "archive", url="http://archive.example")
    archive.ensure_ppa(Address("local", "me", "mirror"), series=["noble"], architectures=["amd64"])
    mirrored = Shell(shell.directory, {**shell.variables, "PPA_LOCAL_ARCHIVE": str(archive.root)})
    mirrored("ppa-copy", "ppa:me/trunk", "local:me/mirror", "hello", "--yes")
    said = mirrored("ppa-list", "local:me/mirror", "--builds")
    assert "amd64: built" in said.out
    assert "0 differences" in mirrored("ppa-diff", "ppa:me/trunk", "local:me/mirror").err
    said = mirrored("ppa-copy", "local:me/mirror", "ppa:me/stable", "hello", "--yes", status=1)
    assert "--rebuild uploads the source" in said.out
    archive.stop_agents()
    archive.close()


def test_a_second_ctrl_c_does_not_wait_for_an_answer_that_hangs(shell: Shell, double: LaunchpadDouble) -> None:
    double.fault("hang", times=0, seconds=60, op="getPublishedSources")
    words = [BIN / "ppa-diff", "ppa:me/trunk", "ppa:me/stable"]
    with subprocess.Popen(words, env=shell.environment, stderr=subprocess.PIPE, text=True) as process:
        while not any(fault["fired"] for fault in double.faults()):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                continue
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
        # One more may come when Python has put its handlers away: that end, too, is 130 to a shell.
        assert process.returncode in (130, -signal.SIGINT)
