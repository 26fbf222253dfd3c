"""A recipe at one revision as the job that the stages are asked to do."""

from __future__ import annotations

from buildfarm.job import (
    AutopkgtestJob,
    BootJob,
    Branch,
    BuildRules,
    CoverageJob,
    FirstbootJob,
    Job,
    LintJob,
    MachineRules,
    SourcePart,
    SuiteJob,
    UnitTestJob,
)
from buildfarm.recipe.model import (
    PACKAGING,
    Autopkgtest,
    Boot,
    BranchPart,
    Firstboot,
    Lint,
    Machine,
    Recipe,
    Suite,
    UnitTest,
)
from buildfarm.recipe.rules import host_ports


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
        machine=_machine(recipe.machine),
        boot=_boot(recipe.boot) if recipe.boot is not None else None,
        autopkgtest=_autopkgtest(recipe.autopkgtest) if recipe.autopkgtest is not None else None,
        suite=_suite(recipe.suite) if recipe.suite is not None else None,
        firstboot=_firstboot(recipe.firstboot) if recipe.firstboot is not None else None,
        promote=recipe.promote,
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


def _machine(machine: Machine) -> MachineRules:
    allow = dict.fromkeys(word for host in machine.allow for word in host_ports(host))
    return MachineRules(
        machine.memory_mib,
        machine.cpus,
        machine.disk_gib,
        machine.screen,
        machine.start,
        tuple(allow),
        machine.image,
    )


def _boot(boot: Boot) -> BootJob:
    return BootJob(
        boot.packages,
        boot.commands,
        boot.script,
        boot.services,
        boot.reboot,
        boot.upgrade,
        boot.purge,
        boot.boot_timeout_s,
        boot.install_timeout_s,
        boot.test_timeout_s,
    )


def _autopkgtest(tests: Autopkgtest) -> AutopkgtestJob:
    return AutopkgtestJob(tests.timeout_s, tests.test_timeout_s, tests.reverse_dependencies)


def _suite(suite: Suite) -> SuiteJob:
    return SuiteJob(
        suite.script,
        suite.provision,
        suite.results,
        suite.logs,
        suite.machines,
        suite.packages,
        suite.timeout_s,
    )


def _firstboot(firstboot: Firstboot) -> FirstbootJob:
    return FirstbootJob(
        firstboot.script,
        firstboot.packages,
        firstboot.memory_mib,
        firstboot.timeout_s,
        firstboot.build_timeout_s,
    )
