"""The founding case with real machines: a builder makes an image, and that boots in a machine inside a machine.

The builder is a package around mmdebstrap. What it makes is small (busybox, and the kernel of the machine where it
is made), because everything here is emulated twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from buildfarm.job import Branch, FirstbootJob, Job, MachineRules
from buildfarm.stages.runner import run_stage
from buildfarm.verdict import StageResult, Verdict
from tests.archive.conftest import PPA
from tests.verify.conftest import Bench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

IMAGER = r"""set -eu
# imager SERIES MIRRORS FIRSTBOOT IMAGE KERNEL INITRD: a disk image that boots, and runs FIRSTBOOT once.
work=$(mktemp -d) root=$work/root early=$work/early
mmdebstrap --mode=root --variant=extract --include=busybox-static "$1" "$root" - <"$2"
mkdir -p "$root/proc" "$root/dev" "$root/sbin"
install -m 755 "$3" "$root/firstboot"
cat >"$root/sbin/init" <<'INIT'
#!/bin/busybox sh
export PATH=/bin:/sbin
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
[ -e /firstboot-ran ] || { : >/firstboot-ran; sh /firstboot; }
exec poweroff -f
INIT
mkdir -p "$early/bin" "$early/dev" "$early/root" "$early/modules"
cp "$root/bin/busybox" "$early/bin"
for driver in virtio_pci virtio_blk virtio_net; do modprobe --show-depends "$driver"; done |
    awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$work/drivers"
xargs cp --target-directory="$early/modules" <"$work/drivers"
sed 's,.*/,,' "$work/drivers" >"$early/modules/order"
cat >"$early/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
while read -r driver; do /bin/busybox insmod "/modules/$driver"; done </modules/order
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox umount /dev
exec /bin/busybox switch_root /root /sbin/init
INIT
chmod 755 "$root/sbin/init" "$early/init"
(cd "$early" && find . | cpio --quiet -o -H newc) >"$6"
cp "/boot/vmlinuz-$(uname -r)" "$5"
mke2fs -q -t ext4 -d "$root" "$4" 16M
"""
MAKE = """#!/bin/sh
set -eu
. /etc/os-release
imager "$VERSION_CODENAME" "$BUILDFARM_MIRRORS" "$BUILDFARM_FIRSTBOOT" "$BUILDFARM_IMAGE" "$BUILDFARM_KERNEL" \\
    "$BUILDFARM_INITRD"
echo console=ttyS0 quiet panic=-1 mitigations=off no_timer_check tsc=reliable pti=off >"$BUILDFARM_APPEND"
"""


def firstboot(bench: Bench, make: str, **rules: Any) -> StageResult:
    """Run the stage with ``make`` as the recipe's script."""
    script = bench.workspace.tree / "debian/make-image"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(make)
    bench.workspace.write_job(
        Job(
            run_id="imager-1",
            recipe="imager",
            trunk=Branch("git", "/nowhere"),
            revision="0" * 40,
            archive=str(PPA),
            series=(bench.series,),
            architectures=(bench.architecture,),
            machine=MachineRules(memory_mib=1024, cpus=2, disk_gib=10),
            firstboot=FirstbootJob("debian/make-image", **{"memory_mib": 128, "timeout_s": 3000, **rules}),
        )
    )
    return run_stage(
        "firstboot", bench.workspace, bench.settings, series=bench.series, architecture=bench.architecture
    )


def out(bench: Bench) -> Path:
    return bench.workspace.directory("firstboot", bench.target)


def log(bench: Bench) -> str:
    return (out(bench) / "log").read_text(errors="replace")


def test_the_image_of_a_fresh_builder_boots_and_calls_home(bench: Bench) -> None:
    bench.publish(None, name="imager", depends="mmdebstrap, cpio, e2fsprogs", script=IMAGER)
    result = firstboot(bench, MAKE)
    assert result.verdict is Verdict.PASS, log(bench)
    assert list(result.facts["phases"]) == ["booted", "installed", "made", "called"]
    assert result.facts["note"].startswith("Linux ")
    assert result.facts["refused_calls"] == []
    console = (out(bench) / "console-image.log").read_text()
    assert "this machine has booted" in console
    assert any(ref.path.endswith("console-image.log") for ref in result.outputs)


# A kernel, and a RAM disk that does what the image is to do, without a builder that takes its time.
QUICK = r"""#!/bin/sh
set -eu
greet
mkdir -p early/bin early/dev early/proc early/modules
cp "$(command -v busybox)" early/bin
for driver in virtio_pci virtio_net; do modprobe --show-depends "$driver"; done |
    awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >drivers
xargs cp --target-directory=early/modules <drivers
sed 's,.*/,,' drivers >early/modules/order
{
    echo '#!/bin/busybox sh
    export PATH=/bin
    /bin/busybox mount -t proc proc /proc
    /bin/busybox mount -t devtmpfs dev /dev
    /bin/busybox --install -s /bin
    while read -r driver; do insmod "/modules/$driver"; done </modules/order'
    INSTEAD <"$BUILDFARM_FIRSTBOOT"
} >early/init
chmod 755 early/init
(cd early && find . | cpio --quiet -o -H newc) >"$BUILDFARM_INITRD"
cp "/boot/vmlinuz-$(uname -r)" "$BUILDFARM_KERNEL"
echo console=ttyS0 quiet panic=-1 mitigations=off no_timer_check tsc=reliable pti=off >"$BUILDFARM_APPEND"
truncate -s 1M "$BUILDFARM_IMAGE"
"""


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        ("greet; echo cannot >&2; exit 7", "no image: debian/make-image exited 7"),
        ("greet", "debian/make-image left no image"),
        ('ln -s /dev/zero "$BUILDFARM_IMAGE"', "debian/make-image left no image"),
        ("sleep 1000", "debian/make-image was stopped: no image after 10 s (build_timeout_s)"),
        (
            'truncate -s 1M "$BUILDFARM_IMAGE"; bash "$BUILDFARM_FIRSTBOOT"',
            "something called home before the image was booted",
        ),
        ("echo b >/proc/sysrq-trigger; sleep 60", "the machine that makes the image ended: it rebooted"),
    ],
)
def test_a_builder_that_makes_no_image_fails_and_says_why(bench: Bench, make: str, reason: str) -> None:
    bench.publish(None)
    result = firstboot(bench, f"#!/bin/sh\n{make}\n", build_timeout_s=10 if "stopped" in reason else 300)
    assert (result.verdict, result.reason) == (Verdict.FAIL, reason), log(bench)


def test_an_image_that_does_not_boot_in_time_fails_with_how_far_it_came(bench: Bench) -> None:
    bench.publish(None)
    result = firstboot(bench, '#!/bin/sh\ntruncate -s 1M "$BUILDFARM_IMAGE"\n', timeout_s=100)
    assert result.verdict is Verdict.FAIL, log(bench)
    assert result.reason.startswith("the image did not boot: no call within ")
    assert result.reason.endswith("(timeout_s), after the firmware")
    assert result.facts["how_far"] == "the firmware"


@pytest.mark.parametrize(
    ("instead", "begins"),
    [
        (
            "sed 's/^token=.*/token=guessed/'",
            "the image called, and was refused: booted: not this machine's token",
        ),
        ("echo 'exit 1'", "the image did not boot: its machine ended after "),
    ],
)
def test_an_image_that_boots_and_does_not_say_so_rightly_fails(bench: Bench, instead: str, begins: str) -> None:
    bench.publish(None, depends="busybox-static, cpio")
    result = firstboot(bench, QUICK.replace("INSTEAD", instead))
    assert result.verdict is Verdict.FAIL, log(bench)
    assert result.reason.startswith(begins)
