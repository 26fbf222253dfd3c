"""The build stage: binaries of one series and architecture, made in a clean environment.

Which is either the farm's own layers, which stand ready and are shared with nightly rebuilds, or sbuild's, which
unpacks a root and installs the dependencies each time. Both write the same kind of log, which is judged in one
way.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from buildfarm import process
from buildfarm.build import sbuild
from buildfarm.build.apt_sources import parse_deb822
from buildfarm.build.building import LayeredBuild, build_on_layers, write_heading
from buildfarm.build.dependencies import read_relations
from buildfarm.build.environments import use_layers
from buildfarm.build.limits import BuildLimits
from buildfarm.build.lintian import Tags, run_lintian
from buildfarm.build.logs import Judgement, LogReading, Summary, judge, read_build_log
from buildfarm.build.package_lists import ExtraArchive
from buildfarm.build.roots import Root, get_root, require_native, spec_for
from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.process import Finished
from buildfarm.stages.runner import StageContext
from buildfarm.verdict import Outcome, Verdict
from ppa_tools.address import parse_address

SHOWN_LOG_BYTES = 32 << 20  # of the build's log in the stage's own; build.log has all
WANTED_DISK_BYTES = 1 << 30
TIMES = {"install_s": "Install-Time", "build_s": "Build-Time", "package_s": "Package-Time"}


@dataclass(frozen=True)
class Source:
    """The source package to build: its .dsc, that and the files it names, and what it says of itself."""

    dsc: Path
    files: tuple[Path, ...]
    architectures: tuple[str, ...]
    name: str
    version: str


def run(context: StageContext) -> Outcome:
    """Build, check what was made, ask lintian. Pass when it is successful and lintian is content."""
    source = find_source(context)
    arch_all = context.architecture == context.job.architectures[0]
    if not builds_for(source.architectures, context.architecture, arch_all=arch_all):
        return Outcome(
            Verdict.SKIPPED,
            f"the source builds for {' '.join(source.architectures)}, nothing of it here",
        )
    require_native(context.architecture)
    _require_room(context.out)
    assumed: list[str] = []
    root = get_root(
        spec_for(context.settings, context.series, context.architecture), context.settings.cache, context.log
    )
    if root.note:
        assumed.append(root.note)
    make = _by_sbuild if context.settings.build.backend == "sbuild" else _on_layers
    summary = make(context, source, root, assumed, arch_all=arch_all)
    artifacts = sbuild.check_artifacts(context.out)
    return _finish(context, root, source, summary, artifacts, assumed)


def _by_sbuild(
    context: StageContext, source: Source, root: Root, assumed: list[str], *, arch_all: bool
) -> Summary:
    request = sbuild.BuildRequest(
        dsc=source.dsc,
        series=context.series,
        architecture=context.architecture,
        arch_all=arch_all,
        tarball=root.tarball,
        out=context.out,
        scratch=sbuild.scratch_name(context.workspace.path, context.target),
        timeout_s=context.job.build.timeout_s,
        repositories=_own_ppa(context, assumed),
    )
    with _open_log(context) as log:
        finished = sbuild.run_sbuild(request, log)
    reading = _read(context)
    _refuse_what_we_stopped(request, finished, reading)
    return _require_pass(reading, finished.returncode)


def _on_layers(
    context: StageContext, source: Source, root: Root, assumed: list[str], *, arch_all: bool
) -> Summary:
    began = time.monotonic()
    settings = context.settings
    archives = [
        ExtraArchive(
            f"Types: deb\nURIs: {one.uri}\nSuites: {one.series}\nComponents: {one.component}\n",
            one.key.decode("ascii", "replace"),
        )
        for one in _own_ppa(context, assumed)
    ]
    relations = read_relations(source.dsc, arch_all=arch_all)
    with (
        _open_log(context) as log,
        # The PPA may have had what this build needs a moment ago only.
        use_layers(
            root,
            relations,
            settings.cache,
            log,
            extra=archives,
            today=True,
            newer_than=time.time() if archives else 0.0,
        ) as use,
    ):
        assumed.extend(use.notes)
        order = LayeredBuild(
            files=source.files,
            package=source.name,
            version=source.version,
            series=context.series,
            architecture=context.architecture,
            layers=use.directories,
            scratch=settings.cache / "scratch",
            arch_all=arch_all,
            options=(f"parallel={os.cpu_count() or 1}",),
            limits=BuildLimits(timeout_s=context.job.build.timeout_s, silence_s=context.job.build.timeout_s),
            prepared_s=time.monotonic() - began,
        )
        write_heading(log, f"{order.package} {order.version} ({order.architecture})")
        end = build_on_layers(order, context.out, log)
    if end.stopped:
        raise PackageFault(
            f"the build was stopped: {end.stopped}",
            details="\n".join(end.last),
            resolution="The last lines say where it stood. If it needs longer, raise build: timeout_s.",
        )
    return _require_pass(_read(context), end.status)


def find_source(context: StageContext) -> Source:
    """The signed source package when signing passed, else the unsigned one; raises FarmTrouble for neither."""
    signed = context.workspace.read_result("sign", context.series)
    stage = "sign" if signed is not None and signed.verdict is Verdict.PASS else "source"
    directory = context.workspace.directory(stage, context.series)
    found = sorted(directory.glob("*.dsc"))
    if len(found) != 1:
        raise FarmTrouble(
            f"{len(found)} .dsc files in {context.workspace.relative(directory)}, not one",
            resolution=f"Run `buildfarm stage source --series {context.series}` in this workspace first.",
        )
    text = found[0].read_text(encoding="utf-8", errors="replace").partition("-----BEGIN PGP SIGNATURE")[0]
    fields = {name.lower(): value for part in parse_deb822(text) for name, value in part.items()}
    names = [line.split()[-1] for line in fields.get("checksums-sha256", "").splitlines() if line.strip()]
    return Source(
        found[0],
        (found[0], *(directory / name for name in names if "/" not in name)),
        tuple(fields.get("architecture", "any").split()),
        fields.get("source", ""),
        fields.get("version", ""),
    )


def builds_for(stated: tuple[str, ...], architecture: str, *, arch_all: bool) -> bool:
    """Whether a source with these Architecture words (``any``, ``linux-any``, ``all``, names) makes a binary."""
    if "all" in stated and arch_all:
        return True
    return any(
        process.run(["dpkg-architecture", "-a", architecture, "--is", word], timeout_s=30).ok
        for word in stated
        if word != "all"
    )


@dataclass
class _BoundedLog:
    """Writes everything to one file, and the beginning to another."""

    whole: BinaryIO
    shown: BinaryIO
    room: int = field(default=SHOWN_LOG_BYTES)

    def write(self, data: bytes) -> int:
        self.whole.write(data)
        if self.room > 0:
            self.shown.write(data[: self.room])
            self.room -= len(data)
            if self.room <= 0:
                self.shown.write(b"\n[... the rest is in build.log]\n")
        return len(data)

    def flush(self) -> None:
        self.shown.flush()


@contextlib.contextmanager
def _open_log(context: StageContext) -> Iterator[BinaryIO]:
    """build.log, whose beginning is shown in the stage's own."""
    with (context.out / "build.log").open("wb") as log:
        yield _BoundedLog(log, context.log)  # type: ignore[misc]


def _read(context: StageContext) -> LogReading:
    with (context.out / "build.log").open("rb") as file:
        return read_build_log(file)


def _require_pass(reading: LogReading, status: int) -> Summary:
    """The log's summary; raises PackageFault or FarmTrouble for all but success."""
    judgement = judge(reading, status)
    if judgement.verdict is not Verdict.PASS or reading.summary is None:
        raise _as_error(judgement)
    return reading.summary


def _refuse_what_we_stopped(request: sbuild.BuildRequest, finished: Finished, reading: LogReading) -> None:
    """We killed it: what sbuild or its log say of that end is not the reason."""
    if finished.timed_out and not reading.build_began:
        raise FarmTrouble(
            f"sbuild did not reach the build in time ({request.timeout_s} s, timeout_s)",
            details=finished.tail(15),
            resolution="Is the mirror in reach? It is tried again.",
        )
    if finished.timed_out:
        raise PackageFault(
            f"the build was stopped: not done after {request.timeout_s} s (timeout_s)",
            details=finished.tail(15),
            resolution="The last lines say where it stood. If it needs longer, raise build: timeout_s.",
        )
    if finished.output_limit_hit:
        raise PackageFault(
            f"the build was stopped: its log grew beyond {sbuild.LOG_LIMIT_BYTES >> 20} MiB",
            details=finished.tail(15),
            resolution="Let the build say less.",
        )


def _as_error(judgement: Judgement) -> PackageFault | FarmTrouble:
    if judgement.verdict is Verdict.FAIL:
        return PackageFault(
            judgement.reason, details=judgement.details, resolution="build.log has the whole story."
        )
    return FarmTrouble(
        judgement.reason, details=judgement.details, resolution="It is tried again. build.log has the whole story."
    )


def _own_ppa(context: StageContext, assumed: list[str]) -> tuple[sbuild.ExtraRepository, ...]:
    address = parse_address(context.job.archive)
    if address.backend != "local":
        assumed.append(f"build-dependencies from {context.series} alone: {address} is not in this farm's archive")
        return ()
    from buildfarm.build.ppa_source import find_ppa

    found = find_ppa(address, context.series, context.settings.archive_local_url)
    if isinstance(found, str):
        assumed.append(found)
        return ()
    return (found,)


def _finish(
    context: StageContext,
    root: Root,
    source: Source,
    summary: Summary,
    artifacts: tuple[Path, ...],
    assumed: list[str],
) -> Outcome:
    report = context.out / "lintian.txt"
    fail_on = context.job.build.lintian_fail_on
    skipped: list[str] = []
    tags = Tags(0, 0, ())
    try:
        tags = run_lintian(root, artifacts, context.settings.cache, report, context.log)
    except FarmTrouble as trouble:
        if fail_on != "none":
            raise
        skipped.append(f"lintian: {trouble.brief}")
    packages = [path.name for path in artifacts if path.suffix in (".deb", ".ddeb", ".udeb")]
    times = {name: summary.seconds(key) for name, key in TIMES.items()}
    refused = tags.refused(fail_on)
    told = (
        f"{len(packages)} packages built in {times['package_s']} s"
        if len(packages) != 1
        else (f"{packages[0]} built in {times['package_s']} s")
    )
    kept = (*artifacts, context.out / "build.log", *([report] if report.is_file() else []))
    return Outcome(
        Verdict.FAIL if refused else Verdict.PASS,
        f"lintian: {refused}: {tags.lines[0]}" if refused else told,
        inputs=("job.json", *(context.workspace.relative(path) for path in source.files)),
        outputs=tuple(context.workspace.relative(path) for path in kept),
        skipped=tuple(skipped),
        assumed=tuple(assumed),
        facts={
            **times,
            "packages": packages,
            "lintian_errors": tags.errors,
            "lintian_warnings": tags.warnings,
            "root": root.key,
            "root_sha256": root.sha256,
        },
    )


def _require_room(directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if free < WANTED_DISK_BYTES:
        raise FarmTrouble(
            f"the disk is nearly full: {free >> 20} MiB left, a build wants {WANTED_DISK_BYTES >> 20} MiB",
            resolution="Free room on the farm's disk; the stage is tried again.",
        )
