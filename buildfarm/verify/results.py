"""The files of results that a suite names: read by their suffix, and added up."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from buildfarm.build.junit import FAILED_LIMIT, FILE_LIMIT_BYTES, Report, read_junit
from buildfarm.errors import PackageFault
from buildfarm.verify.subunit import read_subunit


def read_results(path: Path, name: str) -> Report:
    """The report in ``path``, a copy of the machine's file ``name``; raises PackageFault for what is none."""
    if path.stat().st_size > FILE_LIMIT_BYTES:
        raise PackageFault(f"larger than {FILE_LIMIT_BYTES >> 20} MiB", where=name)
    return read_subunit(path, name) if name.endswith(".subunit") else read_junit(path, name)


def add_up(reports: Iterable[Report]) -> Report:
    """One report of several."""
    kept = tuple(reports)
    return Report(
        sum(report.tests for report in kept),
        sum(report.skipped for report in kept),
        sum(report.failed for report in kept),
        tuple(failure for report in kept for failure in report.failures)[:FAILED_LIMIT],
    )
