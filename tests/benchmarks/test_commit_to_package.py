"""The benchmark's arithmetic and its output; its measurements are not tested, they are published."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commit_to_package import TO_BINARIES, Sample, report_commits, report_idle
from figures import Figure, Span, draw_table, draw_waterfall, median_spans, steps_of, write_figures
from idle import Idle, cpu_seconds, rss_mb, ticks_in

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "commit_to_package.py"


def spans(scale=1.0):
    """A waterfall in which every stage waits 0.1 s and takes 0.9 s."""
    found = [Span("push", 0.0, 0.5 * scale, 0.2)]
    for name in TO_BINARIES[1:]:
        begin = found[-1].end_s + 0.1 * scale
        found.append(Span(name, begin, begin + 0.9 * scale, 0.8))
    return (*found, Span("apt sees it", found[-1].end_s, found[-1].end_s + 0.3, 0.3))


def by_hand(seconds=0.75):
    return dict.fromkeys((*TO_BINARIES, "dpkg-genchanges"), seconds)


def test_steps_add_up_to_the_whole_way_waiting_included():
    steps = steps_of(spans())
    assert steps["lint"] == pytest.approx(1.0)
    assert sum(steps.values()) == pytest.approx(spans()[-1].end_s)


def test_the_median_waterfall_is_not_drawn_by_one_slow_commit():
    middle = median_spans([spans(), spans(), spans(scale=10)])
    assert [span.name for span in middle] == [span.name for span in spans()]
    assert middle[3].end_s == pytest.approx(spans()[3].end_s)


def test_waterfalls_of_different_stages_are_not_mixed():
    with pytest.raises(ValueError, match="different stages"):
        median_spans([spans(), spans()[:-1]])


def test_a_waterfalls_bars_follow_each_other_and_stay_within_the_page():
    lines = draw_waterfall(spans())[1:]
    begins = [line.index("█") for line in lines]
    assert begins == sorted(begins)
    assert max(len(line) for line in lines) <= 100


def test_a_table_has_its_columns_one_below_the_other():
    head, row = draw_table(("", "farm"), [("checkout", "1.00")])
    assert head.index("farm") == row.index("1.00")


def test_the_overhead_is_what_the_farm_takes_more_than_the_script(capsys):
    figures = report_commits("git", [Sample(spans(), by_hand())] * 3)
    value = {figure.name: figure.value for figure in figures}
    # push 0.5 and seven stages of 1.0, less eight steps of 0.75
    assert value["git: overhead, push to published source"] == pytest.approx(7.5 - 8 * 0.75)
    assert value["git: push until apt sees it"] == pytest.approx(9.8)
    assert "push to published source" in capsys.readouterr().out


def test_figures_are_written_with_what_they_are_held_against(tmp_path, capsys):
    figures = report_commits("bzr", [Sample(spans(), by_hand())])
    figures += report_idle("50 trunks", Idle(60.0, 1.25, 150.0, 30.0, 2.0, 9.0))
    write_figures(tmp_path / "figures.json", [*figures, Figure("alone", 1.23456, "s")])
    rows = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert all(set(row) == {"name", "value", "unit", "peer", "peer_value"} for row in rows)
    by_name = {row["name"]: row for row in rows}
    assert by_name["bzr: lint"]["peer"] == "plain script"
    assert by_name["bzr: lint"]["peer_value"] == 0.75
    assert by_name["idle master, 50 trunks: processor"]["peer_value"] == 2.0
    assert by_name["alone"] == {"name": "alone", "value": 1.2346, "unit": "s", "peer": "", "peer_value": None}


def test_processor_time_is_read_past_a_hostile_process_name():
    fields = " ".join(str(n) for n in range(4, 53))
    assert ticks_in(f"7 (a) b ) S {fields}") == 14 + 15 + 16 + 17


def test_a_childs_work_counts_when_it_has_ended():
    before = cpu_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", "sum(range(20_000_000))"], check=True)
    assert cpu_seconds(os.getpid()) >= before + 0.05
    assert rss_mb(os.getpid()) > 5
    assert rss_mb(2**22 + 1) == 0


def test_its_help_says_how_to_run_it():
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True)
    assert "--quick" in done.stdout
    assert "--json" in done.stdout
