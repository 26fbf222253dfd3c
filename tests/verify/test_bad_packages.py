"""Packages that harm the machine they are installed in: each is told for what it did, and leaves nothing."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

from buildfarm.verdict import StageResult, Verdict
from buildfarm.vm.callbacks import PHASES
from buildfarm.vm.console import RECORD_LIMIT_BYTES
from buildfarm.vm.gateway import CONNECTIONS, WAITING_CONNECTIONS
from tests.archive.conftest import server, signer
from tests.verify.conftest import bench
from tests.verify.yard import Yard, yard

__all__ = ["bench", "server", "signer", "yard"]

JUST_REFUSED = 64  # connections whose process has not seen yet that they were refused
UNIT = "[Service]\nType=oneshot\nExecStart=/bin/false\n"
# Takes the place of the agent that a call is made with. $1 is "call", $2 the phase; the token comes on its input.
WRAPPER = """
mv /usr/lib/buildfarm/agent /usr/lib/buildfarm/real
cat >/usr/lib/buildfarm/agent <<'EOF'
#!/bin/bash
read -r token
%s
EOF
chmod 755 /usr/lib/buildfarm/agent
"""
AGAIN = 'for _ in 1 2; do printf "%s\\n" "$token" | /usr/lib/buildfarm/real call "$2"; done'
EARLY = 'for phase in tested "$2"; do printf "%s\\n" "$token" | /usr/lib/buildfarm/real call "$phase"; done'
POST = (
    "{ printf 'POST /firstboot/installed HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: Bearer %s\\r\\n%s"
    'Content-Length: 0\\r\\n\\r\\n\' "$token" "$more" >&9; cat <&9; }'
)


def bash(script: str) -> str:
    """A postinst's line that runs a bash script."""
    return f"bash <<'SCRIPT'\n{script}\nSCRIPT"


def checks(result: StageResult) -> dict[str, str]:
    return {check["name"]: check["verdict"] for check in result.facts["checks"]}


def fails(yard: Yard, postinst: str, reason: str, **rules: Any) -> StageResult:
    """The package is told to be at fault, for this reason (a regular expression)."""
    yard.publish(postinst)
    result = yard.boot(**rules)
    assert result.verdict is Verdict.FAIL, yard.log()
    assert re.search(reason, told(result)), result.reason
    return result


def told(result: StageResult) -> str:
    """The reason without how far the machine came, which every one ends with."""
    reason, _, phase = result.reason.partition("; the machine had called ")
    assert phase in PHASES
    return reason


# What it does when it is installed


def test_a_postinst_that_fails_is_named(yard: Yard) -> None:
    result = fails(
        yard, "echo cannot >&2\nexit 1", r"^install: greet cannot be installed: .*post-installation.*1$"
    )
    assert "cannot" in result.details


def test_a_postinst_that_panics_the_kernel_is_told_from_one_that_reboots(yard: Yard) -> None:
    result = fails(yard, "echo c >/proc/sysrq-trigger", "^install: the machine ended: its kernel panicked$")
    assert "sysrq triggered crash" in result.details.lower()


@pytest.mark.slow
@pytest.mark.parametrize(
    "postinst", ["systemctl reboot; sleep 60", "reboot -f", "echo b >/proc/sysrq-trigger; sleep 60"]
)
def test_a_postinst_that_reboots_is_caught(yard: Yard, postinst: str) -> None:
    fails(yard, postinst, "^install: the machine ended: it rebooted$")


@pytest.mark.slow
@pytest.mark.parametrize("postinst", ["systemctl poweroff; sleep 60", "poweroff -f"])
def test_a_postinst_that_powers_off_is_caught(yard: Yard, postinst: str) -> None:
    fails(yard, postinst, "^install: the machine ended: it shut down$")


@pytest.mark.slow
def test_a_postinst_that_hangs_is_ended_at_its_limit(yard: Yard) -> None:
    result = fails(
        yard,
        "echo waiting for what never comes; trap '' TERM; sleep infinity",
        r"^install: not installed after \d+ s \(install_timeout_s 40\)$",
        install_timeout_s=40,
    )
    assert "waiting for what never comes" in result.details


@pytest.mark.slow
def test_a_postinst_that_fills_the_disk_is_told_so(yard: Yard) -> None:
    fill = 'fallocate -l "$(df --output=avail -B1 / | tail -n1)" /filler || true; head -c 99M /dev/urandom >/more'
    fails(yard, fill, "^install: greet cannot be installed: the machine's disk is full$")


@pytest.mark.slow
def test_output_without_end_ends_the_machine(yard: Yard) -> None:
    fails(yard, "exec yes", "^install: the machine ended: it printed more than is kept$")
    assert (yard.out / "log").stat().st_size < 20 << 20


@pytest.mark.slow
def test_eating_all_memory_kills_the_postinst_and_not_the_agent(yard: Yard) -> None:
    eat = "perl -e 'my @eaten; push @eaten, \"x\" x 9999999 while 1'"
    result = fails(yard, eat, r"^install: greet cannot be installed: .*post-installation")
    assert "the console said: " in result.details
    assert "Out of memory: Killed process" in result.details


@pytest.mark.slow
def test_forking_without_end_is_bounded(yard: Yard) -> None:
    yard.publish(bash("bomb() { bomb | bomb & }; bomb"))
    result = yard.boot(install_timeout_s=30)
    # A host that is busy itself cannot tell whose time it was.
    assert result.verdict is Verdict.FAIL or "for a processor of the host's" in result.reason, yard.log()


@pytest.mark.slow
@pytest.mark.parametrize(
    "postinst",
    [
        'kill -9 "$(systemctl show -P MainPID buildfarm-firstboot.service)"; sleep 60',
        "systemctl stop buildfarm-firstboot.service; sleep 90",
    ],
)
def test_a_postinst_that_ends_the_agent_is_told_so(yard: Yard, postinst: str) -> None:
    fails(
        yard, postinst, "^install: the machine ended: its agent, which runs what the farm asks for, was stopped$"
    )


# What it says to the farm


def test_a_call_with_a_token_of_anothers_is_refused_and_told(yard: Yard) -> None:
    post = f"exec 9<>/dev/tcp/10.0.2.100/80; token=somebody-elses more=$'X-Buildfarm-Machine: m2\\r\\n'; {POST}"
    result = fails(
        yard,
        bash(post),
        r"^callbacks: 1 call refused: installed: not this machine's token for this phase \(403\)$",
    )
    assert checks(result) == {"install": "pass", "state": "pass", "callbacks": "fail"}
    assert result.facts["refused_calls"] == ["installed: not this machine's token for this phase (403)"]


@pytest.mark.slow
def test_a_call_that_is_made_twice_counts_once(yard: Yard) -> None:
    result = fails(
        yard, WRAPPER % AGAIN, r"^callbacks: 2 calls refused: installed: installed was called already \(409\)"
    )
    assert list(result.facts["phases"]) == ["booted", "installed", "tested"]


@pytest.mark.slow
def test_a_call_out_of_order_is_refused(yard: Yard) -> None:
    fails(
        yard,
        WRAPPER % EARLY,
        r"^callbacks: 2 calls refused: tested: not this machine's token for this phase \(403\)",
    )


@pytest.mark.slow
def test_an_agent_that_was_replaced_by_one_that_says_nothing_is_told(yard: Yard) -> None:
    fails(yard, WRAPPER % "exit 0", "^call installed: the machine did not call installed$")


@pytest.mark.slow
def test_a_flood_of_calls_costs_the_machine_time_and_the_farm_nothing(yard: Yard) -> None:
    flood = (
        "while [ $SECONDS -lt 20 ]; do exec 9<>/dev/tcp/10.0.2.100/80; token=wrong-$SECONDS more=; "
        f"{POST.replace('cat <&9', 'read -r _ <&9')}; exec 9>&-; done"
    )
    result = fails(yard, bash(flood), r"^callbacks: \d+ calls refused: installed: not this machine's")
    assert int(result.reason.split()[1]) > 30
    assert len(result.facts["refused_calls"]) == 10


@pytest.mark.slow
def test_connections_that_are_held_open_are_bounded(yard: Yard) -> None:
    hold = "ulimit -n 4096; for n in {1..1000}; do exec {fd}<>/dev/tcp/10.0.2.100/80; done; sleep 5"
    yard.publish(bash(hold))
    most, over = [0], threading.Event()

    def count() -> None:
        while not over.wait(0.1):
            most.append(sum(words.startswith("nc ") for words in yard.processes().values()))

    counter = threading.Thread(target=count)
    counter.start()
    result = yard.boot()
    over.set()
    counter.join()
    assert result.verdict is Verdict.PASS, yard.log()
    assert 20 < max(most) <= CONNECTIONS + WAITING_CONNECTIONS + JUST_REFUSED


@pytest.mark.slow
def test_a_flood_of_the_console_is_recorded_in_part(yard: Yard) -> None:
    flood = (
        "timeout 15 sh -c 'while :; do cat /var/lib/dpkg/status; done' >/dev/console || true\n"
        'echo on >/proc/sys/kernel/printk_devkmsg; for n in $(seq 2000); do echo "<0>flood $n"; done >/dev/kmsg'
    )
    yard.publish(flood)
    result = yard.boot()
    assert result.verdict is Verdict.PASS, yard.log()
    assert 100_000 < (yard.out / "console-install.log").stat().st_size <= RECORD_LIMIT_BYTES + 100


@pytest.mark.slow
@pytest.mark.parametrize("when", ["2037-01-01", "2001-01-01"])
def test_a_clock_that_was_set_is_told(yard: Yard, when: str) -> None:
    fails(yard, f"date --set {when}", r"^state: the machine's clock was set: it is off by \d+ s$")


# What it leaves


@pytest.mark.slow
def test_a_daemon_that_goes_on_printing_is_not_read_as_what_follows(yard: Yard) -> None:
    daemon = "(trap '' PIPE; while :; do echo '== end'; echo '== versions'; sleep 0.02; done) & "
    yard.publish(f'setsid sh -c "{daemon}"')
    result = yard.boot(commands=(("greet",),), services=("buildfarm-firstboot.service",))
    assert result.verdict is Verdict.PASS, yard.log()


@pytest.mark.slow
def test_a_unit_that_fails_is_named_with_its_journal(yard: Yard) -> None:
    unit = (
        f"printf '{UNIT}' >/etc/systemd/system/bad.service; systemctl daemon-reload; systemctl start bad || true"
    )
    result = fails(yard, unit, r"^state: units failed: bad\.service$")
    assert "status=1/FAILURE" in result.details


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), [("SEGV", 11), ("ABRT", 6)])
def test_a_process_that_dumped_core_is_named(yard: Yard, name: str, number: int) -> None:
    fails(yard, f"sh -c 'kill -{name} $$' || true", rf"^state: a process dumped core: sh .* signal {number}$")


@pytest.mark.slow
def test_a_service_that_is_not_up_is_named(yard: Yard) -> None:
    fails(yard, "", r"^state: nothing\.service is inactive$", services=("nothing.service",))


@pytest.mark.slow
def test_a_file_that_stays_after_the_purge_is_named(yard: Yard) -> None:
    leave = "echo kept >/etc/greet.conf; mkdir -p /var/lib/greet; echo kept >/var/lib/greet/state"
    result = fails(yard, leave, r"^purge: the purge leaves 2 files: /", purge=True)
    assert "/etc/greet.conf" in result.details
    assert "/var/lib/greet/state" in result.details


# What apt cannot do with it


@pytest.mark.slow
def test_a_dependency_that_does_not_exist_is_named(yard: Yard) -> None:
    yard.publish(depends="no-such-package (>= 2)")
    result = yard.boot()
    assert result.verdict is Verdict.FAIL, yard.log()
    assert told(result) == (
        "install: greet cannot be installed: unmet dependencies: greet wants no-such-package (>= 2) "
        "but it is not installable"
    )


@pytest.mark.slow
def test_a_file_of_another_package_is_named(yard: Yard) -> None:
    yard.publish(name="tput")
    result = yard.boot()
    assert result.verdict is Verdict.FAIL, yard.log()
    assert told(result) == (
        "install: tput cannot be installed: it would overwrite /usr/bin/tput, which is also in ncurses-bin"
    )


@pytest.mark.slow
def test_a_version_that_the_distribution_surpasses_is_told_with_what_to_do(yard: Yard) -> None:
    yard.publish(name="hello", version="1.0")
    result = yard.boot()
    assert result.verdict is Verdict.FAIL, yard.log()
    assert re.fullmatch(r"install: hello \S+ was installed, not 1\.0", told(result))
    assert "which apt prefers" in result.details
