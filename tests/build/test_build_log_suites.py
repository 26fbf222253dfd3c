"""Kinds of test suites beyond those in the replays, and forms that their other versions print."""

from __future__ import annotations

import io

import pytest

from buildfarm.build.logs import read_build_log
from buildfarm.build.logs.suites.registry import KINDS


def read(text: str) -> tuple[list[str], tuple[int, int, int]]:
    reading = read_build_log(io.BytesIO(text.encode()))
    assert reading.tests is not None
    return list(reading.failing_tests), (reading.tests.passed, reading.tests.failed, reading.tests.skipped)


@pytest.mark.parametrize(
    ("text", "names", "counts"),
    [
        pytest.param(
            "# parallel group (2 tests):  sums words\n"
            "ok 1         - create                                    123 ms\n"
            "not ok 2     + sums                                       45 ms\n"
            "ok 3         + words                                      45 ms\n"
            "1..3\n# 1 of 3 tests failed.\n",
            ["sums"],
            (2, 1, 0),
            id="pg_regress since 16",
        ),
        pytest.param(
            "parallel group (2 tests):  sums words\n     sums                         ... FAILED        9 ms\n"
            "     words                        ... ok            9 ms\n"
            "test alone                        ... failed (ignored)\n"
            "=======================\n 1 of 3 tests failed. \n",
            ["sums"],
            (2, 1, 0),
            id="pg_regress in groups",
        ),
        pytest.param(
            "********* Start testing of Sums *********\nPASS   : Sums::initTestCase()\n"
            "FAIL!  : Sums::subtracts(big) Compared values are not the same\n   Loc: [t.cpp(4)]\n"
            "SKIP   : Sums::net() no network\nTotals: 1 passed, 1 failed, 1 skipped, 0 blacklisted, 2ms\n",
            ["Sums::subtracts(big)"],
            (1, 1, 1),
            id="Qt Test",
        ),
        pytest.param(
            "main.add                                 w1 [ pass ]     12\n"
            "main.sub 'innodb'                        w2 [ fail ]\n"
            "main.shaky                               w2 [ fail ]\n"
            "main.shaky                               w2 [ retry-pass ]     3\n"
            "main.net                                 w1 [ skipped ]  no network\n",
            ["main.sub 'innodb'"],
            (2, 1, 1),
            id="mysql-test-run with workers and a second try",
        ),
        pytest.param(
            "PASS: one\nFAIL: two\n=====================\n1 of 2 tests failed\n=====================\n"
            "PASS: three\n==================\nAll 1 tests passed\n",
            ["two"],
            (2, 1, 0),
            id="automake before 1.12",
        ),
        pytest.param(
            "ok 1 - one\nnot ok 2 - two\n1..2\nok 1 - one\nok 2 - two # skip no network\n"
            "not ok 3 # TO" + "DO later\n1..3\n",
            ["two"],
            (3, 1, 1),
            id="TAP of two programs",
        ),
        pytest.param(
            "..F\n1 failed, 2 passed, 3 warnings in 0.10s\n", [], (2, 1, 0), id="pytest that says little"
        ),
        pytest.param(
            "FAIL: test_x (mod.Case)\nRan 2 tests in 0.1s\n\nFAILED (failures=1)\n"
            "Ran 3 tests in 0.1s\n\nOK (skipped=1)\n",
            ["mod.Case.test_x"],
            (3, 1, 1),
            id="unittest before Python 3.11, twice",
        ),
        pytest.param(
            '<testsuite name="a"><testcase name="one" classname="A"/>\n<testcase classname="A" name="t&lt;o">\n'
            '<failure message="x"/></testcase>\n<testcase name="three"><skipped/></testcase></testsuite>\n',
            ["A.t<o"],
            (1, 1, 1),
            id="JUnit over lines",
        ),
        pytest.param(
            "--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/b (0.00s)\n    --- PASS: TestA/c (0.00s)\n"
            "FAIL\nFAIL\tex.org/p\t0.1s\n",
            ["ex.org/p.TestA/b"],
            (1, 2, 0),
            id="go test with cases",
        ),
        pytest.param(
            "Test Run By builder on Fri\nPASS: adds\nFAIL: subtracts\n# of expected passes\t\t1\n"
            "# of unexpected failures\t1\nTest Run By builder on Fri\nFAIL: words\n# of unexpected failures\t1\n",
            ["subtracts", "words"],
            (1, 2, 0),
            id="DejaGnu, two tools",
        ),
        pytest.param(
            "PASS Adds [tests/add.phpt] \nTEST 2/2 [tests/sub.phpt]\r"
            "FAIL Subtracts [tests/sub.phpt] \n"
            "Number of tests :    2                 2\nTests skipped   :    0\nTests failed    :    1\n"
            "Tests passed    :    1\n"
            "Time taken      : 1 seconds\nFAILED TEST SUMMARY\nSubtracts [tests/sub.phpt]\n",
            ["tests/sub.phpt"],
            (1, 1, 0),
            id="PHP run-tests with progress",
        ),
    ],
)
def test_what_failed_is_named_and_counted(text: str, names: list[str], counts: tuple[int, int, int]) -> None:
    assert read(text) == (names, counts)


def test_what_an_outer_runner_repeats_is_counted_once() -> None:
    inner = "1..2\nok 1 - one\nnot ok 2 - two\n"
    report = "Failed 1/2 subtests\nt/a.t (Wstat: 0 Tests: 2 Failed: 1)\nFiles=1, Tests=2\nResult: FAIL\n"
    outer = f"t/a.t .. \n{inner}{report}"

    assert read(outer) == (["t/a.t"], (1, 1, 0))
    assert read(inner + outer) == (["two", "t/a.t"], (2, 2, 0)), "and what stands beside it is counted, too"


def test_the_same_tests_shown_again_from_a_file_are_not_counted_again() -> None:
    run = "ok 1 - one\nnot ok 2 - two\n"

    assert read(f"   dh_auto_test\n{run}==> test.log <==\n{run}dh_auto_test: error: x returned exit code 1\n") == (
        ["two"],
        (1, 1, 0),
    )


def test_meson_s_own_log_shown_by_a_package_is_the_same_run() -> None:
    tests = "1/2 sums / one   OK              0.03s\n2/2 sums / two   FAIL            0.05s   exit status 1\n"
    counts = "\nOk:                 1   \nFail:               1   \nTimeout:            0   \n"
    inner = "1..2\nok 1\nnot ok 2 - inner\n"
    shown = f"Log of Meson test suite run on 2026-11-27\n{inner}Summary of Failures:\n{tests[40:]}{counts}"

    assert read(f"{tests}{counts}Full log written to x/testlog.txt\n{shown}") == (["sums / two"], (1, 1, 0))


def test_each_kind_has_a_name_of_its_own() -> None:
    assert len({kind.kind for kind in KINDS}) == len(KINDS)
    assert all(kind.needles and all(needle.strip(b"\n") for needle in kind.needles) for kind in KINDS)
