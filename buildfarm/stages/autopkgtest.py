"""The autopkgtest stage: the source's own debian/tests against what was published, in overlays and in machines."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from buildfarm.build.environments import use_layers
from buildfarm.build.roots import get_root, require_native, spec_for
from buildfarm.errors import FarmTrouble
from buildfarm.job import AutopkgtestJob
from buildfarm.stages.build import find_source
from buildfarm.stages.published import find_published
from buildfarm.stages.runner import StageContext
from buildfarm.verdict import Outcome, Verdict
from buildfarm.verify.autopkgtest import Declared, Plan, RunEnd, judge, plan
from buildfarm.verify.autopkgtest_bench import Bench, no_machines, run_in_machine, run_in_overlay
from buildfarm.verify.autopkgtest_run import NotThere, Tested, look_into, runner_layers
from buildfarm.verify.dependents import Dependent, run_dependents, with_dependents
from ppa_tools.address import parse_address

LISTED_FILES = 300


def run(context: StageContext) -> Outcome:
    """Pass when autopkgtest does; skipped when there is nothing to test, or nothing to test it on."""
    job = context.job.autopkgtest
    if job is None:
        return Outcome(Verdict.SKIPPED, "the recipe asks for no autopkgtest")
    published = find_published(context)
    if isinstance(published, str):
        return Outcome(Verdict.SKIPPED, published)
    source = find_source(context)
    tested = Tested(
        published.source, published.version, source.dsc, source.files, published.sources, published.packages
    )
    try:
        return _run(context, _make_bench(context, job, tested))
    except NotThere as gone:
        return Outcome(Verdict.SKIPPED, f"superseded in {context.job.archive} meanwhile: {gone}")


def _make_bench(context: StageContext, job: AutopkgtestJob, tested: Tested) -> Bench:
    require_native(context.architecture)
    spec = spec_for(context.settings, context.series, context.architecture)
    root = get_root(spec, context.settings.cache, context.log)
    return Bench(
        context.settings,
        context.job.machine,
        job,
        context.series,
        context.architecture,
        context.job.run_id,
        tested,
        root,
        spec,
        time.monotonic() + job.timeout_s,
        context.out,
        context.log,
        [root.note] if root.note else [],
    )


def _run(context: StageContext, bench: Bench) -> Outcome:
    with use_layers(bench.root, (), bench.cache, bench.log) as plain:
        declared = look_into(bench.tested, plain.directories, bench.log)
    if not declared.any and not bench.job.reverse_dependencies:
        return Outcome(Verdict.SKIPPED, "the source has no debian/tests, and no Testsuite: autopkgtest-pkg-*")
    planned = plan(declared, machines=no_machines(), internet=bool(bench.rules.allow))
    runs: list[RunEnd] = []
    with runner_layers(bench.root, bench.cache, declared, bench.log) as layers:
        if planned.overlay is not None:
            runs.append(run_in_overlay(bench, layers, planned))
        if planned.machine:
            runs.append(run_in_machine(bench, layers, planned))
        judgement = judge(runs, planned)
        if judgement.verdict is Verdict.ERROR:
            raise FarmTrouble(
                judgement.reason,
                details=_last_lines(context, runs),
                resolution="It is tried again. The log has the whole story.",
            )
        dependents = run_dependents(bench, layers, _archive_url(context)) if bench.job.reverse_dependencies else []
    return _tell(context, bench, declared, planned, runs, dependents)


def _tell(
    context: StageContext,
    bench: Bench,
    declared: Declared,
    planned: Plan,
    runs: list[RunEnd],
    dependents: list[Dependent],
) -> Outcome:
    judgement = with_dependents(judge(runs, planned), dependents)
    files = [path for run in runs for path in sorted((context.out / run.where).rglob("*")) if path.is_file()]
    skipped = [f"{name}: {reason}" for name, reason in planned.left_out.items()]
    skipped += [f"{test.name}: {test.reason}" for run in runs for test in run.tests if test.result == "skip"]
    skipped += [f"{run.left_out} files of the {run.where} were not kept" for run in runs if run.left_out]
    skipped += [f"{one.source}: {one.told}" for one in dependents if one.verdict in ("already", "error")]
    if len(files) > LISTED_FILES:
        skipped.append(f"{len(files) - LISTED_FILES} files are kept and not listed")
    assumed = list(bench.assumed)
    if declared.generated:
        assumed.append(f"tests made up by autodep8 for {', '.join(declared.generated)}")
    return Outcome(
        judgement.verdict,
        judgement.reason,
        inputs=("job.json", *(context.workspace.relative(path) for path in bench.tested.files)),
        outputs=tuple(context.workspace.relative(path) for path in files[:LISTED_FILES]),
        skipped=tuple(skipped),
        assumed=tuple(assumed),
        facts={
            "source": bench.tested.name,
            "version": bench.tested.version,
            "packages": dict(bench.tested.packages),
            "tests": [asdict(test) for run in runs for test in run.tests],
            "dependents": [asdict(one) for one in dependents],
            "exit_statuses": {run.where: run.status for run in runs},
            "root": bench.root.key,
        },
        details=_last_lines(context, runs) if judgement.verdict is Verdict.FAIL else "",
    )


def _archive_url(context: StageContext) -> str:
    address = parse_address(context.job.archive)
    return f"{context.settings.archive_local_url}/{address.owner}/{address.name}"


def _last_lines(context: StageContext, runs: list[RunEnd]) -> str:
    """What the failed tests printed last, or else how the log ends."""
    for run in runs:
        for test in run.tests:
            for stream in ("stderr", "stdout"):
                path = context.out / run.where / f"{test.name}-{stream}"
                if test.result == "fail" and path.is_file():
                    return f"{test.name}, {stream}:\n{_tail(path)}"
    paths = [context.out / run.where / "log" for run in runs if run.status not in (0, 2, 8)]
    return "\n".join(_tail(path) for path in paths if path.is_file())


def _tail(path: Path, lines: int = 20) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16384))
        return "\n".join(file.read().decode("utf-8", "backslashreplace").splitlines()[-lines:])
