"""A build of a night as a Buildbot step: runs ``buildfarm rebuild build`` and takes its report on record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildbot.plugins import util
from buildbot.process.results import CANCELLED, EXCEPTION, FAILURE, RETRY, SKIPPED, SUCCESS, WARNINGS
from buildbot.util.twisted import async_to_deferred
from twisted.internet.error import ConnectionLost

from buildfarm.build.building import RUNS
from buildfarm.errors import FarmError
from buildfarm.master.rebuild_choice import is_signers
from buildfarm.master.steps import EXPLANATION, FarmStep
from buildfarm.regress.digest import Pages
from buildfarm.regress.model import LOOK_AGAIN_S, BuildReport, Outcome
from buildfarm.regress.nights import Nights
from buildfarm.regress.one_build import REPORT
from buildfarm.regress.orders import BuildOrder, order_for
from buildfarm.regress.places import places_of
from buildfarm.regress.records import Build, Night, Rebuild
from buildfarm.settings import Settings

RESULTS: dict[Outcome, int] = {"pass": SUCCESS, "fail": FAILURE, "dependency-wait": WARNINGS, "error": EXCEPTION}
EXIT_STATUSES: dict[int, Outcome] = {0: "pass", 1: "fail", 3: "error", 4: "dependency-wait"}
ALLOWANCE_S = 3600  # to fetch the source and put up the environment, before the build's own limit begins


@dataclass(frozen=True, repr=False)  # Buildbot logs a step's arguments at every turn
class RebuildContext:
    """What every build of a night shares."""

    settings: Settings
    nights: Nights
    pool: Any


def build_limit_s(order: BuildOrder) -> int:
    """Seconds after which the master ends a build that did not end itself."""
    search_s = int(order.culprit.duration_s) if order.culprit is not None else 0
    return search_s + RUNS * order.job.limits.timeout_s + ALLOWANCE_S


class RebuildStep(FarmStep):
    """One build of a night."""

    def __init__(self, context: RebuildContext) -> None:
        super().__init__(name="rebuild", description="rebuilding")
        self._context = context
        self._pool = context.pool
        self._summary = ""
        self._makes_way = False
        self.build_id = 0

    @async_to_deferred
    async def run(self) -> int:
        """Do the build; its report goes on record, and what follows from it."""
        nights = self._context.nights
        self.build_id = self.getProperty("rebuild_build")
        night, rebuild, build = await self.in_thread(self._find)
        if build.state != "submitted" or build.attempts != self.getProperty("attempt"):
            self._summary = f"#{build.id} has ended already, or goes on elsewhere"
            return SKIPPED
        worker = self.getProperty("workername")
        await self.in_thread(nights.note_worker, build, worker, await self.build.getUrl())
        await self.addURL(f"#{build.id} among the rebuilds", Pages(self._context.settings.web_url).build(build.id))
        report = await self._report(night, rebuild, build)
        if isinstance(report, int):
            return report
        self._summary = report.reason
        await self.in_thread(nights.end, build, report, worker)
        if LOOK_AGAIN_S in report.facts:
            return SKIPPED
        if report.outcome != "pass":
            await self.addCompleteLog(EXPLANATION, explain(build, report, self._context.settings))
        return RETRY if self.build.conn is None else RESULTS[report.outcome]

    def make_way(self) -> None:
        """Let others have the worker: the search goes on from where it is when it is this one's turn again."""
        if self._command is not None and not self._makes_way:
            self._makes_way = True
            self._command.interrupt("others wait for this worker")

    def getResultSummary(self) -> dict[str, str]:
        """The report's reason; for the build, too."""
        return {"step": self._summary or self.name, "build": self._summary}

    def _find(self) -> tuple[Night, Rebuild, Build]:
        nights = self._context.nights
        build = nights.build(self.build_id)
        assert build is not None, self.build_id
        rebuild = nights.rebuild(build.rebuild)
        assert rebuild is not None, build.rebuild
        night = nights.night(rebuild.night)
        assert night is not None, rebuild.night
        return night, rebuild, build

    @async_to_deferred
    async def _report(self, night: Night, rebuild: Rebuild, build: Build) -> BuildReport | int:
        """What the build came to, or Buildbot's result where it came to nothing by nobody's fault."""
        settings = self._context.settings
        left = places_of(settings).build(build.id) / REPORT
        try:
            order = await self.in_thread(order_for, self._context.nights, night, rebuild, build)
        except FarmError as error:
            return BuildReport("error", error.brief, details=str(error))
        if build.tries:  # what was tried again is done again, whatever it left
            await self.runRmFile(str(left), abandonOnFailure=False)
        words = ["rebuild", "build", "--number", str(build.id), "--order", "-"]
        searching: set[RebuildStep] = self.master.service_manager.namedServices["farm"].rebuilds.searching
        if order.culprit is not None:
            searching.add(self)
        try:
            status = await self.run_ours(words, settings, stdin=order.to_json(), limit_s=build_limit_s(order))
        except ConnectionLost:
            status = None
        finally:
            searching.discard(self)
        if self._makes_way or self.master.botmaster.shuttingDown:
            return RETRY
        if self.build.conn is None:
            return BuildReport("error", f"worker {self.getProperty('workername')} was lost")
        if self.stopped:
            return CANCELLED
        return await self._read_report(left, status)

    @async_to_deferred
    async def _read_report(self, path: Path, status: int | None) -> BuildReport:
        if status in EXIT_STATUSES:
            try:
                report = BuildReport.from_json(json.loads(await self.read_left(path)))
            except (ValueError, KeyError, TypeError):
                report = None
            if report is not None and report.outcome == EXIT_STATUSES[status]:
                return report
        return BuildReport("error", f"the build ended without a report (exit status {status})")


def explain(build: Build, report: BuildReport, settings: Settings) -> str:
    """What is known of a build that did not pass, and what to do."""
    parts = [f"{report.reason}."]
    if report.first_error:
        parts.append("\n".join(report.first_error))
    if report.failing_tests:
        parts.append("Failing tests: " + ", ".join(report.failing_tests[:50]))
    if report.cause:
        parts.append(f"Cause: {report.cause} ({report.fingerprint})")
    if report.details:
        parts.append(report.details)
    if report.outcome == "error":
        parts.append("This is the farm's trouble, and nobody's who maintains the package; it is tried again.")
    if is_signers(build):
        return "\n\n".join(parts) + "\n"
    parts.append(
        f"Build it again in the same environment: buildfarm repro {build.id}\n"
        f"All that was kept of it: {places_of(settings).build(build.id)}"
    )
    return "\n\n".join(parts) + "\n"


class RebuildFactory(util.BuildFactory):  # type: ignore[misc]
    """Builds of one step, which looks itself up."""

    def __init__(self, context: RebuildContext) -> None:
        super().__init__([])
        self._context = context

    def newBuild(self, requests: Any, builder: Any) -> Any:
        """Make the build with its step."""
        build = super().newBuild(requests, builder)
        build.setStepFactories([util.BuildFactory([RebuildStep(self._context)]).steps[0]])
        return build
