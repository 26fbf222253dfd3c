"""What changed between two environments, as suspects: the changes that a source package brought as a whole.

Binaries that stand in both environments in different versions are changed, and belong to their source. One that
stands in only one of them mostly came or went with another's change (a new dependency, another soname), and
belongs to all the suspects that need it. Where nobody does, its own source is the suspect.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from buildfarm.build.manifest import EnvironmentPackage
from buildfarm.regress.model import Suspect
from ppa_tools.apt.relations import Clause, Relation, parse_relations

ALL = "all"


@dataclass(frozen=True)
class Change:
    """A package that is not the same in both environments; None where it is not there.

    ``label`` is its name, with the architecture where that is a foreign one. ``sources`` are the suspects that it
    belongs to: its own for what stands in both, and all that need it for what stands in one.
    """

    label: str
    before: EnvironmentPackage | None
    after: EnvironmentPackage | None
    sources: tuple[str, ...] = ()

    def __str__(self) -> str:
        return change_text(
            self.label,
            self.before.version if self.before else "",
            self.after.version if self.after else "",
        )


@dataclass(frozen=True)
class EnvironmentDiff:
    """Two environments compared; ``suspects`` are in the order of their sources' names."""

    unchanged: tuple[EnvironmentPackage, ...]
    changes: tuple[Change, ...]
    suspects: tuple[Suspect, ...]
    architecture: str

    @cached_property
    def changed(self) -> tuple[Change, ...]:
        """What stands in both environments, but not the same."""
        return tuple(one for one in self.changes if one.before and one.after)

    @cached_property
    def added(self) -> tuple[Change, ...]:
        """What stands in the later environment only."""
        return tuple(one for one in self.changes if one.before is None)

    @cached_property
    def removed(self) -> tuple[Change, ...]:
        """What stood in the earlier environment only."""
        return tuple(one for one in self.changes if one.after is None)


def change_text(name: str, before: str, after: str) -> str:
    """A change for people: ``libfoo 1.2-1 to 1.3-1``; "" is a version that was not there."""
    if not before:
        return f"{name} {after}, which was not there before"
    if not after:
        return f"{name} {before}, which is not there any more"
    if before == after:
        return f"{name} {after}, whose content changed while its version did not"
    return f"{name} {before} to {after}"


def suspect_text(suspect: Suspect) -> str:
    """A suspect for people."""
    return change_text(suspect.source, suspect.before, suspect.after)


def compare(before: Iterable[EnvironmentPackage], after: Iterable[EnvironmentPackage]) -> EnvironmentDiff:
    """What became of one environment; raises ValueError where one has a package twice."""
    earlier, later = tuple(before), tuple(after)
    native = _native(earlier + later)
    old, new = _by_label(earlier, native), _by_label(later, native)
    labels = sorted(old.keys() | new.keys())
    differing = [label for label in labels if not _is_same(old.get(label), new.get(label))]
    same = sorted(set(labels).difference(differing))
    homes = {label: new[label].source_name for label in differing if label in old and label in new}
    sources: dict[str, tuple[str, ...]] = {label: (home,) for label, home in homes.items()}
    for environment, other in ((new, old), (old, new)):
        alone = [label for label in differing if label in environment and label not in other]
        sources |= _owners(environment, alone, homes, native)
    changes = tuple(Change(label, old.get(label), new.get(label), sources[label]) for label in differing)
    return EnvironmentDiff(tuple(new[label] for label in same), changes, _suspects(changes), native)


class Offers:
    """Packages by what relations can call them: by name, and by what they provide."""

    def __init__(self, packages: Iterable[EnvironmentPackage], native: str) -> None:
        self._native = native
        self._by_name: dict[str, list[EnvironmentPackage]] = defaultdict(list)
        self._by_provided: dict[str, list[tuple[EnvironmentPackage, Relation]]] = defaultdict(list)
        for one in packages:
            self._by_name[one.name].append(one)
            for clause in parse_relations(one.provides):
                self._by_provided[clause[0].name].append((one, clause[0]))

    def satisfying(self, clause: Clause, asking: EnvironmentPackage) -> Iterator[EnvironmentPackage]:
        """All that would do for a clause of ``asking``'s."""
        for relation in clause:
            for one in self._named(relation):
                if self._is_within_reach(one, relation.qualifier, asking):
                    yield one

    def shunned(self, relation: Relation, asking: EnvironmentPackage) -> Iterator[EnvironmentPackage]:
        """All that ``asking`` does not go with by a relation: of every architecture, but never its own name."""
        for one in self._named(relation):
            if one.name != asking.name and relation.qualifier in ("", "any", one.architecture):
                yield one

    def _named(self, relation: Relation) -> Iterator[EnvironmentPackage]:
        for one in self._by_name.get(relation.name, ()):
            if relation.fits(one.version):
                yield one
        for one, told in self._by_provided.get(relation.name, ()):
            if not relation.operator or (told.version and relation.fits(told.version)):
                yield one

    def _is_within_reach(self, one: EnvironmentPackage, qualifier: str, asking: EnvironmentPackage) -> bool:
        here = one.architecture if one.architecture != ALL else self._native
        if qualifier == "any" or one.multi_arch == "foreign":
            return True
        if qualifier in ("", "native"):
            foreign = asking.architecture not in (ALL, self._native) and not qualifier
            return here == (asking.architecture if foreign else self._native)
        return here == qualifier


def _owners(
    environment: Mapping[str, EnvironmentPackage], alone: Collection[str], homes: Mapping[str, str], native: str
) -> dict[str, tuple[str, ...]]:
    """The suspects that need what stands in this environment only: directly, or through each other."""
    offers = Offers(environment.values(), native)
    labels = {id(one): label for label, one in environment.items()}
    floating = set(alone)
    needed_by: dict[str, set[str]] = {label: set() for label in alone}
    for label, one in environment.items():
        for clause in one.wants:
            doing = {labels[id(each)] for each in offers.satisfying(clause, one)}
            if doing <= floating:  # where something else does as well, none of them came for this clause
                for each in doing - {label}:
                    needed_by[each].add(label)
    owners = {label: {homes[one] for one in needed_by[label] if one in homes} for label in alone}
    while True:
        _hand_down(owners, needed_by)
        orphans = {label for label in alone if not owners[label]}
        if not orphans:
            return {label: tuple(sorted(found)) for label, found in owners.items()}
        first = {label for label in orphans if not needed_by[label] & orphans} or orphans
        for label in first:
            owners[label] = {environment[label].source_name}


def _hand_down(owners: Mapping[str, set[str]], needed_by: Mapping[str, set[str]]) -> None:
    waiting = [label for label in owners if owners[label]]
    needs: dict[str, list[str]] = defaultdict(list)
    for label, those in needed_by.items():
        for one in those:
            needs[one].append(label)
    while waiting:
        label = waiting.pop()
        for each in needs[label]:
            if not owners[label] <= owners[each]:
                owners[each] |= owners[label]
                waiting.append(each)


def _suspects(changes: Iterable[Change]) -> tuple[Suspect, ...]:
    of: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        for source in change.sources:
            of[source].append(change)
    return tuple(_suspect(source, of[source]) for source in sorted(of))


def _suspect(source: str, changes: list[Change]) -> Suspect:
    """Its source's versions where they differ; else (binaries built anew) its binaries'."""
    own = [
        one
        for one in changes
        if source in {each.source_name for each in (one.before, one.after) if each is not None}
    ] or changes
    olds = [one.before for one in own if one.before is not None]
    news = [one.after for one in own if one.after is not None]
    before, after = _version(olds), _version(news)
    if before == after and olds and news:
        moved = next((one for one in own if one.before and one.after), None)
        if moved is not None and moved.before is not None and moved.after is not None:
            before, after = moved.before.version, moved.after.version
    return Suspect(source, before, after, tuple(one.label for one in changes))


def _version(packages: list[EnvironmentPackage]) -> str:
    versions = Counter(one.source_version or one.version for one in packages)
    return versions.most_common(1)[0][0] if versions else ""


def _by_label(packages: Iterable[EnvironmentPackage], native: str) -> dict[str, EnvironmentPackage]:
    found: dict[str, EnvironmentPackage] = {}
    for one in packages:
        label = one.name if one.architecture in (ALL, native) else f"{one.name}:{one.architecture}"
        if label in found:
            raise ValueError(f"the environment has {label} twice: {found[label].version} and {one.version}")
        found[label] = one
    return found


def _native(packages: Iterable[EnvironmentPackage]) -> str:
    """The architecture that most packages are of."""
    counted = Counter(one.architecture for one in packages if one.architecture != ALL)
    return counted.most_common(1)[0][0] if counted else ALL


def _is_same(old: EnvironmentPackage | None, new: EnvironmentPackage | None) -> bool:
    if old is None or new is None or old.version != new.version:
        return False
    return not old.sha256 or not new.sha256 or old.sha256 == new.sha256
