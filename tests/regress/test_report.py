"""Reports of nights: what they say, in each form, whatever the logs had in them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.build.junit import read_junit
from buildfarm.errors import UsageError
from buildfarm.regress.entries import Entry, Report
from buildfarm.regress.model import BuildReport, Culprit, LeftOut, RebuildVerdict, Subject, Suspect
from buildfarm.regress.model import TestCounts as Counts
from buildfarm.regress.nights import Night, NightRules
from buildfarm.regress.report import FORMS, make_report, parse_since, render
from buildfarm.regress.views import comparison, matrix, package_history
from tests.regress.rounds import BEGIN, DAY_S, Farm, report

NOW = BEGIN + 30 * DAY_S


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    """Three nights: all pass; two fail anew; one of these is fixed, one fails on, one is flaky, one waits."""
    farm = Farm(tmp_path)
    packages = ("aaa", "fixed", "failing", "flaky", "waits")
    farm.round(*packages)
    farm.round(*packages, fails={"fixed": {"fingerprint": "g"}, "failing": {}}, environment="e2")
    farm.begin(*packages)
    while found := farm.due():
        build = found[0][2]
        name = build.job.package
        failed = name == "failing" or (name == "flaky" and build.kind == "first")
        outcome = "dependency-wait" if name == "waits" else "fail" if failed else "pass"
        farm.end(build, "w1", outcome, "e3", build_s=12.0)
    farm.nights.end_nights()
    return farm


def test_news_come_first_and_passes_last(farm: Farm) -> None:
    made = make_report(farm.nights, now=NOW)
    assert [(one.subject.package, str(one.verdict)) for one in made.entries] == [
        ("fixed", "fixed"),
        ("flaky", "flaky"),
        ("failing", "still failing"),
        ("waits", "dependency wait"),
        ("aaa", "still passing"),
    ]
    assert [one.news for one in made.entries] == ["fixed", "newly flaky", "", "", ""]


def test_a_table_that_a_stranger_understands(farm: Farm) -> None:
    farm.nights.set_label("f1", "upstream knows", "https://bugs.debian.org/1")
    text = render(make_report(farm.nights, now=NOW))
    lines = text.splitlines()
    assert lines[0].split() == [
        "package",
        "series-arch",
        "verdict",
        "since",
        "duration",
        "tests",
        "build",
        "cause",
    ]
    rows = {line.split()[0]: re.split(r" {2,}", line) for line in lines[1:6]}
    day = datetime.fromtimestamp(BEGIN + DAY_S).strftime("%Y-%m-%d")
    assert rows["failing"][1:6] == ["bookworm-amd64", "still failing", day, "12 s", "2 of 42 failed"]
    assert rows["failing"][7] == "[upstream knows https://bugs.debian.org/1] undefined reference to foo_open"
    assert rows["aaa"][4:6] == ["12 s (+50%)", "42 passed"]
    assert "] fails 50% (9% to 91%) of the times; undefined" in rows["flaky"][-1]
    assert lines[-1] == (
        "1 night (3), 5 rebuilds: 1 still failing, 1 fixed, 1 flaky, 1 dependency wait, 1 still passing."
    )


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
def test_causes_wrap_where_there_is_room(farm: Farm, width: int) -> None:
    text = render(make_report(farm.nights, "1", now=NOW), width=width)
    words = " ".join(line.strip() for line in text.splitlines())
    assert "foo_open" in words
    assert max(len(line) for line in text.splitlines()[:-1]) <= max(width, 98)


def test_several_nights_show_the_newest_of_each_and_older_news(farm: Farm) -> None:
    shown = make_report(farm.nights, "1", now=NOW).shown
    assert sorted((one.night, one.subject.package) for one in shown if one.night < 3) == [
        (2, "failing"),
        (2, "fixed"),
    ]
    assert len([one for one in shown if one.night == 3]) == 5


@pytest.mark.parametrize(
    ("text", "nights"), [("3", [3]), ("2", [2, 3]), ("1000h", [1, 2, 3]), ("28d", [3]), ("2025-11-30", [2, 3])]
)
def test_since_chooses_nights(farm: Farm, text: str, nights: list[int]) -> None:
    if text == "2025-11-30":
        text = datetime.fromtimestamp(BEGIN + DAY_S).isoformat()
    assert [one.number for one in make_report(farm.nights, text, now=NOW).nights] == nights


@pytest.mark.parametrize(
    "text", ["yesterday", "-1", "7", "7 d", "2025-13-01", "9999999d", "", "1e3", "٣d", "9" * 50]
)
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    if text == "7":
        assert parse_since(text, NOW) == (0.0, 7)
        return
    with pytest.raises(UsageError, match="7d"):
        parse_since(text, NOW)


def test_json_has_stable_keys(farm: Farm) -> None:
    data = json.loads(render(make_report(farm.nights, now=NOW), "json"))
    assert list(data) == ["schema", "made_at", "summary", "workers_out", "nights"]
    assert data["schema"] == 1
    (night,) = data["nights"]
    assert list(night) == ["night", "set", "reason", "started_at", "ended_at", "rebuilds", "left_out"]
    one = next(one for one in night["rebuilds"] if one["package"] == "failing")
    assert list(one) == [
        *("package", "version", "series", "architecture", "verdict", "news", "since", "reason", "build", "worker"),
        *("page", "environment", "stage", "build_s", "total_s", "usual_s", "tests", "failing_tests"),
        *("first_error", "fingerprint", "cause", "label", "culprit", "flaky_rate"),
    ]
    assert (one["verdict"], one["since"]) == ("still failing", "2025-11-30T12:00:00Z")
    assert one["tests"] == {"passed": 40, "failed": 2, "skipped": 1}
    assert one["culprit"]["words"] == "It fails since libfoo 1.2 became 1.3."


def test_junit_has_a_suite_a_night_and_a_case_a_subject(farm: Farm, tmp_path: Path) -> None:
    farm.begin("aaa")
    text = render(make_report(farm.nights, "1", now=NOW), "junit")
    root = fromstring(text)
    assert [suite.get("name") for suite in root] == [f"nightly night {number}" for number in range(1, 5)]
    third = root[2]
    assert {key: third.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    cases = {case.get("name"): case for case in third}
    assert [child.tag for child in cases["waits"]] == ["skipped"]
    assert [child.tag for child in cases["flaky"]] == ["system-out"]
    assert len(cases["aaa"]) == len(cases["fixed"]) == 0
    failure = cases["failing"][0]
    assert failure.get("type") == "still failing"
    assert "main.c:12: undefined reference to `foo_open'" in failure.text
    assert "t/open.t" in failure.text
    assert "libfoo 1.2" in failure.text
    assert [child.tag for child in root[3][0]] == ["skipped"]
    (tmp_path / "report.xml").write_text(text)
    read = read_junit(tmp_path / "report.xml", "report.xml")
    assert (read.tests, read.failed, read.skipped) == (16, 3, 2)


HOSTILE = st.text(alphabet=st.characters(codec=None), max_size=30) | st.sampled_from(
    ["\x1b[2J", "]]>", "<script>", "&#0;", "\ud800", "\ufffe", "a\r\nb", "\u202egnp.exe", "\x00"]
)
GONE = LeftOut(Subject("gone", "bookworm", "amd64"), "bookworm has no source package of this name")
NIGHT = Night(1, "s", "farm", "r", BEGIN, BEGIN + 1, False, (), NightRules())


@given(st.lists(HOSTILE, min_size=7, max_size=7), st.sampled_from(RebuildVerdict))
@settings(max_examples=200, deadline=None)
def test_whatever_a_log_says_every_form_is_sound(said: list[str], verdict: RebuildVerdict) -> None:
    one = Entry(
        night=1,
        set="s",
        subject=Subject("hello", "bookworm", "amd64"),
        version="1-1",
        verdict=verdict,
        news="",
        since=BEGIN,
        reason=said[0],
        build=1,
        stage=said[1],
        tests=Counts(1, 1, 0),
        failing_tests=(said[2],),
        first_error=(said[3],),
        cause=said[4],
        culprit=Culprit(said[5], (Suspect("foo", "1", "2"),)),
    )
    night = replace(NIGHT, left_out=(LeftOut(Subject("gone", "bookworm", "amd64"), said[6]),))
    made = Report(NOW, (night,), (one,), {})
    for form in FORMS:
        text = render(made, form)
        assert text.encode().decode() == text
        assert text.endswith("\n")
        if form != "junit":
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    table = render(made, "table")
    assert len(table.split("\n")) == 8
    case, gone = fromstring(render(made, "junit"))[0]
    assert (case.get("name"), gone.get("name")) == ("hello", "gone")
    assert json.loads(render(made, "json"))["nights"][0]["rebuilds"][0]["cause"] == said[4]


def test_what_a_night_leaves_out_is_told_in_every_form(farm: Farm, tmp_path: Path) -> None:
    farm.begin("aaa", left_out=(GONE,))
    farm.step()
    farm.nights.end_nights()
    made = make_report(farm.nights, now=NOW)
    assert render(made).endswith(
        "\n\nLeft out of night 4 of nightly:\n  gone bookworm-amd64: bookworm has no source package of this name\n"
    )
    (night,) = json.loads(render(made, "json"))["nights"]
    assert night["left_out"] == [
        {"package": "gone", "series": "bookworm", "architecture": "amd64", "reason": GONE.reason}
    ]
    (tmp_path / "report.xml").write_text(render(made, "junit"))
    read = read_junit(tmp_path / "report.xml", "report.xml")
    assert (read.tests, read.skipped) == (2, 1)


def test_of_much_that_is_left_out_the_table_has_the_first(farm: Farm) -> None:
    farm.begin("aaa", left_out=[replace(GONE, reason=f"reason {number}") for number in range(30)])
    table = render(make_report(farm.nights, now=NOW))
    assert "reason 19" in table
    assert "reason 20" not in table
    assert table.endswith("\n  and 10 more\n")


def test_colours_only_where_they_are_wanted(farm: Farm) -> None:
    made = make_report(farm.nights, now=NOW)
    assert "\x1b[" not in render(made)
    coloured = render(made, colour=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render(made)
    assert "\x1b[31mstill failing" in coloured


def test_no_nights_are_a_report_too(tmp_path: Path) -> None:
    made = make_report(Farm(tmp_path).nights, now=NOW)
    assert render(made) == "No nights.\n"
    assert fromstring(render(made, "junit")).get("tests") == "0"


def test_the_matrix_has_a_cell_for_each_rebuild(farm: Farm) -> None:
    seen = matrix(farm.nights, "nightly", last=2)
    assert [night.number for night in seen.nights] == [3, 2]
    row = seen.rows[Subject("failing", "bookworm", "amd64")]
    assert {number: str(cell.verdict) for number, cell in row.items()} == {3: "still failing", 2: "new failure"}
    build = farm.nights.build(row[3].build or 0)
    assert build is not None
    assert build.report is not None
    assert build.report.outcome == "fail"


def test_a_package_has_a_history(farm: Farm) -> None:
    seen = package_history(farm.nights, Subject("failing", "bookworm", "amd64"))
    assert [str(one.verdict) for one in seen] == ["still failing", "new failure", "still passing"]
    assert [one.build_s for one in seen] == [12.0, 8.0, 8.0]
    assert [one.tests and one.tests.failed for one in seen] == [2, 2, 0]
    assert [one.news for one in seen] == ["", "new failure", ""]


def test_two_builds_are_compared_by_their_failing_tests(farm: Farm) -> None:
    newest, before, *_ = farm.nights.history(Subject("failing", "bookworm", "amd64"))
    seen = comparison(before, newest, ("libfoo 1.2 -> 1.3",))
    assert seen.same_cause
    assert seen.still_failing == ("t/open.t", "t/close.t")
    assert seen.build_s == (8.0, 12.0)
    assert seen.environment == ("libfoo 1.2 -> 1.3",)
    last_pass = farm.nights.last_pass(Subject("failing", "bookworm", "amd64"))
    assert last_pass is not None
    assert comparison(last_pass, newest).newly_failing == ("t/open.t", "t/close.t")
    assert comparison(newest, last_pass).no_longer_failing == ("t/open.t", "t/close.t")


def test_a_report_is_kept_whole(farm: Farm) -> None:
    told = BuildReport(
        "fail", "r", "e", culprit=Culprit("w", (Suspect("foo", "1", "2", ("libfoo",)),), True, 40, 8, 1.0)
    )
    farm.begin("aaa", of="other")
    build = farm.due()[0][2]
    farm.nights.end(farm.nights.start(build, "w"), told)
    kept = farm.nights.build(build.id)
    assert kept is not None
    assert kept.report == told
    assert report("pass").outcome == "pass"
