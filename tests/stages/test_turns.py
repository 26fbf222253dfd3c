"""A stage that is tried again never runs beside what is left of the attempt before."""

import subprocess
import sys
import textwrap
import time

import pytest

from buildfarm.errors import FarmTrouble
from buildfarm.stages.turns import turn

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from buildfarm.stages.turns import turn
with turn(Path(sys.argv[1]), "build"):
    child = subprocess.Popen(["sh", "-c", "while :; do date +%s%N > $1; sleep 0.05; done", "sh", sys.argv[2]])
    print(child.pid, flush=True)
    child.wait()
    Path(sys.argv[2] + ".acted").touch()
"""


def test_an_earlier_attempt_is_ended_with_all_it_started_before_the_next_begins(tmp_path):
    beat = tmp_path / "beat"
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), tmp_path, beat], stdout=subprocess.PIPE, text=True
    )
    holder.stdout.readline()
    with turn(tmp_path, "build"):
        holder.wait(10)
        last = beat.read_text()
        time.sleep(0.3)
        assert beat.read_text() == last
    assert not (tmp_path / "beat.acted").exists()


def test_other_stages_of_the_workspace_are_left_alone(tmp_path):
    with turn(tmp_path, "build-bookworm-amd64"), turn(tmp_path, "build-trixie-amd64"):
        pass


def test_a_stage_is_never_its_own_earlier_attempt(tmp_path):
    with turn(tmp_path, "build"), pytest.raises(FarmTrouble, match="does not end"), turn(tmp_path, "build", 0.2):
        pass
