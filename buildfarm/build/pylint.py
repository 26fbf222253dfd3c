"""Running pylint in a sandbox and reading its score, to the last digit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from buildfarm.build.sandbox import Limits, Ran, Wanted, run_in_sandbox
from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.files import read_json

PACKAGES = ("pylint",)
USAGE_ERROR = 32  # pylint's exit status for a wrong option, in its arguments or in the tree's configuration
REPORT_LIMIT_BYTES = 64 << 20
MESSAGE = "{path}:{line}:{column}: [{msg_id}] {msg} ({symbol})"

# pylint prints its score with two digits and compares it unrounded: ask the program itself.
DRIVER = """
import json, sys
from pylint.lint import Run
linter = Run(sys.argv[1:], exit=False).linter
stats = linter.stats
with open("/build/home/score.json", "w") as file:
    json.dump({"score": stats.global_note, "statements": stats.statement, "fatal": stats.fatal,
               "error": stats.error, "warning": stats.warning, "refactor": stats.refactor,
               "convention": stats.convention}, file)
"""


@dataclass(frozen=True)
class Score:
    """pylint's findings: ``score`` of ten, how many statements it read, how many messages of each kind."""

    score: float
    statements: int
    fatal: int
    error: int
    warning: int
    refactor: int
    convention: int

    @property
    def messages(self) -> int:
        """All messages."""
        return self.fatal + self.error + self.warning + self.refactor + self.convention


def run_pylint(
    layers: Sequence[Path], tree: Path, targets: Sequence[str], timeout_s: int, report: Path, log: BinaryIO
) -> Score:
    """Run pylint over ``targets``; its messages go to ``log``, and as JSON to ``report``.

    Raises PackageFault when pylint refuses the tree's configuration or does not end within its limits, and
    FarmTrouble when it breaks down itself.
    """
    score = report.with_name("score.json")
    ran = run_in_sandbox(
        layers,
        tree,
        [
            *("python3", "-I", "-c", DRIVER),
            "--persistent=no",
            "--score=yes",
            "--reports=no",
            f"--msg-template={MESSAGE}",
            "--output-format=json:/build/home/pylint.json,text",
            "--",
            *targets,
        ],
        limits=Limits(timeout_s),
        wanted=[Wanted("home/pylint.json", report, REPORT_LIMIT_BYTES), Wanted("home/score.json", score, 4096)],
        log=log,
    )
    _refuse_other_ends(ran, timeout_s)
    try:
        return _read_score(score)
    finally:
        score.unlink()


def _read_score(path: Path) -> Score:
    """The driver's figures; a plugin that the tree brings may have written anything there. Raises PackageFault."""
    try:
        score = Score(**read_json(path))
        counts = (score.statements, score.fatal, score.error, score.warning, score.refactor, score.convention)
        if any(type(count) is not int or count < 0 for count in counts):
            raise ValueError("a count is no natural number")
        if type(score.score) not in (int, float) or not math.isfinite(score.score):
            raise ValueError("the score is no number")
    except (ValueError, TypeError, RecursionError) as error:
        raise PackageFault(
            f"pylint's score cannot be read: {error}",
            resolution="Does a pylint plugin of the tree write score.json, or change pylint's statistics?",
        ) from error
    return score


def _refuse_other_ends(ran: Ran, timeout_s: int) -> None:
    if ran.timed_out or ran.output_limit_hit:
        raise PackageFault(
            f"pylint was stopped: {f'not done after {timeout_s} s' if ran.timed_out else 'it printed too much'}",
            details=_last_lines(ran),
            resolution="Give lint fewer targets, or a larger timeout_s in the recipe.",
        )
    if ran.status == USAGE_ERROR:
        raise PackageFault(
            "pylint refuses its configuration",
            details=_last_lines(ran),
            resolution="Mend the tree's pylint configuration (pylintrc, pyproject.toml, setup.cfg).",
        )
    if ran.status != 0 or ran.files.get("home/score.json") != "ok":
        raise FarmTrouble(
            f"pylint broke down (status {ran.status})",
            details=_last_lines(ran),
            resolution="Its traceback is in the log; a newer pylint in the series' sources may read this code.",
        )


def _last_lines(ran: Ran) -> str:
    return "\n".join(ran.output.rstrip().splitlines()[-15:])
