"""The upload and publish stages, run as the farm runs them, against real servers on the loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildfarm.files import write_json
from buildfarm.job import Branch, Job
from buildfarm.secrets_store import ensure_secret
from buildfarm.settings import Settings, load_settings
from buildfarm.stages.runner import run_stage
from buildfarm.verdict import StageResult, Verdict
from buildfarm.workspace import Workspace
from ppa_tools import openpgp
from tests.archive.conftest import PPA, SERIES, Server, Signer, architecture, free_port, make_binaries, make_source


def workspace(path: Path, signer: Signer, archive: str = str(PPA), version: str = "1.0-1") -> Workspace:
    """A run whose sign and build stages have ended."""
    one = Workspace(path)
    one.write_job(Job("1", "hello", Branch("git", "/nowhere"), "0" * 40, archive, (SERIES,), (architecture(),)))
    make_source(one.directory("sign", SERIES), signer, version=version)
    make_binaries(one.directory("build", f"{SERIES}-{architecture()}"), version=version)
    return one


def settings_of(server: Server) -> Settings:
    return load_settings(environ={"BUILDFARM_HOME": str(server.home)})


def upload(one: Workspace, settings: Settings) -> StageResult:
    return run_stage("upload", one, settings, series=SERIES)


def publish(one: Workspace, settings: Settings) -> StageResult:
    return run_stage("publish", one, settings, series=SERIES, architecture=architecture())


def forget_result(one: Workspace, stage: str, target: str) -> None:
    """As if the farm was killed before the stage's result was written."""
    shutil.rmtree(one.directory(stage, target))


def test_a_signed_source_and_its_binaries_reach_the_archive(
    server: Server, signer: Signer, tmp_path: Path
) -> None:
    one, settings = workspace(tmp_path / "w", signer), settings_of(server)
    sent = upload(one, settings)
    assert (sent.verdict, sent.reason) == (Verdict.PASS, "hello 1.0-1 is in local:demo/trunk, bookworm")
    assert sent.facts["receipt"]["already"] is False
    assert (sent.facts["archive"], sent.facts["source"], sent.facts["version"]) == (str(PPA), "hello", "1.0-1")
    assert [ref.path for ref in sent.outputs] == [f"upload/{SERIES}/receipt.json"]
    done = publish(one, settings)
    assert done.verdict is Verdict.PASS
    assert done.facts["packages"] == {"hello": "1.0-1"}
    assert len(done.facts["in_release_sha256"]) == 64


def test_an_upload_whose_answer_was_lost_is_taken_for_done(server: Server, signer: Signer, tmp_path: Path) -> None:
    one, settings = workspace(tmp_path / "w", signer), settings_of(server)
    upload(one, settings)
    publish(one, settings)
    forget_result(one, "upload", SERIES)
    forget_result(one, "publish", f"{SERIES}-{architecture()}")
    again, done = upload(one, settings), publish(one, settings)
    assert again.verdict is Verdict.PASS
    assert "an earlier attempt was accepted" in again.assumed[0]
    assert done.verdict is Verdict.PASS
    assert "from an earlier attempt" in done.assumed[0]
    assert done.facts["packages"] == {"hello": "1.0-1"}


def test_a_refusal_is_the_packages_fault_with_the_archives_reason(
    server: Server, signer: Signer, tmp_path: Path
) -> None:
    settings = settings_of(server)
    upload(workspace(tmp_path / "w2", signer, version="1.10-1"), settings)
    result = upload(workspace(tmp_path / "w1", signer, version="1.9-1"), settings)
    assert result.verdict is Verdict.FAIL
    assert "hello 1.9-1 is not newer than 1.10-1" in result.reason


@pytest.mark.parametrize("version", ["1.9-1", "1.10-1"])
def test_a_version_that_is_not_higher_names_the_rewritten_trunk_and_the_remedy(
    server: Server, signer: Signer, tmp_path: Path, version: str
) -> None:
    settings = settings_of(server)
    upload(workspace(tmp_path / "w1", signer, version="1.10-1"), settings)
    rewritten = workspace(tmp_path / "w2", signer, version=version)
    make_source(rewritten.directory("sign", SERIES), signer, version=version, content=b"rewritten")
    result = upload(rewritten, settings)
    assert result.verdict is Verdict.FAIL
    assert "the trunk was rewritten" in result.resolution
    assert "Commit until the version is higher than 1.10-1" in result.resolution


def test_where_nothing_was_built_nothing_is_published(server: Server, signer: Signer, tmp_path: Path) -> None:
    one, target = workspace(tmp_path / "w", signer), f"{SERIES}-{architecture()}"
    forget_result(one, "build", target)
    why = "no package of hello is for this architecture"
    skipped = StageResult("build", target, Verdict.SKIPPED, why, 1.0, 2.0)
    write_json(one.directory("build", target) / "result.json", skipped.to_json())
    result = publish(one, settings_of(server))
    assert (result.verdict, result.reason) == (Verdict.SKIPPED, f"nothing was built: {why}")


def test_an_archive_that_does_not_answer_is_the_farms_trouble(
    server: Server, signer: Signer, tmp_path: Path
) -> None:
    one, settings = workspace(tmp_path / "w", signer), settings_of(server)
    server.stop()
    for result in (upload(one, settings), publish(one, settings)):
        assert result.verdict is Verdict.ERROR
        assert "cannot be reached" in result.reason


def test_a_wrong_token_and_an_unknown_ppa_are_the_farms_trouble(
    server: Server, signer: Signer, tmp_path: Path
) -> None:
    settings = settings_of(server)
    result = upload(workspace(tmp_path / "w1", signer, "local:no/such"), settings)
    assert (result.verdict, "no local:no/such" in result.reason) == (Verdict.ERROR, True)
    one = workspace(tmp_path / "w2", signer)
    upload(one, settings)
    (server.home / "secrets/archive-worker-token").write_text("another")
    result = publish(one, settings)
    assert (result.verdict, "token" in result.reason) == (Verdict.ERROR, True)


@contextmanager
def launchpad(root: Path, home: Path, fail_at: int = 0) -> Iterator[Settings]:
    """The settings of a farm whose Launchpad is the FTP double."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("ftp_double.py")), str(root), "--fail-at", str(fail_at)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    port = int(process.stdout.readline())
    home.mkdir(exist_ok=True)
    (home / "farm.toml").write_text(f'[launchpad]\nupload_host = "127.0.0.1"\nupload_port = {port}\n')
    try:
        yield load_settings(environ={"BUILDFARM_HOME": str(home)})
    finally:
        process.terminate()
        process.communicate()


FILES = {
    "hello_1.0-1.debian.tar.gz",
    "hello_1.0-1.dsc",
    "hello_1.0-1_source.changes",
    "hello_1.0.orig.tar.gz",
}


def received(root: Path, session: int) -> Path:
    return root / f"session-{session}/~owner/ubuntu/name/{SERIES}"


def test_launchpad_gets_the_source_by_ftp_and_answers_later(signer: Signer, tmp_path: Path) -> None:
    one = workspace(tmp_path / "w", signer, "ppa:owner/name")
    with launchpad(tmp_path / "ftp", tmp_path / "home") as settings:
        result = upload(one, settings)
        assert result.verdict is Verdict.PASS
        assert "by mail" in result.assumed[0]
        assert {path.name for path in received(tmp_path / "ftp", 1).iterdir()} == FILES
        assert result.facts["receipt"]["sent"][-1] == "hello_1.0-1_source.changes"
        forget_result(one, "upload", SERIES)
        again = upload(one, settings)
        assert "not sent again" in again.assumed[1]
        assert not (tmp_path / "ftp/session-2").exists()
    done = publish(one, settings)
    assert (done.verdict, done.reason) == (
        Verdict.SKIPPED,
        "Launchpad builds and publishes what was uploaded to it",
    )


def test_an_ftp_session_that_breaks_is_done_again_in_whole(signer: Signer, tmp_path: Path) -> None:
    one = workspace(tmp_path / "w", signer, "ppa:owner/name")
    with launchpad(tmp_path / "ftp", tmp_path / "home", fail_at=3) as settings:
        assert upload(one, settings).verdict is Verdict.ERROR
        assert not (received(tmp_path / "ftp", 1) / "hello_1.0-1_source.changes").exists()
        assert upload(one, settings).verdict is Verdict.PASS
        assert {path.name for path in received(tmp_path / "ftp", 2).iterdir()} == FILES


def test_launchpad_out_of_reach_is_the_farms_trouble(signer: Signer, tmp_path: Path) -> None:
    (tmp_path / "farm.toml").write_text(f'[launchpad]\nupload_host = "127.0.0.1"\nupload_port = {free_port()}\n')
    settings = load_settings(environ={"BUILDFARM_HOME": str(tmp_path)})
    result = upload(workspace(tmp_path / "w", signer, "ppa:owner/name"), settings)
    assert (result.verdict, "cannot be reached" in result.reason) == (Verdict.ERROR, True)


def test_the_upload_stages_import_nothing_heavy() -> None:
    script = (
        "import sys, buildfarm.stages.upload, buildfarm.stages.publish\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & "
        "{'sqlalchemy', 'twisted', 'requests', 'pydantic', 'debian', 'rich', 'ruamel'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_two_that_ask_for_a_secret_at_once_get_the_same_one(tmp_path: Path) -> None:
    path = tmp_path / "secrets/token"
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(ensure_secret(path))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 16
    assert len(set(got)) == 1
    assert len(got[0]) >= 43
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["token"]


def farm(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "buildfarm", "archive", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "BUILDFARM_HOME": str(home)},
        check=False,
    )


def test_the_command_creates_lists_shows_and_tells(signer: Signer, tmp_path: Path) -> None:
    key = tmp_path / "uploader.asc"
    key.write_bytes(signer.public)
    made = farm(
        tmp_path / "home",
        *("create", "local:demo/trunk", "--series", SERIES, "--architecture", "amd64"),
        *("--uploader", str(key), "--description", "For tests"),
    )
    assert made.returncode == 0, made.stderr
    assert signer.fingerprint in made.stdout
    assert "local:demo/trunk  bookworm  public  0 B   For tests" in farm(tmp_path / "home", "list").stdout
    shown = farm(tmp_path / "home", "show", "local:demo/trunk").stdout
    assert "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----" in shown
    assert "curl -fsSL http" in shown
    assert farm(tmp_path / "home", "list", "local:demo/trunk", "--format", "json").stdout == "[]\n"
    assert farm(tmp_path / "home", "publish", "local:demo/trunk").stdout.startswith("bookworm: InRelease ")
    assert "WHEN (UTC)" in farm(tmp_path / "home", "history", "local:demo/trunk").stdout
    openpgp.stop_agent(tmp_path / "home/archive/keys/demo/trunk")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("list", "local:no/such"), "there is no local:no/such"),
        (("show", "trunk"), "is no archive"),
        (("show", "ppa:a/b"), "on Launchpad"),
        (("create", "local:a/b", "--uploader", "/nonexistent"), "cannot be read"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    done = farm(tmp_path / "home", *words)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
