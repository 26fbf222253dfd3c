"""Every commit gets its run, once: pushed or polled, one or several, across restarts and rewritten branches."""

import signal

from buildfarm.parts import stop_part
from buildfarm.verdict import Verdict
from tests.scenarios.running_farm import tiny_package

FAILS_AT_ONCE = {"debian/changelog": "no changelog: these commits are to end early\n"}


def test_a_push_begins_work_without_a_poll_in_git_and_bazaar(farm):
    farm.recipe("tiny", poll_interval_s=86400)
    farm.recipe("tinier", "bzr", poll_interval_s=86400)
    git, bzr = farm.trunk("tiny"), farm.trunk("tinier", "bzr")
    farm.up()
    for name, trunk in (("tiny", git), ("tinier", bzr)):
        revision = trunk.commit(tiny_package(name, **FAILS_AT_ONCE))
        assert farm.await_run(name, revision, 60).verdict is Verdict.FAIL


def test_several_commits_between_two_looks_are_several_runs_and_a_restart_repeats_none(farm):
    farm.recipe("tiny", poll_interval_s=5)
    trunk = farm.trunk("tiny", hook=False)
    first = trunk.commit(tiny_package(**FAILS_AT_ONCE))
    farm.up()
    farm.await_run("tiny", first, 60)
    farm.down()
    revisions = [trunk.commit({"tiny.sh": f"echo {number}\n"}, push=False) for number in range(3)]
    trunk.push()
    farm.up()
    runs = [farm.await_run("tiny", revision, 120) for revision in revisions]
    assert [run.run_id for run in runs] == ["tiny-2", "tiny-3", "tiny-4"]
    stop_part(farm.settings, "master", signal.SIGKILL)
    farm.up()
    last = trunk.commit({"tiny.sh": "echo last\n"})
    farm.await_run("tiny", last, 60)
    assert len(farm.history.recent_runs(100)) == 5


def test_a_rewritten_branch_is_built_and_marked_as_rewritten(farm):
    farm.recipe("tiny")
    trunk = farm.trunk("tiny")
    farm.up()
    kept = trunk.commit(tiny_package(**FAILS_AT_ONCE))
    farm.await_run("tiny", kept, 60)
    gone = trunk.commit({"tiny.sh": "echo to be rewritten\n"})
    farm.await_run("tiny", gone, 60)
    trunk.call("git", "reset", "--quiet", "--hard", kept)
    trunk.write({"tiny.sh": "echo rewritten\n"})
    trunk.call("git", "commit", "--quiet", "--all", "-m", "Rewrite")
    trunk.push("--force")
    run = farm.await_run("tiny", trunk.call("git", "rev-parse", "HEAD").strip(), 60)
    assert run.rewritten
    assert len(farm.history.recent_runs(100)) == 3


def test_a_recipe_with_a_typo_and_an_unreachable_trunk_stop_only_themselves(farm):
    farm.recipe("tiny")
    farm.recipe("nowhere")
    (farm.root / "recipes" / "typo.yaml").write_text("trunk: {vcs: git, locaton: ../trunks/x}\n")
    trunk = farm.trunk("tiny")
    started = farm.up()
    assert "typo.yaml:1:" in started.stderr
    assert "location" in started.stderr
    revision = trunk.commit(tiny_package(**FAILS_AT_ONCE))
    farm.await_run("tiny", revision, 60)
    status = farm.cli("status").stdout
    assert "trunk of nowhere cannot be looked at" in status


def test_reload_takes_up_a_new_recipe_and_keeps_what_runs(farm):
    farm.recipe("tiny", unittest={"command": ["sleep", "15"]})
    trunk = farm.trunk("tiny")
    farm.up()
    slow = trunk.commit(tiny_package(**FAILS_AT_ONCE))
    run = farm.await_run("tiny", slow, 60, ended=False)
    farm.await_stage(run, "unittest")
    farm.recipe("second")
    other = farm.trunk("second")
    assert "2 recipes in use" in farm.cli("reload").stdout
    assert (
        farm.await_run("second", other.commit(tiny_package("second", **FAILS_AT_ONCE)), 60).verdict is Verdict.FAIL
    )
    assert farm.stages(farm.await_run("tiny", slow))["unittest"][0] == "pass"
