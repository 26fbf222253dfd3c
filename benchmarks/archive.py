"""The embedded archive beside aptly and reprepro: the same packages, the same operations, at several sizes.

    .venv/bin/python benchmarks/archive.py [--quick] [--sizes 10,1000] [--only ours|aptly|reprepro] [--json FILE]

Prints tables, and what was to be reached; ``--json`` also writes the figures. aptly and reprepro are Debian's, and
are installed when they are missing. docs/explanation/performance.md says what is counted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# ppa_tools.py beside this file is a benchmark, too: the package of that name must be found first.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from archive_measuring import (
    ADD,
    BATCH_TIMES,
    COPY_BATCH,
    FAMILIES,
    LIST,
    LOAD,
    SIZED,
    TIMED,
    Measured,
    Task,
    in_a_process,
    measure,
    measure_steps,
)
from figures import Figure, draw_table, write_figures

from ppa_tools import openpgp

SIZES = (10, 1000, 10_000, 100_000)
QUICK_SIZES = (10, 1000)
PEERS_LIMIT = 10_000
TIMES, QUICK_TIMES = 7, 3
TOOLS = {"aptly": "aptly", "reprepro": "reprepro"}
"""The command of each peer, and its package in Debian."""


@dataclass(frozen=True)
class Target:
    """What was to be reached: an operation at a size, in seconds or as a multiple of the time at another size."""

    operation: str
    size: int
    limit: float
    compared_with_size: int = 0


@dataclass(frozen=True)
class Plan:
    """What a run measures."""

    sizes: tuple[int, ...]
    families: tuple[str, ...]
    times: int
    keep: bool
    profile: bool


TARGETS = (
    Target(ADD, 10_000, 0.1),
    Target(COPY_BATCH, 10_000, 1.0),
    Target(LIST, 10_000, 0.05),
    Target(ADD, 100_000, 3.0, compared_with_size=10_000),
)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 and 1,000 packages, everything three times")
    parser.add_argument("--sizes", type=_sizes, metavar="N,N", help="how many packages are there already")
    parser.add_argument("--only", choices=tuple(FAMILIES), help="only this archive")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where packages are kept for another run")
    parser.add_argument("--keep", action="store_true", help="leave the archives there to be looked at")
    parser.add_argument("--profile", action="store_true", help="say where the time of an add goes, in ours")
    args = parser.parse_args()
    plan = Plan(
        sizes=args.sizes or (QUICK_SIZES if args.quick else SIZES),
        families=(args.only,) if args.only else tuple(FAMILIES),
        times=QUICK_TIMES if args.quick else TIMES,
        keep=args.keep,
        profile=args.profile,
    )
    install_tools(plan.families)
    work = args.work.resolve() if args.work else Path(tempfile.mkdtemp(prefix="archive-benchmark-"))
    work.mkdir(parents=True, exist_ok=True)
    try:
        measured = run(plan, work)
    finally:
        openpgp.stop_agent(work / "gnupg")
        if not args.work and not args.keep:
            shutil.rmtree(work)
    print("\n".join(report_targets(measured)))
    if args.json:
        write_figures(args.json, figures_of(measured))
    return 0


def run(plan: Plan, work: Path) -> list[Measured]:
    """Measure size by size, and print each size's table when it is done."""
    print(f"{os.cpu_count()} processors; figures are medians of {plan.times}, of {BATCH_TIMES} where 1,000 move")
    everything = []
    for size in plan.sizes:
        measured = [
            one
            for family in plan.families
            if family == "ours" or size <= PEERS_LIMIT
            for one in run_family(plan, Task(family, size, plan.times, work))
        ]
        print("\n" + "\n".join(draw_size(size, measured)), flush=True)
        everything += measured
    return everything


def run_family(plan: Plan, task: Task) -> list[Measured]:
    """Measure one archive at one size; say on standard error how it goes on."""
    measured = []
    for one in measure(task):
        print(f"{one.column}, {task.size:,} packages: load average {one.load_average:.1f}", file=sys.stderr)
        measured.append(one)
    if plan.profile and task.family == "ours":
        steps = in_a_process(measure_steps, task)
        slowest = sorted(steps.items(), key=lambda step: -step[1])
        print(f"\nadd 1 up to published, with {task.size:,} packages, ms: {sum(steps.values()) * 1000:.1f}")
        print("\n".join(draw_table(("", "ms"), [(name, f"{s * 1000:.1f}") for name, s in slowest])))
    if not plan.keep:
        shutil.rmtree(task.place.root)
    return measured


def draw_size(size: int, measured: Sequence[Measured]) -> list[str]:
    """A table: an operation a line, an archive a column."""
    head = (f"with {size:,} packages", *(one.column for one in measured))
    units = {LOAD: "s"} | dict.fromkeys(SIZED, "MB")
    rows = [
        (f"{name} [{unit}]", *(_cell((one.seconds | one.size_bytes).get(name), unit) for one in measured))
        for name in (*TIMED, *SIZED)
        for unit in [units.get(name, "ms")]
    ]
    rows = [row for row in rows if set(row[1:]) != {"-"}]
    return draw_table(head, [*rows, ("load average", *(f"{one.load_average:.1f}" for one in measured))])


def report_targets(measured: Sequence[Measured]) -> list[str]:
    """A line a target whose sizes were measured."""
    lines = []
    for figure in target_figures(measured):
        assert figure.peer_value is not None
        verdict = "reached" if figure.value <= figure.peer_value else "missed"
        lines.append(f"{figure.name}: {figure.value:.3g} {figure.unit} of {figure.peer_value:g}, {verdict}")
    return ["", *lines] if lines else []


def target_figures(measured: Sequence[Measured]) -> list[Figure]:
    """The targets whose sizes were measured."""
    ours = {one.size: one.seconds for one in measured if one.column == "ours"}
    figures = []
    for target in TARGETS:
        value = ours.get(target.size, {}).get(target.operation)
        base = ours.get(target.compared_with_size, {}).get(target.operation)
        name = f"to reach: {target.operation}, with {target.size:,} packages"
        if value is None:
            continue
        if not target.compared_with_size:
            figures.append(Figure(name, value * 1000, "ms", "to reach", target.limit * 1000))
        elif base is not None:
            unit = f"times that with {target.compared_with_size:,}"
            figures.append(Figure(name, value / base, unit, "to reach", target.limit))
    return figures


def figures_of(measured: Sequence[Measured]) -> list[Figure]:
    """Everything measured: ours held against each other column, and what ours has no counterpart for by itself."""
    figures = []
    for one in measured:
        for name, value, unit in _values(one):
            rivals: list[tuple[str, float | None]] = [
                (peer.column, peer_value)
                for peer in measured
                if one.column == "ours" and peer.size == one.size and not peer.column.startswith("ours")
                for peer_name, peer_value, _ in _values(peer)
                if peer_name == name
            ]
            title = f"{one.column}, {one.size:,} packages: {name}"
            figures += [Figure(title, value, unit, *rival) for rival in rivals or [("", None)]]
    return figures + target_figures(measured)


def install_tools(families: Sequence[str]) -> None:
    """Have the peers' commands; raises SystemExit saying what to do where they cannot be had."""
    missing = [TOOLS[family] for family in families if family in TOOLS and shutil.which(TOOLS[family]) is None]
    if not missing:
        return
    argv = [*(["sudo", "-n"] if os.getuid() else []), "apt-get", "install", "--quiet", "--yes", *missing]
    print(f"{' and '.join(missing)} not found: {' '.join(argv)}", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if subprocess.run(argv, env=environment, stdout=sys.stderr, check=False).returncode != 0:
        raise SystemExit(f"cannot install {' and '.join(missing)}: install them, or give --only ours")


def _values(one: Measured) -> list[tuple[str, float, str]]:
    timed = [(name, one.seconds[name] * 1000, "ms") for name in TIMED if name in one.seconds]
    return timed + [(name, one.size_bytes[name] / 1e6, "MB") for name in SIZED if name in one.size_bytes]


def _cell(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    number = value / 1e6 if unit == "MB" else value if unit == "s" else value * 1000
    return f"{number:.1f}" if number < 100 else f"{number:,.0f}"


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(word) for word in text.replace("_", "").split(",")}))


if __name__ == "__main__":
    sys.exit(main())
