"""Running one stage in one workspace: its log, its limits, and a ``result.json`` whatever happens."""

from __future__ import annotations

import errno
import importlib
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.files import empty_directory, file_ref, write_json
from buildfarm.job import Job
from buildfarm.settings import Settings
from buildfarm.stages import BY_NAME
from buildfarm.stages.turns import turn
from buildfarm.tee import Tee
from buildfarm.verdict import FileRef, Outcome, StageResult, Verdict
from buildfarm.workspace import Workspace

REASON_LIMIT = 500
LINE_LIMIT = 400
DETAIL_LINES = 60
TREE_FACT = "tree_sha256"  # in the facts of the stages that made or read the tree: what it held


@dataclass(frozen=True)
class StageContext:
    """All that a stage may use. ``out`` is its own empty directory; ``log`` takes bytes for people."""

    workspace: Workspace
    job: Job
    settings: Settings
    out: Path
    log: BinaryIO
    series: str = ""
    architecture: str = ""

    @property
    def target(self) -> str:
        """ "", SERIES, or SERIES-ARCH."""
        return "-".join(part for part in (self.series, self.architecture) if part)

    def say(self, line: str) -> None:
        """Write a line to the log."""
        self.log.write(line.encode("utf-8", "backslashreplace") + b"\n")
        self.log.flush()

    @property
    def tree(self) -> Path:
        """The trunk's content."""
        return self.workspace.tree


def run_stage(
    name: str,
    workspace: Workspace,
    settings: Settings,
    *,
    series: str = "",
    architecture: str = "",
    watcher: BinaryIO | None = None,
) -> StageResult:
    """Run a stage and return its result, which also stands in ``result.json``.

    A stage that already passed here on the same inputs and the same tree, and whose outputs are all still there
    unchanged, is not run again; an earlier attempt that still runs here is ended first. Never raises for what
    happens inside the stage; raises ValueError for a name or a target that does not fit, FarmTrouble when an
    earlier attempt does not end, and OSError when not even the result can be written.
    """
    stage = BY_NAME[name]
    if bool(series) != (stage.per in ("series", "build")) or bool(architecture) != (stage.per == "build"):
        raise ValueError(f"stage {name} runs once per {stage.per}")
    target = "-".join(part for part in (series, architecture) if part)
    with turn(workspace.path / ".turns", f"{name}-{target}" if target else name):
        return _run_in_turn(name, target, workspace, settings, series, architecture, watcher)


def _run_in_turn(
    name: str,
    target: str,
    workspace: Workspace,
    settings: Settings,
    series: str,
    architecture: str,
    watcher: BinaryIO | None,
) -> StageResult:
    if (kept := kept_result(workspace, name, target)) is not None:
        if watcher is not None:
            watcher.write(f"{name}: kept from an earlier attempt: {kept.reason}\n".encode())
        return kept
    out = empty_directory(workspace.directory(name, target))
    started = time.time()
    with (out / "log").open("wb") as log_file:
        tee = Tee(log_file, *([watcher] if watcher is not None else []))
        job = workspace.read_job()
        context = StageContext(workspace, job, settings, out, tee, series, architecture)  # type: ignore[arg-type]
        result = _shorten(_with_evidence(_judge(context, name, started), out / "log"))
        context.say(f"{name}: {result.verdict}: {result.reason}")
        for text in (result.where, result.details, result.resolution):
            if text:
                context.say(text)
    write_json(out / "result.json", result.to_json())
    return result


def kept_result(workspace: Workspace, name: str, target: str) -> StageResult | None:
    """The result of an earlier pass here that still holds: inputs, outputs and tree have the recorded content."""
    result = workspace.read_result(name, target)
    if result is None or result.verdict is not Verdict.PASS:
        return None
    try:
        same = all(file_ref(workspace.path, ref.path) == ref for ref in (*result.inputs, *result.outputs))
        if same and (seen := result.facts.get(TREE_FACT)) is not None:
            same = _digest_tree(workspace) == seen
    except (OSError, PackageFault):
        return None
    return result if same else None


def _digest_tree(workspace: Workspace) -> str:
    from buildfarm.trunk.tree import summarize_tree  # not every stage has a use for the trunk's tools

    return summarize_tree(workspace.tree).sha256


def _judge(context: StageContext, name: str, started: float) -> StageResult:
    def ended(verdict: Verdict, reason: str, **more: str) -> StageResult:
        return StageResult(name, context.target, verdict, reason, started, time.time(), **more)  # type: ignore[arg-type]

    module = importlib.import_module(f"buildfarm.stages.{name}")
    facts: dict[str, object] = {}
    try:
        if BY_NAME[name].reads_tree:  # as it is now: an edit while the stage runs makes it run again
            facts[TREE_FACT] = _digest_tree(context.workspace)
        outcome: Outcome = module.run(context)
        inputs, outputs = _refs(context, outcome.inputs), _refs(context, outcome.outputs)
    except PackageFault as fault:
        return ended(
            Verdict.FAIL, fault.brief, where=fault.where, details=fault.details, resolution=fault.resolution
        )
    except FarmTrouble as trouble:
        return ended(
            Verdict.ERROR,
            trouble.brief,
            where=trouble.where,
            details=trouble.details,
            resolution=trouble.resolution,
        )
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return ended(
            Verdict.ERROR,
            "the disk is full" if full else f"{error.strerror or error}: {error.filename or ''}".rstrip(": "),
            details=traceback.format_exc(limit=-4),
            resolution="Free room on the farm's disk; the stage is tried again." if full else "",
        )
    except Exception as error:  # noqa: BLE001 (whatever escapes a stage is the farm's trouble, told in full)
        return ended(
            Verdict.ERROR,
            f"the farm stumbled: {type(error).__name__}: {error}",
            details=traceback.format_exc(),
            resolution="This is a defect of the farm; please report it with the details above.",
        )
    return StageResult(
        name,
        context.target,
        outcome.verdict,
        outcome.reason,
        started,
        time.time(),
        inputs=inputs,
        outputs=outputs,
        tools=dict(outcome.tools),
        skipped=outcome.skipped,
        assumed=outcome.assumed,
        facts=facts | dict(outcome.facts),
        details=outcome.details,
    )


def _with_evidence(result: StageResult, log: Path) -> StageResult:
    """A failure that brought no evidence of its own gets the end of its log."""
    if result.details or result.verdict in (Verdict.PASS, Verdict.SKIPPED):
        return result
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16 * 1024))
        lines = file.read().decode("utf-8", "backslashreplace").splitlines()
    return replace(result, details="\n".join(lines[-20:]))


def _shorten(result: StageResult) -> StageResult:
    """The result with its words cut to what a page can show: a hostile log's last line may be endless."""
    lines = [line[:LINE_LIMIT] + "…" * (len(line) > LINE_LIMIT) for line in result.details.splitlines()]
    return replace(
        result,
        reason=result.reason[:REASON_LIMIT],
        details="\n".join(lines[-DETAIL_LINES:]),
        where=result.where[:LINE_LIMIT],
    )


def _refs(context: StageContext, paths: tuple[str, ...]) -> tuple[FileRef, ...]:
    return tuple(file_ref(context.workspace.path, path) for path in sorted(paths))
