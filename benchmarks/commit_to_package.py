"""From a commit to a package that apt installs: where the time goes, what is the farm's own, what idling costs.

    .venv/bin/python benchmarks/commit_to_package.py [--quick] [--json FILE] [--only commits|idle]

Prints tables; ``--json`` also writes the figures. docs/explanation/performance.md says what is counted where.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

# ppa_tools.py beside this file is a benchmark, too: the package of that name must be found first.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_farm import ROOT, SAMPLES, BenchFarm, Place, Pushed, await_end, new_farm
from by_hand import open_workshop, package_by_hand
from figures import (
    Figure,
    Span,
    draw_table,
    draw_waterfall,
    median_spans,
    median_steps,
    steps_of,
    write_figures,
)
from idle import Idle, measure_idle

from buildfarm import demo
from buildfarm.build.installing import CleanRoot, clean_root
from buildfarm.history import History
from buildfarm.history.store import Run
from buildfarm.settings import Settings
from buildfarm.verdict import StageResult, Verdict

TO_SOURCE = ("push", "checkout", "lint", "unittest", "tarball", "source", "sign", "upload")
TO_BINARIES = (*TO_SOURCE, "build", "publish")
OVERHEAD_TARGET_S = 2.0
IDLE_TARGETS = {"processor": 2.0, "memory": 200.0}
ONLY_THE_PPA = (
    "-o=Dir::Etc::sourcelist=/etc/apt/sources.list.d/local.sources",
    "-o=Dir::Etc::sourceparts=/nonexistent",
)


@dataclass(frozen=True)
class Sample:
    """One commit: the farm's waterfall, and the script's seconds a step."""

    spans: tuple[Span, ...]
    by_hand: Mapping[str, float]


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 commits a trunk, 1 minute of idling")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    parser.add_argument("--only", choices=("commits", "idle"), help="only this part")
    parser.add_argument("--commits", type=int, metavar="N", help="commits a trunk (default 5, --quick 2)")
    parser.add_argument("--place", type=Path, default=ROOT / "var" / "benchmark", help="where the farms live")
    parser.add_argument("--cache", type=Path, help="roots, layers and mirrors to use (default: below --place)")
    args = parser.parse_args()
    place, cache = args.place.resolve(), (args.cache or args.place / "cache").resolve()
    figures: list[Figure] = []
    if args.only != "idle":
        commits = args.commits or (2 if args.quick else 5)
        figures += measure_commits(place / "farm", cache, commits)
    if args.only != "commits":
        figures += measure_idling(place / "idle", cache, 60.0 if args.quick else 180.0)
    if args.json:
        write_figures(args.json, figures)
    return 0


def measure_commits(home: Path, cache: Path, commits: int) -> list[Figure]:
    """The git and the Bazaar sample, farm and script by turns on the same commits."""
    places: list[Place] = []

    def prepare(settings: Settings, author: demo.Author) -> None:
        demo.write_recipes(settings, SAMPLES)
        for recipe in (settings.home / "recipes").glob("*.yaml"):
            # Up to the published package: machines are measured apart, by vm.py.
            head = recipe.read_text(encoding="utf-8").partition("\nboot:")[0]
            recipe.write_text(f"{head}\nboot: null\nautopkgtest: null\n", encoding="utf-8")
        twins = settings.home / "twins"
        places.extend(Place(trunk, twins / trunk.name) for trunk in demo.demo_trunks(settings.home))
        for place in places:
            place.make(author)

    figures = []
    with new_farm(home, cache, prepare) as bench:
        for place in places:
            samples = list(_measure_trunk(bench, place, commits))
            figures += report_commits(place.trunk.vcs, samples)
    return figures


def _measure_trunk(bench: BenchFarm, place: Place, commits: int) -> Iterator[Sample]:
    """After one commit that warms everything up, ``commits`` times farm, then script."""
    history, name = bench.history, place.trunk.name
    warm = _ended(history, name, place.commit(bench.author, "Warm up"))
    place.commit_to_twin(bench.author, "Warm up")
    root = clean_root(bench.settings, warm.job.series[0], warm.job.architectures[0])
    with open_workshop(bench.settings, warm) as shop, root as client:
        _add_source(client, bench.settings, warm)
        for number in range(1, commits + 1):
            news = f"Commit {number}"
            pushed = place.commit(bench.author, news)
            run = _ended(history, name, pushed)
            spans = waterfall(history, run, pushed, _until_apt_sees(client, history, run, name))
            twin = place.commit_to_twin(bench.author, news)
            steps = {"push": twin.push_s}
            steps |= package_by_hand(shop, run, place.trunk.vcs, place.twin, twin.revision)
            took = sum(steps_of(spans)[step] - steps[step] for step in TO_SOURCE)
            print(f"{name} {number}/{commits}: overhead to published source {took:.2f} s", file=sys.stderr)
            yield Sample(spans, steps)


def _ended(history: History, recipe: str, pushed: Pushed) -> Run:
    run = await_end(history, recipe, pushed.revision)
    if run.verdict is not Verdict.PASS:
        rows = "\n".join(f"{row.stage}: {row.verdict} {row.reason}" for row in history.stage_rows(run))
        raise RuntimeError(f"{run.run_id} came to {run.verdict}:\n{rows}")
    return run


def _add_source(client: CleanRoot, settings: Settings, run: Run) -> None:
    import urllib.request

    url = f"{settings.archive_url}/demo/trunk/trunk-{run.job.series[0]}.sources"
    with urllib.request.urlopen(url, timeout=30) as answer:
        client.write("/etc/apt/sources.list.d/local.sources", answer.read().decode())


def _until_apt_sees(client: CleanRoot, history: History, run: Run, package: str) -> float:
    """Seconds that a client's ``apt-get update`` of the PPA takes; the new version must then be there."""
    began = time.perf_counter()
    client.run("apt-get", "-q", "update", *ONLY_THE_PPA)
    took = time.perf_counter() - began
    rows = {row.stage: row for row in history.stage_rows(run)}
    version = json.loads(rows["publish"].result)["facts"]["version"]
    if version not in client.run("apt-cache", "policy", package):
        raise RuntimeError(f"apt does not see {package} {version}")
    return took


def waterfall(history: History, run: Run, pushed: Pushed, apt_s: float) -> tuple[Span, ...]:
    """From the push's start: the push until the run is on record, the stages as the master saw them, apt."""

    def since(at: float) -> float:
        return at - pushed.began_at

    spans = [Span("push", 0.0, since(run.seen_at), pushed.push_s)]
    for row in history.stage_rows(run):
        result = StageResult.from_json(json.loads(row.result))
        work = result.finished_at - result.started_at
        spans.append(Span(row.stage, since(row.started_at), since(row.finished_at), work))
    end = spans[-1].end_s
    return (*spans, Span("apt sees it", end, end + apt_s, apt_s))


def report_commits(vcs: str, samples: Sequence[Sample]) -> list[Figure]:
    """Print a trunk's waterfall and comparison; its figures."""
    spans = median_spans([sample.spans for sample in samples])
    farm = median_steps([steps_of(sample.spans) for sample in samples])
    script = median_steps([sample.by_hand for sample in samples])
    print(f"\n{vcs}: from the push, seconds, median of {len(samples)} commits")
    print("\n".join(draw_waterfall(spans)))
    print(f"\n{vcs}: what each step adds, seconds, median")
    rows = [(name, f"{farm[name]:.2f}", f"{script[name]:.2f}", f"{farm[name] - script[name]:+.2f}")
            for name in TO_BINARIES]  # fmt: skip
    figures = [Figure(f"{vcs}: {name}", farm[name], "s", "plain script", script[name]) for name in TO_BINARIES]
    for title, steps in (("published source", TO_SOURCE), ("published binaries", TO_BINARIES)):
        ours = median(sum(steps_of(sample.spans)[name] for name in steps) for sample in samples)
        peer = median(sum(sample.by_hand[name] for name in steps) for sample in samples)
        over = median(
            sum(steps_of(sample.spans)[name] - sample.by_hand[name] for name in steps) for sample in samples
        )
        rows.append((f"push to {title}", f"{ours:.2f}", f"{peer:.2f}", f"{over:+.2f}"))
        figures.append(Figure(f"{vcs}: push to {title}", ours, "s", "plain script", peer))
        target = OVERHEAD_TARGET_S if steps is TO_SOURCE else None
        figures.append(
            Figure(f"{vcs}: overhead, push to {title}", over, "s", "to reach" if target else "", target)
        )
    print("\n".join(draw_table(("", "farm", "script", "overhead"), rows)))
    print(f"not counted: dpkg-genbuildinfo and dpkg-genchanges, {script['dpkg-genchanges']:.2f} s by hand")
    figures.append(Figure(f"{vcs}: push until apt sees it", spans[-1].end_s, "s"))
    figures.append(Figure(f"{vcs}: push until on record", farm["push"], "s"))
    return figures


def measure_idling(home: Path, cache: Path, seconds: float) -> list[Figure]:
    """The idle master twice: all trunks on this disk, and git's over git://."""
    figures = []
    for title, remote in (("50 trunks on this disk", False), ("25 over git://, 25 on this disk", True)):
        idle = measure_idle(home, cache, seconds, remote=remote)
        figures += report_idle(title, idle)
    return figures


def report_idle(title: str, idle: Idle) -> list[Figure]:
    """Print one measurement of the idle master; its figures."""
    print(f"\nidle master, {title}, each polled each minute, over {idle.seconds:.0f} s")
    print(f"processor, children included   {idle.cpu_percent:6.2f} % of a core")
    print(f"memory of the master           {idle.rss_mb:6.0f} MB, of its children {idle.children_rss_mb:.0f} MB")
    print(f"a small page answers in        {idle.probe_median_ms:6.1f} ms, at worst {idle.probe_worst_ms:.1f} ms")
    name = f"idle master, {title}"
    return [
        Figure(f"{name}: processor", idle.cpu_percent, "% of a core", "to reach", IDLE_TARGETS["processor"]),
        Figure(f"{name}: memory", idle.rss_mb, "MB", "to reach", IDLE_TARGETS["memory"]),
        Figure(f"{name}: a small page answers in", idle.probe_median_ms, "ms"),
    ]


if __name__ == "__main__":
    sys.exit(main())
