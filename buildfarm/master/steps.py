"""Stages as Buildbot steps: each runs ``buildfarm stage`` on the worker and takes its result into the history."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildbot.plugins import util
from buildbot.process import remotecommand, remotetransfer
from buildbot.process.buildstep import BuildStep
from buildbot.process.results import EXCEPTION, FAILURE, SKIPPED, SUCCESS
from buildbot.steps.worker import CompositeStepMixin
from buildbot.util.twisted import async_to_deferred
from twisted.internet import defer, threads

from buildfarm.build.building import RUNS
from buildfarm.history import History, Run, Task
from buildfarm.history.explain import explain
from buildfarm.job import BootJob, Job
from buildfarm.pipeline import TaskKey
from buildfarm.settings import Settings
from buildfarm.stages import BY_NAME
from buildfarm.verdict import StageResult, Verdict
from buildfarm.workspace import RUNS_MARK_VARIABLE, Workspace, ensure_runs_mark

RESULTS = {
    Verdict.PASS: SUCCESS,
    Verdict.FAIL: FAILURE,
    Verdict.ERROR: EXCEPTION,
    Verdict.SKIPPED: SKIPPED,
}
EXPLANATION = "what to do"
LEFT_LIMIT_BYTES = 8 * 1024 * 1024
TRUSTED_STATUSES = {verdict.exit_status for verdict in Verdict}


@dataclass(frozen=True, repr=False)  # Buildbot logs a step's arguments at every turn
class StepContext:
    """What every step of a build shares: the farm, and the task at hand."""

    settings: Settings
    history: History
    pool: Any


def stage_limit_s(job: Job, stage: str) -> int:
    """Seconds after which the master ends a stage that did not end itself."""
    own = {
        "lint": job.lint.timeout_s if job.lint else 0,
        "unittest": job.unittest.timeout_s if job.unittest else 0,
        "build": RUNS * job.build.timeout_s,
        "boot": _boot_limit_s(job.boot) if job.boot else 0,
        "autopkgtest": job.autopkgtest.timeout_s if job.autopkgtest else 0,
        "suite": job.suite.timeout_s if job.suite else 0,
        "firstboot": job.firstboot.timeout_s if job.firstboot else 0,
    }
    return own.get(stage, 0) + 3600


def _boot_limit_s(boot: BootJob) -> int:
    """All that the stage may do, one after another: booting, again where asked, installing for each upgrade."""
    boots = 1 + boot.reboot
    installations = 1 + 2 * boot.upgrade + boot.purge
    return boots * boot.boot_timeout_s + installations * boot.install_timeout_s + 2 * boot.test_timeout_s


class FarmStep(CompositeStepMixin, BuildStep):  # type: ignore[misc]
    """A step that runs a command of ours on the worker, and reads what it left there."""

    haltOnFailure = True  # noqa: N815 (Buildbot's name)
    flunkOnFailure = True  # noqa: N815
    logEnviron = False  # noqa: N815
    _pool: Any
    _command: Any = None

    def in_thread(self, call: Any, *args: Any, **kwargs: Any) -> defer.Deferred[Any]:
        """Call what may wait for the disk."""
        return threads.deferToThreadPool(self.master.reactor, self._pool, call, *args, **kwargs)

    @async_to_deferred
    async def run_ours(
        self, words: Sequence[str], settings: Settings, *, stdin: Any, limit_s: int, **environment: str
    ) -> int | None:
        """Run ``buildfarm`` with these words, ``stdin`` as JSON at its input; returns its exit status.

        What it says is shown as the step's log. After ``limit_s`` seconds it is told to end.
        """
        self._command = remotecommand.RemoteShellCommand(
            str(settings.home),
            [sys.executable, "-m", "buildfarm", *words],
            env={"BUILDFARM_ROOT": str(settings.root), "BUILDFARM_HOME": str(settings.home), **environment},
            initialStdin=json.dumps(stdin),
            logEnviron=False,
            timeout=None,
            maxTime=limit_s,
            interruptSignal="TERM",
            sigtermTime=15,
            usePTY=False,
        )
        log = await self.addLog("stdio")
        self._command.useLog(log, False, "stdio")
        await self.runCommand(self._command)
        return self._command.rc

    @async_to_deferred
    async def read_left(self, path: Path) -> str:
        """The text of a file that the command left on the worker; "" where there is none, or one too large."""
        writer = remotetransfer.StringFileWriter()
        asked = {
            "workdir": "/",
            "workersrc": str(path),
            "writer": writer,
            "maxsize": LEFT_LIMIT_BYTES,
            "blocksize": 32 * 1024,
        }
        failed = await self.runRemoteCommand("uploadFile", asked, abandonOnFailure=False)
        return "" if failed else writer.buffer


class StageStep(FarmStep):
    """One stage of one task."""

    def __init__(self, context: StepContext, stage: str, series: str = "", architecture: str = "") -> None:
        self._target = "-".join(part for part in (series, architecture) if part)
        super().__init__(name=f"{stage} {self._target}".rstrip(), description=BY_NAME[stage].summary)
        self._context = context
        self._pool = context.pool
        self._stage = stage
        self._series = series
        self._architecture = architecture
        self._summary = ""

    @async_to_deferred
    async def run(self) -> int:
        """Run the stage; the step's end is the stage's verdict."""
        history = self._context.history
        run, task = await self.in_thread(self._find)
        if task.attempts != self.getProperty("attempt"):
            self._summary = f"attempt {self.getProperty('attempt')} is over: there was a later one"
            text = f"{self._summary}.\n\nGo to its page, or run the recipe at this revision by hand.\n"
            await self.addCompleteLog(EXPLANATION, text)
            return EXCEPTION
        page = await self.build.getUrl()
        await self.in_thread(history.record_stage_start, task, self._stage, self._target, page)
        result = await self._run_stage(run)
        await self.in_thread(history.record_stage, run, result)
        self._summary = result.reason
        if result.verdict in (Verdict.FAIL, Verdict.ERROR):
            await self.addCompleteLog(EXPLANATION, explain(run, result, self._context.settings))
        return RESULTS[result.verdict]

    def getResultSummary(self) -> dict[str, str]:
        """The stage's reason; where it did not pass, it is the build's summary, too."""
        summary = {"step": self._summary or self.name}
        if self.results in (FAILURE, EXCEPTION):
            summary["build"] = f"{self.name}: {self._summary}"
        return summary

    def _find(self) -> tuple[Run, Task]:
        run = self._context.history.run(self.getProperty("run"))
        assert run is not None, self.getProperty("run")
        key = TaskKey(self.getProperty("group"), self.getProperty("series"), self.getProperty("architecture"))
        return run, next(task for task in self._context.history.tasks(run) if task.key == key)

    @async_to_deferred
    async def _run_stage(self, run: Run) -> StageResult:
        workspace = Workspace(self._context.settings.runs / run.run_id)
        started = self.master.reactor.seconds()
        status = await self.run_ours(
            self._words(workspace),
            self._context.settings,
            stdin=run.job.to_json(),
            limit_s=stage_limit_s(run.job, self._stage),
            **await self.in_thread(self._environment, run),
        )
        if status in TRUSTED_STATUSES:
            text = await self.read_left(workspace.directory(self._stage, self._target) / "result.json")
            try:
                result = StageResult.from_json(json.loads(text))
            except (ValueError, KeyError, TypeError):
                result = None
            if result is not None and result.verdict.exit_status == status:
                return result
        return StageResult(
            self._stage,
            self._target,
            Verdict.ERROR,
            f"the stage ended without a verdict (exit status {status})",
            started,
            self.master.reactor.seconds(),
        )

    def _words(self, workspace: Workspace) -> list[str]:
        words = ["stage", self._stage, "--workspace", str(workspace.path)]
        if self._series:
            words += ["--series", self._series]
        if self._architecture:
            words += ["--architecture", self._architecture]
        return [*words, "--job", "-"]

    def _environment(self, run: Run) -> dict[str, str]:
        environment = {RUNS_MARK_VARIABLE: ensure_runs_mark(self._context.settings.runs)}
        if self._stage == "sign":
            # The signer is told by us, not by the workspace, what the source stage made.
            source = self._context.history.stage_result(run, "source", self._series)
            if source is not None:
                environment["BUILDFARM_EXPECT_CHANGES_SHA256"] = str(source.facts["changes_sha256"])
        if self._stage == "promote":
            # And the version that may be copied is the one that the signer uploaded.
            uploaded = self._context.history.stage_result(run, "upload", self._series)
            if uploaded is not None and "version" in uploaded.facts:
                facts = uploaded.facts
                environment["BUILDFARM_EXPECT_SOURCE"] = f"{facts['source']}={facts['version']}"
        return environment


class TaskFactory(util.BuildFactory):  # type: ignore[misc]
    """A build's steps are the stages of its task, as its properties name it."""

    def __init__(self, context: StepContext) -> None:
        super().__init__()
        self._context = context

    def newBuild(self, requests: Any, builder: Any) -> Any:
        """Make the build with the steps of the requested task.

        Runs in the reactor's thread: the steps come with the request, nothing is looked up.
        """
        build = super().newBuild(requests, builder)
        steps = requests[0].properties.getProperty("stages", [])
        build.setStepFactories([util.BuildFactory([StageStep(self._context, *step)]).steps[0] for step in steps])
        return build
