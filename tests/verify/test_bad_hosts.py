"""Images that do not boot, hosts that lack what machines want, ends that come from outside: none of it is told of
the package, and all of it leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildfarm.build.bootstrap import native_architecture
from buildfarm.verdict import StageResult, Verdict
from buildfarm.verify.machines import MachineRoom
from buildfarm.vm import starting
from buildfarm.vm.images import Image, get_image, image_spec_for
from buildfarm.vm.places import base_directory, machine_directory, sweep
from tests.archive.conftest import server, signer
from tests.verify.conftest import bench
from tests.verify.yard import Yard, yard

__all__ = ["bench", "server", "signer", "yard"]

IN_THE_MIDDLE = "echo in the 'middle'; sleep 600"
STAGE = """
import sys, tempfile
from pathlib import Path
from buildfarm.settings import ArchiveSettings, Settings, VmSettings
from buildfarm.stages.runner import run_stage
from buildfarm.workspace import Workspace
run, root, home, port, scratch, series, architecture = sys.argv[1:]
settings = Settings(Path(root), Path(home), Path(root) / "recipes", archive=ArchiveSettings(port=int(port)),
                    vm=VmSettings(scratch=scratch))
run_stage("boot", Workspace(Path(run)), settings, series=series, architecture=architecture)
"""


def errors(result: StageResult, reason: str) -> StageResult:
    """It is the farm's trouble, and told so."""
    assert result.verdict is Verdict.ERROR, result
    assert re.search(reason, result.reason), result.reason
    return result


# Images


def own_image(yard: Yard) -> Image:
    """A copy of the series' image that may be broken."""
    settings, series = yard.bench.settings, yard.bench.series
    spec = image_spec_for(settings, series, native_architecture())
    image = get_image(spec, settings.cache, sys.__stderr__.buffer)
    directory = yard.place / "images" / "broken"
    directory.mkdir(parents=True)
    for name in ("image.json", "vmlinuz", "initrd"):
        shutil.copy(image.directory / name, directory)
    (directory / "disk.qcow2").symlink_to(image.disk.resolve())
    return replace(image, directory=directory)


def damage(image: Image, *, commands: str) -> None:
    """Change the image's file system by debugfs."""
    raw = image.disk.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(image.disk.resolve()), str(raw)], check=True)
    subprocess.run(
        ["debugfs", "-w", "-f", "-", str(raw)], input=commands, text=True, check=True, capture_output=True
    )
    image.disk.unlink()
    raw.rename(image.disk.with_suffix(".raw"))


def corrupt(image: Image) -> Image:
    raw = image.disk.with_suffix(".raw")
    with raw.open("wb") as disk:
        disk.truncate(1 << 30)
        disk.write(os.urandom(1 << 20))
    return replace(image, disk_format="raw")


def without_initrd(image: Image) -> Image:
    return replace(image, has_initrd=False)


def without_init(image: Image) -> Image:
    damage(image, commands="unlink /usr/lib/systemd/systemd\nunlink /usr/sbin/init\n")
    return replace(image, disk_format="raw")


def without_agent(image: Image) -> Image:
    damage(image, commands="unlink /usr/lib/buildfarm/agent\n")
    return replace(image, disk_format="raw")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("breaking", "why", "how_far", "said"),
    [
        (corrupt, "it shut down", "the kernel", "cannot be mounted"),
        (without_initrd, "its kernel panicked", "the kernel", "Unable to mount root"),
        (without_init, "its kernel panicked", "the root file system", "Attempted to kill init"),
        (without_agent, "no call within", "the root file system", "systemd begins"),
    ],
)
def test_an_image_that_does_not_boot_is_told_with_how_far_it_came(
    yard: Yard,
    monkeypatch: pytest.MonkeyPatch,
    breaking: Callable[[Image], Image],
    why: str,
    how_far: str,
    said: str,
) -> None:
    image = breaking(own_image(yard))
    monkeypatch.setattr(MachineRoom, "image", lambda _: image)
    yard.publish()
    result = errors(yard.boot({"start": "cold"}, boot_timeout_s=60), f"did not boot: {why}.*, after .*{how_far}")
    assert said in result.details
    assert "Nothing of the package was in it yet" in result.resolution


# Hosts


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_host_without_qemu_says_what_to_install(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.publish()
    monkeypatch.setenv("PATH", hide(yard.place / "bin", "qemu-system-x86_64"))
    result = errors(yard.boot(), "^this host has no qemu-system-x86_64$")
    assert "make install" in result.resolution


def hide(directory: Path, name: str) -> str:
    """A PATH on which everything is but one program."""
    directory.mkdir()
    for place in ("/usr/bin", "/usr/sbin"):
        for path in Path(place).iterdir():
            if path.name != name and not (directory / path.name).is_symlink():
                (directory / path.name).symlink_to(path)
    return str(directory)


def test_a_host_that_must_have_kvm_says_why_it_has_not(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.publish()
    yard.set_vm(accel="kvm")
    monkeypatch.setattr("buildfarm.vm.accel._why_not_to_open", lambda _: "/dev/kvm is not there")
    result = errors(yard.boot(), "^farm.toml wants KVM, and /dev/kvm is not there$")
    assert "set accel to" in result.resolution


def test_a_host_without_space_says_how_much_is_wanted(yard: Yard) -> None:
    yard.publish()
    with small_disk(yard.scratch, "64m"):
        result = errors(yard.boot(), r"^no space for a machine: \d+ MiB left in \S+, 2048 MiB wanted$")
    assert "Free room there" in result.resolution


def test_a_place_that_is_not_there_is_named(yard: Yard) -> None:
    yard.publish()
    yard.set_vm(scratch=str(yard.place / "nowhere"))
    errors(yard.boot(), "^no place for what machines write: .*/nowhere: No such file")


def test_a_host_without_memory_for_one_more_says_whose_it_is(yard: Yard) -> None:
    yard.publish()
    yard.set_vm(memory_limit_mib=256)
    result = errors(yard.boot(), r"^a machine of 512 MiB is more than machines may have here \(256 MiB\)$")
    assert "vm.memory_limit_mib" in result.resolution


def test_what_other_machines_have_is_counted(yard: Yard) -> None:
    yard.publish()
    yard.set_vm(memory_limit_mib=768)
    with machine_directory(512, 768):
        result = yard.boot()
    errors(result, "^no memory for a machine: it wants 512 MiB, others have 512 of 768 MiB$")
    assert "tried again" in result.resolution


def test_a_place_too_deep_for_sockets_is_told(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.publish()
    deep = yard.place / ("d" * 80)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    result = errors(yard.boot(), "too long a name for sockets$")
    assert "TMPDIR" in result.resolution
    assert not list(base_directory().glob("m-*"))


@pytest.mark.slow
def test_a_host_whose_disk_fills_is_not_told_of_the_package(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "WANTED_DISK_BYTES", 1 << 20)
    yard.publish("head -c 200000000 /dev/urandom >/filler; sync; sleep 600")
    with small_disk(yard.scratch, "96m"):
        result = yard.boot()
    errors(result, "^install: the machine ended: the host could not store what it wrote to its disk")


# Ends from outside


def meanwhile(yard: Yard, said: str, number: int) -> threading.Thread:
    """Send qemu a signal once the stage's log says so."""

    def send() -> None:
        if said:
            yard.until_said(said)
        os.kill(yard.qemu(), number)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


def test_a_machine_killed_while_it_boots_is_the_farms_trouble(yard: Yard) -> None:
    yard.publish()
    thread = meanwhile(yard, "", signal.SIGKILL)
    result = yard.boot({"start": "cold"})
    thread.join()
    errors(result, "did not boot: qemu was killed, after")
    assert "killed by SIGKILL" in result.details


@pytest.mark.slow
@pytest.mark.parametrize(
    ("postinst", "commands"), [(IN_THE_MIDDLE, ()), ("", (("sh", "-c", IN_THE_MIDDLE),))], ids=["install", "test"]
)
def test_a_machine_killed_in_the_middle_is_the_farms_trouble(yard: Yard, postinst: str, commands: Any) -> None:
    yard.publish(postinst)
    thread = meanwhile(yard, "in the middle", signal.SIGKILL)
    result = yard.boot(commands=commands)
    thread.join()
    errors(result, r"the machine ended: qemu was killed \(killed by SIGKILL\)$")
    assert "tried again" in result.resolution


@pytest.mark.slow
def test_a_qemu_that_stands_still_is_not_taken_for_a_machine_that_hangs(yard: Yard) -> None:
    yard.publish(IN_THE_MIDDLE)
    thread = meanwhile(yard, "in the middle", signal.SIGSTOP)
    result = yard.boot(install_timeout_s=30)
    thread.join()
    errors(result, r"^install: the machine ended: qemu did not run it \(qemu does not answer query-status")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("where", ["boot", "install", "test"])
def test_a_stage_that_is_ended_leaves_no_machine(yard: Yard, number: int, where: str) -> None:
    yard.publish(IN_THE_MIDDLE if where == "install" else "")
    bench, settings = yard.bench, yard.bench.settings
    yard.write_job({"start": "cold"} if where == "boot" else {}, commands=(("sh", "-c", IN_THE_MIDDLE),))
    words = [bench.workspace.path, settings.root, settings.home, settings.archive.port, yard.scratch]
    stage = subprocess.Popen(
        [sys.executable, "-c", STAGE, *map(str, words), bench.series, bench.architecture],
        env={**os.environ, "TMPDIR": str(yard.place), "PYTHONPATH": "."},
        stderr=subprocess.DEVNULL,
    )
    if where == "boot":
        yard.qemu()
    else:
        yard.until_said("in the middle")
    stage.send_signal(number)
    stage.wait(30)
    sweep()
    yard.assert_nothing_is_left()
