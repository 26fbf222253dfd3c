"""Running lintian over what a build made, in a sandbox with the series' own lintian, and counting its tags."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from buildfarm.build.environments import use_layers
from buildfarm.build.roots import Root
from buildfarm.build.sandbox import Limits, Wanted, run_in_sandbox
from buildfarm.errors import FarmTrouble
from buildfarm.files import empty_directory, remove_tree

PACKAGES = ("lintian",)
TIMEOUT_S = 1800
REPORT_LIMIT_BYTES = 32 << 20
FAIL_ON = {"none": (), "error": ("errors",), "warning": ("errors", "warnings")}


@dataclass(frozen=True)
class Tags:
    """How many tags of each kind lintian gave, and the lines of the errors and warnings."""

    errors: int
    warnings: int
    lines: tuple[str, ...]

    def refused(self, fail_on: Literal["none", "error", "warning"]) -> str:
        """What the recipe does not let pass ("" when nothing)."""
        counts = {"errors": self.errors, "warnings": self.warnings}
        return ", ".join(f"{counts[kind]} {kind}" for kind in FAIL_ON[fail_on] if counts[kind])


def run_lintian(root: Root, artifacts: Sequence[Path], cache: Path, report: Path, log: BinaryIO) -> Tags:
    """Run lintian over ``artifacts``, a .changes file and what it lists; its output is kept in ``report``.

    Raises FarmTrouble when lintian does not come to its end.
    """
    changes = next(path.name for path in artifacts if path.suffix == ".changes")
    tree = empty_directory(report.with_name(".lintian"))
    try:
        for path in artifacts:
            os.link(path, tree / path.name)
        with use_layers(root, PACKAGES, cache, log) as use:
            ran = run_in_sandbox(
                use.directories,
                tree,
                ["sh", "-c", 'exec lintian --fail-on none --no-cfg "$1" > ../home/report', "sh", changes],
                limits=Limits(TIMEOUT_S),
                wanted=[Wanted("home/report", report, REPORT_LIMIT_BYTES)],
                log=log,
            )
    finally:
        remove_tree(tree)
    if ran.status != 0 or ran.files.get("home/report") != "ok":
        raise FarmTrouble("lintian did not come to its end", details=ran.output[-2000:])
    return count_tags(report.read_text(encoding="utf-8", errors="replace"))


def count_tags(text: str) -> Tags:
    """The tags of lintian's output: ``E: package: tag`` and ``W: package: tag``."""
    lines = tuple(line for line in text.splitlines() if line.startswith(("E: ", "W: ")))
    errors = sum(line.startswith("E: ") for line in lines)
    return Tags(errors, len(lines) - errors, lines)
