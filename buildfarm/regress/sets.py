"""regression.yaml to package sets: each by itself, so that a bad one stops nobody but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from types import MappingProxyType
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from buildfarm.errors import UsageError
from buildfarm.recipe.explain import explain, find
from buildfarm.recipe.loading import SETS_FILE, Defaults
from buildfarm.recipe.problem import Place, Problem, RecipeFault, RuleError, fault_at, problem_at, suggest
from buildfarm.recipe.yaml_tree import Node, read_tree
from buildfarm.regress.known import Look
from buildfarm.regress.model import ExtraSources
from buildfarm.regress.package_set import AD_HOC, PATTERN, PackageSet
from buildfarm.regress.schedule import local_zone
from buildfarm.regress.set_file import RegressionFile, SetEntry, check_set_name, check_zone
from buildfarm.regress.units import parse_duration
from ppa_tools import openpgp

__all__ = ["AD_HOC", "SETS_FILE", "PackageSet", "SetBook", "ad_hoc_set", "load_sets"]

KEY_LIMIT_BYTES = 256 << 10


@dataclass(frozen=True)
class SetBook:
    """All sets that load, by name and sorted; all that is wrong with the others; the time zone of their times."""

    sets: Mapping[str, PackageSet]
    problems: tuple[Problem, ...] = ()
    zone: tzinfo = field(default_factory=local_zone)

    def find(self, name: str) -> PackageSet:
        """The set of a name; raises UsageError with the nearest that exist, or with why it did not load."""
        if name in self.sets:
            return self.sets[name]
        raise UsageError(
            f"no package set is named {name!r}",
            details="\n".join(map(str, self.problems)),
            resolution=suggest(name, self.sets, "sets"),
        )


def load_sets(path: Path, defaults: Defaults, looks: Mapping[str, Look] = MappingProxyType({})) -> SetBook:
    """The sets of a file; none where there is no such file.

    Never raises for what the file holds: whatever is wrong stands in ``problems``, sorted by place. ``looks`` are
    given to see whether there is what sets name under some keys; a night leaves out what there is not.
    """
    if not path.exists():
        return SetBook(MappingProxyType({}))
    try:
        tree = read_tree(path)
        if not isinstance(tree.value, Mapping):
            raise fault_at(Place(path), "the file names no sets", "It begins with 'sets:'; below it a set a name.")
    except RecipeFault as fault:
        return SetBook(MappingProxyType({}), tuple(sorted(fault.problems)))
    problems = _problems_of_file(tree)
    sets: dict[str, PackageSet] = {}
    listed = tree.at("sets") or Node({}, tree.place)
    for name_of_set, node in listed.entries.items():
        try:
            sets[name_of_set] = _load_set(name_of_set, node, listed.keys[name_of_set], path, defaults, looks)
        except RecipeFault as fault:
            problems += fault.problems
    ordered = MappingProxyType(dict(sorted(sets.items())))
    return SetBook(ordered, tuple(sorted(set(problems))), _zone_of(tree))


def _zone_of(tree: Node) -> tzinfo:
    """The file's time zone; this machine's where it names none that is known."""
    node = tree.at("zone")
    try:
        return ZoneInfo(check_zone(str(node.value))) if node is not None and node.value else local_zone()
    except RuleError:
        return local_zone()


def _problems_of_file(tree: Node) -> list[Problem]:
    """What is wrong outside the sets."""
    outside = tree.with_entry("sets", Node({}, tree.place)) if _is_mapping(tree.at("sets")) else tree
    try:
        RegressionFile.model_validate(outside.plain())
    except ValidationError as error:
        return explain(error, tree, RegressionFile)
    return []


def _is_mapping(node: Node | None) -> bool:
    return node is not None and isinstance(node.value, Mapping)


def _load_set(
    name: str, node: Node, key: Place, file: Path, defaults: Defaults, looks: Mapping[str, Look]
) -> PackageSet:
    """One set; raises RecipeFault."""
    try:
        check_set_name(name)
    except RuleError as error:
        raise fault_at(key, error.brief, error.hint) from error
    if not isinstance(node.value, Mapping):
        raise fault_at(
            node.place, f"the set {name!r} is no mapping (key: value)", "For example 'packages: [openldap]'."
        )
    try:
        entry = SetEntry.model_validate(node.plain())
    except ValidationError as error:
        raise RecipeFault(*explain(error, node, SetEntry)) from error
    if not (entry.packages or entry.reverse_build_depends_of or entry.ppa):
        raise fault_at(
            key, f"the set {name!r} names no packages", "Give it packages, reverse_build_depends_of or ppa."
        )
    if unknown := _look_at(entry, node, looks):
        raise RecipeFault(*unknown)
    search = entry.culprit
    return PackageSet(
        name=name,
        series=entry.series or defaults.series,
        architectures=entry.architectures or defaults.architectures,
        packages=entry.packages,
        exclude=entry.exclude,
        reverse_build_depends_of=entry.reverse_build_depends_of,
        ppa=entry.ppa,
        at=entry.at,
        every_s=parse_duration(entry.every) if entry.every else 0,
        priority=entry.priority,
        publish=entry.publish,
        limits=entry.limits.resolved(),
        options=entry.options,
        control=entry.control,
        confirm=entry.confirm,
        culprit=search is not None,
        culprit_builds=search.builds if search is not None else PackageSet.culprit_builds,
        culprit_s=parse_duration(search.time) if search is not None else PackageSet.culprit_s,
        tell=entry.tell,
        watch_tests=entry.watch_tests,
        extra=tuple(
            ExtraSources(one.sources, _read_key(one.key, find(node, ("extra", number, "key")).place, file.parent))
            for number, one in enumerate(entry.extra)
        ),
    )


def _look_at(entry: SetEntry, node: Node, looks: Mapping[str, Look]) -> list[Problem]:
    problems = []
    for key, look in looks.items():
        for number, name in enumerate(getattr(entry, key)):
            try:
                look(name)
            except RuleError as error:
                place = find(node, (key, number)).place
                problems.append(problem_at(place, f"{key}[{number}]: {error.brief}", error.hint))
    return problems


def _read_key(name: str, place: Place, directory: Path) -> str:
    """The keys of an extra repository; raises RecipeFault."""
    path = directory / name
    try:
        if path.exists() and not path.is_file():
            raise fault_at(place, f"{name} is no regular file", "Name a file with public keys (ASCII armour).")
        with path.open("rb") as file:
            content = file.read(KEY_LIMIT_BYTES + 1)
    except OSError as error:
        raise fault_at(
            place,
            f"the keys in {path} cannot be read: {error.strerror}",
            "`gpg --armor --export` writes such a file.",
        ) from error
    if problem := _what_is_no_key(content):
        raise RecipeFault(
            problem_at(place, f"{name} {problem}", "`gpg --armor --export KEY` writes what is wanted.")
        )
    return content.decode("ascii")


def _what_is_no_key(content: bytes) -> str:
    if len(content) > KEY_LIMIT_BYTES:
        return f"is larger than {KEY_LIMIT_BYTES >> 10} KiB"
    if b"PRIVATE KEY BLOCK" in content:
        return "has a secret key in it, which nobody needs to read an archive"
    if not content.isascii() or not openpgp.ARMORED_KEYS.search(content):
        return "has no public key in ASCII armour"
    try:
        openpgp.dearmor_keys(content)
    except openpgp.OpenPGPError as error:
        return f"cannot be read: {error}"
    return ""


def ad_hoc_set(names: Sequence[str], series: Sequence[str], architectures: Sequence[str]) -> PackageSet:
    """A set of packages that are named on a command line, by name or glob; raises UsageError."""
    for name in names:
        if not PATTERN.fullmatch(name):
            raise UsageError(
                f"{name[:80]!r} is no name of a source package",
                resolution="For example openldap, or a pattern in quotes: 'lib*-perl'.",
            )
    return PackageSet(AD_HOC, tuple(series), tuple(architectures), packages=tuple(dict.fromkeys(names)))
