"""Whether machines run on this host's processor (KVM) or are emulated (TCG): found out by running a guest.

``/dev/kvm`` may be there, open, and make machines, and still no guest runs, where the host is itself a machine.
So a tiny one is run (``probe.S``; ``probe.bin`` is what binutils make of it), with the machine and processor that
the farm's machines get. The answer holds until the host boots again or gets another qemu.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from buildfarm import process
from buildfarm.build.bootstrap import locked, native_architecture
from buildfarm.errors import FarmTrouble
from buildfarm.files import read_json, write_json
from buildfarm.vm.qemu import MACHINE_TYPES, PROGRAMS, cpu_model

PROBE = Path(__file__).with_name("probe.bin")
PROBE_TIMEOUT_S = 3
PROBE_EXIT = 2 * 0x21 + 1
QEMU, MACHINE_TYPE = PROGRAMS["amd64"], MACHINE_TYPES["amd64"]
KVM_DEVICE = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
EMULATED = "machines are emulated (TCG)"


@dataclass(frozen=True)
class Accel:
    """How machines run; ``note`` says so to people, and why."""

    name: Literal["kvm", "tcg"]
    note: str


def find_accel(wanted: Literal["auto", "kvm", "tcg"], cache: Path, *, device: Path = KVM_DEVICE) -> Accel:
    """How machines run here, wanted so or so; raises FarmTrouble when KVM is a must and does not work."""
    if wanted == "tcg":
        return Accel("tcg", f"as farm.toml says, {EMULATED}")
    refusal = _why_not_to_open(device) or _remembered_refusal(cache, cpu_model("amd64", "kvm"))
    if not refusal:
        return Accel("kvm", "machines run on the host's processor (KVM)")
    if wanted == "kvm":
        raise FarmTrouble(
            f"farm.toml wants KVM, and {refusal}",
            where="vm.accel",
            resolution='Mend KVM on this host, or set accel to "auto": machines are then emulated, and slow.',
        )
    return Accel("tcg", f"no KVM: {refusal}; {EMULATED}")


def run_probe(accel: Literal["kvm", "tcg"], cpu: str) -> str:
    """Run the guest; returns why it does not work, or ""."""
    finished = process.run(
        [
            *("prlimit", "--core=0", "--"),  # where KVM is refused, qemu may abort
            *(QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-machine", MACHINE_TYPE),
            *("-accel", accel, "-cpu", cpu, "-m", "64M", "-kernel", PROBE),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
        ],
        timeout_s=PROBE_TIMEOUT_S,
        merge_errors=True,
    )
    if finished.returncode == PROBE_EXIT:
        return ""
    if finished.timed_out:
        return f"a guest does not run in {PROBE_TIMEOUT_S} s"
    said = next((line for line in finished.text.splitlines() if line.strip()), "")[:200]
    said = said.removeprefix(f"{QEMU}: ").removeprefix("error: ")
    return f"a guest does not run: qemu {process.how_it_ended(finished)}" + (f" ({said})" if said else "")


def _why_not_to_open(device: Path) -> str:
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"{device} is not there"
    except OSError as error:
        return f"{device} does not open ({error.strerror})"
    return ""


def _remembered_refusal(cache: Path, cpu: str) -> str:
    """What the probe says, asked once: two probes at a time would be in each other's way."""
    if native_architecture() not in ("amd64", "i386"):
        return "there is no guest to try it with on this architecture"
    version = process.run([QEMU, "--version"], timeout_s=30, check=True).text.partition("\n")[0]
    payload = hashlib.sha256(PROBE.read_bytes()).hexdigest()
    conditions = [BOOT_ID.read_text().strip(), version, MACHINE_TYPE, cpu, payload]
    record = cache / "accel.json"
    with locked(cache / "accel.lock"):
        try:
            known = read_json(record)
            if known["conditions"] == conditions:
                return str(known["refusal"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        refusal = run_probe("kvm", cpu)
        if refusal:
            refusal = f"{KVM_DEVICE} opens but {refusal}"
        write_json(record, {"conditions": conditions, "refusal": refusal})
        return refusal
