"""Starting, stopping and reloading: at any moment, twice at once, with trouble in the way."""

import socket
import subprocess
import sys
import threading

from buildfarm.farm import open_farm
from buildfarm.history import NewRun, open_history
from buildfarm.job import Branch, Job
from buildfarm.master.housekeeping import remove_old_runs
from buildfarm.parts import living, part_names
from buildfarm.settings import load_settings
from buildfarm.verdict import Verdict
from tests.scenarios.running_farm import tiny_package

FAILS_AT_ONCE = {"debian/changelog": "no changelog: these commits are to end early\n"}


def processes(farm):
    names = part_names(open_farm(farm.root))
    return {name: living(farm.settings, name) for name in names}


def test_up_right_after_a_kill_and_twice_at_once_leaves_one_process_each(farm):
    farm.recipe("tiny")
    trunk = farm.trunk("tiny")
    farm.up()
    first = processes(farm)
    for part in ("master", "worker-1", "archive"):
        farm.kill(part)
    both = [threading.Thread(target=farm.up) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    second = processes(farm)
    assert all(second.values()), farm.evidence()
    assert second["signer"] == first["signer"]
    assert farm.up().stdout.count("runs already") == len(second)
    assert processes(farm) == second
    revision = trunk.commit(tiny_package(**FAILS_AT_ONCE))
    assert farm.await_run("tiny", revision, 60).verdict is Verdict.FAIL


def test_down_ends_the_stage_that_runs_and_the_next_up_goes_on_with_it(farm):
    farm.recipe("tiny", unittest={"command": ["sleep", "7.25"]})
    trunk = farm.trunk("tiny")
    farm.up()
    revision = trunk.commit(tiny_package(**FAILS_AT_ONCE))
    run = farm.await_run("tiny", revision, 60, ended=False)
    farm.await_stage(run, "unittest")
    farm.down()
    assert not [one for one in processes(farm).values() if one]
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert f"stage unittest --workspace {farm.home}" not in listed
    assert "nothing of the farm runs here" in farm.down().stdout
    farm.up()
    assert farm.stages(farm.await_run("tiny", revision, 120))["unittest"][0] == "pass"


def test_down_wait_lets_what_runs_end(farm):
    farm.recipe("tiny", unittest={"command": ["sleep", "4"]})
    trunk = farm.trunk("tiny")
    farm.up()
    run = farm.await_run("tiny", trunk.commit(tiny_package(**FAILS_AT_ONCE)), 60, ended=False)
    farm.await_stage(run, "unittest")
    farm.cli("down", "--wait")
    assert farm.stages(run)["unittest"][0] == "pass"
    assert not [one for one in processes(farm).values() if one]


def test_a_plain_down_cuts_a_waiting_one_short(farm):
    farm.recipe("tiny", unittest={"command": ["sleep", "300"]})
    trunk = farm.trunk("tiny")
    farm.up()
    run = farm.await_run("tiny", trunk.commit(tiny_package(**FAILS_AT_ONCE)), 60, ended=False)
    farm.await_stage(run, "unittest")
    argv = [sys.executable, "-m", "buildfarm", "down", "--wait"]
    with subprocess.Popen(argv, env=farm.environment, cwd=farm.root, stdout=subprocess.PIPE, text=True) as waiting:
        assert run.run_id in waiting.stdout.readline()
        assert "stopped" in farm.down().stdout
        assert waiting.wait(60) == 0
    assert not [one for one in processes(farm).values() if one]


def test_down_stops_what_the_settings_no_longer_name_and_a_farm_with_broken_settings(farm):
    good = (farm.root / "farm.toml").read_text()
    (farm.root / "farm.toml").write_text(good.replace("[workers]\n", "[workers]\nbuilders = 2\n"))
    farm.up()
    assert living(farm.settings, "worker-2")
    (farm.root / "farm.toml").write_text(good)
    status = farm.cli("status", check=False)
    assert "does not ask for it" in status.stdout
    (farm.root / "farm.toml").write_text(good + "[nonsense\n")
    stopped = farm.down()
    assert "not valid TOML" in stopped.stderr
    (farm.root / "farm.toml").write_text(good)
    assert not living(farm.settings, "worker-2")
    assert not [one for one in processes(farm).values() if one]


def test_the_last_words_of_a_part_outlive_its_next_start(farm):
    farm.settings.logs.mkdir(parents=True)
    (farm.settings.logs / "archive.out").write_text("last words\n")
    farm.up()
    assert (farm.settings.logs / "archive.out.1").read_text() == "last words\n"


def test_a_run_is_done_again_here_with_the_recipe_it_had(farm):
    farm.recipe("tiny")
    trunk = farm.trunk("tiny")
    farm.up()
    revision = trunk.commit(tiny_package(**FAILS_AT_ONCE))
    run = farm.await_run("tiny", revision, 60)
    farm.recipe("tiny", version={"template": "9.9"})
    words = ("run", "tiny", "--revision", revision, "--until", "sign")
    done = farm.cli(*words, check=False)
    assert f"as run {run.run_id} had it" in done.stdout
    assert "left out: sign (--publish includes them)" in done.stderr
    (asked,) = farm.home.glob("local/*/job.json")
    assert '"9.9"' not in asked.read_text()
    afresh = farm.cli(*words, "--afresh", check=False)
    assert "as run" not in afresh.stdout
    assert '"9.9"' in asked.read_text()


def test_a_port_that_somebody_else_has_is_said_in_a_sentence(farm):
    with socket.create_server(("127.0.0.1", farm.settings.web.port)):
        refused = farm.cli("up", check=False)
    assert refused.returncode == 3
    assert f"master cannot start: port {farm.settings.web.port} is in use" in refused.stderr
    assert "farm.toml" in refused.stderr


def test_a_farm_that_never_ran_says_so_and_what_to_do(farm):
    status = farm.cli("status", check=False)
    assert status.returncode == 1
    assert "master       does not run" in status.stdout
    assert "buildfarm up" in status.stdout
    for command in ("reload", "follow"):
        refused = farm.cli(command, check=False)
        assert refused.returncode in (2, 3)
        assert "buildfarm up" in refused.stderr
    assert "nothing of the farm runs here" in farm.down().stdout


def test_a_reload_of_broken_settings_keeps_what_was_and_says_so(farm):
    farm.recipe("tiny")
    trunk = farm.trunk("tiny")
    farm.up()
    good = (farm.root / "farm.toml").read_text()
    (farm.root / "farm.toml").write_text(good + '[hooks]\nsecret_files = {gitbug = "x"}\n')
    refused = farm.cli("reload", check=False)
    assert refused.returncode == 3
    assert "kept its old configuration" in refused.stderr
    assert "no forge 'gitbug'" in refused.stderr
    assert "Traceback" not in refused.stderr
    revision = trunk.commit(tiny_package(**FAILS_AT_ONCE))
    assert farm.await_run("tiny", revision, 60).verdict is Verdict.FAIL
    (farm.root / "farm.toml").write_text(good)
    assert "1 recipe in use" in farm.cli("reload").stdout


def test_old_workspaces_go_but_never_a_running_one_or_a_strangers(tmp_path):
    (tmp_path / "farm.toml").write_text("[farm]\nkeep_runs = 2\n")
    settings = load_settings(tmp_path, {})
    history = open_history(settings.history_file)
    made = history.record_commits(
        "tiny",
        "git x",
        "5",
        [NewRun(str(number), number, "a", "s", 0.0) for number in range(1, 6)],
        lambda revision, run_id: Job(
            run_id, "tiny", Branch("git", "x"), revision, "local:a/b", ("bookworm",), ("amd64",)
        ),
    )
    for name in (*made, "somebodys"):
        (settings.runs / name / "sealed").mkdir(parents=True)
        (settings.runs / name / "sealed").chmod(0)
    for name in (made[0], made[2], made[3], made[4]):
        task = history.start_attempt(history.tasks(history.run(name))[0])
        history.end_attempt(task, Verdict.FAIL, "no")
    assert remove_old_runs(settings, history) == (made[0], made[2])
    assert {path.name for path in settings.runs.iterdir()} == {made[1], made[3], made[4], "somebodys"}
    assert remove_old_runs(settings, history) == ()


def test_a_worker_with_a_wrong_password_is_refused(farm):
    farm.up()
    script = (
        "import sys; from twisted.internet import reactor; from twisted.spread import pb\n"
        "from twisted.cred.credentials import UsernamePassword as C\n"
        "f = pb.PBClientFactory(); reactor.connectTCP('127.0.0.1', int(sys.argv[1]), f)\n"
        "d = f.login(C(b'signer', b'guess'), pb.Referenceable())\n"
        "d.addCallbacks(lambda _: print('let in'), lambda why: print('refused', why.type))\n"
        "d.addBoth(lambda _: reactor.stop()); reactor.run()\n"
    )
    port = str(farm.settings.workers.port)
    done = subprocess.run(
        [sys.executable, "-c", script, port], capture_output=True, text=True, timeout=60, check=True
    )
    assert "refused" in done.stdout
    assert "UnauthorizedLogin" in done.stdout
