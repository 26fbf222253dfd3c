"""The history keeps each commit once and knows what is left to do after a kill at any moment."""

import contextlib
import itertools
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from buildfarm.errors import FarmTrouble
from buildfarm.history import NewRun, open_history
from buildfarm.history.store import History
from buildfarm.job import BootJob, Branch, Job
from buildfarm.pipeline import TaskKey
from buildfarm.verdict import StageResult, Verdict


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def history(tmp_path, clock):
    opened = open_history(tmp_path / "history.sqlite")
    return History(opened._engine, clock)


def job_maker(recipe="hello", **those):
    return lambda revision, run_id: Job(
        run_id, recipe, Branch("git", "/x", "main"), revision, "local:o/n", ("bookworm",), ("amd64",), **those
    )


def commits(*revisions):
    return [
        NewRun(revision, number, "A <a@b>", f"commit {revision}", 5.0) for number, revision in enumerate(revisions)
    ]


def record(history, *revisions, recipe="hello", **those):
    maker = job_maker(recipe, **those)
    return history.record_commits(recipe, "git /x main", revisions[-1], commits(*revisions), maker)


def pass_task(history, group):
    (_run, task), *_ = [(r, t) for r, t in history.due_tasks() if t.key.group == group]
    return history.end_attempt(history.start_attempt(task), Verdict.PASS, "")


def test_several_commits_between_two_polls_are_several_runs(history):
    assert record(history, "a", "b", "c") == ("hello-1", "hello-2", "hello-3")
    assert [run.revision for run, _ in history.due_tasks()] == ["a", "b", "c"]
    assert history.tip("hello", "git /x main") == "c"


def test_a_commit_seen_twice_has_one_run(history):
    record(history, "a", "b")
    assert record(history, "b", "c") == ("hello-3",)


def test_a_trunk_that_moved_house_is_looked_at_afresh(history):
    record(history, "a")
    assert history.tip("hello", "git /elsewhere main") == ""


def test_a_passed_run_goes_through_every_task_in_order(history):
    record(history, "a")
    for group in ("source", "upload"):
        assert pass_task(history, group).verdict is None
    assert pass_task(history, "build").verdict is Verdict.PASS
    assert history.due_tasks() == ()


def test_a_failed_check_ends_the_run_and_skips_the_rest(history):
    record(history, "a")
    ((run, task),) = history.due_tasks()
    run = history.end_attempt(history.start_attempt(task), Verdict.FAIL, "unittest: 1 of 3 failed")
    assert run.verdict is Verdict.FAIL
    assert [(t.key.group, t.verdict) for t in history.tasks(run)] == [
        ("source", Verdict.FAIL),
        ("upload", Verdict.SKIPPED),
        ("build", Verdict.SKIPPED),
    ]


def test_uploads_keep_the_order_of_commits_even_when_a_later_check_is_faster(history):
    record(history, "a", "b")
    (_, first), (_, second) = history.due_tasks()
    history.start_attempt(first)
    history.end_attempt(history.start_attempt(second), Verdict.PASS, "")
    assert history.due_tasks() == ()
    first = next(t for r, t in history.submitted_tasks() if t.id == first.id)
    history.end_attempt(first, Verdict.PASS, "")
    assert [(r.revision, t.key.group) for r, t in history.due_tasks()] == [("a", "upload")]
    pass_task(history, "upload")
    assert ("b", "upload") in [(r.revision, t.key.group) for r, t in history.due_tasks()]


def test_what_is_verified_is_promoted_though_an_older_commit_still_waits_for_its_machine(history):
    record(history, "a", "b", boot=BootJob(), promote="local:o/stable")
    for group in ("source", "upload", "build"):
        pass_task(history, group)
        pass_task(history, group)
    assert [(run.revision, task.key.group) for run, task in history.due_tasks()] == [
        ("a", "verify"),
        ("b", "verify"),
    ]
    _, (_run, newer) = history.due_tasks()
    assert history.end_attempt(history.start_attempt(newer), Verdict.PASS, "").verdict is None
    assert [(run.revision, task.key.group) for run, task in history.due_tasks()] == [
        ("a", "verify"),
        ("b", "promote"),
    ]
    assert pass_task(history, "promote").verdict is Verdict.PASS


def test_what_fails_in_its_machine_is_not_promoted(history):
    record(history, "a", boot=BootJob(), promote="local:o/stable")
    for group in ("source", "upload", "build"):
        pass_task(history, group)
    ((_run, task),) = history.due_tasks()
    run = history.end_attempt(history.start_attempt(task), Verdict.FAIL, "boot: it would not install")
    assert run.verdict is Verdict.FAIL
    assert [(task.key.group, task.verdict) for task in history.tasks(run)][-2:] == [
        ("verify", Verdict.FAIL),
        ("promote", Verdict.SKIPPED),
    ]


def test_a_commit_held_behind_one_that_is_to_try_again_does_not_hide_when_that_is(history, clock):
    record(history, "a", "b")
    (_, first), (_, second) = history.due_tasks()
    for task in (first, second):
        history.end_attempt(history.start_attempt(task), Verdict.PASS, "")
    upload = history.start_attempt(history.due_tasks()[0][1])
    history.end_attempt(upload, Verdict.ERROR, "the archive is away")
    assert history.due_tasks() == ()
    assert history.next_due_at() > clock.now
    clock.now = history.next_due_at()
    assert [(run.revision, task.key.group) for run, task in history.due_tasks()] == [("a", "upload")]


def test_one_recipe_never_holds_up_another(history):
    record(history, "a", recipe="slow")
    record(history, "a", recipe="quick")
    quick = next(t for r, t in history.due_tasks() if r.recipe == "quick")
    history.end_attempt(history.start_attempt(quick), Verdict.PASS, "")
    assert ("quick", "upload") in [(r.recipe, t.key.group) for r, t in history.due_tasks()]


def test_trouble_is_tried_again_later_and_given_up_in_the_end(history, clock):
    record(history, "a")
    for attempt in itertools.count(1):
        due = history.due_tasks()
        if not due:
            assert history.next_due_at() is not None
            clock.now = history.next_due_at()
            due = history.due_tasks()
        task = history.start_attempt(due[0][1])
        assert task.attempts == attempt
        run = history.end_attempt(task, Verdict.ERROR, "no network")
        if run.verdict is not None:
            break
    assert (run.verdict, attempt) == (Verdict.ERROR, 5)


def test_an_attempt_that_ended_twice_counts_once(history):
    record(history, "a")
    task = history.start_attempt(history.due_tasks()[0][1])
    history.end_attempt(task, Verdict.ERROR, "x")
    history.end_attempt(task, Verdict.FAIL, "late word of the same attempt")
    assert history.tasks(history.run("hello-1"))[0].state == "waiting"


def test_an_attempt_that_never_reached_buildbot_is_taken_back(history):
    record(history, "a")
    task = history.start_attempt(history.due_tasks()[0][1])
    assert history.due_tasks() == ()
    history.return_to_queue(task)
    assert [t.attempts for _, t in history.due_tasks()] == [0]


def test_a_failed_run_given_another_chance_repeats_only_what_did_not_pass(history):
    record(history, "a")
    pass_task(history, "source")
    task = history.start_attempt(history.due_tasks()[0][1])
    assert not history.retry(history.run("hello-1"))
    history.end_attempt(task, Verdict.FAIL, "refused")
    assert history.retry(history.run("hello-1"))
    assert [t.key for _, t in history.due_tasks()] == [TaskKey("upload", "bookworm")]
    pass_task(history, "upload")
    assert pass_task(history, "build").verdict is Verdict.PASS
    assert not history.retry(history.run("hello-1"))


def test_a_build_repeated_from_its_page_lets_the_run_go_on(history):
    record(history, "a")
    task = history.start_attempt(history.due_tasks()[0][1])
    assert history.end_attempt(task, Verdict.FAIL, "flaky").verdict is Verdict.FAIL
    assert history.end_attempt(task, Verdict.PASS, "").verdict is None
    assert [t.key.group for _, t in history.due_tasks()] == ["upload"]


def test_a_stage_result_comes_back_as_it_was_kept(history):
    record(history, "a")
    task = history.start_attempt(history.due_tasks()[0][1])
    run = history.run("hello-1")
    history.record_stage_start(task, "source", "bookworm", "http://x/")
    assert history.stage_result(run, "source", "bookworm") is None
    result = StageResult("source", "bookworm", Verdict.PASS, "well", 1.0, 2.0, facts={"changes_sha256": "ab"})
    history.record_stage(run, result)
    assert history.stage_result(run, "source", "bookworm") == result


def test_a_trunk_in_trouble_says_so_and_since_when(history, clock):
    record(history, "a")
    history.record_trouble("hello", "git /x main", "unreachable")
    clock.now = 2000.0
    history.record_trouble("hello", "git /x main", "unreachable still")
    assert history.troubles() == {"hello": ("unreachable still", 1000.0)}
    record(history, "b")
    assert history.troubles() == {}
    assert history.tip("hello", "git /x main") == "b"


def test_a_history_of_another_version_is_refused_in_words_and_left_alone(tmp_path):
    path = tmp_path / "history.sqlite"
    open_history(path)
    open_history(path)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(FarmTrouble, match="schema 99"):
        open_history(path)


def test_a_history_opened_by_several_at_once_is_made_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: open_history(tmp_path / "history.sqlite"), range(8)))
    assert record(opened[0], "a") == ("hello-1",)
    assert opened[7].run("hello-1").revision == "a"
