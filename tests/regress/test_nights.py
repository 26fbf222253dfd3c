"""The record of nights: what is due, what is kept over kills, what is known from before."""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from buildfarm.errors import FarmTrouble, UsageError
from buildfarm.regress.model import BuildReport, LeftOut, Outcome, RebuildVerdict, Subject
from buildfarm.regress.nights import START_LIMIT, NightRules, open_nights
from tests.regress.rounds import DAY_S, Farm, job, report

HELLO = Subject("hello", "bookworm", "amd64")


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return Farm(tmp_path)


def queue(farm: Farm) -> list[tuple[str, str]]:
    return [(build.kind, build.job.package) for _, _, build in farm.due()]


def test_a_night_of_a_set_that_goes_on_is_named_when_the_next_is_due(farm: Farm) -> None:
    night = farm.begin("hello")
    with pytest.raises(UsageError, match=f"night {night.number} of the set nightly goes on"):
        farm.begin("hello")
    assert farm.begin("hello", of="other").set == "other"
    assert len(farm.nights.recent_nights()) == 2


def test_a_subject_named_twice_is_built_once_and_two_ways_of_it_are_refused(farm: Farm) -> None:
    night = farm.begin("hello", "hello")
    assert len(farm.nights.rebuilds(night)) == 1
    with pytest.raises(UsageError, match="1-1 and 1-2"):
        farm.nights.open_night(
            "b", [job("hello"), job("hello", version="1-2")], driver="farm", reason="", rules=NightRules()
        )
    assert len(farm.nights.recent_nights()) == 1


def test_an_empty_set_is_refused(farm: Farm) -> None:
    with pytest.raises(UsageError, match="nothing to rebuild"):
        farm.begin()


def test_the_longest_goes_first_and_what_was_never_built_before_it(farm: Farm) -> None:
    farm.begin("short", "long")
    for _, _, build in farm.due():
        farm.end(build, "w1", "pass", total_s=900.0 if build.job.package == "long" else 5.0)
    farm.nights.end_nights()
    farm.begin("short", "long", "new")
    assert queue(farm) == [("first", "new"), ("first", "long"), ("first", "short")]
    assert farm.nights.expected_s(Subject("long", "bookworm", "amd64")) == 900.0


def test_a_night_of_higher_priority_goes_first_and_the_search_for_culprits_last(farm: Farm) -> None:
    farm.round("a", "b", "c")
    farm.begin("a", "b")
    for outcome in ("fail", "fail", "pass"):
        farm.step(outcome=outcome, environment="e2")
    assert queue(farm) == [("first", "b"), ("culprit", "a")]
    farm.begin("c", of="urgent", priority=9)
    assert queue(farm) == [("first", "c"), ("first", "b"), ("culprit", "a")]


def test_a_new_failure_is_built_again_alone_and_a_control_beside_it(farm: Farm) -> None:
    farm.round("hello", "quick", "slow")
    night = farm.begin("hello")
    assert farm.step("w2", "fail", "e2").kind == "first"
    again = farm.due()[0][2]
    assert (again.kind, again.environment, again.wanted_worker, again.alone) == ("again", "e2", "w2", True)
    farm.end(again, "w2", "fail")
    control = farm.due()[0][2]
    assert (control.kind, control.environment, control.wanted_worker) == ("control", "e1", "w2")
    assert control.job.package in ("quick", "slow")
    settled = farm.end(control, "w2", "pass")
    assert settled is not None
    assert (settled.verdict, settled.since) == (RebuildVerdict.NEW_FAILURE, night.started_at)
    assert [build.kind for _, _, build in farm.due()] == ["culprit"]
    assert farm.nights.end_nights() == ()
    before = farm.nights.last_pass(HELLO, farm.due()[0][2])
    assert before is not None
    assert before.rebuild == farm.rebuild(farm.nights.recent_nights()[1], "hello").id
    farm.step(outcome="pass", environment="e2")
    assert [one.number for one in farm.nights.end_nights()] == [night.number]
    assert farm.rebuild(night, "hello").verdict is RebuildVerdict.NEW_FAILURE


def test_the_named_control_is_taken_or_else_the_quickest(farm: Farm) -> None:
    farm.begin("hello", "slow", "quick", "named")
    durations = {"slow": 90.0, "quick": 1.0, "named": 50.0, "hello": 0.1}
    for _, _, build in farm.due():
        farm.end(build, "w1", "pass", total_s=durations[build.job.package])
    farm.nights.end_nights()
    for number, (rules, wanted) in enumerate([({}, "quick"), ({"control": "named"}, "named")]):
        farm.begin("hello", of=f"set{number}", culprit=False, **rules)
        farm.step(outcome="fail", environment=f"x{number}")
        farm.step(outcome="fail")
        assert queue(farm) == [("control", wanted)]
        farm.nights.cancel(farm.nights.recent_nights(1)[0])


def test_one_control_serves_all_that_failed_before_it_began(farm: Farm) -> None:
    packages = ("a", "b", "c")
    farm.round(*packages, "good")
    night = farm.begin(*packages, culprit=False)
    for kind in ("first", "again"):
        for _, _, build in farm.due():
            assert build.kind == kind
            farm.end(build, "w1", "fail", "e2")
    assert [kind for kind, _ in queue(farm)] == ["control"] * 3
    farm.step("w1", "pass")
    assert queue(farm) == []
    assert set(farm.verdicts(night).values()) == {"new failure"}


def test_a_control_on_one_worker_says_nothing_of_another(farm: Farm) -> None:
    farm.round("a", "b", "good")
    night = farm.begin("a", "b", culprit=False)
    for _ in range(2):
        for _, _, build in farm.due():
            farm.end(build, {"a": "w1", "b": "w2"}[build.job.package], "fail", "e2")
    controls = {build.wanted_worker: build for _, _, build in farm.due()}
    farm.end(controls["w2"], "w2", "pass")
    assert farm.verdicts(night) == {"a": "None", "b": "new failure"}
    assert [(build.kind, build.wanted_worker) for _, _, build in farm.due()] == [("control", "w1")]


def test_a_control_that_passed_before_the_failure_began_does_not_count(farm: Farm) -> None:
    farm.round("a", "b", "good")
    farm.begin("a", "b", culprit=False)
    for outcome in ("fail", "fail", "pass"):
        farm.step("w1", outcome, "e2")
    for outcome in ("fail", "fail"):
        farm.step("w1", outcome, "e2")
    assert queue(farm) == [("control", "good")]


def test_a_broken_worker_is_taken_out_and_no_package_is_blamed(farm: Farm) -> None:
    packages = ("a", "b", "c")
    farm.round(*packages, "good")
    night = farm.begin(*packages)
    broken = "w1"
    while found := farm.due():
        build = found[0][2]
        worker = "w2" if broken in farm.nights.workers_out() else broken
        assert build.wanted_worker in ("", worker)
        farm.end(build, worker, "fail" if worker == broken else "pass", "e2")
    assert farm.verdicts(night) == dict.fromkeys(packages, "still passing")
    assert list(farm.nights.workers_out()) == [broken]
    assert "known to be good" in farm.nights.workers_out()[broken][0]
    assert all(build.report.outcome == "pass" for build in farm.nights.history(Subject("a", "bookworm", "amd64")))
    farm.nights.put_back(broken)
    assert farm.nights.workers_out() == {}


def test_another_cause_that_a_broken_worker_told_is_no_news(farm: Farm) -> None:
    farm.round("a", "b", "good", fails={"a": {}})
    farm.begin("a", "b", culprit=False)
    for _, _, build in farm.due():
        farm.end(build, "w1", "fail", "e2", fingerprint="disk full")
    night = farm.nights.recent_nights(1)[0]
    assert farm.rebuild(night, "a").cause_changed
    farm.step("w1", "fail", "e2")
    farm.step("w1", "fail")
    assert not farm.rebuild(night, "a").cause_changed


def test_trouble_is_tried_again_elsewhere_and_then_is_nobodys_fault(farm: Farm) -> None:
    night = farm.begin("hello")
    delays, asked = [], []
    for worker in ("w1", "w2", "w3", "w4"):
        before = farm.now
        build = farm.due()[0][2]
        delays.append(farm.now - before)
        asked.append(build.avoid_workers)
        farm.end(build, worker, "error")
    assert delays == [0, 10, 60, 300]
    assert asked == [(), ("w1",), ("w1", "w2"), ("w1", "w2", "w3")]
    assert farm.verdicts(night) == {"hello": "infrastructure"}
    (build,) = farm.nights.builds(farm.rebuild(night, "hello"))
    assert [one.worker for one in build.tries] == ["w1", "w2", "w3", "w4"]


def meet_trouble(farm: Farm, *packages: str, then: str = "w2") -> None:
    """Each of these ends by trouble on w1, and then passes elsewhere."""
    for package in packages:
        while (build := farm.due()[0][2]).job.package != package or not build.tries:
            farm.end(build, "w1", "error")
        farm.end(build, then, "pass")


def test_a_worker_on_which_all_is_trouble_that_is_built_elsewhere_is_taken_out(farm: Farm) -> None:
    night = farm.begin("a", "b", "c", "d")
    meet_trouble(farm, "a", "b")
    assert farm.nights.workers_out() == {}
    meet_trouble(farm, "c")
    assert (
        farm.nights.workers_out()["w1"][0]
        == "a, b, c met trouble there and were built elsewhere: it came to error"
    )
    farm.step("w2")
    assert farm.verdicts(night) == dict.fromkeys("abcd", "still passing")


def test_trouble_that_is_everywhere_or_passes_takes_no_worker_out(farm: Farm) -> None:
    farm.begin("a", "b", "c", "d")
    meet_trouble(farm, "a", "b", then="w1")
    meet_trouble(farm, "c", "d")
    assert farm.nights.workers_out() == {}


def test_a_worker_that_is_put_back_starts_with_a_clean_sheet(farm: Farm) -> None:
    farm.begin("a", "b", "c", "d", "e")
    meet_trouble(farm, "a", "b", "c")
    farm.nights.put_back("w1")
    meet_trouble(farm, "d")
    assert farm.nights.workers_out() == {}


def test_a_control_whose_files_are_gone_gives_way_to_another(farm: Farm) -> None:
    farm.round("hello", "quick", "slow", environment="e0")
    night = farm.begin("hello")
    farm.step("w1", "fail", "e2")
    farm.step("w1", "fail", "e2")
    packages = []
    for outcome in ("error",) * 4 + ("pass",):
        control = farm.step("w1", outcome)  # type: ignore[arg-type]
        assert control.kind == "control"
        packages.append(control.job.package)
    assert packages[:4] == packages[:1] * 4
    assert {packages[0], packages[4]} == {"quick", "slow"}
    assert farm.verdicts(night) == {"hello": "new failure"}
    assert farm.nights.workers_out() == {}


def test_what_somebody_tries_by_hand_does_not_take_the_news_from_the_night(farm: Farm) -> None:
    farm.round("hello", "good")
    farm.round("hello", of="by-hand", fails={"hello": {}}, tell=False, confirm=False, culprit=False)
    night = farm.round("hello", "good", fails={"hello": {}}, environment="e2")
    assert farm.verdicts(night)["hello"] == "new failure"
    assert "libfoo" in str(farm.rebuild(night, "hello").culprit)
    by_hand = farm.round("hello", of="by-hand", fails={"hello": {}}, environment="e2", tell=False)
    assert farm.verdicts(by_hand) == {"hello": "still failing"}


def test_what_somebody_tries_by_hand_makes_nothing_flaky(farm: Farm) -> None:
    farm.round("hello", "good")
    farm.round("hello", of="by-hand", fails={"hello": {}}, tell=False)
    night = farm.round("hello", "good")
    assert farm.verdicts(night) == {"hello": "still passing", "good": "still passing"}


def test_other_options_are_another_input_and_more_processes_are_not(farm: Farm) -> None:
    def night(of: str, options: tuple[str, ...], outcome: Outcome) -> str:
        jobs = [replace(job("hello", of=of), options=options)]
        begun = farm.nights.open_night(of, jobs, driver="farm", reason="its time", rules=NightRules(confirm=False))
        while farm.nights.due("farm"):
            farm.step("w1", outcome, "e1")
        farm.nights.end_nights()
        return farm.verdicts(begun)["hello"]

    assert night("fast", ("nocheck",), "pass") == "still passing"
    assert night("full", (), "fail") == "new failure"
    assert night("fast", ("nocheck", "parallel=4"), "pass") == "still passing"
    assert night("full", ("parallel=2",), "fail") == "still failing"


def test_flakiness_is_remembered_over_environments(farm: Farm) -> None:
    """Fails one time in three: what is found flaky in some nights, and passes in those between, is no news."""
    for n in range(3):
        night = farm.begin("hello")
        farm.step("w1", "fail", f"flaky{n}")
        farm.step("w1", "pass", f"flaky{n}")
        farm.nights.end_nights()
        assert farm.verdicts(night) == {"hello": "flaky"}
        farm.round("hello", environment=f"quiet{n}")
    night = farm.begin("hello")
    for outcome in ("fail", "fail", "pass"):
        farm.step("w1", outcome, "tonight")  # type: ignore[arg-type]
    assert farm.verdicts(night) == {"hello": "flaky"}


def test_a_row_of_failures_that_may_be_chance_is_counted_over_nights(farm: Farm) -> None:
    for outcomes in (("fail", "pass"), ("fail", "fail", "fail", "fail", "pass")):  # 5 of 7: nine are too many
        night = farm.begin("hello")
        for outcome in outcomes:
            farm.step("w1", outcome, "e1")  # type: ignore[arg-type]
        farm.nights.end_nights()
    failures, nights = 0, 0
    while farm.verdicts(night) == {"hello": "flaky"}:
        night = farm.begin("hello")
        nights += 1
        while found := farm.due():
            if found[0][2].kind == "culprit":
                break
            farm.step("w1", "fail", f"night{nights}")
            failures += 1
        farm.nights.end_nights()
    assert farm.verdicts(night) == {"hello": "new failure"}
    assert (failures, nights) == (9, 2)


def test_what_an_unsound_worker_told_is_news_when_a_sound_one_tells_it(farm: Farm) -> None:
    farm.round("a", "good", fails={"a": {}})
    farm.begin("a", culprit=False)
    farm.step("w1", "fail", "e2", fingerprint="another cause")
    farm.nights.take_out("w1", "its memory is broken")
    farm.nights.end_nights()
    night = farm.begin("a", culprit=False)
    farm.step("w2", "fail", "e2", fingerprint="another cause")
    assert farm.rebuild(night, "a").cause_changed


def test_a_worker_that_is_only_gone_leaves_the_news_it_told(farm: Farm) -> None:
    farm.round("a", "b", "good", fails={"a": {}})
    night = farm.begin("a", "b", culprit=False)
    for _, _, build in farm.due():
        farm.end(build, "w1", "fail", "e2", fingerprint="another cause")
    farm.nights.leave("w1")
    ((build, worker),) = [(one.kind, one.wanted_worker) for _, _, one in farm.due()]
    assert (build, worker) == ("first", "")
    assert farm.rebuild(night, "a").cause_changed
    assert farm.nights.workers_out() == {}


def test_an_end_told_twice_or_of_an_earlier_start_changes_nothing(farm: Farm) -> None:
    farm.begin("hello")
    build = farm.due()[0][2]
    early = farm.nights.start(build, "w1")
    farm.nights.return_to_queue(early)
    assert farm.nights.end(early, report("fail"), "w1") is None
    late = farm.nights.start(build, "w2")
    assert farm.nights.end(early, report("fail"), "w1") is None
    settled = farm.nights.end(late, report("pass"), "w2")
    assert settled is not None
    assert farm.nights.end(late, report("fail"), "w2") == settled
    assert [one.report.outcome for one in farm.nights.history(HELLO)] == ["pass"]


def test_two_drivers_do_not_start_one_build(farm: Farm) -> None:
    farm.begin("hello")
    build = farm.due()[0][2]
    farm.nights.start(build)
    with pytest.raises(UsageError, match="does not wait"):
        farm.reopened().start(build)


def test_a_build_that_loses_its_worker_each_time_ends(farm: Farm) -> None:
    night = farm.begin("hello")
    starts = 0
    while found := farm.due():
        farm.nights.return_to_queue(farm.nights.start(found[0][2], "w1"))
        starts += 1
    assert starts == START_LIMIT
    assert farm.verdicts(night) == {"hello": "infrastructure"}


def test_what_finds_no_worker_is_given_up_with_words(farm: Farm) -> None:
    night = farm.begin("hello")
    settled = farm.nights.give_up(farm.due()[0][2], "no worker builds for riscv64")
    assert settled is not None
    assert (settled.verdict, settled.reason) == (RebuildVerdict.INFRASTRUCTURE, "no worker builds for riscv64")
    assert farm.nights.end_nights()[0].number == night.number


def test_a_search_for_the_culprit_that_comes_to_nothing_says_so(farm: Farm) -> None:
    farm.round("hello", "good")
    night = farm.begin("hello")
    for _ in range(3):
        farm.step(outcome="pass" if farm.due()[0][2].kind == "control" else "fail", environment="e2")
    for _ in range(4):
        farm.step(outcome="error", environment="e2")
    found = farm.rebuild(night, "hello")
    assert found.verdict is RebuildVerdict.NEW_FAILURE
    assert found.culprit is not None
    assert "came to nothing: it came to error" in found.culprit.words


@pytest.mark.parametrize(
    ("before", "environment", "rules", "words"),
    [
        (False, "e2", {}, "no earlier pass"),
        (True, "e1", {}, "does not explain it"),
        (True, "e2", {"culprit": False}, "this set has it so"),
    ],
)
def test_why_no_culprit_is_searched_for(farm: Farm, before, environment, rules, words) -> None:
    farm.round("hello", "good") if before else farm.round("good")
    night = farm.begin("hello", **rules)
    while found := farm.due():
        build = found[0][2]
        farm.end(build, "w1", "pass" if build.kind == "control" else "fail", environment)
    culprit = farm.rebuild(night, "hello").culprit
    assert culprit is not None
    assert words in culprit.words


def test_the_culprit_is_known_while_the_failure_goes_on(farm: Farm) -> None:
    farm.round("hello", "good")
    for _ in range(3):
        night = farm.round("hello", "good", fails={"hello": {}}, environment="e2")
        culprit = farm.rebuild(night, "hello").culprit
        assert culprit is not None
        assert culprit.builds == 8
    night = farm.round("hello", "good", fails={"hello": {"fingerprint": "other"}}, environment="e2")
    assert farm.rebuild(night, "hello").culprit is None


def test_what_is_built_from_other_repositories_is_not_compared(farm: Farm) -> None:
    farm.round("hello", "good")
    other = [job("hello", of="ppa", extra="Types: deb")]
    night = farm.nights.open_night("ppa", other, driver="farm", reason="", rules=NightRules(culprit=True))
    for outcome in ("fail", "fail", "pass"):
        farm.step(outcome=outcome, environment="e9")
    found = farm.rebuild(night, "hello")
    assert found.verdict is RebuildVerdict.NEW_FAILURE
    assert found.culprit is not None
    assert "no earlier pass" in found.culprit.words
    farm.nights.end_nights()
    assert farm.verdicts(farm.round("hello", "good")) == {"hello": "still passing", "good": "still passing"}


def test_a_cancelled_night_ends_at_once_and_what_still_runs_changes_nothing(farm: Farm) -> None:
    night = farm.begin("a", "b")
    running = farm.nights.start(farm.due()[0][2], "w1")
    ended = farm.nights.cancel(night)
    assert ended.ended_at is not None
    assert ended.told
    assert farm.due() == ()
    assert set(farm.verdicts(night).values()) == {"infrastructure"}
    farm.nights.end(running, report("fail"), "w1")
    assert farm.due() == ()
    assert farm.nights.submitted("farm") == ()
    assert farm.begin("a").number == night.number + 1


def test_builds_are_kept_of_the_newest_nights_and_each_last_pass(farm: Farm) -> None:
    for number in range(4):
        farm.round("a", "b", fails={"b": {}} if number else {}, environment=f"e{number}", culprit=False)
    past = farm.nights.kept_builds_past(1)
    kept = {build.id for name in "ab" for build in farm.nights.history(Subject(name, "bookworm", "amd64"))} - {
        *past
    }
    newest = farm.nights.recent_nights(1)[0]
    ids = {build.id for one in farm.nights.rebuilds(newest) for build in farm.nights.builds(one)}
    last_pass = farm.nights.last_pass(Subject("b", "bookworm", "amd64"))
    assert last_pass is not None
    assert kept == ids | {last_pass.id}
    assert farm.nights.environments_in_use(1) == {"e0", "e3"}
    assert farm.nights.kept_builds_past(9) == ()


def test_a_label_is_set_changed_and_taken_away(farm: Farm) -> None:
    farm.nights.set_label("f1", "upstream knows", "https://bugs.debian.org/1")
    farm.nights.set_label("f1", "fixed in 2.0")
    assert [(one.text, one.url) for one in farm.nights.labels().values()] == [("fixed in 2.0", "")]
    with pytest.raises(UsageError, match="http"):
        farm.nights.set_label("f1", "", "javascript:alert(1)")
    farm.nights.set_label("f1", "")
    assert farm.nights.labels() == {}


def test_a_record_of_another_shape_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "regression.sqlite"
    open_nights(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(FarmTrouble, match="99"):
        open_nights(path)


def test_a_record_from_before_nights_kept_what_they_leave_out_is_taken_over(farm: Farm) -> None:
    night = farm.round("hello")
    with sqlite3.connect(farm.path) as connection:
        connection.execute("ALTER TABLE nights DROP COLUMN left_out")
        connection.execute("PRAGMA user_version = 1")
    assert farm.reopened().night(night.number) == night
    again = farm.begin("hello", left_out=(LeftOut(Subject("gone", "bookworm", "amd64"), "it is gone"),))
    assert farm.reopened().night(again.number) == again
    assert again.left_out[0].reason == "it is gone"


def test_many_threads_and_a_second_process_share_a_night(farm: Farm) -> None:
    packages = [f"p{number}" for number in range(30)]
    night = farm.begin(*packages)
    script = (
        "import sys, pathlib\n"
        "from buildfarm.errors import UsageError\n"
        "from buildfarm.regress.model import BuildReport\n"
        "from buildfarm.regress.nights import open_nights\n"
        "nights = open_nights(pathlib.Path(sys.argv[1]))\n"
        "while due := nights.due('farm'):\n"
        "    for _, _, build in due:\n"
        "        try:\n"
        "            nights.end(nights.start(build, 'w9'), BuildReport('pass', 'so', 'e1'), 'w9')\n"
        "        except UsageError:\n"
        "            pass\n"
    )
    second = subprocess.Popen([sys.executable, "-c", script, str(farm.path)])

    def work(worker: str) -> None:
        while due := farm.nights.due("farm"):
            for _, _, build in due:
                try:
                    started = farm.nights.start(build, worker)
                except UsageError:
                    continue
                farm.nights.end(started, BuildReport("pass", "so", "e1"), worker)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, ("w1", "w2", "w3", "w4")))
    assert second.wait(timeout=120) == 0
    found = farm.nights.rebuilds(night)
    assert [one.verdict for one in found] == [RebuildVerdict.STILL_PASSING] * 30
    builds = [build for one in found for build in farm.nights.builds(one)]
    assert [build.attempts for build in builds] == [1] * 30


KILLED = """
import itertools, os, pathlib, signal, sys
import buildfarm.regress.nights as nights_module
from tests.regress.rounds import Farm, report
farm = Farm(pathlib.Path(sys.argv[1]))
farm.now = float(sys.argv[3])
count = itertools.count()
def trace(frame, event, _arg):  # dies before one of the SQL statements
    if event == "call" and frame.f_code.co_name in ("execute", "commit"):
        if next(count) == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
for _, _, build in farm.nights.submitted("farm"):
    farm.nights.return_to_queue(build)
sys.setprofile(trace)
while found := farm.due():
    night, rebuild, build = found[0]
    bad = rebuild.job.package == "bad" and build.kind != "control"
    farm.end(build, "w1", "fail" if bad else "pass", "e2")
farm.nights.end_nights()
"""


@pytest.mark.slow
def test_killed_before_any_statement_a_night_goes_on_where_it_stopped(farm: Farm) -> None:
    farm.round("bad", "good")
    night = farm.begin("bad", "good")
    kills = 0
    for moment in itertools.count(1, 7):
        ran = subprocess.run(
            [sys.executable, "-c", KILLED, str(farm.path.parent), str(moment), str(farm.now + moment * 100)],
            cwd=Path(__file__).parents[2],
            env={"PYTHONPATH": "."},
        )
        rebuilds = farm.nights.rebuilds(night)
        for one in rebuilds:
            unfinished = [b for b in farm.nights.builds(one) if b.state != "done" and b.kind != "culprit"]
            assert (one.verdict is None) == (len(unfinished) == 1)
        if ran.returncode == 0:
            break
        kills += 1
    assert kills > 3
    assert farm.verdicts(night) == {"bad": "new failure", "good": "still passing"}
    assert [one.number for one in farm.nights.untold_nights()][-1] == night.number


def test_news_are_told_once(farm: Farm) -> None:
    night = farm.round("hello")
    assert [one.number for one in farm.nights.untold_nights()] == [night.number]
    assert farm.nights.note_told(night, "mail").told_by == ("mail",)
    farm.nights.mark_told(night)
    assert farm.reopened().untold_nights() == ()


def test_flakiness_is_estimated_from_all_results_of_one_input(farm: Farm) -> None:
    farm.round("hello")
    for _ in range(3):
        night = farm.begin("hello")
        farm.step(outcome="fail", environment="e1")
        farm.step(outcome="pass")
        farm.nights.end_nights()
        farm.now += DAY_S
        found = farm.rebuild(night, "hello")
        assert found.verdict is RebuildVerdict.FLAKY
    assert found.flaky_rate is not None
    assert found.flaky_rate.estimate == 3 / 7
    assert 0.15 < found.flaky_rate.low < 3 / 7 < found.flaky_rate.high < 0.76
