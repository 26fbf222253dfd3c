"""Whatever workers, builds and kills do, a night ends with one verdict for each package, and blames no package
for a worker."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from buildfarm.regress.model import RebuildVerdict
from buildfarm.regress.verdicts import AGAIN_LIMIT, FAILING, RETRY_DELAYS_S, WORKER_LIMIT
from tests.regress.rounds import DAY_S, Farm, report

PACKAGES = ("a", "b", "c", "d")
WORKERS = ("w1", "w2", "w3", "w4")
OUTCOMES = ("pass", "pass", "pass", "fail", "fail", "error", "dependency-wait")
BUILDS_LIMIT = WORKER_LIMIT * (1 + AGAIN_LIMIT + 1) + 1


class NightsMachine(RuleBasedStateMachine):
    """A driver with four workers, some of them broken: there every build fails."""

    @initialize(broken=st.sets(st.sampled_from(WORKERS), max_size=2))
    def begin(self, broken: set[str]) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.farm = Farm(Path(self.directory.name))
        self.broken = broken
        self.settled: dict[int, tuple[str, str]] = {}
        self.sound = set(PACKAGES)
        self.farm.round("control", *PACKAGES)
        self.night = self.farm.begin(*PACKAGES)

    def teardown(self) -> None:
        if hasattr(self, "farm"):
            self.finish()
            self.directory.cleanup()

    def workers_for(self, build) -> list[str]:
        out = self.farm.nights.workers_out()
        fit = [one for one in WORKERS if one not in out and build.wanted_worker in ("", one)]
        return [one for one in fit if one not in build.avoid_workers] or fit

    def put_back_when_stuck(self) -> None:
        if len(self.farm.nights.workers_out()) == len(WORKERS):
            self.broken.clear()
            for worker in WORKERS:
                self.farm.nights.put_back(worker)

    @rule(data=st.data())
    def start(self, data) -> None:
        self.put_back_when_stuck()
        waiting = [one for _, _, one in self.farm.due() if self.workers_for(one)]
        if waiting:
            build = data.draw(st.sampled_from(waiting))
            self.farm.now += 1
            self.farm.nights.start(build, data.draw(st.sampled_from(self.workers_for(build))))

    @rule(data=st.data(), twice=st.booleans())
    def end(self, data, twice: bool) -> None:
        if not (submitted := self.farm.nights.submitted("farm")):
            return
        _, _, build = data.draw(st.sampled_from(submitted))
        outcome = "fail" if build.worker in self.broken else data.draw(st.sampled_from(OUTCOMES))
        self.end_one(build, outcome, data.draw(st.sampled_from(("e1", "e2"))), data.draw(st.sampled_from("xyz")))
        if twice:
            before = self.seen()
            self.farm.nights.end(build, report("pass", "e1"), build.worker)
            assert self.seen() == before

    def end_one(self, build, outcome: str, environment: str, cause: str) -> None:
        self.farm.now += 1
        told = report(outcome, build.environment or environment)
        if outcome == "fail":
            told = report(outcome, build.environment or environment, fingerprint=cause)
        self.farm.nights.end(build, told, build.worker)

    @rule(
        worker=st.sampled_from(WORKERS),
        ends=st.lists(
            st.tuples(st.sampled_from(OUTCOMES), st.sampled_from(("e1", "e2")), st.sampled_from("xyz")),
            min_size=3,
            max_size=12,
        ),
    )
    def busy_hour(self, worker: str, ends: list[tuple[str, str, str]]) -> None:
        """One worker does what it may, one build after the other."""
        self.put_back_when_stuck()
        for outcome, environment, cause in ends:
            mine = [one for _, _, one in self.farm.due() if worker in self.workers_for(one)]
            if not mine:
                return
            self.farm.now += 1
            started = self.farm.nights.start(mine[0], worker)
            self.end_one(started, "fail" if worker in self.broken else outcome, environment, cause)

    @rule(data=st.data())
    def worker_is_lost(self, data) -> None:
        if submitted := self.farm.nights.submitted("farm"):
            self.farm.nights.return_to_queue(data.draw(st.sampled_from(submitted))[2])

    @rule()
    def killed_and_started_again(self) -> None:
        self.farm.reopened()

    @rule(worker=st.sampled_from(WORKERS))
    def somebody_takes_a_worker_out(self, worker: str) -> None:
        self.farm.nights.take_out(worker, "by hand")

    @rule()
    def morning(self) -> None:
        if self.farm.nights.end_nights():
            self.check_night()
            self.farm.now += DAY_S
            self.night = self.farm.begin(*PACKAGES)

    def seen(self):
        night = self.night
        return [(one, self.farm.nights.builds(one)) for one in self.farm.nights.rebuilds(night)]

    @invariant()
    def nothing_is_lost_and_no_verdict_is_taken_back(self) -> None:
        if not hasattr(self, "farm"):
            return
        for rebuild, builds in self.seen():
            open_builds = [one for one in builds if one.state != "done" and one.kind != "culprit"]
            assert (rebuild.verdict is None) == bool(open_builds), (rebuild, builds)
            assert len(open_builds) <= 1
            assert len(builds) <= BUILDS_LIMIT
            assert all(len(one.tries) <= len(RETRY_DELAYS_S) + 1 for one in builds)
            if rebuild.verdict is not None:
                assert self.settled.setdefault(rebuild.id, rebuild.verdict) == rebuild.verdict
                if rebuild.verdict is RebuildVerdict.NEW_FAILURE:
                    self.check_new_failure(rebuild, builds)

    def check_new_failure(self, rebuild, builds) -> None:
        counted = [one for one in builds if one.counts and one.kind in ("first", "again") and one.report]
        failed = [one for one in counted if one.report.outcome == "fail"]
        assert len({one.report.environment for one in failed[-2:]}) == 1
        assert len(failed) >= 2
        assert "control package passed" in rebuild.reason or "assumed" in rebuild.reason
        if "assumed" not in rebuild.reason:
            assert failed[-1].worker not in self.broken, "a broken worker's failures were told"

    def check_night(self) -> None:
        assert all(one.verdict is not None for one, _ in self.seen())
        assert all(one.state == "done" for _, builds in self.seen() for one in builds)
        failing = {one.job.package for one, _ in self.seen() if one.verdict in FAILING}
        assert {one.job.package for one, _ in self.seen() if one.culprit is not None} <= failing

    def finish(self) -> None:
        """However a night was left, a driver that goes on with it comes to its end."""
        for _ in range(1000):
            if self.farm.nights.end_nights():
                self.check_night()
                return
            self.put_back_when_stuck()
            if submitted := self.farm.nights.submitted("farm"):
                build = submitted[0][2]
                self.end_one(build, "fail" if build.worker in self.broken else "pass", "e1", "x")
                continue
            waiting = [one for _, _, one in self.farm.due() if self.workers_for(one)]
            for one in waiting[:1]:
                self.farm.nights.start(one, self.workers_for(one)[0])
        raise AssertionError("the night does not end")


TestNights = NightsMachine.TestCase
TestNights.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
