"""The unittest stage: the recipe's command in a sandbox, its JUnit report and its coverage."""

from __future__ import annotations

import re
from dataclasses import asdict

from buildfarm.build import coverage
from buildfarm.build.dependencies import Environment, prepare_environment
from buildfarm.build.junit import FILE_LIMIT_BYTES, Report, read_junit
from buildfarm.build.sandbox import Limits, Ran, Wanted, run_in_sandbox
from buildfarm.errors import PackageFault
from buildfarm.job import UnitTestJob
from buildfarm.process import signal_name
from buildfarm.stages.lint import what_was_checked
from buildfarm.stages.runner import StageContext
from buildfarm.verdict import Outcome, Verdict

PYTEST_NO_TESTS = 5
COMMAND_NOT_FOUND = 127  # the shells' word for it, and our own
OUTPUT_LIMIT_BYTES = 64 << 20
SHOWN_FAILURES = 3
EVIDENCE_LINES = 40
# How Python's own unittest heads the account of a test that failed: "FAIL: test_name (module.Class.test_name)".
UNITTEST_FAILURE = re.compile(r"^(?:FAIL|ERROR): (\S{1,200}) \(", re.MULTILINE)


def run(context: StageContext) -> Outcome:
    """Pass when the tests pass and their coverage reaches the floor; skipped when the recipe has no tests."""
    job = context.job.unittest
    if job is None:
        return Outcome(Verdict.SKIPPED, "the recipe names no unit tests")
    packages = (*job.packages, *(coverage.PACKAGES if job.coverage else ()))
    with prepare_environment(
        context.settings, context.tree, context.job.series[0], packages, context.log
    ) as environment:
        ran = _run_tests(context, job, environment)
    return judge(context, job, environment, ran)


def _run_tests(context: StageContext, job: UnitTestJob, environment: Environment) -> Ran:
    command, variables = list(job.command), dict(job.environment)
    wanted = []
    if job.junit:
        wanted.append(Wanted(f"tree/{job.junit}", context.out / "junit.xml", FILE_LIMIT_BYTES))
    if job.coverage is not None:
        command, variables = coverage.measured(command, variables, job.coverage, context.tree)
        wanted.append(Wanted(coverage.REPORT, context.out / "coverage.xml", coverage.REPORT_LIMIT_BYTES))
    return run_in_sandbox(
        environment.layers,
        context.tree,
        command,
        limits=Limits(job.timeout_s, output_bytes=OUTPUT_LIMIT_BYTES),
        environment=variables,
        wanted=wanted,
        log=context.log,
    )


def judge(context: StageContext, job: UnitTestJob, environment: Environment, ran: Ran) -> Outcome:
    """What the tests' end means; raises PackageFault when they did not come to an end of their own."""
    _require_end(job, ran)
    _require_program(context, ran)
    assumed = list(environment.assumed)
    report = _read_report(context, job, ran, assumed)
    percent = _read_coverage(context, job, ran)
    facts: dict[str, object] = {
        "exit_status": ran.status,
        "environment": environment.key,
        "series": environment.series,
    }
    if report is not None:
        facts |= {"tests": report.tests, "skipped": report.skipped, "failed": report.failed}
        facts["failures"] = [asdict(failure) for failure in report.failures]
    if percent is not None and job.coverage is not None:
        facts |= {"coverage_percent": round(percent, 4), "coverage_floor_percent": job.coverage.floor}
    verdict, reason = _decide(job, ran, report, percent)
    outputs = (context.out / name for name in ("junit.xml", "coverage.xml"))
    return Outcome(
        verdict,
        reason,
        inputs=what_was_checked(context),
        outputs=tuple(context.workspace.relative(path) for path in outputs if path.is_file()),
        assumed=tuple(assumed),
        facts=facts,
        details=_evidence(ran, report) if verdict is Verdict.FAIL else "",
    )


def _evidence(ran: Ran, report: Report | None) -> str:
    if report is not None and report.failed:
        return "\n".join(f"{test.name}\n    {test.message}" for test in report.failures)
    return _last_lines(ran, EVIDENCE_LINES)


def _require_end(job: UnitTestJob, ran: Ran) -> None:
    if ran.timed_out:
        raise PackageFault(
            f"the tests were stopped: not done after {job.timeout_s} s (timeout_s)",
            details=_last_lines(ran),
            resolution="Is there a test that hangs? The last lines say where. Else raise timeout_s in the recipe.",
        )
    if ran.output_limit_hit:
        raise PackageFault(
            f"the tests were stopped: they printed more than {OUTPUT_LIMIT_BYTES >> 20} MiB",
            details=_last_lines(ran),
            resolution="Let the tests say less.",
        )


def _require_program(context: StageContext, ran: Ran) -> None:
    if ran.status == COMMAND_NOT_FOUND and not (context.tree / "debian" / "control").exists():
        raise PackageFault(
            f"the commit has no debian/control, so nothing it needs is installed: {_last_line(ran)}",
            where="debian/control",
            details=_last_lines(ran),
            resolution="Put the packaging into the trunk, or name its branch in the recipe under packaging:.",
        )
    if ran.status == COMMAND_NOT_FOUND:
        raise PackageFault(
            f"the tests exited {ran.status}: {_last_line(ran)}",
            details=_last_lines(ran),
            resolution="Is a program not installed? Name its package in Build-Depends, or in the recipe under "
            "unittest: packages:.",
        )


def _read_report(context: StageContext, job: UnitTestJob, ran: Ran, assumed: list[str]) -> Report | None:
    if not job.junit:
        return None
    state = ran.files[f"tree/{job.junit}"]
    if state == "missing":
        assumed.append(f"the tests wrote no {job.junit}: their exit status decides")
        return None
    if state != "ok":
        what = f"larger than {FILE_LIMIT_BYTES >> 20} MiB" if state == "too-large" else "no regular file"
        raise PackageFault(f"the JUnit report {job.junit} is {what}", details=_last_lines(ran))
    report = read_junit(context.out / "junit.xml", job.junit)
    if report.tests == 0:
        assumed.append(f"{job.junit} tells of no test at all: the exit status decides")
    return report


def _read_coverage(context: StageContext, job: UnitTestJob, ran: Ran) -> float | None:
    if job.coverage is None:
        return None
    if ran.files[coverage.REPORT] == "ok":
        return coverage.read_percent(context.out / "coverage.xml")
    if ran.status != 0:  # the failing tests are the news
        return None
    raise PackageFault(
        "no coverage was measured",
        details=_last_lines(ran),
        resolution="Coverage sees Python code run by the series' own python3; do the tests run any?",
    )


def _decide(job: UnitTestJob, ran: Ran, report: Report | None, percent: float | None) -> tuple[Verdict, str]:
    if report is not None and report.failed:
        shown = "; ".join(f"{test.name}: {test.message}" for test in report.failures[:SHOWN_FAILURES])
        more = f"; and {report.failed - SHOWN_FAILURES} more" if report.failed > SHOWN_FAILURES else ""
        return Verdict.FAIL, f"{report.failed} of {_count(report.tests)} failed: {shown}{more}"
    if ran.status != 0:
        return Verdict.FAIL, _describe_status(job, ran)
    told = [_count(report.tests) + " passed" if report is not None and report.tests else "the tests passed"]
    if report is not None and report.skipped:
        told = [f"{_count(report.tests - report.skipped)} passed, {report.skipped} skipped"]
    if percent is not None and job.coverage is not None:
        floor = job.coverage.floor
        told.append(f"coverage {percent:.2f} %" + (f", floor {floor:g} %" if floor else ""))
        if percent < floor:
            return Verdict.FAIL, f"coverage {percent:.2f} % is below its floor of {floor:g} %"
    return Verdict.PASS, "; ".join(told)


def _describe_status(job: UnitTestJob, ran: Ran) -> str:
    assert ran.status is not None
    if ran.status < 0:
        return f"the tests were killed by {signal_name(-ran.status)}"
    if ran.status == PYTEST_NO_TESTS and any("pytest" in word for word in job.command[:3]):
        return "pytest found no tests"
    named = UNITTEST_FAILURE.findall(ran.output)
    if named:
        more = f" and {len(named) - SHOWN_FAILURES} more" if len(named) > SHOWN_FAILURES else ""
        return f"{_count(len(named))} failed: {', '.join(named[:SHOWN_FAILURES])}{more}"
    return f"the tests exited {ran.status}: {_last_line(ran)}".removesuffix(": ")


def _count(tests: int) -> str:
    return "1 test" if tests == 1 else f"{tests} tests"


def _last_line(ran: Ran) -> str:
    return next((line.strip()[:200] for line in reversed(ran.output.splitlines()) if line.strip()), "")


def _last_lines(ran: Ran, count: int = 15) -> str:
    return "\n".join(ran.output.rstrip().splitlines()[-count:])
