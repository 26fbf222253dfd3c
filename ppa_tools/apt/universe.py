"""All packages of an architecture that apt could install, put together from layers, and what satisfies a clause.

Of each name only the highest version counts, as apt by itself takes no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ppa_tools.apt.relations import Clause, Relation, parse_relations
from ppa_tools.apt.stanzas import BinaryPackage
from ppa_tools.debversion import version_key


class Layer:
    """The packages of one index, by their names and by what they provide."""

    def __init__(self, packages: Iterable[BinaryPackage] = ()) -> None:
        self.by_name: dict[str, list[BinaryPackage]] = {}
        self.by_provided: dict[str, list[BinaryPackage]] = {}
        for one in packages:
            self.by_name.setdefault(one.package, []).append(one)
            if one.provides:
                for clause in parse_relations(one.provides):
                    self.by_provided.setdefault(clause[0].name, []).append(one)


Kept = Callable[[BinaryPackage], bool]


def keep_all(_package: BinaryPackage) -> bool:
    """Leave nothing of a layer out."""
    return True


class Universe:
    """Layers seen as one; ``others`` are those of other architectures, for relations that name theirs."""

    def __init__(
        self,
        architecture: str,
        layers: Sequence[tuple[Layer, Kept]],
        others: Mapping[str, Universe] | None = None,
    ) -> None:
        self._architecture = architecture
        self._layers = layers
        self._others = others if others is not None else {}
        self._candidates: dict[str, BinaryPackage | None] = {}

    def candidate(self, name: str) -> BinaryPackage | None:
        """What apt would install by a name; None where nothing is called so."""
        if name not in self._candidates:
            best: BinaryPackage | None = None
            for layer, keep in self._layers:
                for one in layer.by_name.get(name, ()):
                    if keep(one) and (best is None or _is_higher(one.version, best.version)):
                        best = one
            self._candidates[name] = best
        return self._candidates[name]

    def satisfying(self, clause: Clause) -> Iterator[BinaryPackage]:
        """What would do for a clause: in the order of its alternatives, the package itself first."""
        for relation in clause:
            yield from self._satisfying(relation)

    def satisfies(self, clause: Clause) -> bool:
        """Whether anything would."""
        return next(self.satisfying(clause), None) is not None

    def _satisfying(self, relation: Relation) -> Iterator[BinaryPackage]:
        qualifier = relation.qualifier
        if qualifier not in ("", "any", "native", self._architecture):
            other = self._others.get(qualifier)
            if other is not None:
                yield from other._satisfying(relation)
            return
        real = self.candidate(relation.name)
        if real is not None and _is_qualified(real, qualifier) and relation.fits(real.version):
            yield real
        for layer, keep in self._layers:
            for one in layer.by_provided.get(relation.name, ()):
                if (
                    keep(one)
                    and self.candidate(one.package) == one
                    and _is_qualified(one, qualifier)
                    and provides(one, relation)
                ):
                    yield one


def provides(package: BinaryPackage, relation: Relation) -> bool:
    """Whether a package provides what a relation names, in a version that fits; without one only any will do."""
    for clause in parse_relations(package.provides):
        told = clause[0]
        if told.name == relation.name and (
            not relation.operator or (told.version and relation.fits(told.version))
        ):
            return True
    return False


def _is_qualified(package: BinaryPackage, qualifier: str) -> bool:
    return qualifier != "any" or package.multi_arch == "allowed"


def _is_higher(version: str, than: str) -> bool:
    if version == than:
        return False
    try:
        return version_key(version) > version_key(than)
    except ValueError:
        return False
