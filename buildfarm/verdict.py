"""What a stage says when it ends: its verdict, and the record it leaves in ``result.json``."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

RESULT_SCHEMA = 1


class Verdict(enum.StrEnum):
    """The four ends of a stage."""

    PASS = "pass"  # noqa: S105 (a verdict, no password)
    FAIL = "fail"
    ERROR = "error"
    SKIPPED = "skipped"

    @property
    def exit_status(self) -> int:
        """The exit status of ``buildfarm stage``: 0 pass or skipped, 1 fail, 3 error (2 is wrong usage)."""
        return {Verdict.PASS: 0, Verdict.SKIPPED: 0, Verdict.FAIL: 1, Verdict.ERROR: 3}[self]


@dataclass(frozen=True)
class FileRef:
    """A file by its content: ``path`` relative to the workspace, hex SHA-256, size in bytes."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Outcome:
    """What a stage's function returns.

    ``reason`` is one line for people, given for every verdict ("9.62/10, floor 9.0"; "2 of 31 tests failed").
    ``details`` is evidence for a failure (its last lines). ``facts`` are small JSON values that later stages and
    pages read. ``inputs`` and ``outputs`` are paths
    relative to the workspace; the runner hashes them.
    """

    verdict: Verdict
    reason: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    details: str = ""


@dataclass(frozen=True)
class StageResult:
    """The content of ``result.json``; times are seconds since the epoch, UTC."""

    stage: str
    target: str
    verdict: Verdict
    reason: str
    started_at: float
    finished_at: float
    where: str = ""
    details: str = ""
    resolution: str = ""
    inputs: tuple[FileRef, ...] = ()
    outputs: tuple[FileRef, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    schema: int = RESULT_SCHEMA

    @property
    def duration_s(self) -> float:
        """Wall time of the stage, in seconds."""
        return self.finished_at - self.started_at

    def to_json(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return asdict(self) | {"verdict": self.verdict.value, "duration_s": round(self.duration_s, 3)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> StageResult:
        """The result that ``to_json`` wrote; raises KeyError or ValueError when it is not one."""
        fields = {k: v for k, v in data.items() if k != "duration_s"}
        fields["verdict"] = Verdict(fields["verdict"])
        for refs in ("inputs", "outputs"):
            fields[refs] = tuple(FileRef(**ref) for ref in fields[refs])
        for texts in ("skipped", "assumed"):
            fields[texts] = tuple(fields[texts])
        return StageResult(**fields)
