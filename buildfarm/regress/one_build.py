"""One build of a rebuild, in its own directory: the source fetched, the environment put up, built, read, reported.

A build that has its report is not done again: whoever asks is given that.
"""

from __future__ import annotations

import contextlib
import gzip
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

from buildfarm.build.building import BuildEnd, LayeredBuild, build_on_layers, write_heading, write_summary
from buildfarm.build.dependencies import read_relations
from buildfarm.build.environments import LayerUse, use_exactly, use_layers
from buildfarm.build.logs import Judgement, find_cause, read_build_log
from buildfarm.build.package_lists import ExtraArchive, UnmetDependencies
from buildfarm.build.roots import Root, get_root, require_native, spec_for
from buildfarm.errors import FarmError, FarmTrouble, PackageFault
from buildfarm.files import empty_directory, read_json, write_json
from buildfarm.regress.fetching import fetch_source
from buildfarm.regress.model import BuildReport
from buildfarm.regress.new_entry import UnfitSource, add_entry
from buildfarm.regress.orders import BuildOrder, regression_entry
from buildfarm.regress.places import Places, places_of
from buildfarm.regress.reading import report_of
from buildfarm.regress.source_index import source_cache
from buildfarm.settings import Settings
from buildfarm.tee import Tee
from buildfarm.verdict import Verdict

ORDER, REPORT, LOG = "order.json", "report.json", "build.log"


def run_build(
    order: BuildOrder, directory: Path, settings: Settings, watcher: BinaryIO | None = None
) -> BuildReport:
    """Do a build in ``directory`` and return its report, which also stands there unless the disk fails; never
    raises FarmError.

    ``watcher`` gets the log as it grows. What is left in the directory: the order, the report, the log packed, and
    where it passed what dpkg says of it (.buildinfo, .changes) beside the packages.
    """
    if (kept := read_report(directory)) is not None:
        return kept
    try:
        return _run(order, directory, settings, watcher)
    except OSError as error:
        return BuildReport("error", f"{error.strerror or error}: {error.filename or directory}")


def _run(order: BuildOrder, directory: Path, settings: Settings, watcher: BinaryIO | None) -> BuildReport:
    empty_directory(directory)
    write_json(directory / ORDER, order.to_json())
    began = time.monotonic()
    with (directory / LOG).open("wb") as log_file:
        log = Tee(log_file, *([watcher] if watcher is not None else []))
        report = _reported(order, directory, settings, log, began)  # type: ignore[arg-type]
    with (directory / LOG).open("rb") as plain, gzip.open(directory / f"{LOG}.gz", "wb", 1) as packed:
        shutil.copyfileobj(plain, packed)
    (directory / LOG).unlink()
    report = replace(report, log=f"{LOG}.gz", total_s=round(time.monotonic() - began, 3))
    write_json(directory / REPORT, report.to_json())
    return report


def read_report(directory: Path) -> BuildReport | None:
    """The report of a build that has ended; None where there is none."""
    try:
        return BuildReport.from_json(read_json(directory / REPORT))
    except (FileNotFoundError, ValueError):
        return None


def _reported(order: BuildOrder, directory: Path, settings: Settings, log: BinaryIO, began: float) -> BuildReport:
    job = order.job
    write_heading(log, f"{job.package} {order.version} ({job.architecture})")
    try:
        require_native(job.architecture)
        with tried(order, directory, settings, log) as attempt, ThreadPoolExecutor(1) as beside:
            prepared_s = time.monotonic() - began
            keeping = beside.submit(_kept, attempt)  # the first time some packages come over the network
            end = build_on_layers(replace(attempt.build, prepared_s=prepared_s), directory, log)
            environment, unkept = keeping.result()
        report = report_of(directory / LOG, end, order.watch)
        return replace(
            report,
            environment=environment,
            prepare_s=round(prepared_s, 3),
            build_s=round(end.build_s, 3),
            disk_bytes=end.disk_bytes,
            artifacts=tuple(path.name for path in end.artifacts),
            assumed=(*report.assumed, *attempt.notes, *unkept),
        )
    except FarmError as error:
        outcome = _outcome_of(error)
        _without_build(order, outcome, error, log)
        return _report_without_build(outcome, error, directory / LOG)
    except OSError as error:
        return BuildReport("error", f"{error.strerror or error}: {error.filename or directory}")


def _kept(attempt: Attempt) -> tuple[str, tuple[str, ...]]:
    """Keep a build's environment; returns its id, and what of it could not be kept: no reason to build again."""
    manifest = attempt.use.manifest
    try:
        return attempt.places.keep(manifest), ()
    except FarmTrouble as trouble:
        return manifest.id, (f"not all packages of its environment are kept: {trouble.brief}",)


def _outcome_of(error: FarmError) -> Literal["dependency-wait", "fail", "error"]:
    if isinstance(error, UnmetDependencies):
        return "dependency-wait"
    return "fail" if isinstance(error, PackageFault) else "error"


def _without_build(
    order: BuildOrder, outcome: Literal["dependency-wait", "fail", "error"], error: FarmError, log: BinaryIO
) -> None:
    """Say in the log, in sbuild's words, that the package's own build was not reached."""
    status, stage = {"dependency-wait": (3, "install-deps"), "fail": (2, "build"), "error": (1, "")}[outcome]
    log.write(f"\nE: {error}\n".encode("utf-8", "backslashreplace"))
    nothing = _layered(order, (Path(order.job.files[0].name),), (), Path(), 0.0)
    write_summary(log, nothing, BuildEnd(status, stage, "", 0.0, 0, 0, ()))


def _report_without_build(
    outcome: Literal["dependency-wait", "fail", "error"], error: FarmError, log: Path
) -> BuildReport:
    with log.open("rb") as file:
        reading = read_build_log(file)
    stage = "install-deps" if outcome == "dependency-wait" else ""
    cause = find_cause(reading, Judgement(Verdict.ERROR, error.brief, outcome=outcome, stage=stage))
    return BuildReport(
        outcome,
        error.brief,
        stage=stage,
        details=error.details,
        first_error=tuple(error.details.splitlines()[:15]) or (error.brief,),
        fingerprint=cause.fingerprint,
        cause=cause.words,
    )


@dataclass(frozen=True)
class Attempt:
    """All that stands ready for a build: the environment in use, and the order for it."""

    build: LayeredBuild
    use: LayerUse
    root: Root
    places: Places
    notes: tuple[str, ...]


@contextlib.contextmanager
def tried(order: BuildOrder, directory: Path, settings: Settings, log: BinaryIO) -> Iterator[Attempt]:
    """The source and the environment of a build, in use for the ``with`` block; raises FarmError."""
    job, cache, places = order.job, settings.cache, places_of(settings)
    root = get_root(spec_for(settings, job.series, job.architecture), cache, log)
    source = directory / "source"
    try:
        dsc = fetch_source(job, source, source_cache(settings))
        dsc, order, notes = _in_its_version(order, dsc, settings)
        with environment_for(order, dsc, root, places, log) as use:
            files = (dsc, *sorted(path for path in dsc.parent.iterdir() if path.is_file() and path != dsc))
            build = _layered(order, files, use.directories, cache / "scratch", 0.0)
            notes = (*notes, *((root.note,) if root.note else ()), *use.notes)
            yield Attempt(build, use, root, places, notes)
    finally:
        shutil.rmtree(source, ignore_errors=True)


def _in_its_version(order: BuildOrder, dsc: Path, settings: Settings) -> tuple[Path, BuildOrder, tuple[str, ...]]:
    """The source in the version that it is built as, its .dsc first; its own, and why, where it gets no other."""
    if order.new_version is None:
        return dsc, order, ()
    entry = regression_entry(order.job, order.new_version, settings)
    try:
        return add_entry(dsc, entry, dsc.parent / "new"), order, ()
    except UnfitSource as error:
        return dsc, replace(order, new_version=None), (f"built as it is, and so not published: {error.brief}",)


@contextlib.contextmanager
def environment_for(order: BuildOrder, dsc: Path, root: Root, places: Places, log: BinaryIO) -> Iterator[LayerUse]:
    """The environment that an order asks for: a kept one, or what the source's dependencies are today."""
    if order.environment:
        wanted = places.manifest(order.environment)
        near = places.manifest(order.near) if order.near else None
        with use_exactly(root, wanted, places.store, places.cache, log, near=near) as use:
            yield use
        return
    extra = [ExtraArchive(one.sources, one.key) for one in order.job.extra]
    relations = read_relations(dsc, arch_all=order.job.arch_all)
    with use_layers(
        root, relations, places.cache, log, extra=extra, today=True, newer_than=order.newer_than
    ) as use:
        yield use


def _layered(
    order: BuildOrder,
    files: tuple[Path, ...],
    layers: tuple[Path, ...],
    scratch: Path,
    prepared_s: float,
) -> LayeredBuild:
    job = order.job
    return LayeredBuild(
        files=files,
        package=job.package,
        version=order.version,
        series=job.series,
        architecture=job.architecture,
        layers=layers,
        scratch=scratch,
        arch_all=job.arch_all,
        options=job.options,
        limits=job.limits,
        expected_bytes=order.expected_bytes,
        prepared_s=prepared_s,
    )
