"""Machines as libvirt's domains: the XML is what was ordered, and real ones boot, end, and leave nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildfarm.errors import FarmTrouble
from buildfarm.vm.images import Image
from buildfarm.vm.libvirt import Domain, domain_name, domain_xml, security_models
from buildfarm.vm.qemu import Disk, Hardware

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SESSION_UID = 64321

DOMAIN = Domain(
    "buildfarm-x",
    "amd64",
    "tcg",
    Hardware(memory_mib=768, cpus=2),
    Disk(
        Path("/images/a/disk.qcow2"), "qcow2", Path("/images/a/vmlinuz"), Path("/images/a/initrd"), "root=/dev/vda"
    ),
    Path("/run/m/gateway.sock"),
    Path("/run/m"),
    "52:54:00:00:00:01",
    Path("/var/tmp"),
    Path("/run/m/credentials"),
    owner=(7, 8),
    models=("apparmor", "dac"),
)


def told(xml: str) -> list[str]:
    names = {"qemu": "http://libvirt.org/schemas/domain/qemu/1.0"}
    return [one.attrib["value"] for one in ET.fromstring(xml).findall("qemu:commandline/qemu:arg", names)]


def test_the_xml_has_what_was_ordered() -> None:
    root = ET.fromstring(domain_xml(DOMAIN))
    assert root.attrib["type"] == "qemu"
    assert (root.findtext("memory"), root.findtext("vcpu")) == ("768", "2")
    assert root.findtext("os/kernel") == "/images/a/vmlinuz"
    assert root.findtext("os/cmdline") == "root=/dev/vda"
    assert {root.findtext(f"on_{event}") for event in ("poweroff", "reboot", "crash")} == {"destroy"}
    assert root.find("devices/panic") is not None
    channels = [one.attrib["name"] for one in root.findall("devices/channel/target")]
    assert channels == [f"org.buildfarm.{name}" for name in ("control", "input", "output", "error", "calls")]
    labels = {one.attrib["model"]: one.attrib["type"] for one in root.findall("seclabel")}
    assert labels == {"apparmor": "none", "dac": "static"}
    assert root.findtext("seclabel/label") == "+7:+8"
    assert ET.fromstring(domain_xml(replace(DOMAIN, accel="kvm"))).attrib["type"] == "kvm"


def test_a_given_image_is_started_by_its_firmware_and_finds_its_seed() -> None:
    words = told(
        domain_xml(replace(DOMAIN, disk=Disk(Path("/a.raw"), "raw"), serial="ds=nocloud-net;s=http://a/"))
    )
    assert "type=1,serial=ds=nocloud-net;s=http://a/" in words
    assert words[-4:] == ["-machine", "graphics=off", "-boot", "reboot-timeout=1000"]
    words = told(domain_xml(replace(DOMAIN, disk=Disk(Path("/a.raw"), "raw", firmware="uefi"))))
    assert words[-2:] == ["-bios", "/usr/share/ovmf/OVMF.fd"]


def test_a_writable_disk_is_nowhere_and_the_network_is_one_address() -> None:
    words = told(domain_xml(DOMAIN))
    (drive,) = [word for word in words if word.startswith("if=none")]
    assert "snapshot=on" in drive
    (network,) = [word for word in words if word.startswith("user,")]
    assert "restrict=on" in network
    assert "guestfwd=tcp:10.0.2.100:80-cmd:nc -N -U /run/m/gateway.sock" in network


def test_names_with_odd_letters_stay_names() -> None:
    odd = Path("/tmp/a b,c'<&\">")
    xml = domain_xml(
        replace(
            DOMAIN,
            name="<&>",
            directory=odd,
            gateway=odd / "gateway.sock",
            disk=replace(DOMAIN.disk, path=odd / "disk", kernel=odd / "vmlinuz", append="a=<&> 'b'"),
        )
    )
    root = ET.fromstring(xml)
    assert root.findtext("name") == "<&>"
    assert root.findtext("os/kernel") == str(odd / "vmlinuz")
    assert root.findtext("os/cmdline") == "a=<&> 'b'"
    assert any("file=/tmp/a b,,c'<&\">/disk," in word for word in told(xml))


def test_a_screen_is_there_when_it_was_ordered() -> None:
    with_screen = replace(DOMAIN, hardware=Hardware(screen=True))
    models = [
        one.attrib["type"]
        for domain in (DOMAIN, with_screen)
        for one in ET.fromstring(domain_xml(domain)).findall("devices/video/model")
    ]
    assert models == ["none", "vga"]


def test_a_domains_name_is_its_own_and_fit_for_a_file() -> None:
    one, other = domain_name("run/../1 ü"), domain_name("run/../1 ü")
    assert one != other
    assert one.startswith("buildfarm-run----1-")


def test_an_architecture_that_libvirt_is_not_asked_for_is_said() -> None:
    with pytest.raises(FarmTrouble, match="no machines of arm64 by libvirt"):
        security_models("qemu:///session", "arm64", "tcg")


@pytest.fixture
def world(image: Image) -> Iterator[Path]:
    """A directory that another user may come to, with the image in its cache."""
    for program in ("libvirtd", "virsh", "unshare"):
        if shutil.which(program, path="/usr/sbin:/usr/bin") is None:
            pytest.skip(f"{program} is not installed")
    if os.getuid() != 0:
        pytest.skip("only root makes a world with a libvirtd of its own")
    with tempfile.TemporaryDirectory(prefix="lv-") as name:
        where = Path(name)
        where.chmod(0o755)
        there = where / "cache" / "images" / image.directory.name
        shutil.copytree(image.directory, there)
        yield where


def done_in(world: Path, uid: int, uri: str, *scenarios: str) -> dict[str, Any]:
    for path in (world / "cache", *(world / "cache").rglob("*")):
        os.chown(path, uid, uid)
    done = subprocess.run(
        [
            *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("sh", str(HERE / "libvirt_world.sh"), str(world), str(uid)),
            *(sys.executable, str(HERE / "libvirt_scenarios.py"), uri, str(world / "cache"), *scenarios),
        ],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    log = world / "home" / "libvirtd.log"
    assert done.returncode == 0, done.stdout + done.stderr + (log.read_text()[-3000:] if log.exists() else "")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


NOTHING = {"domains": [], "processes": [], "places": []}


@pytest.mark.slow
@pytest.mark.parametrize(("uid", "uri"), [(0, "qemu:///system"), (SESSION_UID, "qemu:///session")])
def test_a_domain_boots_calls_does_what_it_is_asked_and_leaves_nothing(world: Path, uid: int, uri: str) -> None:
    did = done_in(world, uid, uri, "booted")["booted"]
    assert (did["start"], did["status"]) == ("cold", 3)
    assert sorted(did["output"].split()) == ["err", "in", "out"]
    assert not did["credential_shown"]
    assert did["disk_gib"] == 9
    assert did["rebooted"]
    assert did["ending"] == "panic"
    assert "Kernel panic" in did["evidence"]
    assert did["left"] == NOTHING


@pytest.mark.slow
def test_a_power_off_and_a_reset_are_told_apart(world: Path) -> None:
    assert done_in(world, 0, "qemu:///system", "endings")["endings"] == {"shutdown": "shutdown", "reset": "reset"}


@pytest.mark.slow
def test_no_domain_outlives_its_owner(world: Path) -> None:
    did = done_in(world, SESSION_UID, "qemu:///session", "owner_killed")["owner_killed"]
    assert (did["up"], did["lived"]) == ("up", 1)
    assert did["left"] == NOTHING


@pytest.mark.slow
def test_a_daemon_that_is_not_there_or_cannot_start_it_is_the_farms_trouble(world: Path) -> None:
    said = done_in(world, 0, "qemu:///system", "troubles")["troubles"]
    assert "libvirt does not answer" in said["no daemon"]
    assert "libvirtd --daemon" in said["no daemon"]
    assert "libvirt does not start a machine" in said["no kernel"]
    assert "vmlinuz" in said["no kernel"]
    assert "virsh #" not in said["no kernel"]
