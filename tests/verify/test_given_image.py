"""The boot stage on an image that somebody else made: the same checks, in a machine that cloud-init has set up."""

from __future__ import annotations

import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from buildfarm.build.bootstrap import native_architecture
from buildfarm.job import BootJob, Branch, Job, MachineRules
from buildfarm.settings import ImageSettings
from buildfarm.stages.runner import run_stage
from buildfarm.verdict import Verdict
from tests.archive.conftest import PPA
from tests.verify.conftest import Bench
from tests.vm.cloud_images import make_cloud_image, missing_tools

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(native_architecture() != "amd64", reason="an image with a PC's boot loaders"),
    pytest.mark.skipif(bool(missing_tools()), reason=f"not installed: {', '.join(missing_tools())}"),
]


def test_a_package_is_installed_tested_and_removed_in_a_cloud_image(bench: Bench, root_cache: Path) -> None:
    disk = make_cloud_image(bench.series, root_cache, sys.__stderr__.buffer)
    theirs = ImageSettings(str(disk), sha256(disk.read_bytes()).hexdigest(), bench.series, bench.architecture)
    bench.settings = replace(bench.settings, vm=replace(bench.settings.vm, images={"theirs": theirs}))
    bench.publish(None, version="1.1")
    job = Job(
        run_id="greet-1",
        recipe="greet",
        trunk=Branch("git", "/nowhere"),
        revision="0" * 40,
        archive=str(PPA),
        series=(bench.series,),
        architectures=(bench.architecture,),
        machine=MachineRules(memory_mib=768, image="theirs"),
        boot=BootJob(upgrade=False, purge=True, commands=(("greet",),)),
    )
    bench.workspace.write_job(job)

    result = run_stage(
        "boot", bench.workspace, bench.settings, series=bench.series, architecture=bench.architecture
    )

    said = (bench.workspace.directory("boot", bench.target) / "log").read_text(errors="replace")
    assert result.verdict is Verdict.PASS, said
    assert list(result.facts["phases"]) == ["booted", "installed", "tested"]
    assert {check["name"]: check["verdict"] for check in result.facts["checks"]} == {
        "install": "pass",
        "state": "pass",
        "greet": "pass",
        "state after the tests": "pass",
        "purge": "pass",
    }
