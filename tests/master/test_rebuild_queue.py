"""The nights' builds as the dispatcher sees them, and the sets that are due, on a real record."""

import dataclasses
import json
from zoneinfo import ZoneInfo

import pytest
from buildbot.process.results import CANCELLED, EXCEPTION

from buildfarm.errors import FarmTrouble
from buildfarm.master import rebuild_schedule
from buildfarm.master.rebuild_choice import ALL_OUT_PATIENCE_S, Workers
from buildfarm.master.rebuild_queue import RebuildQueue, give_up_hopeless
from buildfarm.master.rebuild_schedule import LONGEST_BACK_OFF_S, Stumble, open_in_child, sets_due
from buildfarm.regress.model import BuildReport, RebuildJob, RebuildVerdict
from buildfarm.regress.nights import open_nights
from buildfarm.regress.package_set import PackageSet
from buildfarm.regress.records import NightRules
from buildfarm.regress.sets import SetBook

PASS = BuildReport("pass", "built", environment="e1", fingerprint="")
FAIL = BuildReport("fail", "it broke", environment="e1", fingerprint="f1")


class Clock:
    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def nights(tmp_path, clock):
    return open_nights(tmp_path / "regression.sqlite", clock)


def job(package, version="1.0"):
    return RebuildJob("nightly", package, version, "bookworm", "amd64", ())


def open_night(nights, *packages, driver="farm"):
    rules = NightRules(culprit=False)
    return nights.open_night("nightly", [job(one) for one in packages], driver=driver, reason="", rules=rules)


def queue_of(nights, names=("worker-1", "worker-2"), out=()):
    return RebuildQueue(nights, lambda: Workers(names, dict.fromkeys(out, ("broken", 1.0))))


def do(queue, item, report, worker):
    begun = queue.start(item)
    queue._nights.note_worker(begun[2], worker, "http://page/")
    return queue._nights.end(begun[2], report, worker)


def test_an_attempt_is_found_by_its_name_until_there_is_another(nights):
    open_night(nights, "hello")
    queue = queue_of(nights)
    first = queue.start(queue.due()[0])
    name = queue.attempt(first)
    assert queue.of_attempt(name) == first
    queue.return_to_queue(first)
    second = queue.start(queue.due()[0])
    assert queue.attempt(second) != name
    assert queue.of_attempt(name) is None
    assert queue.of_attempt(queue.attempt(second)) == second


@pytest.mark.parametrize("name", ["", "x", "run@1.0|build|bookworm|amd64|1", "rebuild 7@1.0|1", "rebuild 1@1.0|1"])
def test_names_of_others_are_nobody_s(nights, name):
    open_night(nights, "hello")
    assert queue_of(nights).of_attempt(name) is None


def test_nights_of_a_command_here_are_not_the_farm_s(nights):
    open_night(nights, "hello", driver="here")
    assert queue_of(nights).due() == []


@pytest.mark.parametrize("lost", ["out", "gone"])
def test_what_waits_for_a_worker_that_will_not_come_starts_again_elsewhere(nights, lost):
    night = open_night(nights, "hello")
    queue = queue_of(nights)
    do(queue, queue.due()[0], FAIL, "worker-1")
    (again,) = queue.due()
    assert (again[2].kind, again[2].wanted_worker) == ("again", "worker-1")
    if lost == "out":
        nights.take_out("worker-1", "broken")
        queue = queue_of(nights, out=["worker-1"])
    else:
        queue = queue_of(nights, names=("worker-2",))
    (afresh,) = queue.due()
    assert (afresh[2].kind, afresh[2].wanted_worker, afresh[2].avoid_workers) == ("first", "", ("worker-1",))
    assert set(nights.workers_out()) == ({"worker-1"} if lost == "out" else set())
    do(queue, afresh, PASS, "worker-2")
    assert nights.rebuilds(night)[0].verdict is RebuildVerdict.STILL_PASSING


def test_a_farm_whose_workers_are_all_out_gives_nothing_out(nights):
    open_night(nights, "hello")
    assert queue_of(nights, out=["worker-1", "worker-2"]).due() == []


def test_a_night_ends_when_all_workers_have_been_out_for_long(nights, clock):
    night = open_night(nights, "hello")
    out = dict.fromkeys(("worker-1", "worker-2"), ("its disk is full", clock.now))
    give_up_hopeless(nights, Workers(tuple(out), out), clock.now + ALL_OUT_PATIENCE_S)
    assert nights.end_nights() == ()
    give_up_hopeless(nights, Workers((*out, "worker-3"), out), clock.now + 2 * ALL_OUT_PATIENCE_S)
    assert nights.end_nights() == ()
    give_up_hopeless(nights, Workers(tuple(out), out), clock.now + ALL_OUT_PATIENCE_S + 1)
    (rebuild,) = nights.rebuilds(night)
    assert rebuild.verdict is RebuildVerdict.INFRASTRUCTURE
    assert "worker-2 (its disk is full)" in rebuild.reason
    assert [one.number for one in nights.end_nights()] == [night.number]


def test_what_buildbot_ended_by_itself_is_tried_again_and_what_a_person_stopped_is_not(nights, clock):
    night = open_night(nights, "hello", "world")
    queue = queue_of(nights)
    hello, world = (queue.start(item) for item in queue.due())
    queue.settle(hello, EXCEPTION)
    queue.settle(world, CANCELLED)
    verdicts = {one.job.package: (one.verdict, one.reason) for one in nights.rebuilds(night)}
    assert verdicts["world"] == (RebuildVerdict.INFRASTRUCTURE, "stopped by hand")
    assert verdicts["hello"][0] is None
    assert queue.due() == []
    clock.now = queue.next_due_at()
    (again,) = queue.due()
    assert again[2].id == hello[2].id


def test_the_end_that_a_step_has_on_record_is_not_settled_over(nights):
    night = open_night(nights, "hello")
    queue = queue_of(nights)
    begun = queue.start(queue.due()[0])
    nights.end(begun[2], PASS, "worker-1")
    ended = queue.of_attempt(queue.attempt(begun))
    queue.settle(ended, EXCEPTION)
    assert nights.rebuilds(night)[0].verdict is RebuildVerdict.STILL_PASSING


def test_a_build_s_pages_are_named_after_its_set_and_package(nights):
    open_night(nights, "openldap")
    queue = queue_of(nights)
    properties = queue.request(queue.start(queue.due()[0])).properties
    assert properties["virtual_builder_name"] == "nightly-openldap-bookworm-amd64"
    assert properties["virtual_builder_tags"] == ["nightly", "rebuild"]
    assert json.dumps(properties), "Buildbot keeps them as JSON"


# Schedule


def book_of(**sets):
    made = {
        name: PackageSet(name, ("bookworm",), ("amd64",), packages=("hello",), **how) for name, how in sets.items()
    }
    return SetBook(made, zone=ZoneInfo("Europe/Zurich"))


def names(found):
    return {wanted.name: going_on for wanted, going_on in found}


def test_a_set_is_due_once_and_a_night_that_was_missed_is_run_once(nights, clock):
    book = book_of(nightly={"every_s": 3600}, byhand={})
    assert names(sets_due(book, nights, {}, clock.now)) == {"nightly": None}
    night = open_night(nights, "hello")
    assert names(sets_due(book, nights, {}, clock.now)) == {}
    nights.cancel(night)
    clock.now += 5 * 3600
    assert names(sets_due(book, nights, {}, clock.now)) == {"nightly": None}
    open_night(nights, "hello")
    assert names(sets_due(book, nights, {}, clock.now)) == {}


def test_a_set_that_is_due_while_its_night_goes_on_says_which(nights, clock):
    night = open_night(nights, "hello")
    clock.now += 2 * 3600
    assert names(sets_due(book_of(nightly={"every_s": 3600}), nights, {}, clock.now)) == {"nightly": night.number}


def test_what_could_not_be_opened_waits_longer_each_time(nights, clock):
    book = book_of(nightly={"every_s": 3600})
    stumble, waits = Stumble(), []
    for _ in range(12):
        stumble = stumble.once_more(clock.now)
        assert names(sets_due(book, nights, {"nightly": stumble}, clock.now)) == {}
        waits.append(stumble.not_before - clock.now)
        clock.now = stumble.not_before
        assert names(sets_due(book, nights, {"nightly": stumble}, clock.now)) == {"nightly": None}
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_BACK_OFF_S


def test_opening_a_set_that_is_not_there_says_so(farm_settings):
    (farm_settings.root / "recipes").mkdir()
    wanted = dataclasses.replace(book_of(nightly={}).sets["nightly"], name="nigthly")
    assert "nigthly" in open_in_child(farm_settings, wanted, "due")["error"]


def test_a_child_that_says_nonsense_is_a_trouble_that_is_told(farm_settings, monkeypatch):
    monkeypatch.setattr(rebuild_schedule.sys, "executable", "/bin/echo")
    assert "error" in open_in_child(farm_settings, book_of(nightly={}).sets["nightly"], "due")
    monkeypatch.setattr(rebuild_schedule.sys, "executable", "/nonexistent/python")
    with pytest.raises(FarmTrouble):
        open_in_child(farm_settings, book_of(nightly={}).sets["nightly"], "due")
