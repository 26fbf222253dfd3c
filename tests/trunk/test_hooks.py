"""Push hooks, with real pushes and commits: the farm hears of them, and never stands in their way."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

BUILDFARM = [sys.executable, "-I", "-m", "buildfarm"]


@dataclass
class Farm:
    """A web server that takes notices as the farm does, and remembers them."""

    url: str = ""
    status: int = 200
    changed: threading.Condition = field(default_factory=threading.Condition)
    posts: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def heard(self, count: int) -> list[dict[str, str]]:
        """The first ``count`` notices, as soon as they are there."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.posts) >= count, 30), self.posts
            assert {path for path, _ in self.posts} == {"/farm/change_hook/trunk"}
            return [fields for _, fields in self.posts]


@pytest.fixture
def farm() -> Iterator[Farm]:
    stub = Farm()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.send_response(stub.status)
            self.end_headers()
            self.wfile.write(b"no recipe here watches that" if stub.status >= 300 else b"")
            with stub.changed:
                stub.posts.append((self.path, dict(parse_qsl(body, errors="surrogateescape"))))
                stub.changed.notify_all()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stub.url = f"http://127.0.0.1:{server.server_address[1]}/farm/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield stub
        server.shutdown()
        thread.join(10)


def buildfarm(*words: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BUILDFARM, *words],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), "LANG": "C.UTF-8", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def bare(git_repository, tmp_path) -> Path:
    """A bare repository whose path asks for trouble; git_repository pushes to it as origin."""
    git_repository.commit("one")
    path = tmp_path / 'b\'are $(touch oops) "x".git'
    git_repository.git("clone", "-q", "--bare", ".", path)
    git_repository.git("remote", "add", "origin", path)
    return path


def test_a_push_to_a_bare_repository_is_heard_branch_by_branch(farm, git_repository, bare, tmp_path):
    done = buildfarm("hook", "install", bare, "--url", farm.url, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(bare) in done.stdout
    git_repository.commit("two")
    git_repository.git("branch", "topic/x&y")
    git_repository.git("tag", "v1")
    git_repository.git("push", "-q", "origin", "main", "topic/x&y", "v1")
    heard = sorted(farm.heard(2), key=lambda fields: fields["branch"])
    assert heard == [{"location": str(bare), "branch": branch} for branch in ("main", "topic/x&y")]
    assert not list(tmp_path.rglob("oops"))


def test_a_deleted_branch_is_no_news(farm, git_repository, bare, tmp_path):
    git_repository.git("push", "-q", "origin", "HEAD:refs/heads/old")
    buildfarm("hook", "install", bare, "--url", farm.url, cwd=tmp_path)
    git_repository.git("push", "-q", "origin", ":old")
    git_repository.git("push", "-q", "origin", "HEAD:refs/heads/new")
    assert [fields["branch"] for fields in farm.heard(1)] == ["new"]


def test_commits_merges_and_rebases_in_a_working_tree_are_heard(farm, git_repository, tmp_path):
    git_repository.commit("one")
    done = buildfarm(
        "hook", "install", git_repository.path / ".git", "--recipe", "hello", "--url", farm.url, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    expected = {"location": str(git_repository.path), "recipe": "hello", "branch": "main"}
    git_repository.commit("two")
    assert farm.heard(1)[0] == expected
    git_repository.git("switch", "-q", "-c", "side", "HEAD~1")
    git_repository.commit("side", {"side": "x"})
    git_repository.git("rebase", "-q", "main")
    git_repository.git("switch", "-q", "main")
    git_repository.git("merge", "-q", "--ff-only", "side")
    # Created, committed to, rebased; and main merged into. What else git moves on its way is no branch.
    heard = sorted(fields["branch"] for fields in farm.heard(5))
    assert heard == ["main", "main", "side", "side", "side"]


def test_a_package_in_the_repository_is_not_what_the_hook_runs(farm, git_repository, tmp_path):
    buildfarm("hook", "install", git_repository.path, "--url", farm.url, cwd=tmp_path)
    bad = f"open({str(tmp_path / 'oops')!r}, 'w')\n"
    git_repository.commit("hostile", {"buildfarm/__init__.py": bad, "buildfarm/__main__.py": bad, "http.py": bad})
    farm.heard(1)
    assert not (tmp_path / "oops").exists()


def test_a_push_succeeds_when_the_farm_is_down_or_never_answers(silent_server, git_repository, bare, tmp_path):
    for url in ("http://127.0.0.1:1/", f"http://127.0.0.1:{silent_server.port}/"):
        buildfarm("hook", "install", bare, "--url", url, cwd=tmp_path)
        git_repository.commit(url)
        git_repository.git("push", "-q", "origin", "main")


def test_a_hook_that_is_not_ours_stays(farm, bare, tmp_path):
    hook = bare / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho mine\n")
    for action in (["install", bare, "--url", farm.url], ["remove", bare]):
        done = buildfarm("hook", *action, cwd=tmp_path)
        assert done.returncode == 2, done
        assert hook.read_text() == "#!/bin/sh\necho mine\n"
        assert "Traceback" not in done.stderr
    done = buildfarm("hook", "install", bare, "--url", farm.url, cwd=tmp_path)
    assert "Add this line" in done.stderr
    line = next(line for line in done.stderr.splitlines() if line.startswith("    ")).strip()
    subprocess.run(["sh", "-c", line], check=True, cwd=tmp_path)
    assert farm.heard(1) == [{"location": str(bare)}]


def test_installing_again_renews_and_removing_ends_it(farm, git_repository, bare, tmp_path):
    buildfarm("hook", "install", bare, "--url", "http://127.0.0.1:1/", cwd=tmp_path)
    assert buildfarm("hook", "install", bare, "--url", farm.url, "--recipe", "r", cwd=tmp_path).returncode == 0
    git_repository.commit("two")
    git_repository.git("push", "-q", "origin", "main")
    assert farm.heard(1)[0]["recipe"] == "r"
    assert buildfarm("hook", "remove", bare, cwd=tmp_path).returncode == 0
    assert not (bare / "hooks" / "post-receive").exists()
    assert buildfarm("hook", "remove", bare, cwd=tmp_path).returncode == 2


def test_a_shared_hooks_directory_is_left_alone(bare, tmp_path, git_repository):
    git_repository.call("git", "-C", bare, "config", "core.hooksPath", str(tmp_path / "shared"))
    done = buildfarm("hook", "install", bare, "--url", "http://127.0.0.1:1/", cwd=tmp_path)
    assert (done.returncode, "core.hooksPath" in done.stderr) == (2, True)


def test_what_is_no_repository_is_refused(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        done = buildfarm("hook", "install", path, "--url", "http://127.0.0.1:1/", cwd=tmp_path)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), done


def test_every_revision_of_a_bazaar_branch_is_heard(farm, bzr_repository, tmp_path):
    home = {"BRZ_HOME": str(bzr_repository.home)}
    words = ("hook", "install", bzr_repository.path, "--url", farm.url, "--recipe", "hello")
    for _ in range(2):
        done = buildfarm(*words, cwd=tmp_path, **home)
        assert done.returncode == 0, done.stderr
    expected = {"location": str(bzr_repository.path), "recipe": "hello"}
    bzr_repository.commit("one")
    assert farm.heard(1) == [expected]
    bzr_repository.bzr("branch", "-q", ".", tmp_path / "other")
    other = type(bzr_repository)(tmp_path / "other", bzr_repository.home)
    other.commit("two")
    other.bzr("push", "-q", bzr_repository.path)
    assert farm.heard(2) == [expected] * 2
    done = buildfarm("hook", "remove", bzr_repository.path, cwd=tmp_path, **home)
    assert done.returncode == 0, done.stderr
    other.commit("three")
    other.bzr("push", "-q", bzr_repository.path)
    assert "buildfarm_" not in (bzr_repository.path / ".bzr/branch/branch.conf").read_text()
    assert len(farm.posts) == 2


def test_a_push_through_a_bazaar_server_is_heard(farm, bzr_repository, bzr_server_with_hook, tmp_path):
    bzr_repository.bzr("branch", "-q", ".", tmp_path / "other")
    other = type(bzr_repository)(tmp_path / "other", tmp_path / "committer")
    other.home.mkdir()
    other.commit("two")
    other.bzr("push", "-q", bzr_server_with_hook.url)
    assert farm.heard(1) == [{"location": str(bzr_repository.path)}]


@pytest.fixture
def bzr_server_with_hook(farm, bzr_repository, tmp_path, request):
    bzr_repository.commit("one")
    done = buildfarm(
        "hook",
        "install",
        bzr_repository.path,
        "--url",
        farm.url,
        cwd=tmp_path,
        BRZ_HOME=str(bzr_repository.home),
    )
    assert done.returncode == 0, done.stderr
    return request.getfixturevalue("bzr_server")


def test_a_commit_in_bazaar_succeeds_whatever_the_hook_finds(bzr_repository, tmp_path):
    home = {"BRZ_HOME": str(bzr_repository.home)}
    buildfarm("hook", "install", bzr_repository.path, "--url", "http://127.0.0.1:1/", cwd=tmp_path, **home)
    bzr_repository.commit("one")
    (command,) = bzr_repository.home.rglob("command.json")
    command.write_text("[1")
    bzr_repository.commit("two")
    command.write_text('["/nonexistent"]')
    assert bzr_repository.commit("three") == bzr_repository.tip()


def test_notify_says_whether_the_farm_took_it(farm, tmp_path):
    words = ("notify", "--location", "/srv/x", "--branch", "main", "--recipe", "hello", "--url", farm.url)
    done = buildfarm(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done
    assert farm.heard(1) == [{"location": "/srv/x", "branch": "main", "recipe": "hello"}]
    farm.status = 400
    done = buildfarm(*words, cwd=tmp_path)
    assert done.returncode == 3
    assert "no recipe here watches that" in done.stderr


def test_notify_finds_the_farm_in_its_settings(farm, tmp_path):
    (tmp_path / "farm.toml").write_text(f'[web]\nurl = "{farm.url}"\n')
    assert buildfarm("notify", "--recipe", "hello", cwd=tmp_path).returncode == 0
    assert farm.heard(1) == [{"recipe": "hello"}]


def test_notify_gives_up_on_a_farm_that_is_not_there(silent_server, tmp_path):
    for url in ("http://127.0.0.1:1", f"http://127.0.0.1:{silent_server.port}/"):
        done = buildfarm("notify", "--location", "/x", "--url", url, cwd=tmp_path)
        assert (done.returncode, "cannot be reached" in done.stderr) == (3, True), done
        assert "Traceback" not in done.stderr
    for words in (["notify"], ["notify", "--location", "/x", "--url", "nonsense"]):
        assert buildfarm(*words, cwd=tmp_path).returncode == 2
