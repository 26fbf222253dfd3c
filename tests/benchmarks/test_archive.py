"""The archive's benchmark: its packages are real, its steps work on ours, its figures and targets add up."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from archive import draw_size, figures_of, report_targets
from archive_measuring import ACCEPT, ADD, COPY_BATCH, DISK, LIST, MEMORY, Measured
from archive_packages import ARCHITECTURE, make_packages, package_name

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "archive.py"


def timed(column, size, add_s, **more):
    return Measured(column, size, {ADD: add_s} | more, {MEMORY: 50_000_000, DISK: 10_000_000}, 0.5)


def test_its_packages_are_what_dpkg_takes_for_packages(tmp_path):
    one, other = make_packages(tmp_path / "store", (7, 100_001))
    assert one.name != other.name
    shown = subprocess.run(["dpkg-deb", "--info", one.deb], check=True, capture_output=True, text=True).stdout
    assert f"Package: {one.name}\n" in shown.replace("\n ", "\n")
    assert f"Architecture: {ARCHITECTURE}\n" in shown
    subprocess.run(["dpkg-deb", "--extract", one.deb, tmp_path / "root"], check=True, capture_output=True)
    argv = ["dpkg-source", "--no-check", "--extract", one.dsc, tmp_path / "tree"]
    subprocess.run(argv, check=True, capture_output=True)
    assert (tmp_path / "tree/debian/changelog").is_file()


def test_its_packages_are_always_the_same_and_never_of_one_name(tmp_path):
    first, again = (make_packages(tmp_path / name, [42])[0] for name in ("first", "again"))
    assert [path.read_bytes() for path in first.files] == [path.read_bytes() for path in again.files]
    assert len({package_name(number) for number in range(5000)}) == 5000


def test_targets_are_judged_where_their_sizes_were_measured():
    fast, slow = timed("ours", 10_000, 0.09, **{LIST: 0.06}), timed("ours", 100_000, 0.28)
    lines = [line for line in report_targets([fast, slow]) if line]
    assert [line.rpartition(", ")[2] for line in lines] == ["reached", "missed", "missed"]
    assert report_targets([timed("ours", 10, 9.0), timed("aptly", 10_000, 9.0)]) == []


def test_ours_is_held_against_each_peer_at_the_same_size():
    rows = figures_of([timed("ours", 10, 0.05), timed("aptly", 10, 0.5), timed("reprepro", 1000, 0.5)])
    adds = {(row.name, row.peer): row for row in rows if row.name.endswith(ADD)}
    assert adds[f"ours, 10 packages: {ADD}", "aptly"].value == pytest.approx(50)
    assert adds[f"ours, 10 packages: {ADD}", "aptly"].peer_value == pytest.approx(500)
    assert adds[f"reprepro, 1,000 packages: {ADD}", ""].unit == "ms"


def test_a_table_says_what_is_not_offered():
    lines = draw_size(10, [timed("ours", 10, 0.05, **{COPY_BATCH: 0.5}), timed("reprepro", 10, 0.05)])
    assert next(line for line in lines if line.startswith(COPY_BATCH)).split()[-2:] == ["500", "-"]
    assert not any(line.startswith(f"{ACCEPT} [") for line in lines)


def test_it_measures_ours_and_writes_its_figures(tmp_path):
    argv = [
        sys.executable,
        SCRIPT,
        "--quick",
        "--only=ours",
        "--sizes=10",
        "--profile",
        f"--json={tmp_path / 'figures.json'}",
    ]
    done = subprocess.run([*argv, f"--work={tmp_path / 'work'}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert all(set(row) == {"name", "value", "unit", "peer", "peer_value"} for row in rows)
    value = {row["name"]: row["value"] for row in rows}
    assert value[f"ours, 10 packages: {ADD}"] > 0
    assert value[f"ours, 10 packages: {MEMORY}"] > 10
    assert "with 10 packages" in done.stdout
    assert "commits, each synced" in done.stdout
    assert not (tmp_path / "work/ours-10").exists()
