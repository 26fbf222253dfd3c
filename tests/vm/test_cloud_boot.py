"""A given image, from farm.toml to a machine that takes orders: really booted, by either firmware; and one that
does not boot."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

import pytest

from buildfarm.build.bootstrap import native_architecture
from buildfarm.errors import FarmTrouble
from buildfarm.job import MachineRules
from buildfarm.settings import ImageSettings, Settings, VmSettings
from buildfarm.verify.machines import MachineRoom
from buildfarm.vm.qemu import UEFI_FIRMWARE
from tests.vm.cloud_images import make_cloud_image, missing_tools

BOOT_LIMIT_S = 1200.0
ELSEWHERE = r"exec 3<>/dev/tcp/10.0.2.100/80; printf 'GET http://a.org/ HTTP/1.0\r\n\r\n' >&3; head -1 <&3"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(native_architecture() != "amd64", reason="an image with a PC's boot loaders"),
    pytest.mark.skipif(bool(missing_tools()), reason=f"not installed: {', '.join(missing_tools())}"),
]


@pytest.fixture(autouse=True)
def own_places(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Machines' directories apart from those of other tests that run beside these."""
    with tempfile.TemporaryDirectory(prefix="bf-") as name:
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield


def room_of(
    settings: Settings, disk: Path, series: str, out: Path, firmware: Literal["bios", "uefi"] = "bios"
) -> MachineRoom:
    """A stage's machines, of an image that farm.toml names."""
    given = ImageSettings(
        str(disk), sha256(disk.read_bytes()).hexdigest(), series, native_architecture(), firmware=firmware
    )
    vm = VmSettings(accel="tcg", images={"theirs": given})
    rules = MachineRules(memory_mib=768, disk_gib=6, image="theirs")
    out.mkdir(exist_ok=True)
    return MachineRoom(
        replace(settings, vm=vm), rules, series, native_architecture(), "run-1", "", out, sys.__stderr__.buffer
    )


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_a_cloud_image_boots_phones_home_and_takes_orders(
    firmware: Literal["bios", "uefi"], farm_settings: Settings, root_cache: Path, host_series: str, tmp_path: Path
) -> None:
    if firmware == "uefi" and not UEFI_FIRMWARE["amd64"].is_file():
        pytest.skip("ovmf is not installed")
    disk = make_cloud_image(host_series, root_cache, sys.__stderr__.buffer)
    room = room_of(farm_settings, disk, host_series, tmp_path / "out", firmware)

    with room.machine("boot", boot_timeout_s=BOOT_LIMIT_S) as machine:
        (call,) = machine.callbacks.calls
        assert call.phase == "booted"
        assert call.note.startswith("instance_id: buildfarm-")  # cloud-init's own words
        assert machine.evidence().how_far == "all its services"

        def say(*words: str, timeout_s: float = 120) -> str:
            ran = machine.run(words, timeout_s=timeout_s)
            assert ran.status == 0, ran.output
            return ran.output

        assert "cloud-init" in say("cloud-init", "--version")
        firmware_seen = say("sh", "-c", "test -d /sys/firmware/efi && echo uefi || echo bios")
        assert firmware_seen.strip() == firmware
        size = int(say("df", "--output=size", "--block-size=1M", "/").split()[-1])
        assert size > 5000  # the root grew into the disk that was asked for
        assert "mirror.invalid" not in say("apt-get", "indextargets")
        say("apt-get", "--quiet", "update", timeout_s=900)
        say("apt-get", "--quiet", "--yes", "install", "--no-install-recommends", "hello", timeout_s=900)
        assert say("hello") == "Hello, world!\n"
        assert " 403 " in say("bash", "-c", ELSEWHERE)
        token = machine.callbacks.issue("installed")
        called = machine.run(
            ["/usr/lib/buildfarm/agent", "call", "installed"], timeout_s=60, stdin=f"{token}\n".encode()
        )
        assert (called.status, called.output) == (0, "")
        assert machine.callbacks.wait("installed", 30) is not None
        assert machine.callbacks.refusals == ()
        if firmware == "bios":
            machine.reboot(BOOT_LIMIT_S)  # cloud-init knows the machine again, and the agent comes by itself
            assert say("hello") == "Hello, world!\n"
            assert machine.callbacks.refusals == ()
    assert any("apt" in note for note in room.assumed)


@pytest.mark.parametrize(
    ("firmware", "said"), [("bios", "No bootable device"), ("uefi", "UEFI Interactive Shell")]
)
def test_an_image_that_does_not_boot_is_told_how_far_it_came(
    firmware: Literal["bios", "uefi"], said: str, farm_settings: Settings, host_series: str, tmp_path: Path
) -> None:
    if firmware == "uefi" and not UEFI_FIRMWARE["amd64"].is_file():
        pytest.skip("ovmf is not installed")
    disk = tmp_path / "zeros.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1G"], check=True)
    room = room_of(farm_settings, disk, host_series, tmp_path / "out", firmware)

    with pytest.raises(FarmTrouble, match="after the firmware") as trouble, room.machine("boot"):
        pass

    assert "it asked its gateway for nothing" in trouble.value.details
    assert said in trouble.value.details
    assert "cloud-init" in trouble.value.resolution
