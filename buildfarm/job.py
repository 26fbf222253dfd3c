"""What the stages are asked to do: one recipe at one revision, resolved, as plain values (``job.json``)."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

VCS = Literal["git", "bzr"]
T = TypeVar("T")


@dataclass(frozen=True)
class Branch:
    """A branch in a repository. ``branch`` is the git branch name ("" means HEAD); "" for Bazaar."""

    vcs: VCS
    location: str
    branch: str = ""


@dataclass(frozen=True)
class SourcePart:
    """One more branch that is laid over or into the trunk, in the words of Launchpad's recipes.

    ``nest``: the whole branch goes to ``into``. ``nest-part``: its directory ``subdir`` goes to ``into``.
    ``merge``: merged into what stands there. ``revision`` is a revision expression, "" means the tip.
    ``name`` is what ``{revno:NAME}`` refers to. ``run`` has a ``command`` and no branch.
    """

    kind: Literal["nest", "nest-part", "merge"]
    name: str
    branch: Branch
    into: str = ""
    subdir: str = ""
    revision: str = ""


@dataclass(frozen=True)
class LintJob:
    """pylint over ``targets`` (paths in the tree); passes at ``threshold`` of 10 or above.

    ``packages`` are Debian packages the code needs, beyond its build-dependencies.
    """

    targets: tuple[str, ...]
    threshold: float = 8.0
    packages: tuple[str, ...] = ()
    timeout_s: int = 600


@dataclass(frozen=True)
class CoverageJob:
    """Line coverage measured while the unit tests run; ``floor`` in percent, 0 means only report."""

    floor: float = 0.0
    sources: tuple[str, ...] = (".",)


@dataclass(frozen=True)
class UnitTestJob:
    """The unit tests: an argument list run in the tree, and the JUnit XML file it writes, if it writes one."""

    command: tuple[str, ...]
    junit: str = ""
    coverage: CoverageJob | None = None
    packages: tuple[str, ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    timeout_s: int = 1800


@dataclass(frozen=True)
class BuildRules:
    """How binaries are built: wall-time limit in seconds, and which lintian tags fail the build."""

    timeout_s: int = 7200
    lintian_fail_on: Literal["none", "error", "warning"] = "none"


@dataclass(frozen=True)
class MachineRules:
    """The machines that a build is verified in.

    ``image`` is the name of a ``[vm.images.NAME]`` in farm.toml; "" means that the farm makes one of the series.
    ``start`` says how it comes to be where booting is not what is tested: ``restored`` from a snapshot of one
    that has booted, or ``cold``. ``allow`` are the ``host:port`` it may reach beside its archives.
    """

    memory_mib: int = 512
    cpus: int = 1
    disk_gib: int = 8
    screen: bool = False
    start: Literal["restored", "cold"] = "restored"
    allow: tuple[str, ...] = ()
    image: str = ""


@dataclass(frozen=True)
class BootJob:
    """Installing the build in a machine of its own, by apt from its archive, as a user would.

    ``packages`` () means every binary package of the build but debug symbols. ``commands`` are argument lists and
    ``script`` a path in the tree, run in the machine as root once all is installed; ``services`` are units that
    must be active then. ``reboot`` looks at them again after one; ``upgrade`` also installs over the version
    before; ``purge`` removes all at the end and looks at what is left.
    """

    packages: tuple[str, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    script: str = ""
    services: tuple[str, ...] = ()
    reboot: bool = False
    upgrade: bool = True
    purge: bool = True
    boot_timeout_s: int = 180
    install_timeout_s: int = 900
    test_timeout_s: int = 900


@dataclass(frozen=True)
class AutopkgtestJob:
    """The source's own debian/tests; ``timeout_s`` for all, ``test_timeout_s`` for each of them."""

    timeout_s: int = 7200
    test_timeout_s: int = 3600
    reverse_dependencies: bool = False


@dataclass(frozen=True)
class SuiteJob:
    """A test suite in provisioned machines: ``provision`` and ``script`` are paths in the tree.

    ``results`` are absolute paths in the machine of JUnit XML (``.xml``) or subunit (``.subunit``) files,
    ``logs`` of what else is brought home. ``packages`` are installed before, as for ``BootJob``.
    """

    script: str
    provision: str = ""
    results: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    machines: int = 1
    packages: tuple[str, ...] = ()
    timeout_s: int = 7200


@dataclass(frozen=True)
class FirstbootJob:
    """The package builds machine images: ``script``, a path in the tree, lets it make one, which then must boot.

    ``memory_mib`` is the memory of the image's machine; ``build_timeout_s`` is for the script alone.
    """

    script: str
    packages: tuple[str, ...] = ()
    memory_mib: int = 256
    timeout_s: int = 7200
    build_timeout_s: int = 3600


@dataclass(frozen=True)
class Job:
    """One recipe at one revision of its trunk: all that the stages need to know.

    ``revision`` is exact: a full git commit id or a Bazaar revision id. ``archive`` is an archive address
    (``local:owner/name`` or ``ppa:owner/name``), and so is ``promote``, where what was verified is copied to
    ("" is nowhere). ``architectures`` are Debian names; the first one also builds what is Architecture: all.
    """

    run_id: str
    recipe: str
    trunk: Branch
    revision: str
    archive: str
    series: tuple[str, ...]
    architectures: tuple[str, ...]
    parts: tuple[SourcePart, ...] = ()
    version_template: str = ""
    maintainer: str = ""
    lint: LintJob | None = None
    unittest: UnitTestJob | None = None
    build: BuildRules = BuildRules()
    machine: MachineRules = MachineRules()
    boot: BootJob | None = None
    autopkgtest: AutopkgtestJob | None = None
    suite: SuiteJob | None = None
    firstboot: FirstbootJob | None = None
    promote: str = ""

    def to_json(self) -> dict[str, Any]:
        """The job as plain JSON values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Job:
        """The job that ``to_json`` wrote; raises ValueError on anything else."""
        return from_plain(Job, data)


def from_plain(kind: type[T], data: Any) -> T:
    """Make the dataclass ``kind`` of plain JSON values, nested ones too; unknown or missing keys: ValueError."""
    value: T = _convert(kind, data, kind.__name__)
    return value


def _convert(kind: Any, data: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _convert_dataclass(kind, data, where)
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise ValueError(f"{where}: a list is wanted, not {type(data).__name__}")
        item = typing.get_args(kind)[0]
        return tuple(_convert(item, value, f"{where}[{n}]") for n, value in enumerate(data))
    if origin in (types.UnionType, typing.Union):
        if data is None:
            return None
        return _convert(next(k for k in typing.get_args(kind) if k is not type(None)), data, where)
    if origin is Literal:
        if data not in typing.get_args(kind):
            raise ValueError(f"{where}: {data!r} is none of {', '.join(map(str, typing.get_args(kind)))}")
        return data
    if origin is Mapping:
        if not isinstance(data, Mapping):
            raise ValueError(f"{where}: an object is wanted, not {type(data).__name__}")
        key_kind, item = typing.get_args(kind)
        return {_convert(key_kind, key, where): _convert(item, data[key], f"{where}.{key}") for key in data}
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    is_bool = isinstance(data, bool) and kind is not bool  # to Python, true is a number too
    if isinstance(kind, type) and (is_bool or not isinstance(data, kind)):
        raise ValueError(f"{where}: {kind.__name__} is wanted, not {type(data).__name__}")
    return data


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _convert_dataclass(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise ValueError(f"{where}: an object is wanted, not {type(data).__name__}")
    hints = _hints(kind)
    names = {f.name for f in dataclasses.fields(kind)}
    if unknown := set(data) - names:
        raise ValueError(f"{where}: unknown {', '.join(sorted(unknown))}")
    try:
        return kind(**{name: _convert(hints[name], data[name], f"{where}.{name}") for name in data})
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error
