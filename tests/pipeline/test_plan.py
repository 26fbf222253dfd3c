"""The rules that order a run's tasks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.job import AutopkgtestJob, BootJob, Branch, FirstbootJob, Job, SuiteJob
from buildfarm.pipeline import (
    TaskKey,
    is_verified,
    needs,
    ready_tasks,
    retry_delay_s,
    run_verdict,
    stages_of,
    tasks_of,
)
from buildfarm.pipeline.local import local_steps
from buildfarm.stages import BY_NAME
from buildfarm.verdict import Verdict


def a_job(series=("bookworm", "trixie"), architectures=("amd64",), **those):
    trunk = Branch("git", "/x", "main")
    return Job("hello-1", "hello", trunk, "f" * 40, "local:o/n", series, architectures, **those)


EVERYTHING = {
    "boot": BootJob(),
    "autopkgtest": AutopkgtestJob(),
    "suite": SuiteJob("run"),
    "firstboot": FirstbootJob("make-image"),
    "promote": "local:o/stable",
}


def steps_of(job):
    return {
        str(task): [" ".join(part for part in step if part) for step in stages_of(job, task)]
        for task in tasks_of(job)
    }


def test_the_steps_of_each_task_are_pinned():
    assert steps_of(a_job()) == {
        "source": ["checkout", "lint", "unittest", "tarball", "source bookworm", "source trixie"],
        "upload bookworm": ["sign bookworm", "upload bookworm"],
        "upload trixie": ["sign trixie", "upload trixie"],
        "build bookworm-amd64": ["build bookworm amd64", "publish bookworm amd64"],
        "build trixie-amd64": ["build trixie amd64", "publish trixie amd64"],
    }


def test_the_steps_of_a_run_with_everything_are_pinned():
    steps = steps_of(a_job(("bookworm", "trixie"), ("amd64", "arm64"), **EVERYTHING))
    assert list(steps)[-10:] == [
        *("build bookworm-amd64", "build bookworm-arm64", "build trixie-amd64", "build trixie-arm64"),
        *("verify bookworm-amd64", "verify bookworm-arm64", "verify trixie-amd64", "verify trixie-arm64"),
        *("promote bookworm", "promote trixie"),
    ]
    assert steps["verify trixie-arm64"] == [
        "boot trixie arm64",
        "autopkgtest trixie arm64",
        "suite trixie arm64",
        "firstboot trixie arm64",
    ]
    assert steps["promote trixie"] == ["promote trixie"]


@pytest.mark.parametrize("stage", ["boot", "autopkgtest", "suite", "firstboot"])
def test_a_run_has_only_what_it_is_asked_to_verify(stage):
    steps = steps_of(a_job(("bookworm",), **{stage: EVERYTHING[stage]}))
    assert steps["verify bookworm-amd64"] == [f"{stage} bookworm amd64"]
    assert "promote bookworm" not in steps


def test_a_series_is_promoted_when_all_its_architectures_are_verified():
    tasks = tasks_of(a_job(("bookworm", "trixie"), ("amd64", "arm64"), **EVERYTHING))
    assert needs(TaskKey("promote", "trixie"), tasks) == (
        TaskKey("verify", "trixie", "amd64"),
        TaskKey("verify", "trixie", "arm64"),
    )
    assert needs(TaskKey("verify", "trixie", "arm64"), tasks) == (TaskKey("build", "trixie", "arm64"),)
    assert needs(TaskKey("build", "trixie", "arm64"), tasks) == (TaskKey("upload", "trixie"),)
    assert needs(TaskKey("upload", "trixie"), tasks) == (TaskKey("source"),)
    assert needs(TaskKey("source"), tasks) == ()


def test_where_nothing_is_verified_what_was_built_is_promoted():
    tasks = tasks_of(a_job(("bookworm",), ("amd64", "arm64"), promote="local:o/stable"))
    assert needs(TaskKey("promote", "bookworm"), tasks) == (
        TaskKey("build", "bookworm", "amd64"),
        TaskKey("build", "bookworm", "arm64"),
    )


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR, Verdict.SKIPPED, None])
def test_nothing_is_promoted_that_was_not_verified_on_every_architecture(verdict):
    ended = dict.fromkeys(tasks_of(a_job(("bookworm",), ("amd64", "arm64"), **EVERYTHING)), Verdict.PASS)
    ended[TaskKey("promote", "bookworm")] = None
    assert ready_tasks(ended) == (TaskKey("promote", "bookworm"),)
    assert is_verified(ended)
    ended[TaskKey("verify", "bookworm", "arm64")] = verdict
    assert TaskKey("promote", "bookworm") not in ready_tasks(ended)
    assert not is_verified(ended)


def test_a_series_that_fails_to_verify_does_not_hold_up_the_other():
    ended = dict.fromkeys(tasks_of(a_job(**EVERYTHING)), Verdict.PASS)
    ended[TaskKey("verify", "bookworm", "amd64")] = Verdict.FAIL
    ended[TaskKey("promote", "bookworm")] = ended[TaskKey("promote", "trixie")] = None
    assert ready_tasks(ended) == (TaskKey("promote", "trixie"),)
    assert (is_verified(ended, "bookworm"), is_verified(ended, "trixie"), is_verified(ended)) == (
        *(False, True),
        False,
    )


def test_a_run_that_verifies_nothing_is_not_verified():
    assert not is_verified(dict.fromkeys(tasks_of(a_job(promote="local:o/stable")), Verdict.PASS))


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
    asked = data.draw(st.sets(st.sampled_from(sorted(EVERYTHING))))
    job = a_job(("a", "b", "c"), ("amd64", "arm64"), **{name: EVERYTHING[name] for name in asked})
    ended = dict.fromkeys(tasks_of(job))
    for _ in range(len(ended)):
        ready = ready_tasks(ended)
        if not ready:
            break
        assert run_verdict(ended) is None
        task = data.draw(st.sampled_from(ready))
        assert all(ended[need] is Verdict.PASS for need in needs(task, ended))
        ended[task] = data.draw(st.sampled_from([Verdict.PASS, Verdict.FAIL, Verdict.ERROR]))
    final = run_verdict(ended)
    assert final is not None
    assert (final is Verdict.PASS) == all(verdict is Verdict.PASS for verdict in ended.values())


def test_trouble_of_the_farm_is_tried_again_with_back_off_and_then_given_up():
    delays = [retry_delay_s(attempt) for attempt in range(1, 6)]
    assert delays[-1] is None
    assert delays[:-1] == sorted(delays[:-1])
    assert None not in delays[:-1]


def test_what_others_must_build_first_is_waited_for_longer():
    delays = [retry_delay_s(attempt, "promote") for attempt in range(1, 9)]
    assert delays[:4] == [retry_delay_s(attempt) for attempt in range(1, 5)]
    assert delays[-1] is None
    assert sum(delays[:-1]) > 3 * 3600


@pytest.mark.parametrize("until", list(BY_NAME))
def test_a_local_run_sends_nothing_anywhere_unless_asked(until):
    names = {step[0] for step in local_steps(a_job(**EVERYTHING), until, publish=False)}
    assert not names & {"sign", "upload", "publish", "promote"}


def test_a_local_run_until_a_stage_ends_with_it():
    steps = local_steps(a_job(("bookworm",)), "unittest", publish=True)
    assert [step[0] for step in steps] == ["checkout", "lint", "unittest"]
