"""What people are told to do about a stage that did not pass."""

import dataclasses
from pathlib import Path

import pytest

from buildfarm.history.explain import explain
from buildfarm.history.store import Run
from buildfarm.job import Branch, Job
from buildfarm.settings import load_settings
from buildfarm.verdict import StageResult, Verdict

TRUNK = Branch("git", "/x", "main")
JOB = Job("hello-1", "hello", TRUNK, "f" * 40, "local:o/n", ("jammy", "jammy-x"), ("amd64", "musl-linux-amd64"))
RUN = Run(1, "hello-1", "hello", "f" * 40, 7, "A", "Change", 1.0, 1.0, False, JOB, None, None, None)


@pytest.mark.parametrize(
    ("stage", "target", "command"),
    [
        ("unittest", "", f"buildfarm run hello --revision {'f' * 40} --until unittest"),
        ("build", "jammy-amd64", f"buildfarm run hello --revision {'f' * 40} --until build"),
        (
            "boot",
            "jammy-x-amd64",
            "buildfarm stage boot --workspace var/runs/hello-1 --series jammy-x --architecture amd64",
        ),
        (
            "suite",
            "jammy-musl-linux-amd64",
            "buildfarm stage suite --workspace var/runs/hello-1 --series jammy --architecture musl-linux-amd64",
        ),
        ("promote", "jammy-x", "buildfarm stage promote --workspace var/runs/hello-1 --series jammy-x"),
    ],
)
def test_a_failure_names_the_command_that_does_it_again(tmp_path, stage, target, command):
    result = StageResult(stage, target, Verdict.FAIL, "no", 1.0, 2.0)
    told = explain(RUN, result, load_settings(tmp_path, environ={}))
    assert f"    {command}\n" in told


def test_a_farm_with_a_home_of_its_own_names_it(tmp_path):
    settings = dataclasses.replace(load_settings(tmp_path, environ={}), home=Path("/srv/farm"))
    told = explain(RUN, StageResult("boot", "jammy-amd64", Verdict.FAIL, "no", 1.0, 2.0), settings)
    assert "buildfarm --home /srv/farm stage boot --workspace /srv/farm/runs/hello-1 --series jammy" in told
