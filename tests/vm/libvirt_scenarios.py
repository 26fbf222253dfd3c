"""What is done with machines in a world with a libvirtd of its own: ``python libvirt_scenarios.py URI CACHE``.

Prints what came of it as JSON; the test looks at that.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from buildfarm.errors import FarmTrouble
from buildfarm.vm.images import list_images
from buildfarm.vm.lan import Lan
from buildfarm.vm.machine import MachineEnded
from buildfarm.vm.plugging import grow_disk, plug_lan
from buildfarm.vm.starting import Host, MachineOrder, start_machine


def virsh(*words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LIBVIRT_AUTOSTART": "0"}
    return subprocess.run(
        ["virsh", "-c", URI, *words], capture_output=True, text=True, env=env, timeout=30, check=False
    )


def await_daemon() -> None:
    deadline = time.monotonic() + 60
    while (done := virsh("version")).returncode:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.2)


def order(name: str) -> MachineOrder:
    image = list_images(CACHE)[0]
    return MachineOrder(name=name, run="run-1", image=image, console=SCRATCH / f"console-{name}.log")


def host(**changes: Any) -> Host:
    return Host(
        **({"accel": "tcg", "cache": CACHE, "memory_limit_mib": 4096, "backend": f"libvirt:{URI}"} | changes)
    )


def machines() -> dict[str, Any]:
    """What is left of machines: domains, qemu processes, files."""
    deadline = time.monotonic() + 30
    while True:
        left = {
            "domains": virsh("list", "--all", "--name").stdout.split(),
            "processes": [
                name
                for path in Path("/proc").glob("[0-9]*/comm")
                if (name := comm(path)).startswith(("qemu-system", "virsh"))
            ],
            "places": [path.name for path in Path(tempfile.gettempdir()).glob("buildfarm-*/m-*")],
        }
        if not any(left.values()) or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


def comm(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def booted() -> dict[str, Any]:
    began = time.monotonic()
    with start_machine(order("one"), host()) as machine:
        took_s = time.monotonic() - began
        ran = machine.run(["sh", "-c", "echo out; echo err >&2; cat; exit 3"], timeout_s=30, stdin=b"in\n")
        shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        grow_disk(machine, 9)
        disk = machine.run(["cat", "/sys/class/block/vda/size"], timeout_s=30).output
        with Lan() as lan:
            plug_lan(machine, lan, "192.168.77.1/24")
        boot_ids = [machine.run(["cat", "/proc/sys/kernel/random/boot_id"], timeout_s=30).output]
        machine.reboot(120)
        boot_ids.append(machine.run(["cat", "/proc/sys/kernel/random/boot_id"], timeout_s=30).output)
        try:
            machine.run(["sh", "-c", "echo c >/proc/sysrq-trigger; sleep 60"], timeout_s=60)
            ending = "none"
        except MachineEnded as error:
            ending = error.ending.reason
        evidence = machine.evidence().in_words
    return {
        "took_s": took_s,
        "start": machine.start,
        "status": ran.status,
        "output": ran.output,
        "uris": virsh("uri").stdout.strip(),
        "disk_gib": int(disk) >> 21,
        "credential_shown": "io.systemd.credential" in shown,
        "rebooted": len(set(boot_ids)) == 2,
        "ending": ending,
        "evidence": evidence,
        "left": machines(),
    }


def endings() -> dict[str, Any]:
    found = {}
    for name, script in (("shutdown", "systemctl poweroff"), ("reset", "systemctl reboot")):
        with start_machine(order(name), host()) as machine:
            try:
                machine.run(["sh", "-c", f"{script}; sleep 60"], timeout_s=60)
            except MachineEnded as error:
                found[name] = error.ending.reason
    return found


def owner_killed() -> dict[str, Any]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with start_machine(order("orphan"), host()):
            os.write(write, b"up")
            time.sleep(600)
        os._exit(0)
    os.close(write)
    up = os.read(read, 2)
    lived = virsh("list", "--name").stdout.split()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    began = time.monotonic()
    while virsh("list", "--all", "--name").stdout.split() and time.monotonic() - began < 30:
        time.sleep(0.1)
    with start_machine(order("next"), host()):  # it sweeps what the other left
        pass
    return {"up": up.decode(), "lived": len(lived), "left": machines()}


def troubles() -> dict[str, str]:
    def said(**changes: Any) -> str:
        try:
            with start_machine(order("trouble"), host(**changes)):
                return ""
        except FarmTrouble as error:
            return str(error)

    return {
        "no daemon": said(backend="libvirt:qemu+unix:///system?socket=/nonexistent"),
        "no kernel": without_kernel(said),
    }


def without_kernel(said: Callable[..., str]) -> str:
    for kernel in CACHE.glob("images/*/vmlinuz"):
        kernel.unlink()
    return said()


if __name__ == "__main__":
    URI, CACHE = sys.argv[1], Path(sys.argv[2])
    SCRATCH = Path(tempfile.mkdtemp())
    await_daemon()
    result = {name: globals()[name]() for name in sys.argv[3:]}
    print(json.dumps(result))
