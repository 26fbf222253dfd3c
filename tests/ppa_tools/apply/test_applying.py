"""What becomes of a plan, in words: what never appears, what is refused, and runs that end early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ppa_tools.apply.applying import apply_plan
from ppa_tools.apply.journal import open_items, open_journal
from ppa_tools.apply.report import Outcome, Progress, Report, Step
from ppa_tools.archives.door import CopyBatch, DoorError, NoRights, Refused, Uncertain, Unreachable
from ppa_tools.plan.actions import Kind, Plan
from ppa_tools.plan.choosing import Selection, Wanted
from ppa_tools.publication import Publication
from tests.ppa_tools.model import Release, World, archives
from tests.ppa_tools.tools import carry_out, copy_plan, sync_plan


class Stage:
    """Two archives, and a directory for journals."""

    def __init__(self, state: Path, *names: str, immediate: bool = False) -> None:
        self.state = state
        both = ("ppa:o/from", "ppa:o/to")
        self.known = archives(*both, immediate=both if immediate else ())
        self.source, self.destination = self.known.values()
        self.world: World = self.source.world
        for name in names:
            self.source.upload("noble", Release(name, "1.0-1"))
        self.world.now += 10_000

    def apply(self, plan: Plan, **how: object) -> Report:
        return carry_out(plan, self.known, self.state, self.world, **how)  # type: ignore[arg-type]

    @property
    def open_items(self) -> set[str]:
        return {
            item.source
            for item in open_items(
                self.destination.address, "production", environment={"XDG_STATE_HOME": str(self.state)}
            )
        }


Make = Callable[..., Stage]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda *names, **how: Stage(tmp_path, *names, **how)


def outcomes(report: Report) -> dict[str, Outcome]:
    return {f"{one.action.kind} {one.action.source}": one.outcome for one in report.results}


def test_all_that_arrived_is_done_and_nothing_is_left_open(make: Make) -> None:
    stage = make("a", "b")
    report = stage.apply(sync_plan(stage.source, stage.destination))
    assert outcomes(report) == {"copy a": Outcome.DONE, "copy b": Outcome.DONE}
    assert (report.exit_status, stage.open_items) == (0, set())


def test_what_never_appears_is_named_with_the_likely_reason(make: Make) -> None:
    stage = make("a", "b", "c")
    plan = sync_plan(stage.source, stage.destination)
    stage.source.end("noble", "a")
    stage.destination.upload("noble", Release("b", "1.0-1", "other content"))
    stage.destination.end("noble", "b")
    report = stage.apply(plan)
    assert outcomes(report) == {
        "copy a": Outcome.NEVER_APPEARED,
        "copy b": Outcome.NEVER_APPEARED,
        "copy c": Outcome.DONE,
    }
    words = {one.action.source: one.why for one in report.bad}
    assert "another source of the same version is or was there" in words["b"]
    assert report.exit_status == 1
    assert stage.open_items == set()


def test_what_fails_for_no_reason_that_is_seen_points_to_where_it_is_told(make: Make) -> None:
    stage = make("a")
    plan = sync_plan(stage.source, stage.destination)
    stage.destination._copy = lambda *_: None  # type: ignore[method-assign]
    (result,) = stage.apply(plan).results
    assert result.outcome is Outcome.NEVER_APPEARED
    assert "Launchpad's mail to you, and https://launchpad.net/~o/+archive/ubuntu/to/+packages" in result.why


def test_what_never_appeared_is_asked_for_anew_by_the_next_run(make: Make) -> None:
    stage = make("a")
    plan = sync_plan(stage.source, stage.destination)
    works = stage.destination._copy
    stage.destination._copy = lambda *_: None  # type: ignore[method-assign]
    assert stage.apply(plan).exit_status == 1
    stage.destination._copy = works  # type: ignore[method-assign]
    assert stage.apply(sync_plan(stage.source, stage.destination)).exit_status == 0


def test_something_newer_that_comes_in_its_place_is_told(make: Make) -> None:
    stage = make("a")
    plan = sync_plan(stage.source, stage.destination)
    stage.source.upload("noble", Release("a", "1.1-1"))
    (result,) = stage.apply(plan).results
    assert (result.outcome, result.why) == (
        Outcome.FAILED,
        "1.1-1 came in its place, which is newer; plan anew",
    )


def test_a_refused_package_does_not_keep_the_others(make: Make) -> None:
    stage = make("a", "b", "c", immediate=True)
    ask = stage.destination.ask_copies

    def picky(batch: CopyBatch) -> None:
        if any(one.source == "b" for one in batch.copies):
            raise Refused("b is not liked")
        ask(batch)

    stage.destination.ask_copies = picky  # type: ignore[method-assign]
    report = stage.apply(sync_plan(stage.source, stage.destination))
    assert outcomes(report) == {"copy a": Outcome.DONE, "copy b": Outcome.FAILED, "copy c": Outcome.DONE}
    assert [one.why for one in report.bad] == ["b is not liked"]
    assert stage.open_items == set()


@pytest.mark.parametrize(("error", "status"), [(NoRights("not yours"), 5), (Unreachable("no answer"), 1)])
def test_a_run_that_cannot_go_on_says_what_it_did_not_try(make: Make, error: Exception, status: int) -> None:
    stage = make("a")
    stage.destination.upload("noble", Release("gone", "1.0-1"))

    def refuse(_: CopyBatch) -> None:
        raise error

    stage.destination.ask_copies = refuse  # type: ignore[method-assign]
    report = stage.apply(sync_plan(stage.source, stage.destination))
    assert outcomes(report) == {"copy a": Outcome.NOT_TRIED, "delete gone": Outcome.NOT_TRIED}
    assert (report.stopped, report.exit_status) == (str(error), status)
    assert stage.open_items == set()


def test_an_archive_that_is_busy_is_asked_again(make: Make) -> None:
    stage = make("a")
    ask, tries = stage.destination.ask_copies, []

    def busy(batch: CopyBatch) -> None:
        tries.append(stage.world.now)
        if len(tries) < 3:
            raise Unreachable("busy")
        ask(batch)

    stage.destination.ask_copies = busy  # type: ignore[method-assign]
    assert stage.apply(sync_plan(stage.source, stage.destination)).exit_status == 0
    assert len(tries) == 3


def test_ctrl_c_while_waiting_leaves_what_was_asked_for_to_the_next_run(make: Make) -> None:
    stage = make("a", "b")
    stage.destination.upload("noble", Release("gone", "1.0-1"))

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    plan = sync_plan(stage.source, stage.destination)
    state = {"XDG_STATE_HOME": str(stage.state)}
    with open_journal(plan.destination, "production", environment=state) as journal:
        report = apply_plan(plan, stage.known, journal, clock=stage.world.clock, sleep=interrupt)
    assert report.interrupted
    assert outcomes(report) == {
        "copy a": Outcome.UNKNOWN,
        "copy b": Outcome.UNKNOWN,
        "delete gone": Outcome.NOT_TRIED,
    }
    assert stage.open_items == {"a", "b"}
    report = stage.apply(sync_plan(stage.source, stage.destination))
    assert outcomes(report)["copy a"] is Outcome.ALREADY
    assert report.exit_status == 0
    assert set(stage.destination.taken.values()) == {1}


def test_one_that_came_vouches_for_the_rest_of_its_batch(make: Make) -> None:
    """The connection broke, a part came and the run ended: what is lacking of that batch was asked for, too."""
    stage = make("a", "b", "c")
    works, ask = stage.destination._copy, stage.destination.ask_copies
    stage.destination._copy = lambda *args: works(*args) if args[2] != "b" else None  # type: ignore[method-assign]

    def breaks(batch: CopyBatch) -> None:
        ask(batch)
        raise KeyboardInterrupt

    stage.destination.ask_copies = breaks  # type: ignore[method-assign]
    assert stage.apply(sync_plan(stage.source, stage.destination)).interrupted
    stage.destination.ask_copies = ask  # type: ignore[method-assign]
    stage.world.sleep(100)
    stage.destination.publications()
    plan = sync_plan(stage.source, stage.destination)
    assert [one.source for one in plan.pending] == ["b"]
    report = stage.apply(plan, settle_s=60, limit_s=600)
    assert outcomes(report) == {"copy b": Outcome.NEVER_APPEARED}
    assert set(stage.destination.taken.values()) == {1}


def test_what_was_asked_for_long_ago_and_never_came_is_asked_for_again(make: Make) -> None:
    stage = make("a")
    works = stage.destination._copy
    stage.destination._copy = lambda *_: None  # type: ignore[method-assign]

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    plan = sync_plan(stage.source, stage.destination)
    state = {"XDG_STATE_HOME": str(stage.state)}
    with open_journal(plan.destination, "production", environment=state) as journal:
        apply_plan(plan, stage.known, journal, clock=stage.world.clock, sleep=interrupt)
    stage.world.sleep(86_400)
    stage.destination.publications()
    stage.destination._copy = works  # type: ignore[method-assign]
    report = stage.apply(sync_plan(stage.source, stage.destination))
    assert outcomes(report) == {"copy a": Outcome.DONE}


def test_a_version_that_came_and_was_deleted_may_be_copied_again(make: Make) -> None:
    stage = make("a")

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    plan = sync_plan(stage.source, stage.destination)
    state = {"XDG_STATE_HOME": str(stage.state)}
    with open_journal(plan.destination, "production", environment=state) as journal:
        apply_plan(plan, stage.known, journal, clock=stage.world.clock, sleep=interrupt)
    stage.world.sleep(100)
    stage.destination.publications()
    stage.destination.end("noble", "a")
    report = stage.apply(sync_plan(stage.source, stage.destination))
    assert outcomes(report) == {"copy a": Outcome.DONE}
    assert stage.destination.held() == {("noble", "a"): "1.0-1"}


def test_a_deletion_whose_answer_was_lost_is_looked_for_not_repeated(make: Make) -> None:
    stage = make("a")
    stage.destination.upload("noble", Release("gone", "1.0-1"))
    ask = stage.destination.ask_deletion

    def lossy(publication: Publication, why: str) -> None:
        ask(publication, why)
        raise Uncertain("the connection broke")

    stage.destination.ask_deletion = lossy  # type: ignore[method-assign]
    report = stage.apply(sync_plan(stage.source, stage.destination))
    assert outcomes(report)["delete gone"] is Outcome.DONE
    assert stage.destination.taken["delete", "noble", "gone", "1.0-1"] == 1


def test_a_move_keeps_what_never_arrived(make: Make) -> None:
    stage = make("a", "b")
    plan = copy_plan(stage.source, stage.destination, move=True)
    works = stage.destination._copy
    stage.destination._copy = lambda *args: works(*args) if args[2] != "b" else None  # type: ignore[method-assign]
    report = stage.apply(plan)
    assert outcomes(report) == {
        "copy a": Outcome.DONE,
        "delete a": Outcome.DONE,
        "copy b": Outcome.NEVER_APPEARED,
        "delete b": Outcome.NOT_TRIED,
    }
    assert stage.source.held() == {("noble", "b"): "1.0-1"}


def test_a_version_that_is_not_the_newest_is_asked_for_by_itself(make: Make) -> None:
    stage = make("a", "b")
    for name in ("a", "b"):
        stage.source.upload("noble", Release(name, "1.1-1"))
    batches: list[CopyBatch] = []
    ask = stage.destination.ask_copies
    stage.destination.ask_copies = lambda batch: (batches.append(batch), ask(batch))[1]  # type: ignore[method-assign, func-returns-value]
    wanted = Selection((Wanted("a", "1.0-1"), Wanted("b", "1.0-1")))
    assert stage.apply(copy_plan(stage.source, stage.destination, wanted)).exit_status == 0
    assert [([one.source for one in batch.copies], batch.latest) for batch in batches] == [
        (["a"], False),
        (["b"], False),
    ]
    assert stage.destination.held() == {("noble", "a"): "1.0-1", ("noble", "b"): "1.0-1"}


def test_a_plan_with_something_blocked_ends_in_part(make: Make) -> None:
    stage = make("a", "b")
    stage.destination.upload("noble", Release("b", "2.0-1"))
    plan = copy_plan(stage.source, stage.destination)
    assert len(plan.of(Kind.BLOCKED)) == 1
    assert stage.apply(plan).exit_status == 1


def test_progress_counts_up_to_the_end(make: Make) -> None:
    stage = make("a", "b", "c", "d")
    seen: list[Progress] = []
    plan = sync_plan(stage.source, stage.destination)
    state = {"XDG_STATE_HOME": str(stage.state)}
    with open_journal(plan.destination, "production", environment=state) as journal:
        apply_plan(
            plan, stage.known, journal, clock=stage.world.clock, sleep=stage.world.sleep, progress=seen.append
        )
    for step in (Step.COPYING, Step.WAITING):
        done = [one.done for one in seen if one.step is step]
        assert done == sorted(done)
        assert done[-1] == 4


def test_trouble_in_looking_is_waited_out(make: Make) -> None:
    stage = make("a")
    plan = sync_plan(stage.source, stage.destination)
    look, fails = stage.destination.publications, iter([True, True, False])

    def flaky(**how: object) -> tuple[Publication, ...]:
        if next(fails, False):
            raise Unreachable("no answer")
        return look(**how)  # type: ignore[arg-type]

    stage.destination.publications = flaky  # type: ignore[method-assign]
    assert stage.apply(plan).exit_status == 0


def test_few_looks_are_taken_at_what_takes_long(make: Make) -> None:
    stage = make("a")
    stage.destination.delay_s = 1500.0
    plan = sync_plan(stage.source, stage.destination)
    before = stage.world.asked
    assert stage.apply(plan, limit_s=2700).exit_status == 0
    assert stage.world.asked - before < 65


def test_a_batch_that_is_never_taken_is_not_asked_for_again_and_again(make: Make) -> None:
    stage = make("a")
    plan = sync_plan(stage.source, stage.destination)
    asked = []

    def breaks(batch: CopyBatch) -> None:
        asked.append(batch)
        raise Uncertain("the connection broke")

    stage.destination.ask_copies = breaks  # type: ignore[method-assign]
    before = stage.world.asked
    report = stage.apply(plan, settle_s=60, limit_s=2700)
    assert outcomes(report) == {"copy a": Outcome.UNKNOWN}
    assert len(asked) == 3
    assert stage.world.asked - before < 110
    assert stage.open_items == {"a"}


def test_deletions_that_are_asked_for_together_are_looked_for_before_any_is_asked_for_again(make: Make) -> None:
    stage = make("a")
    for name in ("gone", "lost", "never"):
        stage.destination.upload("noble", Release(name, "1.0-1"))

    def half(publications: Sequence[Publication], why: str) -> frozenset[str]:
        """One goes and is told, one goes and its answer is lost, one is not asked for."""
        for one in publications[:2]:
            stage.destination.ask_deletion(one, why)
        return frozenset({publications[0].key})

    stage.destination.ask_deletions = half  # type: ignore[attr-defined]
    report = stage.apply(sync_plan(stage.source, stage.destination))
    assert report.exit_status == 0
    assert set(stage.destination.taken.values()) == {1}


def test_runs_that_wait_for_nothing_ask_again_for_what_was_never_taken(make: Make) -> None:
    stage = make("a")
    ask = stage.destination.ask_copies

    def breaks(_: CopyBatch) -> None:
        raise Uncertain("the connection broke")

    stage.destination.ask_copies = breaks  # type: ignore[method-assign]
    plan = sync_plan(stage.source, stage.destination)
    assert outcomes(stage.apply(plan, settle_s=60, wait_s=0)) == {"copy a": Outcome.UNKNOWN}
    stage.destination.ask_copies = ask  # type: ignore[method-assign]
    stage.apply(plan, settle_s=60, wait_s=0)
    assert not stage.destination.taken
    stage.world.sleep(61)
    stage.apply(plan, settle_s=60, wait_s=0)
    stage.apply(plan, settle_s=60, wait_s=0)
    assert stage.destination.taken == {("copy", "noble", "a", "1.0-1"): 1}
    stage.world.sleep(61)
    assert sync_plan(stage.source, stage.destination).pending == ()


def test_batches_that_are_asked_for_at_once_each_end_as_they_do(make: Make) -> None:
    """One is taken, one is refused, of one the answer is lost, of one nothing is taken: it is asked for again."""
    stage = make(*"abcdefghijkl")
    ask, groups = stage.destination.ask_copies, []

    def together(batches: Sequence[CopyBatch]) -> Sequence[DoorError | None]:
        groups.append(len(batches))
        taken, _, lost, _ = batches
        ask(taken)
        ask(lost)
        return [None, Refused("one is not liked"), Uncertain("the connection broke"), Unreachable("busy")]

    stage.destination.ask_batches = together  # type: ignore[attr-defined]
    report = stage.apply(sync_plan(stage.source, stage.destination))
    assert groups == [4]
    assert set(outcomes(report).values()) == {Outcome.DONE}
    assert set(stage.destination.taken.values()) == {1}
    assert stage.open_items == set()


def test_what_the_archive_has_taken_is_waited_for_however_slow_it_is(make: Make) -> None:
    stage = make("a")
    stage.destination.delay_s = 1000.0
    report = stage.apply(sync_plan(stage.source, stage.destination), settle_s=60, wait_s=10)
    assert outcomes(report) == {"copy a": Outcome.UNKNOWN}
    stage.world.sleep(100)
    report = stage.apply(sync_plan(stage.source, stage.destination), settle_s=60, limit_s=2700)
    assert outcomes(report) == {"copy a": Outcome.ALREADY}
    assert set(stage.destination.taken.values()) == {1}


def test_a_plan_that_was_carried_out_in_part_may_be_applied_again_as_it_is(make: Make) -> None:
    stage = make("a")
    stage.destination.upload("noble", Release("gone", "1.0-1"))
    plan = sync_plan(stage.source, stage.destination)
    ask = stage.destination.ask_deletion

    def dies(publication: Publication, why: str) -> None:
        ask(publication, why)
        raise KeyboardInterrupt

    stage.destination.ask_deletion = dies  # type: ignore[method-assign]
    assert stage.apply(plan).interrupted
    stage.destination.ask_deletion = ask  # type: ignore[method-assign]
    assert outcomes(stage.apply(plan))["delete gone"] is Outcome.ALREADY
    assert stage.destination.taken["delete", "noble", "gone", "1.0-1"] == 1
