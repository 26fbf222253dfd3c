"""The lint stage: pylint over the recipe's targets, in a sandbox that has the package's build-dependencies."""

from __future__ import annotations

from buildfarm.build.dependencies import prepare_environment
from buildfarm.build.pylint import PACKAGES, Score, run_pylint
from buildfarm.errors import PackageFault
from buildfarm.files import is_inside
from buildfarm.job import LintJob
from buildfarm.stages.runner import StageContext
from buildfarm.verdict import Outcome, Verdict


def run(context: StageContext) -> Outcome:
    """Pass when pylint's score reaches the recipe's threshold; skipped when the recipe asks for no lint."""
    lint = context.job.lint
    if lint is None:
        return Outcome(Verdict.SKIPPED, "the recipe asks for no lint")
    _require_targets(context, lint)
    report = context.out / "pylint.json"
    with prepare_environment(
        context.settings, context.tree, context.job.series[0], (*PACKAGES, *lint.packages), context.log
    ) as environment:
        score = run_pylint(environment.layers, context.tree, lint.targets, lint.timeout_s, report, context.log)
    empty = score.statements == 0 and score.messages == 0
    passed = empty or score.score >= lint.threshold
    return Outcome(
        Verdict.PASS if passed else Verdict.FAIL,
        "the targets have no statement" if empty else describe(score, lint.threshold),
        inputs=what_was_checked(context),
        outputs=(context.workspace.relative(report),) if report.is_file() else (),
        assumed=(*environment.assumed, *(["code without a statement has nothing to score"] if empty else [])),
        facts={
            "score": score.score,
            "threshold": lint.threshold,
            "messages": score.messages,
            "statements": score.statements,
            "environment": environment.key,
            "series": environment.series,
        },
    )


def what_was_checked(context: StageContext) -> tuple[str, ...]:
    """The files that stand for what a check was given: the job, and the revision that the tree is."""
    revision = context.workspace.directory("checkout") / "revision.json"
    return ("job.json", *([context.workspace.relative(revision)] if revision.is_file() else []))


def describe(score: Score, threshold: float) -> str:
    """The score and the floor in one line, with as many digits as it takes to tell them apart."""
    digits = next((n for n in (2, 4, 8) if (round(score.score, n) < threshold) == (score.score < threshold)), 17)
    text = f"{score.score:.{digits}f}/10, floor {threshold:g}"
    return f"{text}; {score.fatal} files could not be read" if score.fatal else text


def _require_targets(context: StageContext, lint: LintJob) -> None:
    for target in lint.targets:
        path = context.tree / target
        if not is_inside(context.tree, path) or not path.exists():
            raise PackageFault(
                f"the lint target {target!r} is not in the tree",
                resolution="Name files or directories of the trunk under lint: targets: in the recipe.",
            )
