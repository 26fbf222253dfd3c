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

from buildfarm.job import VCS
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


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def or_empty(rule: Callable[[str], str]) -> Callable[[str], str]:
    """A rule that lets "" through, which stands for a value left out."""
    return told(lambda text: rule(text) if text else text)


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((value for number, value in enumerate(values) if value in values[:number]), None)
    if twice is not None:
        raise RuleError(f"{twice!r} is named twice", "Name each once.")
    return values


def _matching(pattern: str) -> dict[str, Any]:
    return {"pattern": f"^{pattern}$"}


Argument = Annotated[str, AfterValidator(told(rules.check_no_nul))]
TreePath = Annotated[str, AfterValidator(told(rules.check_path))]
TreePathOrNone = Annotated[str, AfterValidator(or_empty(rules.check_path))]
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
Packages = Annotated[tuple[Package, ...], AfterValidator(told(_unique))]
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
    series: Annotated[tuple[Series, ...], Field(min_length=1), AfterValidator(told(_unique))] = Field(
        default=(), examples=[["bookworm"]]
    )
    """The series that are built for; left out, the series of the farm's host."""
    architectures: Annotated[tuple[Architecture, ...], Field(min_length=1), AfterValidator(told(_unique))] = Field(
        default=(), examples=[["amd64"]]
    )
    """Debian architectures; the first also builds Architecture: all. Left out, the host's architecture."""
    publish: Annotated[str, AfterValidator(told(rules.check_archive))] = Field(
        examples=["local:demo/trunk"], json_schema_extra={"pattern": "^(ppa|local):[^/]+/[^/]+$"}
    )
    """The archive: local:owner/name, or ppa:owner/name on Launchpad."""
    build: Build = Field(default=Build(), examples=[{"timeout_s": 3600}])
    """How binaries are built."""
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
