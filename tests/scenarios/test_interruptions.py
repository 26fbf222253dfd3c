"""kill -9 of any part at any moment: each commit ends with one publication, none lost, none twice."""

import random
import time

import pytest

from buildfarm.verdict import Verdict
from tests.scenarios.running_farm import UNITTEST, tiny_package


def commits_survive_kills(farm, count, kills, seed):
    farm.recipe("tiny", unittest=UNITTEST)
    farm.recipe("tinier", "bzr")
    git, bzr = farm.trunk("tiny"), farm.trunk("tinier", "bzr")
    farm.up()
    chance = random.Random(seed)
    commits = []
    for number in range(count):
        files = {"tiny.sh": f"#!/bin/sh\necho {number}\n"}
        commits.append(("tiny", git.commit(tiny_package("tiny", **files))))
        commits.append(("tinier", bzr.commit(tiny_package("tinier", **files))))
    for _ in range(kills):
        time.sleep(chance.uniform(0.2, 8.0))
        farm.kill(chance.choice(["master", "worker-1", "signer", "archive"]))
        farm.up()
    runs = [farm.await_run(*commit) for commit in commits]
    assert [run.verdict for run in runs] == [Verdict.PASS] * len(runs), [farm.stages(run) for run in runs]
    for name in ("tiny", "tinier"):
        published = farm.publications(source=name)["publications"]
        versions = [one["version"] for one in published]
        assert len(versions) == len(set(versions)) == count, versions
        assert [one["status"] for one in published].count("Published") == 1


def test_commits_in_flight_survive_kills_of_master_and_workers(farm):
    commits_survive_kills(farm, count=2, kills=4, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
@pytest.mark.timeout(1800)
def test_commits_in_flight_survive_many_kills(farm, seed):
    commits_survive_kills(farm, count=3, kills=10, seed=seed)
