"""Any kept build can be had again: its environment and source, in a shell, built again, on another machine."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from buildfarm.build.manifest import read_manifest
from buildfarm.build.namespaces import remove_owned_tree
from buildfarm.errors import UsageError
from buildfarm.regress.one_build import read_report, run_build
from buildfarm.regress.orders import BuildOrder
from buildfarm.regress.reproducing import find_kept, read_pack, write_pack
from buildfarm.settings import Settings
from tests.regress.conftest import Here
from tests.regress.yard import Yard


def cli(settings: Settings, *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "buildfarm", "--home", str(settings.home), *words],
        input=said,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=os.environ | {"BUILDFARM_ROOT": str(settings.root)},
    )


@pytest.fixture
def kept(here: Here, yard: Yard) -> int:
    yard.state("before")
    run_build(BuildOrder(yard.job("taptest")), here.places.build(7), here.settings)
    return 7


def test_a_shell_opens_in_the_tree_as_the_failing_build_left_it(here: Here, kept: int) -> None:
    done = cli(here.settings, "repro", "#7", said="pwd; id -un; ls debian/check.sh; exit 5\n")

    assert done.returncode == 5, done.stderr
    assert "not ok 2 - reads back what it wrote" in done.stdout
    assert "the build ended with exit status 2" in done.stdout
    assert done.stdout.endswith("/build/tree/taptest-1.0\nbuilder\ndebian/check.sh\n"), done.stdout[-500:]


def test_two_shells_of_one_environment_are_open_at_once(here: Here, kept: int) -> None:
    words = [sys.executable, "-m", "buildfarm", "--home", str(here.settings.home), "repro", str(kept), "--unpack"]
    environment = os.environ | {"BUILDFARM_ROOT": str(here.settings.root)}
    with subprocess.Popen(
        words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        first.stdin.write("echo open\n")
        first.stdin.flush()
        while first.stdout.readline() != "open\n":
            pass

        second = cli(here.settings, "repro", str(kept), "--unpack", said="ls debian/check.sh\n")

        first.stdin.write("ls debian/control\n")
        first.stdin.close()
        assert "debian/control" in first.stdout.read()
    assert second.stdout.endswith("debian/check.sh\n")
    assert not list((here.places.root / "again").iterdir()), "nothing stays"


def test_built_again_it_fails_again_though_the_archive_has_moved_on(here: Here, yard: Yard) -> None:
    yard.state("after")
    directory = here.places.build(8)
    order = BuildOrder(yard.job("victim"), newer_than=time.time())
    failed = run_build(order, directory, here.settings)
    assert failed.outcome == "fail"
    yard.state("before")

    done = cli(here.settings, "repro", "8", "--build")

    assert done.returncode == 1, done.stderr
    assert "undefined symbol frobnicate in libd17" in done.stdout


def test_a_pack_has_all_that_another_machine_needs(here: Here, kept: int, tmp_path: Path) -> None:
    pack = tmp_path / "seven.tar"
    write_pack(find_kept(kept, here.settings), pack, here.settings, io.BytesIO())
    elsewhere = replace(here.settings, home=tmp_path / "elsewhere")
    elsewhere.cache.mkdir(parents=True)
    (elsewhere.cache / "roots").symlink_to(here.settings.cache / "roots")

    taken = read_pack(pack, elsewhere)
    report = run_build(taken.order, tmp_path / "again", elsewhere)

    there = read_report(here.places.build(kept))
    assert there is not None
    assert (report.outcome, report.environment) == ("fail", there.environment)
    assert read_manifest(here.places.manifest_path(report.environment)).packages
    remove_owned_tree(elsewhere.cache / "layers")  # pytest could not: they belong to subordinate ids


@pytest.mark.parametrize("name", ["../order.json", "debs/x", "source/../../x", "/etc/passwd"])
def test_a_pack_with_strange_names_is_refused(here: Here, tmp_path: Path, name: str) -> None:
    pack = tmp_path / "bad.tar"
    with tarfile.open(pack, "w", format=tarfile.GNU_FORMAT) as file:
        info = tarfile.TarInfo(name)
        info.size = 2
        file.addfile(info, io.BytesIO(b"{}"))

    with pytest.raises(UsageError, match="no pack of a build"):
        read_pack(pack, here.settings)


def test_a_build_is_never_given_the_network(here: Here) -> None:
    done = cli(here.settings, "repro", "1", "--build", "--network")

    assert done.returncode == 2
    assert "--network is for a shell" in done.stderr


def test_a_number_that_is_not_kept_says_where_to_look(here: Here) -> None:
    done = cli(here.settings, "repro", "999")

    assert done.returncode == 2
    assert "build #999 is not kept here" in done.stderr
    assert "rebuild report" in done.stderr
    assert "Traceback" not in done.stderr
