"""A recipe at one revision as the job that the stages are asked to do."""

from __future__ import annotations

from buildfarm.job import Branch, BuildRules, CoverageJob, Job, LintJob, SourcePart, UnitTestJob
from buildfarm.recipe.model import PACKAGING, BranchPart, Lint, Recipe, UnitTest


def job_for(recipe: Recipe, revision: str, run_id: str) -> Job:
    """The job of ``recipe`` at ``revision`` (a full commit id or a Bazaar revision id); pure."""
    return Job(
        run_id=run_id,
        recipe=recipe.name,
        trunk=branch_of(recipe),
        revision=revision,
        archive=recipe.publish,
        series=recipe.series,
        architectures=recipe.architectures,
        parts=_parts(recipe),
        version_template=recipe.version.template,
        maintainer=recipe.maintainer,
        lint=_lint(recipe.lint) if recipe.lint is not None else None,
        unittest=_unittest(recipe.unittest) if recipe.unittest is not None else None,
        build=BuildRules(recipe.build.timeout_s, recipe.build.lintian_fail_on),
    )


def branch_of(recipe: Recipe) -> Branch:
    """The branch that is watched for ``recipe``."""
    return _branch(recipe.trunk)


def _branch(part: BranchPart) -> Branch:
    return Branch(part.vcs, part.location, part.branch)


def _parts(recipe: Recipe) -> tuple[SourcePart, ...]:
    parts = tuple(
        SourcePart(part.kind, part.name, _branch(part), part.into, part.subdir, part.revision)
        for part in recipe.parts
    )
    if recipe.packaging is None:
        return parts
    return (*parts, SourcePart("nest", PACKAGING, _branch(recipe.packaging), recipe.packaging.into))


def _lint(lint: Lint) -> LintJob:
    return LintJob(lint.targets, lint.threshold, lint.packages, lint.timeout_s)


def _unittest(unittest: UnitTest) -> UnitTestJob:
    coverage = unittest.coverage
    return UnitTestJob(
        unittest.command,
        unittest.junit,
        CoverageJob(coverage.floor, coverage.sources) if coverage is not None else None,
        unittest.packages,
        dict(unittest.environment),
        unittest.timeout_s,
    )
