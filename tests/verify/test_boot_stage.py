"""The boot stage on real machines: what installs and works passes, all else is told apart and told why."""

from __future__ import annotations

from typing import Any

from buildfarm.job import AutopkgtestJob, BootJob, Branch, Job, MachineRules
from buildfarm.stages.runner import run_stage
from buildfarm.verdict import StageResult, Verdict
from tests.archive.conftest import PPA
from tests.verify.conftest import Bench


def boot(bench: Bench, machine: dict[str, Any] | None = None, **rules: Any) -> StageResult:
    """Run the stage; the upgrade is left out unless asked for."""
    job = Job(
        run_id="greet-1",
        recipe="greet",
        trunk=Branch("git", "/nowhere"),
        revision="0" * 40,
        archive=str(PPA),
        series=(bench.series,),
        architectures=(bench.architecture,),
        machine=MachineRules(**(machine or {})),
        boot=BootJob(**({"upgrade": False, "purge": False} | rules)),
        autopkgtest=AutopkgtestJob(),
    )
    bench.workspace.write_job(job)
    return run_stage("boot", bench.workspace, bench.settings, series=bench.series, architecture=bench.architecture)


def log(bench: Bench) -> str:
    return (bench.workspace.directory("boot", bench.target) / "log").read_text(errors="replace")


def checks(result: StageResult) -> dict[str, str]:
    return {check["name"]: check["verdict"] for check in result.facts["checks"]}


def test_a_package_is_installed_tested_and_removed_in_a_machine_that_was_asleep(bench: Bench) -> None:
    bench.publish(None, version="1.0")
    bench.publish(None, version="1.1")
    result = boot(bench, upgrade=True, purge=True, commands=(("greet",),))
    assert result.verdict is Verdict.PASS, log(bench)
    assert list(result.facts["phases"]) == ["booted", "installed", "tested"]
    assert checks(result) == {
        "install": "pass",
        "state": "pass",
        "greet": "pass",
        "state after the tests": "pass",
        "purge": "pass",
        "upgrade from 1.0": "pass",
        "upgrade from the distribution": "skipped",
    }
    assert "hello" in log(bench)
