"""What an sbuild log says, and whose fault a failure is; the rules are sbuild's and those of Debian's buildds.

sbuild exits 0 for ``successful``, 2 for ``attempted``, 3 for ``given-back`` and 1 for all else. Only the stage
that failed tells whom to blame, and the stage is told in the summary at the log's end.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from buildfarm.verdict import Verdict

SUMMARY_KEYS = frozenset(
    (
        "Autopkgtest",
        "Build Architecture",
        "Build Type",
        "Build-Space",
        "Build-Time",
        "Distribution",
        "Fail-Stage",
        "Host Architecture",
        "Install-Time",
        "Job",
        "Lintian",
        "Machine Architecture",
        "Package",
        "Package-Time",
        "Piuparts",
        "Source-Version",
        "Space",
        "Status",
        "Version",
    )
)
EXIT_STATUS = {"successful": 0, "attempted": 2, "given-back": 3}
PACKAGE_STAGES = frozenset({"build", "arch-check"})
DEPENDENCY_STAGES = frozenset({"install-deps", "install-deps-env"})

_BOX = re.compile(r"^\| Summary +\|$")
_BUILD_BOX = re.compile(r"^\| Build +\|$")
_UNMET = re.compile(r"^\s*(?:\S+ : )?(?:Pre-)?Depends: (\S.*? but .+)$")
_SURE_UNMET = re.compile(
    r" but (?:\S+ is to be installed|\S+ is installed|it is not installable|it is a virtual package)$"
)
_MACHINE = re.compile(r"No space left on device|kernel BUG|BUG: (?:unable|soft lockup)|self-detected stall")
_ERROR = re.compile(
    r"(?:^|[\s:])(?:fatal )?error[: ]|^E: |^\w*Error: |\*\*\* |^FAILED? |FAIL:|Traceback \(most recent call last\)"
    r"|No module named|undefined reference|Exec format error|^dpkg-\w+: (?:error|failure)|^dh\w*: error"
)
# Said by many a configure script that goes on regardless: evidence only where there is no better.
_MAYBE = re.compile(r": command not found$|: not found$|No such file or directory|cannot find ")
# make and debhelper only repeat that something below them failed: the last resort.
_ECHO = re.compile(r"^(?:make(?:\[\d+\])?: \*\*\*|dh_\w+: error: .* returned exit code|dpkg-buildpackage: error)")
ERROR_LINES = 8
LINE_LIMIT = 400
LINE_LIMIT_BYTES = 4 * LINE_LIMIT
SKIP_BYTES = 1 << 16


@dataclass(frozen=True)
class Summary:
    """The end of a log: its ``Key: value`` lines after the last Summary box."""

    values: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """``successful``, ``attempted``, ``given-back``, ...; "" when there is none."""
        return self.values.get("Status", "")

    @property
    def fail_stage(self) -> str:
        """Where it failed; "" when it did not say."""
        return self.values.get("Fail-Stage", "")

    def seconds(self, key: str) -> int | None:
        """A time of the summary in seconds: ``Build-Time``, ``Install-Time``, ``Package-Time``."""
        value = self.values.get(key, "")
        return int(value) if value.isdigit() else None


@dataclass(frozen=True)
class Reading:
    """One pass over a log: its summary, unmet dependencies, lines that name errors, signs of a failing machine.

    ``build_began``: the package's own build was reached; all before it is the farm's and the mirror's.
    """

    summary: Summary | None
    unmet: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    machine: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    build_began: bool = False


@dataclass(frozen=True)
class Judgement:
    """The verdict on a build, in one line, with evidence."""

    verdict: Verdict
    reason: str
    details: str = ""


def bounded_lines(file: BinaryIO) -> Iterator[str]:
    """The lines of a log, each cut at ``LINE_LIMIT`` characters: a build may print a gigabyte without one."""
    while start := file.readline(LINE_LIMIT_BYTES):
        rest = start
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(SKIP_BYTES)
        yield start.decode("utf-8", "backslashreplace")[:LINE_LIMIT]


def read_log(lines: Iterable[str]) -> Reading:
    """Read a log once, line by line."""
    values: dict[str, str] | None = None
    build_began = False
    unmet: dict[str, None] = {}
    errors: list[str] = []
    maybe: list[str] = []
    echoes: list[str] = []
    machine: list[str] = []
    last: deque[str] = deque(maxlen=15)
    for raw in lines:
        line = raw.rstrip("\r\n")[:LINE_LIMIT]
        if _BOX.match(line):
            values = {}
            continue
        build_began = build_began or bool(_BUILD_BOX.match(line))
        if values is not None:
            key, colon, value = line.partition(": ")
            if colon and key in SUMMARY_KEYS:
                values[key] = value.strip()
                continue
        if line.strip():
            last.append(line)
        if (match := _UNMET.match(line)) and len(unmet) < 50:
            unmet[match[1]] = None
        elif _MACHINE.search(line):
            if len(machine) < ERROR_LINES:
                machine.append(line.strip())
        elif (kept := _kind_of_error(line, errors, maybe, echoes)) is not None and len(kept) < ERROR_LINES:
            kept.append(line.strip())
    summary = Summary(values) if values else None
    return Reading(
        summary, tuple(unmet), tuple(errors or maybe or echoes), tuple(machine), tuple(last), build_began
    )


def _kind_of_error(line: str, errors: list[str], maybe: list[str], echoes: list[str]) -> list[str] | None:
    if _ECHO.match(line):
        return echoes
    if _ERROR.search(line):
        return errors
    return maybe if _MAYBE.search(line) else None


def judge(reading: Reading, exit_status: int) -> Judgement:
    """Whose fault it is, by sbuild's exit status and what its log says."""
    summary = reading.summary
    if summary is None:
        return _machine(reading, f"sbuild exited {exit_status} and its log ends without a summary")
    if EXIT_STATUS.get(summary.status, 1) != exit_status:
        return _machine(reading, f"sbuild exited {exit_status}, but its log says {summary.status!r}")
    if summary.status == "successful":
        return Judgement(Verdict.PASS, "built")
    if reading.machine:
        return _machine(reading, f"the machine failed: {reading.machine[0]}")
    stage = summary.fail_stage
    if summary.status == "attempted" and stage in PACKAGE_STAGES:
        first = f": {reading.errors[0]}" if reading.errors else ""
        return Judgement(Verdict.FAIL, f"the build failed{first}", "\n".join(reading.errors or reading.last))
    if summary.status == "given-back" and stage in DEPENDENCY_STAGES and reading.unmet:
        return _judge_unmet(reading)
    return _machine(reading, f"sbuild gave up in its stage {stage or 'unknown'} ({summary.status or 'no status'})")


def _judge_unmet(reading: Reading) -> Judgement:
    sure = [text for text in reading.unmet if _SURE_UNMET.search(text)]
    details = "\n".join(reading.unmet)
    if sure:
        return Judgement(Verdict.FAIL, f"unmet build-dependencies: {'; '.join(sure[:5])}", details)
    return Judgement(
        Verdict.ERROR, f"build-dependencies could not be installed: {'; '.join(reading.unmet[:5])}", details
    )


def _machine(reading: Reading, reason: str) -> Judgement:
    return Judgement(Verdict.ERROR, reason, "\n".join((*reading.machine, *reading.last)))
