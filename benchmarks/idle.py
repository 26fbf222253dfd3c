"""What a master with nothing to do costs: 50 trunks polled each minute, its processor time and its memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench_farm import new_farm

from buildfarm import demo
from buildfarm.errors import FarmTrouble
from buildfarm.history import open_history
from buildfarm.job import VCS, Branch, Job
from buildfarm.master.watcher import trunk_key
from buildfarm.parts import living
from buildfarm.process import descendants
from buildfarm.settings import Settings
from buildfarm.trunk import open_trunk

TRUNKS_OF_A_KIND = 25
SETTLE_S = 30.0
SAMPLE_S = 5.0
PROBES = 40
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Idle:
    """A measurement of the master and its children over ``seconds``; the probe is a small answer of its API."""

    seconds: float
    cpu_percent: float
    rss_mb: float
    children_rss_mb: float
    probe_median_ms: float
    probe_worst_ms: float


def measure_idle(place: Path, cache: Path, seconds: float, *, remote: bool) -> Idle:
    """A farm with 25 git and 25 Bazaar trunks; with ``remote`` git's are asked over git:// by ls-remote."""
    port = demo.free_port(0)

    def prepare(settings: Settings, author: demo.Author) -> None:
        _make_trunks(settings, author, f"git://127.0.0.1:{port}" if remote else "")

    with contextlib.ExitStack() as stack:
        if remote:
            stack.enter_context(_git_daemon(place / "trunks", port))
        bench = stack.enter_context(new_farm(place, cache, prepare))
        one = living(bench.settings, "master")
        if one is None:
            raise FarmTrouble("the master does not run")
        time.sleep(SETTLE_S)
        if bench.history.recent_runs() or bench.history.troubles():
            raise FarmTrouble("the master is not idle, or a trunk cannot be looked at")
        return _watch(one.pid, seconds, bench.settings.web_url)


def _watch(pid: int, seconds: float, url: str) -> Idle:
    began, used = time.monotonic(), cpu_seconds(pid)
    rss = children = 0.0
    while (passed := time.monotonic() - began) < seconds:
        time.sleep(min(SAMPLE_S, seconds - passed))
        rss = max(rss, rss_mb(pid))
        children = max(children, sum(rss_mb(child) for child in descendants(pid)))
    passed, used = time.monotonic() - began, cpu_seconds(pid) - used
    # Only now: what asks costs the master something, too.
    probes = [_probe(url) for _ in range(PROBES)]
    return Idle(passed, 100 * used / passed, rss, children, 1000 * median(probes), 1000 * max(probes))


def cpu_seconds(pid: int) -> float:
    """What a process, its ended children and its living descendants have used (proc(5): fields 14 to 17)."""
    total = 0
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(OSError):
            total += ticks_in(Path(f"/proc/{one}/stat").read_text(encoding="utf-8", errors="replace"))
    return total / TICKS


def ticks_in(stat: str) -> int:
    """utime + stime + cutime + cstime of a line of /proc/PID/stat; the name in it may hold anything."""
    return sum(int(field) for field in stat.rpartition(")")[2].split()[11:15])


def rss_mb(pid: int) -> float:
    """Resident memory in MB (10**6 bytes), 0 for a process that is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _probe(url: str) -> float:
    time.sleep(0.25)
    began = time.perf_counter()
    with urllib.request.urlopen(f"{url}api/v2/masters", timeout=30) as answer:
        answer.read()
    return time.perf_counter() - began


def _make_trunks(settings: Settings, author: demo.Author, git_url: str) -> None:
    """The trunks, each a copy of one, their recipes, and their tips on record: nothing in them is news."""
    trunks, recipes = settings.home / "trunks", settings.home / "recipes"
    trunks.mkdir()
    recipes.mkdir()
    patterns: dict[VCS, Path] = {"git": trunks / "pattern-git", "bzr": trunks / "pattern-bzr"}
    for vcs, path in patterns.items():
        _make_pattern(author, vcs, path)
    history = open_history(settings.history_file)
    for number in range(TRUNKS_OF_A_KIND):
        for vcs, pattern in patterns.items():
            name = f"idle-{vcs}-{number}"
            shutil.copytree(pattern, trunks / name, symlinks=True)
            location = f"{git_url}/{name}" if vcs == "git" and git_url else str(trunks / name)
            branch = Branch(vcs, location, "main" if vcs == "git" else "")
            lines = [
                f"trunk: {{vcs: {vcs}, location: '{location}', poll_interval_s: 60"
                + (", branch: main}" if vcs == "git" else "}"),
                "publish: local:bench/idle",
            ]
            (recipes / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
            tip = open_trunk(Branch(vcs, str(trunks / name), branch.branch), settings.cache).tip()
            history.record_commits(name, trunk_key(branch), tip, (), _no_job)


def _no_job(_revision: str, _run_id: str) -> Job:  # never called: no commits are recorded
    raise AssertionError


def _make_pattern(author: demo.Author, vcs: str, path: Path) -> None:
    if vcs == "git":
        author.call("git", "init", "--quiet", "--bare", "--initial-branch=main", str(path))
        tree = author.call("git", "--git-dir", str(path), "mktree").strip()
        tip = author.call("git", "--git-dir", str(path), "commit-tree", "-m", "Begin", tree).strip()
        author.call("git", "--git-dir", str(path), "update-ref", "refs/heads/main", tip)
    else:
        author.call(author.brz, "init", "--quiet", str(path))
        author.call(author.brz, "commit", "--quiet", "--unchanged", "--message=Begin", cwd=path)


@contextlib.contextmanager
def _git_daemon(base: Path, port: int) -> Iterator[None]:
    argv = ["git", "daemon", f"--base-path={base}", "--export-all", "--reuseaddr", "--listen=127.0.0.1"]
    base.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [*argv, f"--port={port}"],
        stderr=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **_any_owner()},
        start_new_session=True,
    ) as daemon:
        try:
            yield
        finally:
            os.killpg(daemon.pid, signal.SIGTERM)


def _any_owner() -> dict[str, str]:
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
