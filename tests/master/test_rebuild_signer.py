"""What the signing worker does of a night, publications and looks at Launchpad, is given out beside all else."""

import dataclasses

import pytest

from buildfarm.master.dispatcher import queue_name
from buildfarm.master.rebuild_choice import ALL_OUT_PATIENCE_S, Workers
from buildfarm.master.rebuild_queue import PUBLISH, RebuildQueue, give_up_hopeless
from buildfarm.regress.model import LOOK_AGAIN_S, BuildReport, RebuildJob, RebuildVerdict
from buildfarm.regress.nights import open_nights
from buildfarm.regress.records import NightRules

PASS = BuildReport("pass", "built", environment="e1")
FAIL = BuildReport("fail", "it broke", fingerprint="f1")
GOES_ON = BuildReport("error", "Launchpad: Needs building", facts={LOOK_AGAIN_S: "60"})
NOBODY = {"worker-1": ("broken", 1.0)}


@pytest.fixture
def clock():
    return dataclasses.make_dataclass("Clock", ["now"], namespace={"__call__": lambda self: self.now})(1.8e9)


@pytest.fixture
def nights(tmp_path, clock):
    return open_nights(tmp_path / "regression.sqlite", clock)


def open_night(nights, publish, *packages):
    jobs = [RebuildJob("nightly", one, "1.0", "bookworm", "amd64", (), publish=publish) for one in packages]
    return nights.open_night("nightly", jobs, driver="farm", reason="", rules=NightRules(culprit=False))


def queue_of(nights, out=None):
    return RebuildQueue(nights, lambda: Workers(("worker-1",), out or {}))


def end(nights, queue, item, report, worker):
    return nights.end(queue.start(item)[2], report, worker)


def test_a_publication_waits_for_no_build_worker_and_keeps_none_from_building(nights):
    open_night(nights, "local:me/ppa", "a", "b", "c", "d")
    queue = queue_of(nights)
    end(nights, queue, queue.due()[0], PASS, "worker-1")

    due = queue.due()

    assert [one[2].kind for one in due].count("first") == 2, "as many builds as without it"
    (publication,) = [one for one in due if one[2].kind == "publish"]
    assert queue.request(publication).builder == queue_name(PUBLISH)
    alone = queue_of(nights, NOBODY).due()
    assert [one[2].kind for one in alone] == ["publish"], "no build worker is needed"


def test_a_night_without_workers_gives_up_builds_and_not_publications(nights, clock):
    night = open_night(nights, "local:me/ppa", "a", "b")
    queue = queue_of(nights)
    end(nights, queue, queue.due()[0], PASS, "worker-1")
    clock.now += ALL_OUT_PATIENCE_S + 10

    give_up_hopeless(nights, Workers(("worker-1",), NOBODY), clock.now)

    assert {one.verdict for one in nights.rebuilds(night)} == {
        RebuildVerdict.STILL_PASSING,
        RebuildVerdict.INFRASTRUCTURE,
    }
    assert nights.end_nights() == ()
    (publication,) = queue.due()
    end(nights, queue, publication, BuildReport("pass", "published in local:me/ppa as 1"), "signer")
    assert [one.number for one in nights.end_nights()] == [night.number]
    assert "; published in local:me/ppa as 1" in " ".join(one.reason for one in nights.rebuilds(night))


def test_trouble_of_a_publication_is_tried_again_and_never_changes_the_verdict(nights, clock):
    night = open_night(nights, "local:me/ppa", "a")
    queue = queue_of(nights)
    end(nights, queue, queue.due()[0], PASS, "worker-1")
    for _ in range(4):
        clock.now += 1000
        (publication,) = queue.due()
        end(nights, queue, publication, BuildReport("error", "not published: no archive"), "signer")
    clock.now += 1000

    assert queue.due() == []
    (rebuild,) = nights.rebuilds(night)
    assert rebuild.verdict is RebuildVerdict.STILL_PASSING
    assert rebuild.reason.endswith("; not published: no archive")


def test_a_build_on_launchpad_is_looked_at_again_and_again_by_the_signer(nights, clock):
    open_night(nights, "ppa:me/ppa", "a")
    queue = queue_of(nights, NOBODY)
    for _ in range(30):
        (item,) = queue.due()
        assert queue.request(item).builder == queue_name(PUBLISH)
        end(nights, queue, item, GOES_ON, "signer")
        assert queue.due() == []
        clock.now = queue.next_due_at()
    begun = queue.start(queue.due()[0])
    queue.return_to_queue(begun)

    assert [one[2].attempts for one in queue.due()] == [31], "a lost look is not the end"


def test_what_fails_on_launchpad_waits_for_the_signer_not_for_a_worker_that_is_lost(nights, clock):
    night = open_night(nights, "ppa:me/ppa", "a")
    queue = queue_of(nights)
    end(nights, queue, queue.due()[0], FAIL, "signer")

    (again,) = queue.due()

    assert (again[2].kind, again[2].wanted_worker) == ("again", "signer")
    end(nights, queue, again, FAIL, "signer")
    assert [one.verdict for one in nights.rebuilds(night)] == [RebuildVerdict.NEW_FAILURE]
    assert nights.workers_out() == {}
