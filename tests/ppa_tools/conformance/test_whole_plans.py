"""Plans carried out on both kinds of archives: the wanted state is made, and nothing is left to do then."""

from __future__ import annotations

from pathlib import Path

from ppa_tools.apply.applying import apply_plan
from ppa_tools.apply.journal import open_journal
from ppa_tools.apply.report import Report
from ppa_tools.archives.door import Archive
from ppa_tools.plan.actions import Kind, Plan
from tests.ppa_tools.conformance.backends import ARCHITECTURES, JAMMY, NOBLE, Backend, held
from tests.ppa_tools.tools import copy_plan, return_plan, sync_plan


def carry_out(plan: Plan, *archives: Archive, state: Path) -> Report:
    """As the commands do, in real time."""
    known = {one.address: one for one in archives}
    environment = {"XDG_STATE_HOME": str(state)}
    with open_journal(plan.destination, "tests", environment=environment) as journal:
        return apply_plan(plan, known, journal, settle_s=5, limit_s=60, why="a test")


def test_a_sync_makes_one_hold_what_the_other_holds(backend: Backend, tmp_path: Path) -> None:
    trunk, stable = backend.ppa("trunk"), backend.ppa("stable")
    for name in ("aa", "bb", "cc"):
        backend.put(trunk, name, built=["amd64"], package="all")
    backend.put(trunk, "dd", series=JAMMY, built=["amd64"], package="all")
    backend.put(stable, "aa", "0.9-1", built=["amd64"], package="all")
    backend.put(stable, "gone", built=["amd64"], package="all")
    plan = sync_plan(trunk, stable)
    assert plan.counts == {"copy": 4, "delete": 1, "skip": 0, "blocked": 0}
    report = carry_out(plan, trunk, stable, state=tmp_path)
    assert report.exit_status == 0, [(str(one.action), one.outcome, one.why) for one in report.results]
    backend.settle()
    assert held(stable) == held(trunk)
    assert sync_plan(trunk, stable).pending == ()


def test_a_copy_takes_what_can_be_taken(backend: Backend, tmp_path: Path) -> None:
    trunk, stable = backend.ppa("trunk"), backend.ppa("stable")
    backend.put(trunk, "good")
    backend.put(trunk, "half", built=ARCHITECTURES[:1])
    plan = copy_plan(trunk, stable)
    assert [one.source for one in plan.of(Kind.BLOCKED)] == ["half"]
    assert carry_out(plan, trunk, stable, state=tmp_path).exit_status == 1
    backend.settle()
    assert held(stable) == [(NOBLE, "good", "1.0-1")]


def test_a_move_leaves_nothing_behind(backend: Backend, tmp_path: Path) -> None:
    trunk, stable = backend.ppa("trunk"), backend.ppa("stable")
    backend.put(trunk)
    assert carry_out(copy_plan(trunk, stable, move=True), trunk, stable, state=tmp_path).exit_status == 0
    backend.settle()
    assert (held(trunk), held(stable)) == ([], [(NOBLE, "hello", "1.0-1")])


def test_a_move_deletes_nothing_for_the_sake_of_another_source_of_its_version(
    backend: Backend, tmp_path: Path
) -> None:
    trunk, stable = backend.ppa("trunk"), backend.ppa("stable")
    for name in ("like", "other"):
        backend.put(trunk, name, content="mine", built=["amd64"], package="all")
        backend.put(stable, name, content="mine" if name == "like" else "theirs", built=["amd64"], package="all")
    plan = copy_plan(trunk, stable, move=True)
    assert [one.source for one in plan.of(Kind.DELETE)] == ["like"]
    (blocked,) = plan.of(Kind.BLOCKED)
    assert (blocked.source, "another source of the same version is there" in blocked.reason) == ("other", True)
    assert carry_out(plan, trunk, stable, state=tmp_path).exit_status == 1
    backend.settle()
    assert held(trunk) == [(NOBLE, "other", "1.0-1")]
    unlike = sync_plan(trunk, stable).of(Kind.BLOCKED)
    assert [one.source for one in unlike] == (["other"] if stable.is_immediate else []), "not asked of Launchpad"


def test_an_archive_goes_back_to_what_it_held(backend: Backend, tmp_path: Path) -> None:
    trunk = backend.ppa("trunk")
    first = backend.put(trunk)
    assert first.created_at is not None
    backend.pass_days(1)
    backend.put(trunk, version="1.0-2")
    backend.put(trunk, "other", built=["amd64"], package="all")
    backend.settle()
    assert held(trunk) == [(NOBLE, "hello", "1.0-2"), (NOBLE, "other", "1.0-1")]
    report = carry_out(return_plan(trunk, first.created_at + 3600), trunk, state=tmp_path)
    assert report.exit_status == 0, [(str(one.action), one.outcome, one.why) for one in report.results]
    backend.settle()
    assert held(trunk) == [(NOBLE, "hello", "1.0-1")]
