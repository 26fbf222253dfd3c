"""Tests that want a machine of their own get one, with a real guest."""

from __future__ import annotations

import pytest

from buildfarm.verdict import Verdict
from tests.verify.conftest import Bench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

CONTROL = """\
Tests: plain

Tests: services
Restrictions: isolation-machine

Tests: breaks
Restrictions: breaks-testbed, needs-root

Tests: reboots
Restrictions: isolation-machine, needs-root, needs-reboot
"""


def test_each_test_runs_in_the_cheapest_place_that_does(bench: Bench) -> None:
    bench.publish(
        {
            "control": CONTROL,
            "plain": "#!/bin/sh\ntest ! -d /run/systemd/system\n",
            "services": "#!/bin/sh\nset -e\ntest -d /run/systemd/system\ntest $(id -un) = tester\ngreet\n",
            "breaks": "#!/bin/sh\nrm -rf /etc /var/lib/dpkg\n",
            "reboots": "#!/bin/sh\nset -e\ntest -d /etc\n"
            'case "$AUTOPKGTEST_REBOOT_MARK" in\n'
            '"") touch /var/lib/mark; /tmp/autopkgtest-reboot again ;;\n'
            "again) test -e /var/lib/mark; cat /proc/uptime ;;\nesac\n",
        }
    )

    result = bench.run()

    assert (result.verdict, result.reason) == (Verdict.PASS, "4 tests passed"), bench.log()
    assert {test["name"]: test["where"] for test in result.facts["tests"]} == {
        "plain": "overlay",
        "services": "machine",
        "breaks": "machine",
        "reboots": "machine",
    }


def test_a_test_that_panics_its_machine_fails(bench: Bench) -> None:
    bench.publish(
        {
            "control": "Tests: panics\nRestrictions: isolation-machine, needs-root\n",
            "panics": "#!/bin/sh\necho c > /proc/sysrq-trigger\nsleep 60\n",
        }
    )

    result = bench.run()

    assert (result.verdict, result.reason) == (
        Verdict.FAIL,
        "the tests ended their machine: its kernel panicked",
    ), bench.log()
