"""The dispatcher after a kill between any two of its steps: every attempt ends with exactly one buildset."""

import os
import signal
import time

import pytest
import sqlalchemy as sa
from buildbot.process.results import RETRY

from buildfarm.history.schema import runs, tasks
from buildfarm.parts import living, stop_part
from buildfarm.verdict import Verdict
from tests.master.conftest import Web
from tests.scenarios.running_farm import make_farm, tiny_package

FAILS_AT_ONCE = {"debian/changelog": "no changelog: these commits are to end early\n"}


def buildsets(running, run):
    """The attempts' names of a run's source task that Buildbot has, one each buildset."""
    found = Web(running).get("api/v2/buildsets").json()["buildsets"]
    names = (one["external_idstring"].partition("|") for one in found)
    return sorted(rest for head, _, rest in names if head.partition("@")[0] == run.run_id)


def ended_run(running):
    running.recipe("tiny")
    trunk = running.trunk("tiny")
    running.up()
    return running.await_run("tiny", trunk.commit(tiny_package(**FAILS_AT_ONCE)), 120)


@pytest.mark.parametrize("killed", ["counted", "not settled"])
def test_an_attempt_cut_short_ends_with_one_buildset(farm, killed):
    run = ended_run(farm)
    history = farm.history
    stop_part(farm.settings, "master", signal.SIGKILL)
    if killed == "counted":
        # Counted, and the master was killed before it made the buildset.
        assert history.retry(run)
        task = history.tasks(run)[0]
        assert history.start_attempt(task).attempts == 2
        expected = ["source|||1", "source|||2"]
    else:
        # The buildset is made and complete; neither its number nor its end came into the history.
        forget_the_end(history, run)
        expected = ["source|||1"]
    farm.up()
    assert farm.await_run("tiny", run.revision, 60).verdict is Verdict.FAIL
    assert buildsets(farm, run) == expected
    assert farm.history.tasks(run)[0].attempts == len(expected)


def forget_the_end(history, run):
    with history._engine.begin() as connection:
        connection.execute(sa.update(runs).where(runs.c.id == run.id).values(verdict=None, ended_at=None))
        source = (tasks.c.run == run.id, tasks.c.grp == "source")
        connection.execute(sa.update(tasks).where(*source).values(state="submitted", verdict=None, buildset=None))
        rest = (tasks.c.run == run.id, tasks.c.grp != "source")
        connection.execute(sa.update(tasks).where(*rest).values(state="blocked", verdict=None))


def test_a_frozen_worker_is_noticed_and_what_it_ran_is_run_again(tmp_path, root_cache):
    running = make_farm(tmp_path, root_cache, silence_limit_s=6)
    try:
        running.recipe("tiny", unittest={"command": ["sleep", "5"]})
        trunk = running.trunk("tiny")
        running.up()
        revision = trunk.commit(tiny_package(**FAILS_AT_ONCE))
        run = running.await_run("tiny", revision, 120, ended=False)
        running.await_stage(run, "unittest")
        worker = living(running.settings, "worker-1")
        os.kill(worker.pid, signal.SIGSTOP)
        web = Web(running)
        await_connected(web, False)
        assert first_result(web) == RETRY
        assert "worker-1     was stopped, and goes on" in running.up().stdout
        ended = running.await_run("tiny", revision, 120)
        assert ended.verdict is Verdict.FAIL
        assert "unittest" in running.stages(run)
        assert running.stages(run)["unittest"][0] == "pass"
        assert living(running.settings, "worker-1") == worker
    finally:
        for part in ("master", "worker-1", "signer", "archive"):
            running.kill(part)


def first_result(web):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        result = web.get("api/v2/builds/1").json()["builds"][0]["results"]
        if result is not None:
            return result
        time.sleep(0.2)
    return None


def await_connected(web, connected):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        worker = web.get("api/v2/workers?name=worker-1").json()["workers"][0]
        if bool(worker["connected_to"]) is connected:
            return
        time.sleep(0.2)
    pytest.fail(f"worker-1 should be {'connected' if connected else 'gone'}: {worker}")


def test_open_runs_go_on_after_buildbots_own_database_was_lost(farm):
    run = ended_run(farm)
    farm.down()
    assert farm.history.retry(run)
    (farm.home / "master").rename(farm.home / "lost")
    farm.up()
    assert farm.await_run("tiny", run.revision, 60).verdict is Verdict.FAIL
    assert buildsets(farm, run) == ["source|||2"]
