"""The suite stage in real machines: provisioned, tested, their results read and their logs brought home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from buildfarm.job import Branch, Job, MachineRules, SuiteJob
from buildfarm.stages.runner import run_stage
from buildfarm.verdict import StageResult, Verdict
from tests.archive.conftest import PPA
from tests.verify.conftest import Bench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

JUNIT = (
    '<testsuite><testcase classname="greet" name="says"/>'
    '<testcase classname="greet" name="sings">{}</testcase></testsuite>'
)


def suite(bench: Bench, files: dict[str, str], machine: dict[str, Any] | None = None, **rules: Any) -> StageResult:
    """Run the stage with these files in the trunk's tree."""
    tree = bench.workspace.tree
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    job = Job(
        run_id="greet-1",
        recipe="greet",
        trunk=Branch("git", "/nowhere"),
        revision="0" * 40,
        archive=str(PPA),
        series=(bench.series,),
        architectures=(bench.architecture,),
        machine=MachineRules(**(machine or {})),
        suite=SuiteJob(**({"script": "tests/run"} | rules)),
    )
    bench.workspace.write_job(job)
    return run_stage(
        "suite", bench.workspace, bench.settings, series=bench.series, architecture=bench.architecture
    )


def out(bench: Bench) -> Path:
    return bench.workspace.directory("suite", bench.target)


def log(bench: Bench) -> str:
    return (out(bench) / "log").read_text(errors="replace")


def test_a_suite_is_provisioned_and_run_and_its_results_and_logs_come_home(bench: Bench) -> None:
    bench.publish(None)
    result = suite(
        bench,
        {
            "tests/provision": "#!/bin/sh\nset -e\ntest $BUILDFARM_MACHINE = 1\nmkdir -p /srv/greet/logs/deep\n"
            "cp tests/data /srv/greet/logs/deep/data\n"
            "ln -s /etc/shadow /srv/greet/logs/secret\nmkfifo /srv/greet/logs/pipe\n"
            "truncate -s 1G /srv/greet/logs/huge\n",
            "tests/data": "from the tree\n",
            "tests/run": "#!/bin/sh\nset -e\ngreet\ntest $(df --output=size -BG / | tr -dc 0-9) -ge 11\n"
            f"echo '{JUNIT.format('')}' >/srv/greet/results.xml\nlogger suite was here\n",
        },
        machine={"disk_gib": 12},
        provision="tests/provision",
        results=("/srv/greet/results.xml",),
        logs=("/srv/greet/logs", "/srv/nowhere"),
    )
    assert (result.verdict, result.reason) == (Verdict.PASS, "2 tests passed"), log(bench)
    assert list(result.facts["phases"]) == ["booted", "installed", "provisioned", "done"]
    assert (result.facts["tests"], result.facts["failed"], result.facts["exit_status"]) == (2, 0, 0)
    home = out(bench) / "logs/machine-1"
    assert sorted(str(path.relative_to(home)) for path in home.rglob("*") if not path.is_dir()) == [
        "journal.log",
        "srv/greet/logs/deep/data",
    ]
    assert (home / "srv/greet/logs/deep/data").read_text() == "from the tree\n"
    assert "suite was here" in (home / "journal.log").read_text()
    assert "too large to be brought home: /srv/greet/logs/huge" in log(bench)
    assert "not there: /srv/nowhere" in log(bench)
    assert any(ref.path.endswith("deep/data") for ref in result.outputs)


def test_a_failed_test_is_named(bench: Bench) -> None:
    bench.publish(None)
    failure = JUNIT.format('<failure message="out of tune"/>')
    result = suite(
        bench,
        {"tests/run": f"#!/bin/sh\necho '{failure}' >/root/r.xml\necho kept >/root/kept\nexit 1\n"},
        results=("/root/r.xml",),
        logs=("/root/kept",),
    )
    assert (result.verdict, result.reason) == (Verdict.FAIL, "1 of 2 tests failed: greet.sings: out of tune")
    assert result.facts["failures"] == [{"name": "greet.sings", "message": "out of tune"}]
    assert (out(bench) / "logs/machine-1/root/kept").read_text() == "kept\n"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo no greeting; exit 3", "tests/run exited 3: no greeting"),
        ("echo begun; sleep 1000", "tests/run was stopped: not done after 60 s (timeout_s)"),
        ("echo c >/proc/sysrq-trigger; sleep 60", "machine-1: its kernel panicked while running the suite"),
        ("reboot; sleep 60", "machine-1: it rebooted while running the suite"),
    ],
)
def test_a_suite_that_does_not_end_well_fails_and_says_why(bench: Bench, script: str, reason: str) -> None:
    bench.publish(None)
    result = suite(
        bench,
        {"tests/run": f"#!/bin/sh\n{script}\n"},
        results=("/root/r.xml",),
        timeout_s=60 if "stopped" in reason else 600,
    )
    assert (result.verdict, result.reason) == (Verdict.FAIL, reason), log(bench)


def test_machines_of_a_suite_reach_each_other_and_nothing_else(bench: Bench) -> None:
    bench.publish(None)
    result = suite(
        bench,
        {
            "tests/provision": """#!/bin/bash
set -e
test "$(hostname)" = machine-$BUILDFARM_MACHINE
ip -brief address | grep " $BUILDFARM_ADDRESS/24"
[ $BUILDFARM_MACHINE = 2 ] || exit 0
# Answers one caller with what the package says.
systemd-run --unit=answer perl -MIO::Socket::INET -e '
    my $s = IO::Socket::INET->new(LocalAddr => "0.0.0.0:4000", Listen => 5, ReuseAddr => 1) or die;
    while (my $c = $s->accept) { print $c `greet`, "from ", $c->peerhost, "\\n"; close $c }'
""",
            "tests/run": """#!/bin/bash
set -e
test "$BUILDFARM_PEERS" = 192.168.77.2
for try in $(seq 60); do
    { exec 3<>/dev/tcp/machine-2/4000; } 2>/dev/null && break
    sleep 1
done
cat <&3
! timeout 5 bash -c '</dev/tcp/10.0.2.2/80'
""",
        },
        provision="tests/provision",
        machines=2,
        logs=("/etc/hostname",),
    )
    assert (result.verdict, result.reason) == (Verdict.PASS, "tests/run passed on 2 machines"), log(bench)
    assert "hello\nfrom 192.168.77.1\n" in log(bench)
    logs = out(bench) / "logs"
    assert [(logs / f"machine-{n}/etc/hostname").read_text().strip() for n in (1, 2)] == ["machine-1", "machine-2"]


def test_provisioning_that_fails_on_one_of_the_machines_says_on_which(bench: Bench) -> None:
    bench.publish(None)
    result = suite(
        bench,
        {
            "tests/provision": "echo is $BUILDFARM_MACHINE; exit $((BUILDFARM_MACHINE - 1))\n",
            "tests/run": "true\n",
        },
        provision="tests/provision",
        machines=2,
    )
    assert (result.verdict, result.reason) == (Verdict.FAIL, "tests/provision exited 1 on machine-2"), log(bench)
    assert "is 1\n" in log(bench)


def test_more_machines_than_there_is_memory_is_the_farms_trouble(bench: Bench) -> None:
    bench.publish(None)
    result = suite(bench, {"tests/run": "true\n"}, {"memory_mib": 65536}, machines=2)
    assert result.verdict is Verdict.ERROR
    assert "2 machines of 65536 MiB are more than machines may have here" in result.reason


def test_a_script_that_is_not_in_the_tree_is_told(bench: Bench) -> None:
    bench.publish(None)
    result = suite(bench, {"tests/other": ""})
    assert (result.verdict, result.reason) == (Verdict.FAIL, "tests/run is no file in the tree")
