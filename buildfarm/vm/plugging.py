"""What a machine is given once it runs: a card on a suite's network, a larger disk.

Both are done by QMP to a machine of ours, however it began: a copy of one that slept must have the very devices
that it fell asleep with.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from buildfarm.errors import FarmTrouble
from buildfarm.vm.lan import Lan
from buildfarm.vm.machine import Machine
from buildfarm.vm.qemu import LAN_SLOT
from buildfarm.vm.qmp import QmpError

PLUG_TIMEOUT_S = 60.0
GROW_TIMEOUT_S = 300.0
# The driver is there already: the first card has it.
_CARD_UP = """\
tries=0
while [ $((tries += 1)) -lt 300 ]; do
    for card in /sys/class/net/*; do
        if [ "$(cat "$card/address")" = "$1" ]; then
            ip link set dev "${card##*/}" up && ip addr add "$2" dev "${card##*/}" && exit 0
        fi
    done
    sleep 0.1
done
echo "no card $1 came up"
exit 1
"""
_GROW = 'root=$(findmnt --noheadings --output SOURCE /) && exec resize2fs "$root"'


def plug_lan(machine: Machine, lan: Lan, address: str) -> None:
    """Give the machine a card on ``lan``, up, with ``address`` (``192.168.77.1/24``); raises FarmTrouble, and
    MachineEnded. Its hardware is one with a slot for that."""
    hardware_address = "52:54:01:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
    card = {"driver": "virtio-net-pci", "id": "lan-card", "bus": LAN_SLOT, "netdev": "lan", "romfile": ""}
    with lan.plug() as end:
        _execute(machine, "getfd", {"fdname": "lan"}, descriptors=(end.fileno(),))
    _execute(machine, "netdev_add", {"type": "socket", "id": "lan", "fd": "lan"})
    _execute(machine, "device_add", {**card, "mac": hardware_address})
    ran = machine.run(("sh", "-c", _CARD_UP, "sh", hardware_address, address), timeout_s=PLUG_TIMEOUT_S)
    if ran.status != 0:
        raise FarmTrouble("the machine's second network card does not come up", details=ran.tail())


def grow_disk(machine: Machine, size_gib: int) -> None:
    """Give the machine a disk of ``size_gib`` GiB, its file system included, where it has a smaller one; raises
    FarmTrouble, and MachineEnded.

    The disk is an overlay over an image's: what is not written takes no room.
    """
    blocks = machine.run(("sh", "-c", "cat /sys/class/block/vda/size"), timeout_s=PLUG_TIMEOUT_S).output.strip()
    if not blocks.isdigit():
        raise FarmTrouble("the size of the machine's disk cannot be told", details=blocks)
    if int(blocks) * 512 >= size_gib << 30:
        return
    _execute(machine, "block_resize", {"device": "disk", "size": size_gib << 30})
    ran = machine.run(("sh", "-c", _GROW), timeout_s=GROW_TIMEOUT_S)
    if ran.status != 0:
        raise FarmTrouble(
            f"the machine's file system does not grow to {size_gib} GiB",
            details=ran.tail(),
            resolution="Ask for less (machine: disk_gib), or for an image that is that large.",
        )


def enlarge_disk(machine: Machine, size_gib: int) -> None:
    """Give a machine that has not begun to run a disk of ``size_gib`` GiB, where it has a smaller one; raises
    QmpError. What is in it makes use of that, or does not."""
    drives = machine.qmp.execute("query-block")
    size_bytes = next(one["inserted"]["image"]["virtual-size"] for one in drives if one["device"] == "disk")
    if size_bytes < size_gib << 30:
        machine.qmp.execute("block_resize", {"device": "disk", "size": size_gib << 30})


def _execute(
    machine: Machine, command: str, arguments: Mapping[str, object], descriptors: tuple[int, ...] = ()
) -> None:
    try:
        machine.qmp.execute(command, dict(arguments), descriptors=descriptors)
    except QmpError as error:
        machine.check()
        raise FarmTrouble(f"qemu refuses {command}: {error}") from error
