"""Nights in tests: a record with a clock that is set by hand, and builds that end as they are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from buildfarm.build.logs import NAMING
from buildfarm.regress.model import BuildReport, Culprit, ExtraSources, Outcome, RebuildJob, TestCounts
from buildfarm.regress.nights import Build, Night, NightRules, Nights, Rebuild, Settled, open_nights

DAY_S = 86400.0
BEGIN = 1_764_417_600.0  # 2025-11-29 12:00 UTC: one date in most zones


class Farm:
    """A record of nights, and everything that a test does with it."""

    def __init__(self, home: Path) -> None:
        self.now = BEGIN
        self.path = home / "regression.sqlite"
        self.nights = self.reopened()

    def clock(self) -> float:
        return self.now

    def reopened(self) -> Nights:
        self.nights = open_nights(self.path, self.clock)
        return self.nights

    def begin(self, *packages: str, of: str = "nightly", version: str = "1-1", **rules: Any) -> Night:
        jobs = [job(package, of=of, version=version) for package in packages]
        how: dict[str, Any] = {"driver": "farm", "reason": "its time", "left_out": rules.pop("left_out", ())}
        return self.nights.open_night(of, jobs, **how, rules=NightRules(**rules))

    def step(self, worker: str = "w1", outcome: Outcome = "pass", environment: str = "", **those: Any) -> Build:
        """The build that is first in the queue is started and ends so; in the environment that it is to have."""
        _night, _rebuild, build = self.due()[0]
        self.end(build, worker, outcome, environment, **those)
        return build

    def due(self) -> tuple[tuple[Night, Rebuild, Build], ...]:
        """What is due, if need be after the clock went on to it."""
        if not (found := self.nights.due("farm")) and (at := self.nights.next_due_at("farm")) is not None:
            self.now = at
            found = self.nights.due("farm")
        return found

    def end(
        self, build: Build, worker: str, outcome: Outcome, environment: str = "", **those: Any
    ) -> Settled | None:
        self.now += 1
        started = self.nights.start(build, worker or build.wanted_worker)
        self.now += 10
        return self.nights.end(started, report(outcome, environment or build.environment or "e1", **those), worker)

    def round(
        self, *packages: str, fails: dict[str, Any] | None = None, environment: str = "e1", **rules: Any
    ) -> Night:
        """A whole night on one worker: ``fails`` are the packages that fail, and how; controls pass."""
        fails = fails or {}
        night = self.begin(*packages, **rules)
        while found := self.due():
            _night, rebuild, build = found[0]
            if build.kind == "culprit":
                culprit = Culprit("It fails since libfoo 1.2 became 1.3.", confirmed=True, changed=40, builds=8)
                self.end(build, "w1", "pass", environment, culprit=culprit)
            elif rebuild.job.package in fails and build.kind != "control":
                self.end(build, "w1", "fail", environment, **fails[rebuild.job.package])
            else:
                self.end(build, "w1", "pass", environment)
        (ended,) = self.nights.end_nights()
        self.now = BEGIN + DAY_S * night.number
        return ended

    def rebuild(self, night: Night, package: str) -> Rebuild:
        (found,) = [one for one in self.nights.rebuilds(night) if one.job.package == package]
        return found

    def verdicts(self, night: Night) -> dict[str, str]:
        return {one.job.package: str(one.verdict) for one in self.nights.rebuilds(night)}


def job(package: str, *, of: str = "nightly", version: str = "1-1", extra: str = "") -> RebuildJob:
    sources = (ExtraSources(extra, "key"),) if extra else ()
    return RebuildJob(of, package, version, "bookworm", "amd64", (), extra=sources)


def report(outcome: Outcome, environment: str = "e1", **those: Any) -> BuildReport:
    told: dict[str, Any] = {"total_s": 10.0, "build_s": 8.0, "naming": NAMING}
    if outcome == "fail":
        told |= {
            "stage": "build",
            "fingerprint": "f1",
            "cause": "undefined reference to foo_open",
            "first_error": ("cc main.o", "main.c:12: undefined reference to `foo_open'", "collect2: error"),
            "failing_tests": ("t/open.t", "t/close.t"),
            "tests": TestCounts(40, 2, 1),
        }
    elif outcome == "pass":
        told |= {"tests": TestCounts(42, 0, 1)}
    return BuildReport(outcome, f"it came to {outcome}", environment, **told | those)
