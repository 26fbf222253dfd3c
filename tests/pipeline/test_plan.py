"""The rules that order a run's tasks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.job import Branch, Job
from buildfarm.pipeline import TaskKey, ready_tasks, retry_delay_s, run_verdict, stages_of, tasks_of
from buildfarm.pipeline.local import local_steps
from buildfarm.stages import BY_NAME
from buildfarm.verdict import Verdict


def a_job(series=("bookworm", "trixie"), architectures=("amd64",)):
    return Job("hello-1", "hello", Branch("git", "/x", "main"), "f" * 40, "local:o/n", series, architectures)


def test_the_steps_of_each_task_are_pinned():
    job = a_job()
    steps = {
        str(task): [" ".join(part for part in step if part) for step in stages_of(job, task)]
        for task in tasks_of(job)
    }
    assert steps == {
        "source": ["checkout", "lint", "unittest", "tarball", "source bookworm", "source trixie"],
        "upload bookworm": ["sign bookworm", "upload bookworm"],
        "upload trixie": ["sign trixie", "upload trixie"],
        "build bookworm-amd64": ["build bookworm amd64", "publish bookworm amd64"],
        "build trixie-amd64": ["build trixie amd64", "publish trixie amd64"],
    }


def test_nothing_is_uploaded_before_the_checks_have_passed():
    ended = dict.fromkeys(tasks_of(a_job()))
    assert ready_tasks(ended) == (TaskKey("source"),)
    ended[TaskKey("source")] = Verdict.FAIL
    assert ready_tasks(ended) == ()
    assert run_verdict(ended) is Verdict.FAIL


def test_one_series_that_fails_to_build_does_not_hold_up_the_other():
    ended = dict.fromkeys(tasks_of(a_job()))
    ended[TaskKey("source")] = Verdict.PASS
    ended[TaskKey("upload", "bookworm")] = ended[TaskKey("upload", "trixie")] = Verdict.PASS
    ended[TaskKey("build", "bookworm", "amd64")] = Verdict.FAIL
    assert ready_tasks(ended) == (TaskKey("build", "trixie", "amd64"),)
    assert run_verdict(ended) is None
    ended[TaskKey("build", "trixie", "amd64")] = Verdict.PASS
    assert run_verdict(ended) is Verdict.FAIL


@given(st.data())
def test_every_run_comes_to_an_end_whatever_its_tasks_come_to(data):
    job = a_job(("a", "b", "c"), ("amd64", "arm64"))
    ended = dict.fromkeys(tasks_of(job))
    for _ in range(len(ended)):
        ready = ready_tasks(ended)
        if not ready:
            break
        assert run_verdict(ended) is None
        task = data.draw(st.sampled_from(ready))
        ended[task] = data.draw(st.sampled_from([Verdict.PASS, Verdict.FAIL, Verdict.ERROR]))
    final = run_verdict(ended)
    assert final is not None
    assert (final is Verdict.PASS) == all(verdict is Verdict.PASS for verdict in ended.values())


def test_trouble_of_the_farm_is_tried_again_with_back_off_and_then_given_up():
    delays = [retry_delay_s(attempt) for attempt in range(1, 6)]
    assert delays[-1] is None
    assert delays[:-1] == sorted(delays[:-1])
    assert None not in delays[:-1]


@pytest.mark.parametrize("until", list(BY_NAME))
def test_a_local_run_sends_nothing_anywhere_unless_asked(until):
    names = {step[0] for step in local_steps(a_job(), until, publish=False)}
    assert not names & {"sign", "upload", "publish"}


def test_a_local_run_until_a_stage_ends_with_it():
    steps = local_steps(a_job(("bookworm",)), "unittest", publish=True)
    assert [step[0] for step in steps] == ["checkout", "lint", "unittest"]
