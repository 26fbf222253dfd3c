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

from archive_measuring import ADD, COPY_BATCH, FAMILIES, LIST, LOAD, SIZED, TIMED, Measured, Task, measure
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
    sizes = args.sizes or (QUICK_SIZES if args.quick else SIZES)
    families = [args.only] if args.only else list(FAMILIES)
    install_tools(families)
    work = args.work.resolve() if args.work else Path(tempfile.mkdtemp(prefix="archive-benchmark-"))
    work.mkdir(parents=True, exist_ok=True)
    try:
        measured = run(work, sizes, families, QUICK_TIMES if args.quick else TIMES, keep=args.keep)
    finally:
        openpgp.stop_agent(work / "gnupg")
        if not args.work and not args.keep:
            shutil.rmtree(work)
    for line in report_targets(measured):
        print(line)
    if args.json:
        write_figures(args.json, figures_of(measured))
    return 0


def run(work: Path, sizes: Sequence[int], families: Sequence[str], times: int, *, keep: bool) -> list[Measured]:
    """Measure size by size, and print each size's table when it is done."""
    everything = []
    print(f"{os.cpu_count()} processors; each figure the median of {times} (1,000 at once: of 3), in ms and MB")
    for size in sizes:
        measured = []
        for family in families:
            if family != "ours" and size > PEERS_LIMIT:
                continue
            task = Task(family, size, times, work)
            for one in measure(task):
                print(f"  {one.column} with {size} packages: load average {one.load_average:.1f}", file=sys.stderr)
                measured.append(one)
            if not keep:
                shutil.rmtree(task.place.root)
        print("\n" + "\n".join(draw_size(size, measured)), flush=True)
        everything += measured
    return everything


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
