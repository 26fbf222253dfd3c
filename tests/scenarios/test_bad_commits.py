"""Broken, hostile or endless commits: a clear verdict, in bounded time and space, nothing half published."""

import os
import shutil
import subprocess
import sys

import pytest
from running_farm import CONTROL, RULES, tiny_package

from buildfarm.verdict import Verdict

TESTS = {"command": ["python3", "-m", "unittest", "-v"], "packages": ["python3"], "timeout_s": 15}
HANG = "import time\n\ntime.sleep(10000)\n"
FLOOD = "while True:\n    print('x' * 10000)\n"
SNOOP = RULES.replace(
    "binary binary-arch",
    "binary: snoop\nsnoop:\n\tenv; id; cat /proc/1/environ; ls -R /root /home || true\nbinary binary-arch",
).format(name="tiny")


def commit_and_wait(farm, trunk, files, summary):
    return farm.await_run("tiny", trunk.commit(files, summary), 300)


def test_each_kind_of_bad_commit_is_named_and_nothing_is_published_for_it(farm):
    farm.recipe("tiny", unittest=TESTS)
    trunk = farm.trunk("tiny")
    farm.up()
    trunk.write(tiny_package())
    good = tiny_package()
    cases = [
        ("debian/changelog", "tiny one point oh; no\n", "tarball", "debian/changelog"),
        (
            "debian/control",
            CONTROL.format(name="tiny", depends="no-such-package-anywhere"),
            "unittest",
            "no-such-package",
        ),
        ("debian/control", None, "tarball", "debian/control"),
        ("test_tiny.py", HANG, "unittest", "15 s"),
        ("test_tiny.py", FLOOD, "unittest", "printed more than"),
        ("test_tiny.py", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "unittest", "SIGKILL"),
    ]
    for path, content, stage, words in cases:
        run = commit_and_wait(farm, trunk, {path: content}, f"Break {path}")
        assert run.verdict is Verdict.FAIL, farm.stages(run)
        *_, (last, (verdict, reason)) = farm.stages(run).items()
        result = farm.history.stage_result(run, stage)
        assert (last, verdict) == (stage, "fail"), farm.stages(run)
        assert words in f"{result.where} {reason} {result.details}", result
        trunk.write({path: good[path]})
    assert farm.publications()["publications"] == []


def test_a_link_out_of_the_tree_is_refused_at_the_checkout(farm):
    farm.recipe("tiny")
    trunk = farm.trunk("tiny")
    farm.up()
    trunk.write(tiny_package())
    (trunk.work / "way out").symlink_to("../../../../etc/passwd")
    run = commit_and_wait(farm, trunk, {}, "Add a link")
    assert farm.stages(run)["checkout"][0] == "fail"
    assert "way out" in str(farm.history.stage_result(run, "checkout"))


def test_odd_file_names_go_all_the_way_and_a_snooping_build_finds_no_secret(farm):
    farm.recipe("tiny")
    trunk = farm.trunk("tiny")
    farm.up()
    secrets = [path.read_text().strip() for path in farm.settings.secrets.iterdir()]
    trunk.write(tiny_package(**{"debian/rules": SNOOP}))
    for name in (b"with space", b"quote ' and \" both", b"$(touch oops) `id`", b"caf\xe9", b"-rf"):
        (trunk.work / os.fsdecode(name)).write_bytes(b"x\n")
    run = commit_and_wait(farm, trunk, {}, "Add odd names")
    assert run.verdict is Verdict.PASS, farm.stages(run)
    log = next((farm.settings.runs / run.run_id / "build").glob("*/build.log")).read_text(errors="replace")
    assert "uid=" in log
    assert not [secret for secret in secrets if secret in log]
    assert "BUILDFARM" not in log
    assert str(farm.settings.keys) not in log


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs util-linux")
def test_a_full_disk_is_the_farms_trouble_and_the_stage_passes_once_there_is_room(farm):
    farm.recipe("tiny")
    trunk = farm.trunk("tiny", hook=False)
    revision = trunk.commit(tiny_package(**{"big.bin": os.urandom(3_000_000)}))
    workspace = farm.root / "small disk"
    workspace.mkdir()
    words = [sys.executable, "-m", "buildfarm", "run", "tiny", "--revision", revision, "--until", "source"]
    words += ["--workspace", str(workspace)]
    script = (
        'mount -t tmpfs -o size=5m none "$1" && shift && status=0; "$@" || status=$?; test $status = 3 || exit 9; '
        'mount -o remount,size=100m "$WORKSPACE" && exec "$@"'
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", workspace, *words],
        env=farm.environment | {"WORKSPACE": str(workspace)},
        cwd=farm.root,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the disk is full" in done.stdout
    assert "pass     source" in done.stdout
