"""The search for a failure's cause, done: environments mixed of two, each put up and built in.

probes.jsonl    what was built so far, a line a build: an interrupted search goes on after it
probe-N/        each build's own directory: order, report, log
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from buildfarm.build.manifest import Manifest
from buildfarm.errors import FarmError, FarmTrouble
from buildfarm.files import write_json
from buildfarm.regress.culprit import Case, find_culprit
from buildfarm.regress.environment_diff import compare, suspect_text
from buildfarm.regress.mixing import Mixing
from buildfarm.regress.model import BuildReport, Culprit
from buildfarm.regress.on_launchpad import build_on_launchpad
from buildfarm.regress.one_build import ORDER, REPORT, read_report, run_build
from buildfarm.regress.orders import BuildOrder, CulpritOrder
from buildfarm.regress.places import places_of
from buildfarm.regress.probing import Earlier, Probed, Result, SearchLimits
from buildfarm.regress.publishing import publish
from buildfarm.settings import Settings

PROBES = "probes.jsonl"
CANNOT_STAND = "the environment cannot be put together again"  # as use_exactly says it: trouble of the mix alone


def carry_out(
    order: BuildOrder, directory: Path, settings: Settings, watcher: BinaryIO | None = None
) -> BuildReport:
    """Do what a worker is asked for: a build, a search, a publication. Never raises FarmError."""
    if order.publication is not None:
        return publish(order, order.publication, directory, settings, watcher)
    if order.on_launchpad is not None:
        return build_on_launchpad(order, order.on_launchpad, directory, settings, watcher)
    if order.culprit is None:
        return run_build(order, directory, settings, watcher)
    return search(order, order.culprit, directory, settings, watcher)


def search(
    order: BuildOrder, culprit: CulpritOrder, directory: Path, settings: Settings, watcher: BinaryIO | None = None
) -> BuildReport:
    """Search for the cause of a failure; the report's ``culprit`` says what was found.

    Where a build of it meets trouble of the farm's, the report is "error": called again, it goes on from there.
    """
    if (kept := read_report(directory)) is not None:
        return kept
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / ORDER, order.to_json())
    began = time.monotonic()
    try:
        found = _search(order, culprit, directory, settings, watcher)
        report = BuildReport("pass", found.words, environment=order.environment, culprit=found)
    except FarmError as error:
        report = BuildReport("error", error.brief, details=error.details)
    report = replace(report, total_s=round(time.monotonic() - began, 3))
    write_json(directory / REPORT, report.to_json())
    return report


def _search(
    order: BuildOrder, culprit: CulpritOrder, directory: Path, settings: Settings, watcher: BinaryIO | None
) -> Culprit:
    places = places_of(settings)
    before, after = places.manifest(culprit.before), places.manifest(order.environment)
    mixing = Mixing(compare(before.packages, after.packages))
    case = Case(order.job.package, mixing.suspects, mixing.ties, culprit.since, culprit.passed)
    known = tuple(read_probes(directory / PROBES))
    _tell(watcher, f"{len(mixing.suspects)} sources differ between the environments of {culprit.passed} and now")
    for one in mixing.suspects:
        _tell(watcher, f"  {suspect_text(one)}")

    def probe(earlier: Earlier) -> Result:
        number = len(_lines(directory / PROBES)) + 1  # one cut off counts: its directory is another mix's
        began = time.monotonic()
        result = _probe(order, culprit, mixing, earlier, directory / f"probe-{number}", settings, watcher)
        duration_s = time.monotonic() - began
        record_probe(directory / PROBES, {"earlier": sorted(earlier), "result": result, "duration_s": duration_s})
        _tell(watcher, f"build {number}, with {_words(earlier, len(mixing.suspects))} taken back: {result}")
        return result

    limits = SearchLimits(culprit.builds, culprit.duration_s)
    found = find_culprit(case, probe, known=known, limits=limits, clock=time.monotonic)
    if not found.suspects and culprit.passed_version != order.job.version:
        words = (
            f"; what passed was {order.job.package} {culprit.passed_version}, what fails is {order.job.version}"
        )
        found = replace(found, words=found.words + words)
    _tell(watcher, found.words)
    return found


def _probe(
    order: BuildOrder,
    culprit: CulpritOrder,
    mixing: Mixing,
    earlier: Earlier,
    directory: Path,
    settings: Settings,
    watcher: BinaryIO | None,
) -> Result:
    mix = mixing.mix(earlier)
    if not mix.is_consistent:
        return "unresolved"
    manifest = Manifest(order.job.series, order.job.architecture, tuple(sorted(mix.packages)))
    places = places_of(settings)
    manifest.write(places.manifest_path(manifest.id))
    near = culprit.before if 2 * len(earlier) > len(mixing.suspects) else order.environment
    mixed = replace(order, environment=manifest.id, near=near, culprit=None)
    report = run_build(mixed, directory, settings, watcher)
    _drop_products(directory, report)
    if report.outcome == "error" and not report.reason.startswith(CANNOT_STAND):
        (directory / REPORT).unlink(missing_ok=True)  # it is no answer: the same build is asked for again
        raise FarmTrouble(f"the search is interrupted: {report.reason}", details=report.details)
    same = report.broken_tests or report.fingerprint == culprit.fingerprint  # asked for were those tests alone
    if report.outcome == "fail" and not same:
        return "unresolved"
    results: dict[str, Result] = {"pass": "pass", "fail": "fail"}
    return results.get(report.outcome, "unresolved")


def _drop_products(directory: Path, report: BuildReport) -> None:
    """What a build of the search made is of no use to anybody."""
    for name in report.artifacts:
        if not name.endswith((".buildinfo", ".changes")):
            (directory / name).unlink(missing_ok=True)


def read_probes(path: Path) -> Iterator[Probed]:
    """The builds of a search so far; a line that a kill cut off is none."""
    for line in _lines(path):
        try:
            data = json.loads(line)
            yield Probed(frozenset(data["earlier"]), data["result"], float(data["duration_s"]))
        except (ValueError, KeyError, TypeError):
            continue


def record_probe(path: Path, probed: Mapping[str, object]) -> None:
    """Add a build of a search; a line that was cut off before stays alone."""
    with path.open("a+b") as file:
        file.seek(max(0, file.seek(0, io.SEEK_END) - 1))
        cut_off = file.read() not in (b"", b"\n")
        file.write(b"\n" * cut_off + json.dumps(probed).encode() + b"\n")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _words(earlier: Earlier, of: int) -> str:
    if len(earlier) == of:
        return "all"
    return ", ".join(sorted(earlier)) if len(earlier) <= 5 else f"{len(earlier)} of {of}"


def _tell(watcher: BinaryIO | None, line: str) -> None:
    if watcher is not None:
        watcher.write(f"{line}\n".encode())
        watcher.flush()
