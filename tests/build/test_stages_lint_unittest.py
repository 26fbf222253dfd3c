"""The lint and unittest stages, run for real on the sample package and on what goes wrong with it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildfarm import process
from buildfarm.build.coverage import read_percent
from buildfarm.build.pylint import Score
from buildfarm.errors import PackageFault
from buildfarm.job import CoverageJob, LintJob, UnitTestJob
from buildfarm.stages.lint import describe
from buildfarm.verdict import Verdict

Bench = Any
PYTEST = UnitTestJob(
    ("python3", "-m", "pytest", "--junitxml=report.xml"), "report.xml", packages=("python3-pytest",)
)
UNITTEST = UnitTestJob(("python3", "-m", "unittest", "discover", "-v"), packages=("python3",))

COUNTS = '{"score": %s, "statements": 1, "fatal": 0, "error": 0, "warning": 0, "refactor": 0, "convention": 0}'


def shell(script: str, **more: Any) -> UnitTestJob:
    return UnitTestJob(("sh", "-c", script), **more)


def test_no_lint_and_no_tests_are_skipped_with_the_reason(bench: Bench) -> None:
    assert bench.stage("lint").verdict is Verdict.SKIPPED
    result = bench.stage("unittest")
    assert (result.verdict, result.reason) == (Verdict.SKIPPED, "the recipe names no unit tests")


def test_lint_reports_score_and_messages_by_line(bench: Bench) -> None:
    bench.write(tally__words__py=None)
    (bench.tree / "tally/words.py").write_text("def count(text):\n    return len(text.split())\n")

    result = bench.stage("lint", lint=LintJob(("tally",), threshold=9.0))

    assert result.verdict is Verdict.FAIL
    assert result.reason == "0.00/10, floor 9"
    assert result.facts["messages"] == 2
    assert "tally/words.py:1:0: [C0114] Missing module docstring" in bench.log("lint")
    report = json.loads((bench.workspace.directory("lint") / "pylint.json").read_text())
    assert {message["message-id"] for message in report} == {"C0114", "C0116"}


def test_clean_code_passes_lint(bench: Bench) -> None:
    result = bench.stage("lint", lint=LintJob(("tally", "tests"), threshold=10.0))

    assert (result.verdict, result.reason) == (Verdict.PASS, "10.00/10, floor 10")


@pytest.mark.parametrize("target", ["nothing_here", "../outside", "link"])
def test_a_lint_target_that_is_not_in_the_tree_is_the_packages_fault(bench: Bench, target: str) -> None:
    (bench.tree / "link").symlink_to("/etc")

    result = bench.stage("lint", lint=LintJob((target,)))

    assert result.verdict is Verdict.FAIL
    assert target in result.reason


def test_a_wrong_pylintrc_is_told_apart_from_bad_code(bench: Bench) -> None:
    (bench.tree / "pylintrc").write_text("[MAIN]\nload-plugins=no.such\njobs=many\n")

    result = bench.stage("lint", lint=LintJob(("tally",)))

    assert result.verdict is Verdict.FAIL
    assert result.reason == "pylint refuses its configuration"
    assert "jobs" in result.details


def test_a_hostile_pylintrc_runs_only_in_the_sandbox(bench: Bench) -> None:
    stolen = bench.workspace.path / "stolen"
    (bench.tree / "pylintrc").write_text(f"[MAIN]\ninit-hook=open({str(stolen)!r}, 'w').write('x')\n")

    result = bench.stage("lint", lint=LintJob(("tally",)))

    assert result.verdict is not Verdict.PASS
    assert not stolen.exists()


def test_scores_are_told_with_the_digits_that_make_the_difference() -> None:
    def shown(score: float, threshold: float) -> str:
        return describe(Score(score, 100, 0, 0, 0, 0, 1), threshold)

    assert shown(9.62, 9.0) == "9.62/10, floor 9"
    assert shown(8.9961, 9.0) == "8.9961/10, floor 9"


def test_passing_tests_are_counted(bench: Bench) -> None:
    result = bench.stage("unittest", unittest=PYTEST)

    assert (result.verdict, result.reason) == (Verdict.PASS, "2 tests passed")
    assert (result.facts["tests"], result.facts["failed"]) == (2, 0)
    assert [ref.path for ref in result.outputs] == ["unittest/junit.xml"]


def test_a_failing_test_is_named_with_what_it_said(bench: Bench) -> None:
    (bench.tree / "tally/words.py").write_text("def count(text):\n    return 7\n")

    result = bench.stage("unittest", unittest=PYTEST)

    assert result.verdict is Verdict.FAIL
    assert result.reason.startswith("2 of 2 tests failed: tests.test_words.TestCount.test_none: AssertionError")
    assert result.facts["failures"][0]["name"] == "tests.test_words.TestCount.test_none"


def test_pytest_without_tests_fails(bench: Bench) -> None:
    (bench.tree / "tests/test_words.py").unlink()

    result = bench.stage("unittest", unittest=PYTEST)

    assert (result.verdict, result.reason) == (Verdict.FAIL, "pytest found no tests")


def test_without_junit_the_exit_status_decides(bench: Bench) -> None:
    assert bench.stage("unittest", unittest=UNITTEST).reason == "the tests passed"

    result = bench.stage("unittest", unittest=shell("echo boom; exit 3"))

    assert (result.verdict, result.reason) == (Verdict.FAIL, "the tests exited 3: boom")


def test_success_is_not_believed_against_the_report(bench: Bench) -> None:
    report = '<testsuite><testcase classname="a" name="b"><failure message="no"/></testcase></testsuite>'

    result = bench.stage("unittest", unittest=shell(f"echo '{report}' > r.xml", junit="r.xml"))

    assert (result.verdict, result.reason) == (Verdict.FAIL, "1 of 1 test failed: a.b: no")


def test_a_program_that_is_not_installed_is_told_with_the_remedy(bench: Bench) -> None:
    result = bench.stage("unittest", unittest=UnitTestJob(("no-such-runner",)))

    assert (result.verdict, result.reason) == (
        Verdict.FAIL,
        "the tests exited 127: no-such-runner: no such program",
    )
    assert "packages" in result.resolution


def test_a_commit_without_packaging_is_told_so_and_not_that_a_program_is_missing(bench: Bench) -> None:
    (bench.tree / "debian/control").unlink()

    result = bench.stage("unittest", unittest=UnitTestJob(("no-such-runner",)))

    assert result.reason.startswith("the commit has no debian/control")
    assert "packaging:" in result.resolution


def test_a_missing_report_is_told(bench: Bench) -> None:
    result = bench.stage("unittest", unittest=shell("true", junit="r.xml"))

    assert result.verdict is Verdict.PASS
    assert "the tests wrote no r.xml: their exit status decides" in result.assumed


def test_a_hanging_test_fails_by_its_limit(bench: Bench) -> None:
    result = bench.stage("unittest", unittest=shell("echo test_slow; sleep 600", timeout_s=2))

    assert result.verdict is Verdict.FAIL
    assert result.reason == "the tests were stopped: not done after 2 s (timeout_s)"
    assert "test_slow" in result.details


def test_a_gigabyte_of_output_fails_in_bounded_space(bench: Bench) -> None:
    result = bench.stage("unittest", unittest=shell("head -c 1G /dev/zero"))

    assert result.verdict is Verdict.FAIL
    assert result.reason == "the tests were stopped: they printed more than 64 MiB"
    assert (bench.workspace.directory("unittest") / "log").stat().st_size < 65 << 20


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("head -c 70M /dev/zero > r.xml", "the JUnit report r.xml is larger than 64 MiB"),
        ("ln -s /etc/passwd r.xml", "the JUnit report r.xml is no regular file"),
        ("echo '<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>' > r.xml", "no JUnit XML"),
        ("echo '<testsuite>' > r.xml", "no JUnit XML"),
        ("""echo '<?xml version="1.0" encoding="foo"?><testsuite/>' > r.xml""", "no JUnit XML"),
        ("""echo '<?xml version="1.0" encoding="utf-7"?><testsuite/>' > r.xml""", "no JUnit XML"),
        ("""echo '<?xml version="1.0" encoding="idna"?><testsuite/>' > r.xml""", "no JUnit XML"),
    ],
)
def test_hostile_reports_are_refused(bench: Bench, script: str, reason: str) -> None:
    result = bench.stage("unittest", unittest=shell(script, junit="r.xml"))

    assert result.verdict is Verdict.FAIL
    assert reason in result.reason


@pytest.mark.parametrize("encoding", ["foo", "utf-7", "idna"])
def test_a_coverage_report_in_a_strange_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "coverage.xml"
    path.write_text(f'<?xml version="1.0" encoding="{encoding}"?><coverage lines-valid="1" lines-covered="1"/>')

    with pytest.raises(PackageFault, match="cannot be read"):
        read_percent(path)


@pytest.mark.parametrize("number", [9, 34, 35, 64])
def test_a_death_by_any_signal_is_told(bench: Bench, number: int) -> None:
    names = {9: "SIGKILL", 34: "SIGRTMIN", 35: "SIGRTMIN+1", 64: "SIGRTMAX"}
    script = f"import os; os.kill(os.getpid(), {number})"

    result = bench.stage("unittest", unittest=UnitTestJob(("python3", "-c", script), packages=("python3",)))

    assert (result.verdict, result.reason) == (Verdict.FAIL, f"the tests were killed by {names[number]}")


def test_a_tool_that_died_of_a_real_time_signal_can_be_told_of() -> None:
    finished = process.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 35)"], timeout_s=60)

    assert process.how_it_ended(finished) == "was killed by SIGRTMIN+1"


@pytest.mark.parametrize(
    "written",
    [
        "",
        "[]",
        "{}",
        "[" * 4000,
        '{"score": 10}',
        COUNTS % '"10"',
        COUNTS % "NaN",
        COUNTS % "null",
        COUNTS % "true",
    ],
)
def test_whatever_a_plugin_writes_for_the_score_is_the_packages_fault(bench: Bench, written: str) -> None:
    hook = f"import atexit, os; open('/build/home/score.json', 'w').write({written!r}); os._exit(0)"
    (bench.tree / "pylintrc").write_text(f"[MAIN]\ninit-hook={hook.replace('%', '%%')}\n")

    result = bench.stage("lint", lint=LintJob(("tally",)))

    assert result.verdict is Verdict.FAIL
    assert result.reason.startswith("pylint's score cannot be read")


def test_coverage_below_its_floor_fails_with_both_numbers(bench: Bench) -> None:
    (bench.tree / "tally/unused.py").write_text("def never():\n    return 1\n")
    job = replace(UNITTEST, coverage=CoverageJob(90.0, ("tally",)))

    result = bench.stage("unittest", unittest=job)

    assert result.verdict is Verdict.FAIL
    assert result.reason == "coverage 50.00 % is below its floor of 90 %"
    assert (bench.workspace.directory("unittest") / "coverage.xml").is_file()


def test_coverage_is_measured_below_a_shell_script(bench: Bench) -> None:
    job = shell("python3 -m unittest discover", coverage=CoverageJob(0.0, ("tally",)))

    result = bench.stage("unittest", unittest=job)

    assert (result.verdict, result.reason) == (Verdict.PASS, "the tests passed; coverage 100.00 %")


def test_unmet_dependencies_are_named(bench: Bench) -> None:
    (bench.tree / "debian/control").write_text(
        "Source: tally\nBuild-Depends: no-such-package-at-all (>= 2)\n\nPackage: tally\nArchitecture: all\n"
    )

    result = bench.stage("unittest", unittest=UNITTEST)

    assert result.verdict is Verdict.FAIL
    assert "no-such-package-at-all" in result.reason
    assert result.where == "debian/control"
