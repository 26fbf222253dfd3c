"""Which other sources must come along when some are copied, as what they need is not where they go.

Pure, and no solver: a clause is satisfied when the version that apt would take of one of its alternatives does.
Whether all can be installed together is told by ``ppa_tools.apt.installable``.

1. Look at the clauses of all binaries of the sources chosen so far, as things would be once they were copied.
2. For each that nothing satisfies, look which sources of SRC would do. Where it is one alone, it comes along.
3. Where it is always one of several, take the first alternative's of the first such clause, and look again:
   with it others may be satisfied, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ppa_tools.apt.relations import Clause, clause_text, parse_relations
from ppa_tools.apt.stanzas import BinaryPackage, Holdings, SourcePackage
from ppa_tools.apt.universe import Kept, Layer, Universe, keep_all
from ppa_tools.debversion import version_key


@dataclass(frozen=True)
class Need:
    """A clause that nothing in the destination satisfies; ``by`` is the package whose ``field`` has it.

    ``by`` is a source where ``field`` begins with Build-; ``by_source`` is always one.
    """

    by: str
    by_source: str
    field: str
    clause: str
    architectures: tuple[str, ...]

    def __str__(self) -> str:
        how = "needed to build" if self.field.startswith("Build-") else "needed by"
        return f"{how} {self.by}: {self.clause}"


@dataclass(frozen=True)
class Companion:
    """A source that must come along, and for whom."""

    source: str
    version: str
    needs: tuple[Need, ...]


@dataclass(frozen=True)
class Missing:
    """A need that no source could still; ``there`` says which versions there are, "" where there are none."""

    need: Need
    there: str = ""

    def __str__(self) -> str:
        return f"{self.need} ({self.there or 'nobody has it'})"


@dataclass(frozen=True)
class Closure:
    """What must come along, in the order in which it was found, and what nobody has."""

    companions: tuple[Companion, ...]
    missing: tuple[Missing, ...]


class _Wanted(NamedTuple):
    by: str
    by_source: str
    field: str
    clause: Clause
    architecture: str


def find_closure(
    chosen: Collection[str],
    source: Holdings,
    destination: Holdings,
    base: Holdings,
    *,
    rebuild: bool = False,
) -> Closure:
    """What ``chosen``, names of sources of ``source``, need along in ``destination`` on top of ``base``.

    With ``rebuild`` what they are built with is needed, too. Raises ValueError for names that ``source`` has not.
    """
    return _Search(source, destination, base, rebuild).run(chosen)


class _Search:
    """One search; ``taken`` are the sources that are copied, as far as is known."""

    def __init__(self, source: Holdings, destination: Holdings, base: Holdings, rebuild: bool) -> None:
        self._versions = _newest(source)
        self._rebuild = rebuild
        self._architectures = tuple(source.binaries)
        self._sources = {one.source: one for one in source.sources if one.version == self._versions[one.source]}
        self._base = {name: Layer(base.binaries.get(name, ())) for name in self._architectures}
        self._destination = {name: Layer(destination.binaries.get(name, ())) for name in self._architectures}
        self._layers = {
            name: Layer(
                one for one in source.binaries[name] if self._versions.get(one.source) == one.source_version
            )
            for name in self._architectures
        }
        self._by_source: dict[str, list[tuple[str, BinaryPackage]]] = {}
        for name, layer in self._layers.items():
            for packages in layer.by_name.values():
                for one in packages:
                    self._by_source.setdefault(one.source, []).append((name, one))
        self._wanted = dict[str, list[_Wanted]]()
        held = _newest(destination)
        self._not_copied = {  # what the destination has as new already
            name
            for name, version in self._versions.items()
            if name in held and version_key(version) <= version_key(held[name])
        }

    def run(self, chosen: Collection[str]) -> Closure:
        unknown = sorted(set(chosen) - self._versions.keys())
        if unknown:
            raise ValueError(f"not in the archive that is copied from: {', '.join(unknown)}")
        taken, needs = dict.fromkeys(chosen), dict[str, list[_Wanted]]()
        while True:
            unmet = self._unmet(taken)
            possible = [(wanted, helpers) for wanted in unmet if (helpers := self._helpers(wanted, taken))]
            certain = [(wanted, helpers[0]) for wanted, helpers in possible if len(helpers) == 1]
            for wanted, helper in certain or [(wanted, helpers[0]) for wanted, helpers in possible[:1]]:
                taken[helper] = None
                needs.setdefault(helper, []).append(wanted)
            if not possible:
                universes = self._universes(taken)
                there = {need: _there(clause, universes[need.architectures[0]]) for need, clause in _merged(unmet)}
                return Closure(
                    tuple(
                        Companion(name, self._versions[name], tuple(need for need, _ in _merged(those)))
                        for name, those in needs.items()
                    ),
                    tuple(Missing(need, words) for need, words in there.items()),
                )

    def _unmet(self, taken: Collection[str]) -> list[_Wanted]:
        universes = self._universes(taken)
        return [
            wanted
            for name in taken
            for wanted in self._wanted_by(name)
            if not universes[wanted.architecture].satisfies(wanted.clause)
        ]

    def _helpers(self, wanted: _Wanted, taken: Collection[str]) -> list[str]:
        """The sources with which a clause would be satisfied, the best first."""
        found = dict[str, None]()
        layer = self._layers[wanted.architecture]
        for relation in wanted.clause:
            for one in (*layer.by_name.get(relation.name, ()), *layer.by_provided.get(relation.name, ())):
                if one.source in taken or one.source in found or one.source in self._not_copied:
                    continue
                if self._universes({*taken, one.source})[wanted.architecture].satisfies((relation,)):
                    found[one.source] = None
        return list(found)

    def _universes(self, taken: Collection[str]) -> dict[str, Universe]:
        """How things would be, by architecture, once ``taken`` were copied."""
        found = dict[str, Universe]()
        for name in self._architectures:
            layers: list[tuple[Layer, Kept]] = [
                (self._base[name], keep_all),
                (self._destination[name], lambda one: one.source not in taken),
                (self._layers[name], lambda one: one.source in taken),
            ]
            found[name] = Universe(name, layers, found)
        return found

    def _wanted_by(self, name: str) -> Sequence[_Wanted]:
        """The clauses of a source's binaries, and with rebuild its own, on every architecture."""
        if name not in self._wanted:
            found = [
                _Wanted(one.package, name, field, clause, architecture)
                for architecture, one in self._by_source.get(name, ())
                for field, text in (("Pre-Depends", one.pre_depends), ("Depends", one.depends))
                for clause in parse_relations(text)
            ]
            if self._rebuild and name in self._sources:
                found += _wanted_to_build(self._sources[name], self._architectures)
            self._wanted[name] = found
        return self._wanted[name]


def _wanted_to_build(source: SourcePackage, architectures: Sequence[str]) -> Iterator[_Wanted]:
    """What the build on each architecture wants; what is for all architectures is built on the first."""
    builds_all = "all" in source.architectures or not source.architectures
    for at, architecture in enumerate(architectures):
        fields = [("Build-Depends", source.build_depends), ("Build-Depends-Arch", source.build_depends_arch)]
        if source.architectures == ("all",):
            fields.pop()
            if at:
                continue
        if builds_all and at == 0:
            fields.append(("Build-Depends-Indep", source.build_depends_indep))
        for field, text in fields:
            for clause in parse_relations(text):
                here = tuple(one for one in clause if one.holds_on(architecture))
                if here:
                    yield _Wanted(source.source, source.source, field, here, architecture)


def _merged(those: Iterable[_Wanted]) -> list[tuple[Need, Clause]]:
    """Needs that differ by their architecture alone, as one."""
    found = dict[tuple[str, str, str, Clause], list[str]]()
    for by, by_source, field, clause, architecture in those:
        architectures = found.setdefault((by, by_source, field, clause), [])
        if architecture not in architectures:
            architectures.append(architecture)
    return [
        (Need(by, by_source, field, clause_text(clause), tuple(architectures)), clause)
        for (by, by_source, field, clause), architectures in found.items()
    ]


def _there(clause: Clause, universe: Universe) -> str:
    """Which versions there are of what a clause names."""
    candidates = [one for relation in clause if (one := universe.candidate(relation.name))]
    return ", ".join(f"{one.package} {one.version} is there" for one in candidates)


def _newest(holdings: Holdings) -> dict[str, str]:
    """The highest version of each source; of binaries' where the sources are not told."""
    found = dict[str, str]()
    told = [(one.source, one.version) for one in holdings.sources] or [
        (one.source, one.source_version) for packages in holdings.binaries.values() for one in packages
    ]
    for name, version in told:
        known = found.get(name)
        if known is None or (version != known and version_key(version) > version_key(known)):
            found[name] = version
    return found
