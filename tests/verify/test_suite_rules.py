"""What the end of a suite means, and what its machines are told of each other."""

from __future__ import annotations

from buildfarm.build.junit import FailedTest, Report
from buildfarm.errors import PackageFault
from buildfarm.job import SuiteJob
from buildfarm.verdict import Verdict
from buildfarm.verify.suite import SuiteEnd, environment_of, judge
from buildfarm.vm.machine import GuestRan

JOB = SuiteJob("tests/run")
GOOD = Report(3, 1, 0, ())
BAD = Report(5, 0, 4, tuple(FailedTest(f"t{n}", f"why {n}") for n in range(4)))


def ran(status: int, output: str = "") -> GuestRan:
    return GuestRan(status, output, 1.0)


def verdict(end: SuiteEnd, job: SuiteJob = JOB) -> tuple[Verdict, str]:
    judgement = judge(end, job)
    return judgement.verdict, judgement.reason


def test_a_suite_passes_by_its_exit_status_and_its_results() -> None:
    assert verdict(SuiteEnd(ran=ran(0))) == (Verdict.PASS, "tests/run passed")
    assert verdict(SuiteEnd(ran=ran(0), report=GOOD)) == (Verdict.PASS, "2 tests passed, 1 skipped")
    two = SuiteJob("tests/run", machines=2)
    assert verdict(SuiteEnd(ran=ran(0), report=GOOD), two)[1] == "2 tests passed, 1 skipped on 2 machines"
    assert verdict(SuiteEnd(ran=ran(0), report=Report(0, 0, 0, ()))) == (Verdict.PASS, "tests/run passed")


def test_failing_tests_are_the_news_whatever_the_exit_status() -> None:
    told = "4 of 5 tests failed: t0: why 0; t1: why 1; t2: why 2; and 1 more"
    for status in (0, 1):
        assert verdict(SuiteEnd(ran=ran(status), report=BAD)) == (Verdict.FAIL, told)
    stopped = SuiteEnd(report=BAD, fault=PackageFault("tests/run was stopped"))
    assert verdict(stopped) == (Verdict.FAIL, f"{told}; tests/run was stopped")
    assert "t3\n    why 3" in judge(stopped, JOB).details


def test_an_exit_status_fails_even_when_all_tests_passed() -> None:
    end = SuiteEnd(ran=ran(2, "one\ncleaning up failed\n\n"), report=GOOD)
    assert verdict(end) == (Verdict.FAIL, "tests/run exited 2, though 3 tests passed: cleaning up failed")
    assert verdict(SuiteEnd(ran=ran(2))) == (Verdict.FAIL, "tests/run exited 2")


def test_what_stopped_it_comes_with_its_evidence() -> None:
    fault = PackageFault("greet cannot be installed", details="dpkg said so", resolution="mend it")
    judgement = judge(SuiteEnd(fault=fault), JOB)
    assert (judgement.verdict, judgement.reason) == (Verdict.FAIL, "greet cannot be installed")
    assert judgement.details == "dpkg said so\nmend it"


def test_machines_know_their_peers_and_one_that_is_alone_has_none() -> None:
    assert environment_of(2, 3, "1.0") == {
        "BUILDFARM_MACHINE": "2",
        "BUILDFARM_MACHINES": "3",
        "BUILDFARM_ADDRESS": "192.168.77.2",
        "BUILDFARM_PEERS": "192.168.77.1 192.168.77.3",
        "BUILDFARM_VERSION": "1.0",
    }
    alone = environment_of(1, 1, "1.0")
    assert (alone["BUILDFARM_ADDRESS"], alone["BUILDFARM_PEERS"]) == ("127.0.0.1", "")
