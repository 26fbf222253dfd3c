"""Who may do what through the web status: everybody reads, who logged in acts, and secrets are nowhere."""

import time
from pathlib import Path

import pytest

from buildfarm.verdict import Verdict
from tests.scenarios.running_farm import tiny_package

FAILS_AT_ONCE = {"debian/changelog": "no changelog: these commits are to end early\n"}


@pytest.fixture(scope="module")
def failed(shared):
    """A run that failed."""
    trunk = shared.repositories["tiny"]
    revision = trunk.commit(tiny_package(**FAILS_AT_ONCE))
    shared.cli("notify", "--recipe", "tiny")
    return shared.await_run("tiny", revision, 120)


@pytest.mark.parametrize(
    ("path", "method", "params"),
    [
        ("forceschedulers/run", "force", {"recipe": "tiny", "expression": "", "builderid": 0}),
        ("builds/1", "stop", {}),
        ("builds/1", "rebuild", {}),
        ("buildrequests/1", "cancel", {}),
        ("workers/1", "pause", {}),
        ("workers/1", "stop", {}),
        ("schedulers/1", "enable", {"enabled": False}),
    ],
)
def test_only_who_logged_in_may_act(shared, failed, anonymous, path, method, params):
    if "builderid" in params:
        builders = anonymous.get("api/v2/builders?name=run-by-hand").json()["builders"]
        params = params | {"builderid": builders[0]["builderid"]}
    answer = anonymous.control(path, method, **params)
    assert answer.status_code == 403, answer.text
    assert all(worker["paused"] is False for worker in anonymous.get("api/v2/workers").json()["workers"])
    assert len(shared.history.recent_runs(100)) == 1


def test_a_wrong_password_logs_nobody_in(shared, failed, anonymous):
    assert anonymous.get("auth/login", auth=("admin", "guess")).status_code == 401
    assert anonymous.control("builds/1", "stop").status_code == 403


def test_forcing_gives_a_failed_run_another_chance(shared, failed, admin):
    answer = admin.control(
        "forceschedulers/run", "force", recipe="tiny", expression=failed.revision, reason="again"
    )
    assert answer.status_code == 200, answer.text
    attempts = wait_for(shared, failed, lambda task: task.attempts == 2 and task.state == "done")
    assert attempts[0].verdict is Verdict.FAIL


def wait_for(shared, run, condition):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        tasks = shared.history.tasks(run)
        if condition(tasks[0]):
            return tasks
        time.sleep(0.1)
    pytest.fail(f"{tasks}\n{shared.evidence()}")


def test_no_secret_is_in_a_page_an_answer_a_log_or_an_argument(shared, failed, admin):
    secrets = [
        path.read_text().strip()
        for path in [*(shared.home / "secrets").iterdir(), shared.root / "hook-secret"]
        if path.is_file()
    ]
    assert len(secrets) >= 4
    said = [admin.get(path).text for path in ("", "api/v2/workers", "api/v2/builders", "api/v2/application.spec")]
    logs = 0
    for build in admin.get("api/v2/builds").json()["builds"]:
        said.append(admin.get(f"api/v2/builds/{build['buildid']}/properties").text)
        for step in admin.get(f"api/v2/builds/{build['buildid']}/steps").json()["steps"]:
            for log in admin.get(f"api/v2/steps/{step['stepid']}/logs").json()["logs"]:
                logs += 1
                said.append(admin.get(f"api/v2/logs/{log['logid']}/raw").text)
    assert logs
    said += [path.read_text(errors="replace") for path in (shared.home / "log").iterdir()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said.append((process / "cmdline").read_text(errors="replace"))
        except OSError:
            continue
    for secret in secrets:
        assert not [text for text in said if secret in text]
    assert all((path.stat().st_mode & 0o077) == 0 for path in (shared.home / "secrets").iterdir())


def test_every_builder_has_its_badge(shared, failed, anonymous):
    answer = anonymous.get("plugins/badges/tiny-source.svg")
    assert answer.status_code == 200
    assert "failure" in answer.text
