"""A whole farm for a test: real master, workers, signer and archive, on ports and in a home of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from buildfarm.demo import free_port
from buildfarm.history import open_history
from buildfarm.parts import living
from buildfarm.settings import load_settings

RUN_LIMIT_S = 900

UNITTEST = {"command": ["python3", "-m", "unittest", "-v"], "packages": ["python3"]}

RULES = """\
#!/usr/bin/make -f
# Without debhelper, so that a build in a test takes seconds.
clean build build-arch build-indep:
binary binary-arch binary-indep:
	rm -rf debian/tmp && mkdir -p debian/tmp/DEBIAN debian/tmp/usr/bin
	install -m 755 tiny.sh debian/tmp/usr/bin/{name}
	echo '{name}' > debian/files.list
	dpkg-gencontrol -p{name} -Pdebian/tmp
	dpkg-deb --root-owner-group --build debian/tmp ..
"""

CONTROL = """\
Source: {name}
Section: misc
Priority: optional
Maintainer: Tiny Author <tiny@example.org>
Build-Depends: {depends}
Standards-Version: 4.6.2
Rules-Requires-Root: no

Package: {name}
Architecture: all
Description: tiny package for tests
 It prints one line.
"""


def tiny_package(name="tiny", native=True, depends="base-files", **files):
    """The files of a package that builds in a moment; ``files`` adds or replaces (None removes)."""
    content = {
        "tiny.sh": f"#!/bin/sh\necho {name} works\n",
        "tiny.py": '"""A module."""\n\n\ndef answer():\n    """The answer."""\n    return 42\n',
        "test_tiny.py": "import unittest\nimport tiny\n\n\nclass Test(unittest.TestCase):\n"
        "    def test_answer(self):\n        self.assertEqual(tiny.answer(), 42)\n",
        "debian/control": CONTROL.format(name=name, depends=depends),
        "debian/rules": RULES.format(name=name),
        "debian/changelog": f"{name} (1.0{'' if native else '-1'}) unstable; urgency=medium\n\n  * First.\n\n"
        " -- Tiny Author <tiny@example.org>  Mon, 02 Nov 2026 09:00:00 +0000\n",
        "debian/source/format": f"3.0 ({'native' if native else 'quilt'})\n",
    }
    content.update(files)
    return {path: text for path, text in content.items() if text is not None}


@dataclass
class Repository:
    """A trunk and its author's working copy."""

    vcs: str
    location: Path
    work: Path
    environment: dict

    def write(self, files):
        for path, text in files.items():
            target = self.work / path
            if text is None:
                target.unlink()
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text if isinstance(text, bytes) else text.encode())
            if path == "debian/rules":
                target.chmod(0o755)

    def commit(self, files, summary="Change something", push=True):
        """Commit; with ``push`` the trunk has it. Returns the revision."""
        self.write(files)
        if self.vcs == "git":
            self.call("git", "add", "--all")
            self.call("git", "commit", "--quiet", "--allow-empty", "-m", summary)
            if push:
                self.push()
            return self.call("git", "rev-parse", "HEAD").strip()
        self.call(brz(), "add", "--quiet")
        self.call(brz(), "commit", "--quiet", "--unchanged", "-m", summary)
        return self.call(brz(), "revision-info").split()[1]

    def push(self, *options):
        self.call("git", "push", "--quiet", *options, "origin", "main")

    def call(self, *argv):
        done = subprocess.run(
            argv, cwd=self.work, env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout


def brz():
    return str(Path(sys.executable).parent / "brz")


@dataclass
class RunningFarm:
    """A farm and its trunks; ``up`` starts it, every later wait has a limit."""

    root: Path
    home: Path
    environment: dict
    repositories: dict = field(default_factory=dict)

    @property
    def settings(self):
        return load_settings(self.root, {"BUILDFARM_HOME": str(self.home)})

    @property
    def history(self):
        return open_history(self.settings.history_file)

    def cli(self, *words, check=True, **kwargs):
        done = subprocess.run(
            [sys.executable, "-m", "buildfarm", *words],
            env=self.environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=RUN_LIMIT_S,
            **kwargs,
        )
        assert not check or done.returncode == 0, (
            f"buildfarm {words}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def trunk(self, name, vcs="git", hook=True):
        location = self.root / "trunks" / name
        work = self.root / "work" / name if vcs == "git" else location
        repository = Repository(vcs, location, work, self.environment)
        location.parent.mkdir(exist_ok=True)
        work.parent.mkdir(exist_ok=True)
        here = Repository(vcs, location, self.root, self.environment)
        if vcs == "git":
            here.call("git", "init", "--quiet", "--bare", "--initial-branch=main", str(location))
            here.call("git", "clone", "--quiet", str(location), str(work))
            repository.call("git", "checkout", "--quiet", "-B", "main")
        else:
            here.call(brz(), "init", "--quiet", str(location))
        if hook:
            self.cli("hook", "install", str(location))
        self.repositories[name] = repository
        return repository

    def recipe(self, name, vcs="git", poll_interval_s=3600, **tables):
        """Write a recipe for the trunk of this name; the poll interval is long, so that hooks do the work.

        No machine is booted unless a table asks for it.
        """
        tables = {"boot": None, "autopkgtest": None} | tables
        branch = ", branch: main" if vcs == "git" else ""
        lines = [
            f"trunk: {{vcs: {vcs}, location: ../trunks/{name}{branch}, poll_interval_s: {poll_interval_s}}}",
            "publish: local:test/trunk",
            *(f"{key}: {json.dumps(value)}" for key, value in tables.items()),
        ]
        (self.root / "recipes" / f"{name}.yaml").write_text("\n".join(lines) + "\n")

    def up(self):
        return self.cli("up")

    def down(self):
        return self.cli("down")

    def kill(self, part):
        """SIGKILL a part, as the kernel's out-of-memory killer would."""
        one = living(self.settings, part)
        if one is not None:
            os.kill(one.pid, signal.SIGKILL)

    def end(self):
        """Leave nothing running, whatever state the test left it in."""
        for part in ("master", "worker-1", "signer", "archive"):
            self.kill(part)
        self.down()

    def await_run(self, recipe, revision, limit_s=RUN_LIMIT_S, ended=True):
        """The run of a commit, once it is on record (and ended)."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            run = self.history.run_of(recipe, revision)
            if run is not None and (run.verdict is not None or not ended):
                return run
            time.sleep(0.1)
        pytest.fail(
            f"no {'verdict' if ended else 'run'} of {recipe} at {revision} in {limit_s} s:\n{self.evidence()}"
        )

    def await_stage(self, run, stage, begun=True):
        """Wait until a stage of a run has begun."""
        deadline = time.monotonic() + RUN_LIMIT_S
        while time.monotonic() < deadline:
            if any(row.stage == stage for row in self.history.stage_rows(run)):
                return
            time.sleep(0.05)
        pytest.fail(f"{stage} of {run.run_id} never began:\n{self.evidence()}")

    def stages(self, run):
        """What each stage of a run came to: {"unittest": ("fail", "1 of 1 tests failed ...")}."""
        return {
            f"{row.stage} {row.target}".rstrip(): (row.verdict, row.reason) for row in self.history.stage_rows(run)
        }

    def publications(self, **wanted):
        query = "&".join(f"{key}={value}" for key, value in wanted.items())
        url = f"{self.settings.archive_url}/api/test/trunk/publications?{query}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)

    def evidence(self):
        return self.cli("status", check=False).stdout + self.cli("logs", "-n", "30", check=False).stdout


def make_farm(where, root_cache, **workers):
    """A farm below ``where`` that is not up yet; ``workers`` are settings of that table."""
    root = where / "farm"
    home = root / "var"
    (root / "recipes").mkdir(parents=True)
    home.mkdir()
    (home / "cache").symlink_to(root_cache, target_is_directory=True)
    (root / "farm.toml").write_text(
        textwrap.dedent(f"""\
        [web]
        port = {free_port(0)}
        [archive]
        port = {free_port(0)}
        [workers]
        port = {free_port(0)}
        """)
        + "".join(f"{key} = {value}\n" for key, value in workers.items())
    )
    author = where / "author"
    author.mkdir()
    (author / ".gitconfig").write_text("[user]\n\tname = Tiny Author\n\temail = tiny@example.org\n")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(author),
        "LANG": "C.UTF-8",
        "BRZ_EMAIL": "Tiny Author <tiny@example.org>",
        "BUILDFARM_ROOT": str(root),
        "BUILDFARM_HOME": str(home),
    }
    return RunningFarm(root, home, environment)


@pytest.fixture
def farm(tmp_path, root_cache):
    """A farm that is not up yet; root file systems come from the tests' shared cache."""
    running = make_farm(tmp_path, root_cache)
    yield running
    running.end()
