"""Whose fault a build's end is, case by case, on logs as sbuild writes them."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.build.logs import ONCE_MORE, LogReading, Summary, find_cause, judge, read_build_log
from buildfarm.build.logs.judging import PACKAGE_STAGES
from buildfarm.build.logs.normalise import normalise
from buildfarm.verdict import Verdict

DATA = Path(__file__).with_name("data")


def read(log: str) -> LogReading:
    with (DATA / f"{log}.log").open("rb") as file:
        return read_build_log(file)


@pytest.mark.parametrize(
    ("log", "exit_status", "verdict", "reason"),
    [
        ("successful", 0, Verdict.PASS, "built"),
        ("test-failed", 2, Verdict.FAIL, "the build failed: FAIL: test_two (tests.test_words.TestCount.test_two)"),
        ("compiler", 2, Verdict.FAIL, "the build failed: main.c:7:5: error: 'counter' undeclared"),
        ("arch-check", 2, Verdict.FAIL, "the build failed: E: tally: amd64 not in arch list"),
        ("exec-format", 2, Verdict.FAIL, "the build failed: /bin/sh: 1: ./helper: Exec format error"),
        (
            "unmet-sure",
            3,
            Verdict.FAIL,
            "unmet build-dependencies: no-such-library-dev but it is not installable; python3 (>= 99) but",
        ),
        ("unmet-uncertain", 3, Verdict.ERROR, "build-dependencies could not be installed: libfresh-dev but"),
        ("mirror-down", 3, Verdict.ERROR, "sbuild gave up in its stage apt-get-update (given-back)"),
        ("create-session", 1, Verdict.ERROR, "sbuild gave up in its stage create-session (failed)"),
        ("disk-full", 2, Verdict.ERROR, "the machine failed: /tmp/ccQ1.s: fatal error: can't write"),
        ("kernel", 2, Verdict.ERROR, "the machine failed: kernel BUG at mm/slub.c:321!"),
        ("cut-off", -9, Verdict.ERROR, "sbuild exited -9 and its log ends without a summary"),
        ("forged-summary", 2, Verdict.FAIL, "the build failed: main.c:1:1: error: no"),
        # What sbuild itself says and what its log says must agree.
        ("successful", 2, Verdict.ERROR, "sbuild exited 2, but its log says 'successful'"),
        ("compiler", 0, Verdict.ERROR, "sbuild exited 0, but its log says 'attempted'"),
    ],
)
def test_a_log_is_judged(log: str, exit_status: int, verdict: Verdict, reason: str) -> None:
    judgement = judge(read(log), exit_status)

    assert judgement.verdict is verdict
    assert judgement.reason.startswith(reason)


def test_the_summary_is_read_after_its_last_box_only() -> None:
    summary = read("forged-summary").summary

    assert summary is not None
    assert (summary.status, summary.fail_stage) == ("attempted", "build")
    assert summary.seconds("Package-Time") == 11
    assert summary.seconds("Space") is None


def test_a_log_without_a_summary_has_none() -> None:
    assert read("cut-off").summary is None


def test_of_a_log_with_two_builds_the_second_is_read() -> None:
    second = (DATA / "test-failed.log").read_bytes()
    first = (
        second.partition(b"| Summary ")[0].replace(b"test_two", b"test_one")
        + b"TAP version 13\nnot ok 1 - writes\n  # No space left on device\n"  # and nothing ends its suite
    )

    both = read_build_log(io.BytesIO(first + f"\n{ONCE_MORE}\n".encode() + second))
    alone = read_build_log(io.BytesIO(second))

    assert (both.failing_tests, both.tests, both.errors) == (alone.failing_tests, alone.tests, alone.errors)
    assert find_cause(both, judge(both, 2)) == find_cause(alone, judge(alone, 2))
    assert both.lines == alone.lines + first.count(b"\n") + 2
    assert both.first_error is not None
    assert alone.first_error is not None
    assert both.first_error.line_number - alone.first_error.line_number == both.lines - alone.lines


@given(
    st.sampled_from(["attempted", "given-back", "failed", "skipped", "", "x"]),
    st.text(max_size=20),
    st.sampled_from([1, 2, 3, -9, 137]),
)
def test_only_the_packages_own_stages_blame_the_package(status: str, stage: str, exit_status: int) -> None:
    reading = LogReading(Summary({"Status": status, "Fail-Stage": stage}))

    verdict = judge(reading, exit_status).verdict

    assert verdict is not Verdict.PASS
    if verdict is Verdict.FAIL:
        assert stage in PACKAGE_STAGES
        assert (status, exit_status) == ("attempted", 2)


def read_text(*lines: str) -> LogReading:
    return read_build_log(io.BytesIO("".join(f"{line}\n" for line in lines).encode()))


@given(st.lists(st.text(max_size=80), max_size=40))
@settings(deadline=None)
def test_any_text_can_be_read(lines: list[str]) -> None:
    assert read_text(*lines).summary is None or any("| Summary" in line for line in lines)


def test_what_a_configure_script_says_and_survives_is_not_taken_for_the_failure() -> None:
    noise = ["sh: 1: build-aux/git-version-gen: not found", "checking for gawk... cannot find gawk"]
    assert read_text(*noise, "FAIL: tests/hello-1", "make[1]: *** [Makefile:9: check] Error 1").errors == (
        "FAIL: tests/hello-1",
    )
    assert read_text(*noise, "make[1]: *** [Makefile:9: check] Error 1").errors == (noise[0],)


def test_a_line_of_fifty_megabytes_is_read_in_little_memory(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    with log.open("wb") as file:
        for _ in range(50):
            file.write(b"\xff" * (1 << 20))
        file.write(b"\nE: after it\n")

    tracemalloc.start()
    with log.open("rb") as file:
        reading = read_build_log(file)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert reading.errors == ("E: after it",)
    assert peak_bytes < 4 << 20


def test_a_compilers_error_is_the_same_cause_whether_a_flag_made_it_one() -> None:
    said = "a.c:7:3: error: implicit declaration of function 'f' [-W{}implicit-function-declaration]"

    assert normalise(said.format("error=")) == normalise(said.format(""))
