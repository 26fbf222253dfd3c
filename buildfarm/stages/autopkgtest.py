"""The autopkgtest stage: the source's own debian/tests against what was published, in overlays and in machines."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from buildfarm.build.layers import use_layers
from buildfarm.build.roots import Root, RootSpec, get_root, require_native, spec_for
from buildfarm.errors import FarmTrouble
from buildfarm.job import AutopkgtestJob
from buildfarm.stages.build import find_source
from buildfarm.stages.published import find_published
from buildfarm.stages.runner import StageContext
from buildfarm.verdict import Outcome, Verdict
from buildfarm.verify.autopkgtest import Declared, Plan, RunEnd, judge, plan
from buildfarm.verify.autopkgtest_run import (
    NotThere,
    Tested,
    look_into,
    prepare,
    run_autopkgtest,
    runner_layers,
)
from buildfarm.verify.machines import MachineRoom
from buildfarm.verify.testbeds import (
    APT_DOOR,
    MachineTestbed,
    OverlayTestbed,
    held_overlay,
    new_upper,
    scratch_directory,
)
from buildfarm.verify.way_out import way_out
from buildfarm.vm.gateway import OWN_HOST
from buildfarm.vm.machine import Machine, MachineEnded

DISK_BYTES = 8 << 30
LEAST_S = 60.0
PROXY, MACHINE_PROXY = f"http://{APT_DOOR}/", f"http://{OWN_HOST}/"
LISTED_FILES = 300


@dataclass
class Bench:
    """What the runs of one stage share."""

    context: StageContext
    job: AutopkgtestJob
    tested: Tested
    root: Root
    spec: RootSpec
    deadline: float
    assumed: list[str] = field(default_factory=list)

    @property
    def left_s(self) -> float:
        """What is left of the stage's time, a minute at least: what was begun is told in order."""
        return max(LEAST_S, self.deadline - time.monotonic())


def run(context: StageContext) -> Outcome:
    """Pass when autopkgtest does; skipped when there is nothing to test, or nothing to test it on."""
    job = context.job.autopkgtest
    if job is None:
        return Outcome(Verdict.SKIPPED, "the recipe asks for no autopkgtest")
    tested = _find_tested(context)
    if isinstance(tested, str):
        return Outcome(Verdict.SKIPPED, tested)
    require_native(context.architecture)
    spec = spec_for(context.settings, context.series, context.architecture)
    root = get_root(spec, context.settings.cache, context.log)
    bench = Bench(context, job, tested, root, spec, time.monotonic() + job.timeout_s)
    try:
        return _run(bench)
    except NotThere as gone:
        return Outcome(Verdict.SKIPPED, f"superseded in {context.job.archive} meanwhile: {gone}")


def _run(bench: Bench) -> Outcome:
    context, cache = bench.context, bench.context.settings.cache.resolve()
    with use_layers(bench.root, (), cache, context.log) as plain:
        declared = look_into(bench.tested, plain.directories, context.log)
    if not declared.any:
        return Outcome(Verdict.SKIPPED, "the source has no debian/tests, and no Testsuite: autopkgtest-pkg-*")
    planned = plan(declared, machines=_no_machines(), internet=bool(context.job.machine.allow))
    runs: list[RunEnd] = []
    with runner_layers(bench.root, cache, declared, context.log) as layers:
        if planned.overlay is not None:
            runs.append(_in_overlay(bench, layers, planned))
        if planned.machine:
            runs.append(_in_machine(bench, layers, planned))
    return _tell(bench, declared, planned, runs)


def _find_tested(context: StageContext) -> Tested | str:
    """What was published; or, in words, why there is nothing to test."""
    published = find_published(context)
    if isinstance(published, str):
        return published
    source = find_source(context)
    return Tested(
        published.source, published.version, source.dsc, source.files, published.sources, published.packages
    )


@contextlib.contextmanager
def _prepared(bench: Bench, scratch: Path, gateway: Path) -> Iterator[tuple[Path, ...]]:
    """The layers that each overlay is made of: the root, and what prepares it for this archive, done once."""
    settings = bench.context.settings
    with (
        use_layers(bench.root, (), settings.cache.resolve(), bench.context.log) as use,
        new_upper(scratch) as upper,
    ):
        with held_overlay(use.directories, upper, gateway) as held:
            prepare(
                lambda argv, timeout_s: held.run(argv, timeout_s=timeout_s, log=bench.context.log),
                bench.tested,
                PROXY,
            )
        yield (upper / "fs", *use.directories)


def _in_overlay(bench: Bench, layers: tuple[Path, ...], planned: Plan) -> RunEnd:
    context, cache = bench.context, bench.context.settings.cache.resolve()
    allow = context.job.machine.allow
    with (
        scratch_directory(cache) as scratch,
        way_out(bench.tested.sources, bench.spec.sources, allow, cache, context.say) as gateway,
        _prepared(bench, scratch, gateway) as prepared,
    ):
        return run_autopkgtest(
            bench.tested,
            OverlayTestbed(prepared, scratch, gateway, DISK_BYTES),
            layers,
            where="overlay",
            only=planned.overlay or (),
            without=() if planned.overlay else (*planned.machine, *planned.left_out),
            environment=_way(PROXY, context),
            test_timeout_s=bench.job.test_timeout_s,
            timeout_s=bench.left_s,
            out=context.out / "overlay",
            log=context.log,
        )


def _no_machines() -> str:
    """Why tests that need a machine cannot have one here, "" when they can."""
    return "" if shutil.which("qemu-img") else "this host has no qemu"


def _in_machine(bench: Bench, layers: tuple[Path, ...], planned: Plan) -> RunEnd:
    context = bench.context
    room = MachineRoom(
        context.settings,
        context.job.machine,
        context.series,
        context.architecture,
        context.job.run_id,
        bench.tested.sources,
        context.out,
        context.log,
        bench.assumed,
    )
    numbers = itertools.count(1)
    gone: list[NotThere] = []

    @contextlib.contextmanager
    def make() -> Iterator[Machine]:
        with room.machine(f"tests-{next(numbers)}") as machine:
            try:
                prepare(lambda argv, timeout_s: _said(machine, argv, timeout_s), bench.tested, proxy="")
            except NotThere as error:
                gone.append(error)
                raise FarmTrouble(str(error)) from error
            except MachineEnded as ended:
                raise FarmTrouble(str(ended), details=machine.evidence().in_words) from ended
            yield machine

    end = run_autopkgtest(
        bench.tested,
        MachineTestbed(make, bench.job.test_timeout_s),
        layers,
        where="machine",
        only=planned.machine,
        without=(),
        environment=_way(MACHINE_PROXY, context),
        unpacked=not planned.builds,
        test_timeout_s=bench.job.test_timeout_s,
        timeout_s=bench.left_s,
        out=context.out / "machine",
        log=context.log,
    )
    if gone:
        raise gone[0]
    return end


def _said(machine: Machine, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
    ran = machine.run(argv, timeout_s=timeout_s)
    return ran.status, ran.output


def _way(proxy: str, context: StageContext) -> dict[str, str]:
    """For tests that may reach hosts of the recipe's: how."""
    return {f"{scheme}_proxy": proxy for scheme in ("http", "https")} if context.job.machine.allow else {}


def _tell(bench: Bench, declared: Declared, planned: Plan, runs: list[RunEnd]) -> Outcome:
    context = bench.context
    judgement = judge(runs, planned)
    if judgement.verdict is Verdict.ERROR:
        raise FarmTrouble(
            judgement.reason,
            details=_last_lines(context, runs),
            resolution="It is tried again. The log has the whole story.",
        )
    files = [path for run in runs for path in sorted((context.out / run.where).rglob("*")) if path.is_file()]
    skipped = [f"{name}: {reason}" for name, reason in planned.left_out.items()]
    skipped += [f"{test.name}: {test.reason}" for run in runs for test in run.tests if test.result == "skip"]
    skipped += [f"{run.left_out} files of the {run.where} were not kept" for run in runs if run.left_out]
    if len(files) > LISTED_FILES:
        skipped.append(f"{len(files) - LISTED_FILES} files are kept and not listed")
    assumed = [*([bench.root.note] if bench.root.note else []), *bench.assumed]
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
            "exit_statuses": {run.where: run.status for run in runs},
            "root": bench.root.key,
        },
        details=_last_lines(context, runs) if judgement.verdict is Verdict.FAIL else "",
    )


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
