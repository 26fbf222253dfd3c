"""The recipe's model: what may be written, with its limits, and what a recipe is once it is resolved."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from buildfarm.job import VCS, AutopkgtestJob, BootJob, FirstbootJob, MachineRules, SuiteJob
from buildfarm.recipe import rules
from buildfarm.recipe.problem import RuleError
from buildfarm.recipe.version_template import check_version_template

T = TypeVar("T")
# What {revno:NAME} calls the branch of packaging:.
PACKAGING = "packaging"
DAY_S = 24 * 60 * 60


@dataclass(frozen=True)
class Origin:
    """Where a value comes from. ``file`` is None, ``line`` and ``column`` are 0 for the farm's default."""

    file: Path | None
    line: int
    column: int
    kind: Literal["recipe", "template", "matrix", "default"]


DEFAULT_ORIGIN = Origin(None, 0, 0, "default")


def told(rule: Callable[[T], T]) -> Callable[[T], T]:
    """A rule as a pydantic validator that keeps the rule's hint."""

    def check(value: T) -> T:
        try:
            return rule(value)
        except RuleError as error:
            raise as_custom(error) from error

    return check


def as_custom(error: RuleError, *at: str | int) -> PydanticCustomError:
    """The pydantic error of a broken rule; ``at`` leads from the value that is checked to the one at fault."""
    return PydanticCustomError(
        "rule", "{brief}", {"brief": error.brief, "hint": error.hint, "offset": error.offset, "at": at}
    )


def _split_command(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return tuple(shlex.split(value))
    except ValueError as error:
        raise as_custom(RuleError(f"the command cannot be split: {error}", "Write it as a list.")) from error


def as_switch(value: Any) -> Any:
    """A section that may also be switched: false leaves it out, true takes it with all its defaults."""
    if isinstance(value, bool):
        return {} if value else None
    return value


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def or_empty(rule: Callable[[str], str]) -> Callable[[str], str]:
    """A rule that lets "" through, which stands for a value left out."""
    return told(lambda text: rule(text) if text else text)


def unique(values: tuple[str, ...]) -> tuple[str, ...]:
    """A rule of lists: nothing is named twice."""
    twice = next((value for number, value in enumerate(values) if value in values[:number]), None)
    if twice is not None:
        raise RuleError(f"{twice!r} is named twice", "Name each once.")
    return values


def _matching(pattern: str) -> dict[str, Any]:
    return {"pattern": f"^{pattern}$"}


Argument = Annotated[str, AfterValidator(told(rules.check_no_nul))]
TreePath = Annotated[str, AfterValidator(told(rules.check_path))]
TreePathOrNone = Annotated[str, AfterValidator(or_empty(rules.check_path))]
Script = Annotated[str, AfterValidator(told(rules.check_script))]
ScriptOrNone = Annotated[str, AfterValidator(or_empty(rules.check_script))]
MachinePath = Annotated[str, AfterValidator(told(rules.check_machine_path))]
ResultsPath = Annotated[str, AfterValidator(told(rules.check_results_path))]
Subdirectory = Annotated[str, AfterValidator(told(rules.check_subdirectory))]
SubdirectoryOrNone = Annotated[str, AfterValidator(or_empty(rules.check_subdirectory))]
PartName = Annotated[
    str,
    AfterValidator(told(rules.check_part_name)),
    Field(json_schema_extra=_matching(rules.PART_NAME_PATTERN)),
]
Series = Annotated[
    str, AfterValidator(told(rules.check_series)), Field(json_schema_extra=_matching(rules.SERIES_PATTERN))
]
Architecture = Annotated[
    str,
    AfterValidator(told(rules.check_architecture)),
    Field(json_schema_extra=_matching(rules.ARCHITECTURE_PATTERN)),
]
Package = Annotated[
    str, AfterValidator(told(rules.check_package)), Field(json_schema_extra=_matching(rules.PACKAGE_PATTERN))
]
Packages = Annotated[tuple[Package, ...], AfterValidator(told(unique))]
Unit = Annotated[
    str, AfterValidator(told(rules.check_unit)), Field(json_schema_extra=_matching(rules.UNIT_PATTERN))
]
Host = Annotated[str, AfterValidator(told(rules.check_host))]
VariableName = Annotated[str, AfterValidator(told(rules.check_variable))]
Seconds = Annotated[int, Field(ge=1, le=7 * DAY_S)]
Command = Annotated[
    tuple[Argument, ...],
    BeforeValidator(_split_command),
    AfterValidator(told(rules.check_command)),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "string"}, "minItems": 1}, {"type": "string"}]}),
]
TemplateNames = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_tuple),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class Frozen(BaseModel):
    """What all parts of a recipe share: unknown keys are refused, types are exact, values never change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class BranchPart(Frozen):
    """A branch in a repository."""

    vcs: VCS = Field(examples=["git"])
    """The version control system: git, or bzr for Bazaar."""
    location: str = Field(examples=["https://example.org/hello.git"])
    """The repository: a URL, git's user@host:path, lp:~owner/project, or a path; a relative path counts from
    the recipe file's directory."""
    branch: str = Field(default="", examples=["main"])
    """The git branch; left out, what the repository's HEAD names. In Bazaar the location is the branch."""

    @field_validator("location")
    @classmethod
    def _check_location(cls, text: str, info: ValidationInfo) -> str:
        vcs = info.data.get("vcs")
        if vcs is None:  # already a problem of its own
            return text
        try:
            rules.check_location(text, vcs)
        except RuleError as error:
            raise as_custom(error) from error
        directory = info.context
        return rules.resolve_location(text, vcs, directory) if isinstance(directory, Path) else text

    @field_validator("branch")
    @classmethod
    def _check_branch(cls, text: str, info: ValidationInfo) -> str:
        try:
            if info.data.get("vcs") == "bzr" and text:
                raise RuleError(
                    "in Bazaar the location is the branch", "Leave branch: out; put its path in the location."
                )
            return rules.check_branch(text)
        except RuleError as error:
            raise as_custom(error) from error


class Trunk(BranchPart):
    """The branch that is watched: every commit on it is taken through the pipeline."""

    poll_interval_s: int = Field(default=60, ge=5, le=DAY_S, examples=[60])
    """How often the branch is looked at, in seconds; a push hook makes it immediate."""


class Packaging(BranchPart):
    """The branch that has the packaging, when debian/ is not in the trunk; nested like Launchpad's ``nest``."""

    into: Subdirectory = Field(default="debian", examples=["debian"])
    """Where the branch's content goes in the tree."""


class NestedPart(BranchPart):
    """One more branch laid into the trunk's tree, in the words of Launchpad's recipes."""

    kind: Literal["nest", "nest-part", "merge"] = Field(examples=["nest"])
    """nest: the whole branch goes to ``into``; nest-part: its directory ``subdir`` goes there; merge: merged
    into what stands there."""
    name: PartName = Field(examples=["plugins"])
    """What {revno:NAME} in the version template refers to."""
    into: SubdirectoryOrNone = Field(default="", examples=["plugins"])
    """The directory it goes to; for nest-part the last component of ``subdir`` when left out."""
    subdir: TreePathOrNone = Field(default="", examples=["contrib/plugins"])
    """For nest-part: the directory of the branch that is taken."""
    revision: Annotated[str, AfterValidator(told(rules.check_revision))] = Field(default="", examples=["v1.2"])
    """A tag, a branch, a commit id, or a Bazaar revision; left out, the branch's tip."""

    @model_validator(mode="before")
    @classmethod
    def _fill_into(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("kind") == "nest-part" and not data.get("into"):
            subdir = data.get("subdir")
            return {**data, "into": subdir.rstrip("/").rsplit("/", 1)[-1]} if isinstance(subdir, str) else data
        return data

    @model_validator(mode="after")
    def _check_kind(self) -> NestedPart:
        wants_subdir = self.kind == "nest-part"
        if bool(self.subdir) != wants_subdir:
            raise as_custom(
                RuleError(
                    f"a {self.kind} {'needs' if wants_subdir else 'takes no'} subdir",
                    "subdir: is the directory that nest-part takes from the branch.",
                )
            )
        if self.kind == "nest" and not self.into:
            raise as_custom(RuleError("a nest needs into", "For example 'into: plugins'."))
        return self


class Lint(Frozen):
    """pylint over the recipe's targets; passes at the threshold or above."""

    targets: Annotated[tuple[TreePath, ...], Field(min_length=1)] = Field(examples=[["hello"]])
    """Packages, modules or directories, as paths in the tree."""
    threshold: Annotated[float, Field(ge=0, le=10)] = Field(default=8.0, examples=[9.0])
    """The least score that passes, of 10."""
    packages: Packages = Field(default=(), examples=[["python3-requests"]])
    """Debian packages the code needs to be read, beyond its build-dependencies."""
    timeout_s: Seconds = Field(default=600, examples=[600])
    """Wall-time limit in seconds."""


class Coverage(Frozen):
    """Line coverage, measured while the unit tests run."""

    floor: Annotated[float, Field(ge=0, le=100)] = Field(default=0.0, examples=[80])
    """The least coverage that passes, in percent; 0 only reports."""
    sources: Annotated[tuple[TreePath, ...], Field(min_length=1)] = Field(default=(".",), examples=[["hello"]])
    """What is measured, as paths in the tree."""


class UnitTest(Frozen):
    """The unit tests: one command, run in the tree by no shell; passes when it exits 0."""

    command: Command = Field(examples=[["python3", "-m", "pytest"]])
    """The program and its arguments: a list, or one text that is split like a shell's words."""
    junit: TreePathOrNone = Field(default="", examples=["junit.xml"])
    """The JUnit XML file that the command writes, as a path in the tree; left out when it writes none."""
    coverage: Coverage | None = Field(default=None, examples=[{"floor": 80}])
    """Line coverage, where it is asked for."""
    packages: Packages = Field(default=(), examples=[["python3-pytest"]])
    """Debian packages the tests need, beyond the package's build-dependencies."""
    environment: Mapping[VariableName, Argument] = Field(default={}, examples=[{"PYTHONHASHSEED": "0"}])
    """Environment variables for the command."""
    timeout_s: Seconds = Field(default=1800, examples=[600])
    """Wall-time limit in seconds."""


class Version(Frozen):
    """How the package's version is made from the revision."""

    template: str = Field(default="", examples=["{debupstream}+r{revno}"])
    """In the words of Launchpad's deb-version; left out, the farm's own default."""


class Build(Frozen):
    """How binaries are built."""

    timeout_s: Seconds = Field(default=7200, examples=[7200])
    """Wall-time limit of one build, in seconds."""
    lintian_fail_on: Literal["none", "error", "warning"] = Field(default="none", examples=["error"])
    """The least lintian tag that fails the build."""


class Machine(Frozen):
    """The machines that a build is verified in: how large they are, and what they may reach."""

    memory_mib: int = Field(default=MachineRules.memory_mib, ge=128, le=262144, examples=[1024])
    """Memory in MiB."""
    cpus: int = Field(default=MachineRules.cpus, ge=1, le=64, examples=[2])
    """Processors."""
    disk_gib: int = Field(default=MachineRules.disk_gib, ge=2, le=1024, examples=[16])
    """The disk's size in GiB; only what is written takes room."""
    screen: bool = Field(default=MachineRules.screen, examples=[True])
    """Whether it has a screen, of which a failure then brings a picture."""
    start: Literal["restored", "cold"] = Field(default=MachineRules.start, examples=["cold"])
    """restored: from a snapshot of a machine that has booted, where booting is not what is tested; cold: always
    from nothing."""
    allow: Annotated[tuple[Host, ...], Field(max_length=64), AfterValidator(told(unique))] = Field(
        default=(), examples=[["pypi.org:443"]]
    )
    """Hosts it may reach beside the archives its packages come from: host, host:port or [address]:port; without
    a port, 80 and 443."""
    image: Annotated[str, AfterValidator(or_empty(rules.check_image))] = Field(default="", examples=["cloud"])
    """An image of farm.toml, [vm.images.NAME]; left out, the farm makes one of the series."""


class Boot(Frozen):
    """The packages installed by apt in a machine of their own, as a user would."""

    packages: Packages = Field(default=(), examples=[["hello"]])
    """What is installed; left out, every binary package of the build but debug symbols."""
    commands: Annotated[tuple[Command, ...], Field(max_length=256)] = Field(
        default=(), examples=[[["hello", "--version"]]]
    )
    """Commands run in the machine as root, by no shell; each must exit 0."""
    script: ScriptOrNone = Field(default="", examples=["debian/tests/machine"])
    """A script in the tree, run in the machine as root after the commands; it must exit 0."""
    services: Annotated[tuple[Unit, ...], Field(max_length=256), AfterValidator(told(unique))] = Field(
        default=(), examples=[["hello.service"]]
    )
    """Units of systemd that must be active."""
    reboot: bool = Field(default=BootJob.reboot, examples=[True])
    """Whether the machine is booted again, and the services looked at again."""
    upgrade: bool = Field(default=BootJob.upgrade, examples=[False])
    """Whether it is also installed over the version before, and over the distribution's own."""
    purge: bool = Field(default=BootJob.purge, examples=[False])
    """Whether the packages are purged at the end, which must leave nothing."""
    boot_timeout_s: Seconds = Field(default=BootJob.boot_timeout_s, examples=[180])
    """Limit of the time until the machine has booted, in seconds."""
    install_timeout_s: Seconds = Field(default=BootJob.install_timeout_s, examples=[900])
    """Limit of the time of the installation, in seconds."""
    test_timeout_s: Seconds = Field(default=BootJob.test_timeout_s, examples=[900])
    """Limit of the time of the commands and the script, in seconds."""


class Autopkgtest(Frozen):
    """The source's own debian/tests, each in the cheapest environment that it allows."""

    timeout_s: Seconds = Field(default=AutopkgtestJob.timeout_s, examples=[7200])
    """Wall-time limit of all tests, in seconds."""
    test_timeout_s: Seconds = Field(default=AutopkgtestJob.test_timeout_s, examples=[3600])
    """Wall-time limit of one test, in seconds."""
    reverse_dependencies: bool = Field(default=AutopkgtestJob.reverse_dependencies, examples=[True])
    """Whether the tests of packages in the same archive that depend on these are run, too."""


class Suite(Frozen):
    """A test suite that runs in provisioned machines."""

    script: Script = Field(examples=["tests/integration/run"])
    """The suite: a script in the tree, run in the first machine as root; passes when it exits 0 and its results
    have no failure."""
    provision: ScriptOrNone = Field(default="", examples=["tests/integration/provision"])
    """A script in the tree that prepares each machine before."""
    results: Annotated[tuple[ResultsPath, ...], Field(max_length=64), AfterValidator(told(unique))] = Field(
        default=(), examples=[["/var/lib/hello/results.xml"]]
    )
    """Files of results in the machine, as absolute paths: JUnit XML (.xml) or subunit (.subunit)."""
    logs: Annotated[tuple[MachinePath, ...], Field(max_length=64), AfterValidator(told(unique))] = Field(
        default=(), examples=[["/var/log/hello"]]
    )
    """Files and directories in the machine that are brought home, as absolute paths."""
    machines: int = Field(default=SuiteJob.machines, ge=1, le=16, examples=[2])
    """How many machines."""
    packages: Packages = Field(default=(), examples=[["hello"]])
    """What is installed before; left out, every binary package of the build but debug symbols."""
    timeout_s: Seconds = Field(default=SuiteJob.timeout_s, examples=[7200])
    """Wall-time limit in seconds."""


class Firstboot(Frozen):
    """For a package that builds machine images: it makes one, and that image must boot and say so."""

    script: Script = Field(examples=["debian/tests/make-image"])
    """A script in the tree that lets the installed package make an image."""
    packages: Packages = Field(default=(), examples=[["debvm"]])
    """What is installed before; left out, every binary package of the build but debug symbols."""
    memory_mib: int = Field(default=FirstbootJob.memory_mib, ge=64, le=65536, examples=[512])
    """Memory of the image's machine, in MiB."""
    timeout_s: Seconds = Field(default=FirstbootJob.timeout_s, examples=[7200])
    """Wall-time limit of all, in seconds."""
    build_timeout_s: Seconds = Field(default=FirstbootJob.build_timeout_s, examples=[3600])
    """Wall-time limit of the script, in seconds."""


TRUNK = Field(examples=[{"vcs": "git", "location": "https://example.org/hello.git"}])


class Body(Frozen):
    """What recipes and templates say of a package."""

    packaging: Packaging | None = Field(
        default=None, examples=[{"vcs": "git", "location": "https://example.org/hello-packaging.git"}]
    )
    """Where debian/ comes from, when it is not in the trunk."""
    parts: tuple[NestedPart, ...] = Field(default=())
    """More branches, laid into the trunk's tree in this order; the packaging comes after them."""
    lint: Lint | None = Field(default=None, examples=[{"targets": ["hello"], "threshold": 9.0}])
    """pylint; left out or null, the stage is skipped."""
    unittest: UnitTest | None = Field(default=None, examples=[{"command": ["python3", "-m", "pytest"]}])
    """The unit tests; left out or null, the stage is skipped."""
    version: Version = Field(default=Version(), examples=[{"template": "{debupstream}+r{revno}"}])
    """The version template."""
    series: Annotated[tuple[Series, ...], Field(min_length=1), AfterValidator(told(unique))] = Field(
        default=(), examples=[["bookworm"]]
    )
    """The series that are built for; left out, the series of the farm's host."""
    architectures: Annotated[tuple[Architecture, ...], Field(min_length=1), AfterValidator(told(unique))] = Field(
        default=(), examples=[["amd64"]]
    )
    """Debian architectures; the first also builds Architecture: all. Left out, the host's architecture."""
    publish: Annotated[str, AfterValidator(told(rules.check_archive))] = Field(
        examples=["local:demo/trunk"], json_schema_extra=_matching("(ppa|local):[^/]+/[^/]+")
    )
    """The archive: local:owner/name, or ppa:owner/name on Launchpad."""
    build: Build = Field(default=Build(), examples=[{"timeout_s": 3600}])
    """How binaries are built."""
    machine: Machine = Field(default=Machine(), examples=[{"memory_mib": 1024}])
    """The machines that a build is verified in."""
    boot: Annotated[Boot | None, BeforeValidator(as_switch, json_schema_input_type=Boot | bool | None)] = Field(
        default=Boot(), examples=[{"services": ["hello.service"]}]
    )
    """Installing the packages in a machine of their own; null or false, they are not."""
    autopkgtest: Annotated[
        Autopkgtest | None, BeforeValidator(as_switch, json_schema_input_type=Autopkgtest | bool | None)
    ] = Field(default=Autopkgtest(), examples=[{"test_timeout_s": 600}])
    """The source's own debian/tests; null or false, they are not run."""
    suite: Suite | None = Field(default=None, examples=[{"script": "tests/integration/run"}])
    """A test suite in provisioned machines, where it is asked for."""
    firstboot: Firstboot | None = Field(default=None, examples=[{"script": "debian/tests/make-image"}])
    """Letting the packages make a machine image that boots, where it is asked for."""
    promote: Annotated[str, AfterValidator(or_empty(rules.check_archive))] = Field(
        default="", examples=["local:demo/stable"]
    )
    """The next archive: what has been verified is copied there. Left out, it is not."""
    maintainer: Annotated[str, AfterValidator(or_empty(rules.check_maintainer))] = Field(
        default="", examples=["Jane Doe <jane@example.org>"]
    )
    """Who stands in the changelog entry; left out, the farm itself."""


class RecipeFile(Body):
    """One file under recipes/, as it is written; a template under recipes/templates/ takes the same keys."""

    extends: TemplateNames = Field(default=(), examples=["python"])
    """Templates this file is laid over: recipes/templates/NAME.yaml. Of several the later wins; this file
    always wins. Mappings merge, everything else replaces; null takes a template's section away."""
    name: str = Field(default="", examples=["hello-{trunk.branch}"])
    """The recipe's name; with a matrix it names its axes in braces. Left out: the file's name and the axes'
    values."""
    trunk: Trunk = TRUNK
    """The branch that is watched."""
    source: str = Field(default="", examples=["# git-build-recipe format 0.4\nlp:~owner/hello main\n"])
    """Launchpad recipe text, instead of trunk, packaging, parts and version; trunk may still have
    poll_interval_s."""
    matrix: Mapping[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(
        default={}, examples=[{"trunk.branch": ["main", "stable"]}]
    )
    """One recipe for each combination: dotted key, and the list of its values."""
    exclude: tuple[Mapping[str, Any], ...] = Field(default=(), examples=[[{"trunk.branch": "stable"}]])
    """Combinations of the matrix that are left out: those that have all the values named."""


class Recipe(Body):
    """All that the farm knows of one package: templates, matrix and defaults are resolved."""

    name: Annotated[str, AfterValidator(told(rules.check_name))]
    file: Path
    trunk: Trunk = TRUNK
    origins: Mapping[str, Origin]

    @field_validator("parts")
    @classmethod
    def _check_parts(cls, parts: tuple[NestedPart, ...], info: ValidationInfo) -> tuple[NestedPart, ...]:
        """Names and directories are each used once, those of the packaging included."""
        packaging = info.data.get("packaging")
        names = {PACKAGING} if packaging is not None else set()
        targets = {packaging.into} if packaging is not None else set()
        for number, part in enumerate(parts):
            if part.name in names:
                raise as_custom(
                    RuleError(f"the name {part.name!r} is used twice", "Give each part its own."), number, "name"
                )
            if part.kind != "merge" and part.into in targets:
                raise as_custom(
                    RuleError(f"the directory {part.into!r} is used twice", "Give each part its own."),
                    number,
                    "into",
                )
            names.add(part.name)
            targets.add(part.into)
        return parts

    @field_validator("promote")
    @classmethod
    def _check_promote(cls, promote: str, info: ValidationInfo) -> str:
        publish = info.data.get("publish")
        if not promote or publish is None:  # already a problem of its own
            return promote
        try:
            return rules.check_promotion(promote, publish)
        except RuleError as error:
            raise as_custom(error) from error

    @field_validator("version")
    @classmethod
    def _check_version(cls, version: Version, info: ValidationInfo) -> Version:
        branches = [part.name for part in info.data.get("parts", ())]
        if info.data.get("packaging") is not None:
            branches.append(PACKAGING)
        try:
            check_version_template(version.template, branches)
        except RuleError as error:
            raise as_custom(error, "template") from error
        return version
