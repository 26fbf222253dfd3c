"""What the runner promises of every stage, whatever happens in it."""

import sys
import types

import pytest

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.job import Branch, Job
from buildfarm.settings import Settings
from buildfarm.stages.runner import LINE_LIMIT, run_stage
from buildfarm.verdict import Outcome, Verdict
from buildfarm.workspace import Workspace


@pytest.fixture
def run_as_lint(tmp_path, monkeypatch):
    """Run a function in the place of the lint stage, in one workspace."""
    workspace = Workspace(tmp_path / "run")
    workspace.write_job(Job("a-1", "a", Branch("git", "/x"), "f" * 40, "local:o/n", ("bookworm",), ("amd64",)))
    settings = Settings(tmp_path, tmp_path / "var", tmp_path / "recipes")

    def run(stage):
        module = types.ModuleType("buildfarm.stages.lint")
        module.run = stage
        monkeypatch.setitem(sys.modules, "buildfarm.stages.lint", module)
        result = run_stage("lint", workspace, settings)
        assert workspace.read_result("lint") == result
        return result

    return run


def writes(text, verdict=Verdict.PASS):
    def stage(context):
        (context.out / "report").write_text(text)
        context.say(f"wrote {text}")
        return Outcome(verdict, "written", outputs=(context.workspace.relative(context.out / "report"),))

    return stage


def raises(error):
    def stage(_context):
        raise error

    return stage


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (PackageFault("no such target", where="x.py:1"), Verdict.FAIL),
        (FarmTrouble("the mirror is away"), Verdict.ERROR),
        (OSError(28, "No space left on device"), Verdict.ERROR),
        (ZeroDivisionError("a defect of ours"), Verdict.ERROR),
    ],
)
def test_the_package_is_blamed_only_for_what_it_did(run_as_lint, error, verdict):
    assert run_as_lint(raises(error)).verdict is verdict


def test_a_stage_that_passed_is_not_run_again_while_its_outputs_stand(run_as_lint, tmp_path):
    first = run_as_lint(writes("one"))
    assert run_as_lint(raises(PackageFault("ran again"))) == first
    (tmp_path / "run" / "lint" / "report").write_text("tampered")
    assert run_as_lint(writes("two")).outputs != first.outputs


def test_a_stage_that_failed_is_run_again_in_an_empty_directory(run_as_lint, tmp_path):
    run_as_lint(writes("one", Verdict.FAIL))
    (tmp_path / "run" / "lint" / "left over").touch()
    assert run_as_lint(writes("two")).verdict is Verdict.PASS
    assert not (tmp_path / "run" / "lint" / "left over").exists()


def test_a_failure_without_evidence_of_its_own_shows_the_end_of_its_log(run_as_lint):
    assert "wrote one" in run_as_lint(writes("one", Verdict.FAIL)).details


def test_endless_evidence_is_cut_to_what_a_page_can_show(run_as_lint):
    endless = "\n".join("x" * 100_000 for _ in range(1000))
    details = run_as_lint(raises(PackageFault("too much", details=endless))).details
    assert len(details) < 100 * LINE_LIMIT


def test_an_output_that_was_promised_and_is_missing_is_the_farms_trouble(run_as_lint):
    result = run_as_lint(lambda _context: Outcome(Verdict.PASS, "fine", outputs=("lint/never-written",)))
    assert result.verdict is Verdict.ERROR


def test_a_stage_runs_again_on_a_tree_that_was_edited_to_try_a_fix(run_as_lint, tmp_path):
    tree = tmp_path / "run" / "tree"
    tree.mkdir()
    (tree / "hello.py").write_text("one")
    first = run_as_lint(writes("one"))
    (tree / "hello.py").write_text("two")
    second = run_as_lint(writes("two"))
    assert second.outputs != first.outputs
    assert run_as_lint(raises(PackageFault("ran again"))) == second


def test_an_edit_while_the_stage_ran_makes_it_run_again(run_as_lint, tmp_path):
    tree = tmp_path / "run" / "tree"
    tree.mkdir()

    def is_edited(context):
        (tree / "hello.py").write_text("saved a moment too late")
        return writes("one")(context)

    first = run_as_lint(is_edited)
    assert run_as_lint(writes("two")).outputs != first.outputs
