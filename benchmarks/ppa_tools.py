"""The PPA tools as commands against a double of Launchpad that takes 50 ms to answer anything.

    .venv/bin/python benchmarks/ppa_tools.py [--quick] [--json FILE]

Each figure is a whole process, from its start to its end, beside the number of requests it made. A naive script
with launchpadlib does the first job as well. docs/explanation/performance.md says what is counted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from figures import Figure, draw_table, write_figures

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.doubles.launchpad import LaunchpadDouble

BIN = Path(sys.executable).parent
LATENCY_S = 0.05
TIMES, QUICK_TIMES = 5, 2
NAIVE_TIMES = 1


@dataclass(frozen=True)
class Measured:
    """A job's median time over several runs, and the most requests that one of them made."""

    name: str
    seconds: float
    requests: int | None
    limit_s: float | None = None
    limit_requests: int | None = None


@dataclass(frozen=True)
class Bench:
    """Where commands are run: a double, the credentials, and a state directory that is new for each run."""

    double: LaunchpadDouble
    credentials: Path
    scratch: Path

    def command(self, *words: str) -> float:
        """Run a command of the tools; its seconds. Raises RuntimeError with what it said when it fails."""
        return run_timed(
            [str(BIN / words[0]), *words[1:], "--instance", self.double.url],
            {"LP_CREDENTIALS_FILE": str(self.credentials), "XDG_STATE_HOME": tempfile.mkdtemp(dir=self.scratch)},
        )

    def measure(
        self, name: str, times: int, prepare: Callable[[], None], act: Callable[[], float], **limits: Any
    ) -> Measured:
        """Do a job several times, each in a world prepared for it."""
        seconds, requests = [], []
        for _ in range(times):
            self.double.set(latency_s=0.0)
            prepare()
            self.double.set(latency_s=LATENCY_S)
            self.double.clear_log()
            seconds.append(act())
            requests.append(len(self.double.requests()))
        return Measured(name, median(seconds), max(requests), **limits)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="everything twice, no naive script")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    args = parser.parse_args()
    times = QUICK_TIMES if args.quick else TIMES
    with tempfile.TemporaryDirectory(prefix="ppa-tools-benchmark-") as name, LaunchpadDouble() as double:
        scratch = Path(name)
        measured = run(double, scratch, times, naive=not args.quick)
    print("\n".join(draw(measured)))
    if args.json:
        write_figures(args.json, figures_of(measured))
    return 0


def run(double: LaunchpadDouble, scratch: Path, times: int, *, naive: bool) -> list[Measured]:
    """All jobs, one after the other."""

    def world(*ppas: Iterable[Mapping[str, Any]]) -> Callable[[], None]:
        def build() -> None:
            double.reset()
            double.set(copy_delay_s=0.0, publish_delay_s=0.0)
            for number, packages in enumerate(ppas):
                ppa = double.add_ppa(f"bench/p{number}")
                double.add_packages([{"ppa": ppa, **one} for one in packages])
            credentials = double.token("bench")
            credentials.save(scratch / "credentials")

        return build

    bench = Bench(double, scratch / "credentials", scratch)
    hundred, gone = world(packages(100), ()), packages(100, "z")
    found = [
        bench.measure(
            "plan and copy 100 packages",
            times,
            hundred,
            lambda: bench.command("ppa-copy", "ppa:bench/p0", "ppa:bench/p1", "--all", "--yes"),
            limit_s=1.5,
            limit_requests=12,
        )
    ]
    if naive:
        found.append(
            bench.measure(
                "the same, naive script with launchpadlib",
                NAIVE_TIMES,
                hundred,
                lambda: run_timed(
                    [
                        sys.executable,
                        str(Path(__file__).with_name("ppa_tools_naive.py")),
                        double.url,
                        str(scratch / "credentials"),
                        "bench/p0",
                        "bench/p1",
                    ],
                    {"HOME": tempfile.mkdtemp(dir=scratch)},
                ),
            )
        )
    found += [
        bench.measure(
            "sync 1,000 packages, 100 to delete",
            times,
            world(packages(1000), [*packages(850), *packages(50, version="0.9-1", first=850), *gone]),
            lambda: bench.command("ppa-sync", "ppa:bench/p0", "ppa:bench/p1", "--yes"),
        ),
        bench.measure(
            "list 10,000 publications",
            times,
            world(packages(10_000)),
            lambda: bench.command("ppa-list", "ppa:bench/p0"),
        ),
        bench.measure(
            "conflicts among 5 PPAs of 3,000 packages",
            times,
            world(*(packages(3000, version=f"1.{n % 3}-1", first=500 * n) for n in range(5))),
            lambda: bench.command("ppa-conflicts", *(f"ppa:bench/p{n}" for n in range(5))),
            limit_s=1.0,
        ),
        Measured(
            "ppa-list --help",
            median(run_timed([str(BIN / "ppa-list"), "--help"], {}) for _ in range(4 * times)),
            None,
            limit_s=0.15,
        ),
    ]
    return found


def packages(
    count: int, letter: str = "p", *, version: str = "1.0-1", first: int = 0
) -> Sequence[Mapping[str, Any]]:
    """Packages that are published and built."""
    return [{"name": f"{letter}{number:05d}", "version": version} for number in range(first, first + count)]


def run_timed(argv: Sequence[str], environment: Mapping[str, str]) -> float:
    """Run a program to its end; its seconds. Raises RuntimeError with what it said when it fails."""
    begin = time.perf_counter()
    done = subprocess.run(
        argv,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    seconds = time.perf_counter() - begin
    if done.returncode != 0:
        said = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}:\n{said}")
    return seconds


def draw(measured: Sequence[Measured]) -> list[str]:
    """A line a job."""
    rows = [
        (
            one.name,
            f"{one.seconds:.2f}",
            "-" if one.limit_s is None else f"{one.limit_s:g}",
            "-" if one.requests is None else f"{one.requests}",
            "-" if one.limit_requests is None else f"{one.limit_requests}",
        )
        for one in measured
    ]
    load = f"load average {os.getloadavg()[0]:.1f}, {LATENCY_S * 1000:.0f} ms a request"
    return draw_table((load, "seconds", "to reach", "requests", "to reach"), rows)


def figures_of(measured: Sequence[Measured]) -> list[Figure]:
    """Seconds and requests; the naive script stands beside what it is held against."""
    naive = next((one for one in measured if "naive" in one.name), None)
    found = []
    for one in measured:
        rivals: list[tuple[str, float | None, float | None]] = [("to reach", one.limit_s, one.limit_requests)]
        if naive is not None and one is measured[0]:
            rivals.append((naive.name, naive.seconds, naive.requests))
        for peer, *values in rivals:
            mine = ((one.name, one.seconds, "s"), (f"{one.name}: requests", one.requests, "requests"))
            found += [
                Figure(name, value, unit, peer if other is not None else "", other)
                for (name, value, unit), other in zip(mine, values, strict=True)
                if value is not None
            ]
    return found


if __name__ == "__main__":
    sys.exit(main())
