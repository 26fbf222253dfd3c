"""The autopkgtest stage: the source's own debian/tests against what was published, in overlays and in machines."""

from __future__ import annotations

import contextlib
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from buildfarm.build.layers import use_layers
from buildfarm.build.roots import Root, RootSpec, get_root, require_native, spec_for
from buildfarm.errors import FarmTrouble
from buildfarm.job import AutopkgtestJob
from buildfarm.stages.build import find_source
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
from buildfarm.verify.testbeds import APT_DOOR, OverlayTestbed, held_overlay, new_upper, scratch_directory
from buildfarm.verify.way_out import way_out
from ppa_tools.address import parse_address

DISK_BYTES = 8 << 30
LEAST_S = 60.0
SOURCES_TIMEOUT_S = 30
SOURCES_LIMIT_BYTES = 256 << 10
PROXY = f"http://{APT_DOOR}/"
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

    @property
    def left_s(self) -> float:
        """What is left of the stage's time, a minute at least: what was begun is told in order."""
        return max(LEAST_S, self.deadline - time.monotonic())


def run(context: StageContext) -> Outcome:
    """Pass when autopkgtest does; skipped when there is nothing to test, or nothing to test it on."""
    job = context.job.autopkgtest
    if job is None:
        return Outcome(Verdict.SKIPPED, "the recipe asks for no autopkgtest")
    address = parse_address(context.job.archive)
    if address.backend != "local":
        return Outcome(Verdict.SKIPPED, f"{address} is not this farm's archive: Launchpad publishes when it likes")
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
        return Outcome(Verdict.SKIPPED, f"superseded in {address} meanwhile: {gone}")


def _run(bench: Bench) -> Outcome:
    context, cache = bench.context, bench.context.settings.cache.resolve()
    with use_layers(bench.root, (), cache, context.log) as plain:
        declared = look_into(bench.tested, plain.directories, context.log)
    if not declared.any:
        return Outcome(Verdict.SKIPPED, "the source has no debian/tests, and no Testsuite: autopkgtest-pkg-*")
    planned = plan(declared, machines=_no_machines(context), internet=bool(context.job.machine.allow))
    runs: list[RunEnd] = []
    with runner_layers(bench.root, cache, declared, context.log) as layers:
        if planned.overlay is not None:
            runs.append(_in_overlay(bench, layers, planned))
        if planned.machine:
            runs.append(_in_machine(bench, layers, planned))
    return _tell(bench, declared, planned, runs)


def _find_tested(context: StageContext) -> Tested | str:
    """What was published; or, in words, why there is nothing to test."""
    published = context.workspace.read_result("publish", context.target)
    if published is None:
        raise FarmTrouble(
            f"{context.target} is not published",
            resolution=f"Run `buildfarm stage publish --series {context.series}` in this workspace first.",
        )
    if published.verdict is not Verdict.PASS:
        return f"nothing was published: {published.reason}"
    packages = {name: version for name, version in published.facts["packages"].items() if "-dbgsym" not in name}
    if not packages:
        return f"nothing to install: {published.reason}"
    source = find_source(context)
    return Tested(
        str(published.facts["source"]),
        str(published.facts["version"]),
        source.dsc,
        source.files,
        _fetch_sources(context),
        packages,
    )


def _fetch_sources(context: StageContext) -> str:
    """The archive's .sources file, as users get it; raises FarmTrouble."""
    address = parse_address(context.job.archive)
    base = f"{context.settings.archive_local_url}/{address.owner}/{address.name}"
    url = f"{base}/{address.name}-{context.series}.sources"
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=SOURCES_TIMEOUT_S) as reply:
            text: bytes = reply.read(SOURCES_LIMIT_BYTES)
    except (urllib.error.URLError, OSError) as error:
        raise FarmTrouble(
            f"{url} cannot be had: {error}",
            resolution="Is the farm up, and the archive a public one? Testbeds are trusted with no one's token.",
        ) from error
    return text.decode()


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
            environment={"http_proxy": PROXY, "https_proxy": PROXY} if context.job.machine.allow else {},
            test_timeout_s=bench.job.test_timeout_s,
            timeout_s=bench.left_s,
            out=context.out / "overlay",
            log=context.log,
        )


def _no_machines(_context: StageContext) -> str:
    return "machines are not to be had yet"


def _in_machine(bench: Bench, layers: tuple[Path, ...], planned: Plan) -> RunEnd:
    raise NotImplementedError


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
    assumed = [bench.root.note] if bench.root.note else []
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
