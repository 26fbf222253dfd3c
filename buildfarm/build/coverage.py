"""Measuring coverage of whatever command runs the tests, and reading the figure.

Every Python process below the command measures itself: ``sitecustomize`` on PYTHONPATH calls
``coverage.process_startup()``, as coverage's own documentation of subprocess measurement has it. So ``pytest``,
``python3 -m unittest``, ``make check`` and what they start are all measured, with no wrapper that must know them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from buildfarm.build.sandbox import HOME, TREE
from buildfarm.errors import PackageFault
from buildfarm.job import CoverageJob

PACKAGES = ("python3-coverage",)
REPORT = "home/coverage/coverage.xml"
REPORT_LIMIT_BYTES = 64 << 20
PLACE = f"{HOME}/coverage"

# `coverage combine` and `coverage xml` in one process: each start of it costs a tenth of a second.
_REPORTER = f"""
import sys
import coverage
measured = coverage.Coverage(config_file="{PLACE}/rc")
try:
    measured.combine(strict=True)
    measured.xml_report(ignore_errors=True, outfile="{PLACE}/coverage.xml")
except coverage.CoverageException as error:
    sys.exit(str(error))
"""
_WRAPPER = f"""
mkdir {PLACE}
printf '%s' "$COVERAGE_CONFIGURATION" > {PLACE}/rc
printf 'import coverage\\ncoverage.process_startup()\\n' > {PLACE}/sitecustomize.py
unset COVERAGE_CONFIGURATION
"$@"
status=$?
unset COVERAGE_PROCESS_START
cd {TREE}
python3 -c '{_REPORTER}'
exit $status
"""


def measured(
    command: Sequence[str], environment: Mapping[str, str], coverage: CoverageJob, tree: Path
) -> tuple[list[str], dict[str, str]]:
    """The command and environment that run ``command`` measured and leave ``REPORT``; its exit status stays."""
    sources = [f"{TREE}/{source}" if (tree / source).is_dir() else source for source in coverage.sources]
    configuration = "\n".join(
        (
            "[run]",
            "parallel = true",
            "concurrency = thread,multiprocessing",
            f"data_file = {PLACE}/data",
            f"source = {','.join(os.path.normpath(source) for source in sources)}",
            "",
        )
    )
    more = {
        "COVERAGE_CONFIGURATION": configuration,
        "COVERAGE_PROCESS_START": f"{PLACE}/rc",
        "PYTHONPATH": ":".join(part for part in (PLACE, environment.get("PYTHONPATH", "")) if part),
    }
    return ["sh", "-c", _WRAPPER, "sh", *command], {**environment, **more}


def read_percent(path: Path) -> float:
    """The share of lines that ran, in percent, from coverage's XML; raises PackageFault when it says nothing."""
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    try:
        # coverage writes a DOCTYPE that names a DTD and no entity; entities stay forbidden.
        _, root = next(iter(iterparse(path, events=("start",))))
        valid, covered = int(root.get("lines-valid", "0")), int(root.get("lines-covered", "0"))
    except (ParseError, DefusedXmlException, LookupError, ValueError, StopIteration) as error:
        raise PackageFault(f"coverage's report cannot be read: {error}", where="unittest/coverage.xml") from error
    if valid <= 0:
        raise PackageFault(
            "coverage saw no line of the sources",
            resolution="Do the coverage sources in the recipe name directories with Python code?",
        )
    return 100 * covered / valid
