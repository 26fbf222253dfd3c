"""Nights on a whole farm: every package gets one right verdict, whatever becomes of master and workers."""

import http.server
import json
import random
import resource
import signal
import threading
import time
from contextlib import contextmanager
from itertools import pairwise

import pytest

from buildfarm.parts import living, stop_part
from buildfarm.regress.model import RebuildVerdict
from buildfarm.regress.nights import open_nights
from buildfarm.regress.places import places_of
from buildfarm.regress.records import NightRules
from tests.master.conftest import Web
from tests.regress import yard as yard_module
from tests.regress.yard import Recipe, Yard
from tests.scenarios.running_farm import make_farm, tiny_package

NIGHT_LIMIT_S = 240
FAILS_AT_ONCE = {"debian/changelog": "no changelog: these commits are to end early\n"}
WIDE_BYTES = 200 << 20
"""A worker that can write no larger files is like one with a bad disk: what writes them fails there alone."""
WIDE_FILE = Recipe("truncate -s 300M wide && rm wide || { echo 'check.sh:1: error: cannot write' >&2; exit 1; }\n")


@pytest.fixture
def farm(tmp_path, root_cache):
    """A farm with two workers that is not up yet."""
    running = make_farm(tmp_path, root_cache, builders=2)
    yield running
    running.kill("worker-2")
    running.end()


@pytest.fixture
def yard(tmp_path, monkeypatch):
    wide = {f"wide-{number}": WIDE_FILE for number in range(1, 5)}
    monkeypatch.setattr(yard_module, "SOURCES", yard_module.SOURCES | wide)
    with Yard(tmp_path / "yard").served() as one:
        one.state("before")
        yield one


def nights_of(farm):
    return open_nights(farm.settings.regression_file)


def open_night(farm, yard, *packages, package_set="yard", **rules):
    return nights_of(farm).open_night(
        package_set,
        [yard.job(name, package_set=package_set) for name in packages],
        driver="farm",
        reason="a test",
        rules=NightRules(**{"culprit": False} | rules),
    )


def await_night(farm, night, limit_s=NIGHT_LIMIT_S):
    """What each package of a night came to, once the night has ended."""
    nights = nights_of(farm)
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if nights.night(night.number).ended_at is not None:
            return {one.job.package: one for one in nights.rebuilds(night)}
        time.sleep(0.2)
    return pytest.fail(f"night {night.number} does not end in {limit_s} s:\n{tale(farm, night)}{farm.evidence()}")


def await_build(farm, night, wanted, limit_s=60):
    """The first build of a night that is as wanted."""
    nights = nights_of(farm)
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        for rebuild in nights.rebuilds(night):
            for one in nights.builds(rebuild):
                if wanted(one):
                    return one
        time.sleep(0.1)
    return pytest.fail(f"no such build in {limit_s} s:\n{tale(farm, night)}{farm.evidence()}")


def tale(farm, night):
    nights = nights_of(farm)
    lines = []
    for one in nights.rebuilds(night):
        lines.append(f"{one.subject}: {one.verdict} {one.reason}")
        for build in nights.builds(one):
            said = build.report.reason if build.report else build.tries
            lines.append(f"    #{build.id} {build.kind} {build.state} on {build.worker} x{build.attempts}: {said}")
    return "\n".join([*lines, ""])


def builds_of(farm, night):
    nights = nights_of(farm)
    return [one for rebuild in nights.rebuilds(night) for one in nights.builds(rebuild)]


def kinds(farm, rebuild):
    return [one.kind for one in nights_of(farm).builds(rebuild)]


def verdicts(rebuilds):
    return {name: one.verdict for name, one in rebuilds.items()}


@contextmanager
def webhook(farm):
    """What the farm posts, as it comes."""
    posted = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with (farm.root / "farm.toml").open("a") as file:
            file.write(f'[regression]\nwebhook = "http://127.0.0.1:{server.server_address[1]}/hook"\n')
        try:
            yield posted
        finally:
            server.shutdown()


def await_told(farm, night):
    await_true(lambda: nights_of(farm).night(night.number).told)


def await_true(said, limit_s=60):
    deadline = time.monotonic() + limit_s
    while not said():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_night_ends_with_one_verdict_each_and_its_news_are_told_once(farm, yard):
    with webhook(farm) as posted:
        farm.up()
        first = open_night(farm, yard, "steady", "victim", "unmet")
        assert verdicts(await_night(farm, first)) == {
            "steady": RebuildVerdict.STILL_PASSING,
            "victim": RebuildVerdict.STILL_PASSING,
            "unmet": RebuildVerdict.DEPENDENCY_WAIT,
        }
        await_told(farm, first)
        assert posted == []
        yard.state({"libd17": "1.1"})
        second = open_night(farm, yard, "steady", "victim", "unmet", culprit=True)
        came_to = await_night(farm, second)
        assert verdicts(came_to) == {
            "steady": RebuildVerdict.STILL_PASSING,
            "victim": RebuildVerdict.NEW_FAILURE,
            "unmet": RebuildVerdict.DEPENDENCY_WAIT,
        }
        assert kinds(farm, came_to["victim"]) == ["first", "again", "control", "culprit"], tale(farm, second)
        builds = nights_of(farm).builds(came_to["victim"])
        assert len({one.worker for one in builds[:3]}) == 1
        assert builds[0].report.environment == builds[1].report.environment
        assert builds[2].job.package == "steady"
        assert [one.source for one in came_to["victim"].culprit.suspects] == ["libd17"]
        await_told(farm, second)
        (news,) = posted
        assert "victim" in news["text"]
        assert "steady" not in news["text"]
        built = [one for night in (first, second) for one in builds_of(farm, night)]
        spans = sorted((one.worker, one.started_at, one.ended_at) for one in built)
        assert all(b[0] != a[0] or b[1] >= a[2] for a, b in pairwise(spans)), "one at a time on each worker"
        pages = Web(farm).get("api/v2/builders").json()["builders"]
        tags = {one["name"]: one["tags"] for one in pages}
        assert {"yard", "rebuild"} < set(tags["yard-victim-bookworm-amd64"])


def test_a_worker_that_breaks_everything_is_taken_out_and_nobody_is_told(farm, yard):
    packages = [f"wide-{number}" for number in range(1, 5)]
    with webhook(farm) as posted:
        farm.up()
        assert set(verdicts(await_night(farm, open_night(farm, yard, *packages))).values()) == {
            RebuildVerdict.STILL_PASSING
        }
        broken = living(farm.settings, "worker-2").pid
        resource.prlimit(broken, resource.RLIMIT_FSIZE, (WIDE_BYTES, WIDE_BYTES))
        night = open_night(farm, yard, *packages)
        came_to = await_night(farm, night)
        assert set(verdicts(came_to).values()) == {RebuildVerdict.STILL_PASSING}, tale(farm, night)
        assert set(nights_of(farm).workers_out()) == {"worker-2"}, tale(farm, night)
        await_told(farm, night)
        assert posted == []
        assert paused(farm) == {"worker-1": False, "worker-2": True}
        assert "worker-2" in farm.cli("rebuild", "workers").stdout
        # It is mended and put back: it serves again.
        farm.kill("worker-2")
        farm.up()
        farm.cli("rebuild", "workers", "--put-back", "worker-2")
        await_true(lambda: not paused(farm)["worker-2"])
        third = open_night(farm, yard, *packages)
        came_to = await_night(farm, third)
        assert set(verdicts(came_to).values()) == {RebuildVerdict.STILL_PASSING}, tale(farm, third)
        workers = {one.worker for rebuild in came_to.values() for one in nights_of(farm).builds(rebuild)}
        assert workers == {"worker-1", "worker-2"}


def paused(farm):
    found = Web(farm).get("api/v2/workers").json()["workers"]
    return {one["name"]: one["paused"] for one in found if one["name"] != "signer"}


@pytest.mark.slow
def test_what_is_to_be_alone_waits_for_the_checks_of_commits_that_a_first_build_runs_beside(farm, yard):
    farm.recipe("tiny", unittest={"command": ["sleep", "25"]})
    trunk = farm.trunk("tiny")
    farm.up()
    farm.kill("worker-2")
    await_night(farm, open_night(farm, yard, "steady"))
    run = farm.await_run("tiny", trunk.commit(tiny_package(**FAILS_AT_ONCE)), 60, ended=False)
    farm.await_stage(run, "unittest")
    night = open_night(farm, yard, "taptest")
    run = farm.await_run("tiny", run.revision, 120)
    await_night(farm, night)
    first, again, control = builds_of(farm, night)
    assert first.ended_at < run.ended_at <= again.started_at, tale(farm, night)
    assert again.ended_at <= control.started_at


@pytest.mark.slow
def test_a_search_for_a_culprit_makes_way_and_goes_on_later(farm, yard):
    farm.up()
    farm.kill("worker-2")  # with one worker left, who comes first matters
    await_night(farm, open_night(farm, yard, "steady", "victim-pair"))
    yard.state("after")
    night = open_night(farm, yard, "victim-pair", culprit=True)
    await_build(farm, night, lambda one: one.kind == "culprit" and one.page, 180)
    time.sleep(8)  # so that it has found out something
    urgent = open_night(farm, yard, "steady", package_set="urgent")
    assert verdicts(await_night(farm, urgent)) == {"steady": RebuildVerdict.STILL_PASSING}
    nights = nights_of(farm)
    assert nights.rebuilds(night)[0].culprit is None, "the search went on before what waited for the worker"
    (victim,) = await_night(farm, night).values()
    assert sorted(one.source for one in victim.culprit.suspects) == ["libd09", "libd31"]
    (search,) = [one for one in nights.builds(victim) if one.kind == "culprit"]
    assert (search.attempts, search.tries) == (1, ())
    probes = places_of(farm.settings).build(search.id) / "probes.jsonl"
    assert len(probes.read_text().splitlines()) == victim.culprit.builds, "none was built twice"


def test_a_start_that_was_counted_and_not_given_to_buildbot_is_given_after_a_kill(farm, yard):
    farm.up()
    await_night(farm, open_night(farm, yard, "steady"))
    stop_part(farm.settings, "master", signal.SIGKILL)
    night = open_night(farm, yard, "steady")
    nights = nights_of(farm)
    ((_, _, due),) = nights.due("farm")
    assert nights.start(due).attempts == 1
    farm.up()
    (steady,) = await_night(farm, night, 60).values()
    (build,) = nights.builds(steady)
    assert build.attempts == 2
    names = [one["external_idstring"] for one in Web(farm).get("api/v2/buildsets").json()["buildsets"]]
    assert [name.partition("|")[2] for name in names if name.startswith(f"rebuild {build.id}@")] == ["2"]


def test_a_worker_that_is_resumed_on_its_page_is_in_service_again(farm):
    farm.up()
    nights_of(farm).take_out("worker-2", "a test wants it so")
    await_true(lambda: paused(farm) == {"worker-1": False, "worker-2": True})
    assert "worker-2 is out of service: a test wants it so" in farm.cli("status").stdout
    web = Web(farm).log_in()
    (worker,) = web.get("api/v2/workers?name=worker-2").json()["workers"]
    assert "a test wants it so" in worker["pause_reason"]
    web.control(f"workers/{worker['workerid']}", "unpause")
    await_true(lambda: not nights_of(farm).workers_out())
    assert paused(farm) == {"worker-1": False, "worker-2": False}


def test_a_cancelled_night_stops_what_runs(farm, yard):
    farm.up()
    night = open_night(farm, yard, "hanging")
    await_build(farm, night, lambda one: one.page)
    farm.cli("rebuild", "cancel", str(night.number))
    nights = nights_of(farm)
    build = await_build(farm, night, lambda one: one.state == "done")
    assert nights.rebuild(build.rebuild).verdict is RebuildVerdict.INFRASTRUCTURE
    assert not nights.night(night.number).settings.culprit
    await_night(farm, open_night(farm, yard, "steady"))


def test_a_set_that_is_due_opens_its_night_by_itself_and_takes_up_what_a_reload_brings(farm, host_series):
    sets = farm.root / "recipes" / "regression.yaml"
    sets.write_text("sets:\n  broken: {packages: [hello], every: soon}\n")
    farm.up()
    assert "package set left out" in (farm.settings.logs / "master.log").read_text()
    sets.write_text(f"sets:\n  nightly: {{packages: [hello], series: [{host_series}], every: 12h}}\n")
    farm.cli("reload")
    nights = nights_of(farm)
    await_true(lambda: nights.recent_nights(5), 120)
    (night,) = nights.recent_nights(5)
    assert (night.set, night.reason) == ("nightly", "due every 12 h")
    assert [one.job.package for one in nights.rebuilds(night)] == ["hello"]
    farm.cli("rebuild", "cancel", str(night.number))


def a_night_survives_kills(farm, yard, packages, kills, seed):
    """kill -9 of master and workers in the middle of a night: in the morning every package has its one verdict."""
    farm.up()
    expected = dict.fromkeys(packages, RebuildVerdict.STILL_PASSING) | {
        "taptest": RebuildVerdict.NEW_FAILURE,
        "unmet": RebuildVerdict.DEPENDENCY_WAIT,
    }
    await_night(farm, open_night(farm, yard, "steady"))
    night = open_night(farm, yard, *expected)
    chance = random.Random(seed)
    for _ in range(kills):
        time.sleep(chance.uniform(0.2, 5.0))
        farm.kill(chance.choice(["master", "worker-1", "worker-2"]))
        farm.up()
    came_to = await_night(farm, night, 600)
    assert verdicts(came_to) == expected, tale(farm, night)
    for one in came_to.values():
        builds = nights_of(farm).builds(one)
        assert all(build.state == "done" for build in builds)
        assert [build.kind for build in builds].count("first") == 1
    asked = Web(farm).get("api/v2/buildsets").json()["buildsets"]
    names = [one["external_idstring"] for one in asked]
    assert len(names) == len(set(names)), "each start of a build was given to Buildbot once"


def test_a_night_survives_kills_of_master_and_workers(farm, yard):
    a_night_survives_kills(farm, yard, ["steady", "wide-1", "victim"], kills=3, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
@pytest.mark.timeout(1800)
def test_a_night_survives_many_kills(farm, yard, seed):
    packages = ["steady", "victim", "victim-pair", "victim-either", "wide-1", "wide-2", "wide-3", "wide-4"]
    a_night_survives_kills(farm, yard, packages, kills=8, seed=seed)
