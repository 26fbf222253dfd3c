"""What follows when apt could not install some packages: those that want them, and have no choice, cannot be.

apt names the packages whose relations it could not keep. Where no version that it would take satisfies one of
these, that holds whatever is installed with it, and so for all that need such a package. So thousands of packages
that hang on one are not tried one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ppa_tools.apt.relations import Clause, clause_text, parse_relations
from ppa_tools.apt.stanzas import BinaryPackage, SourcePackage
from ppa_tools.apt.universe import Universe
from ppa_tools.apt.unmet import CANNOT, Unmet

CHAIN = 6
"""How many reasons are kept: one's own, the next ones, and the last, from which all follows."""


Name = tuple[str, bool]
"""A package, or a source, for which it is true."""


class _Wants(NamedTuple):
    field: str
    clause: Clause


class Inference:
    """What is known to be broken among ``packages`` and ``sources``, which ``universe`` has."""

    def __init__(
        self, universe: Universe, packages: Iterable[str], sources: Iterable[SourcePackage], architecture: str
    ) -> None:
        self._universe = universe
        self._broken: dict[Name, tuple[Unmet, ...]] = {}
        self._wants: dict[Name, tuple[_Wants, ...]] = {}
        self._wanted_by: dict[str, list[Name]] = {}
        for name in packages:
            if one := universe.candidate(name):
                self._add((name, False), _wants(one))
        for source in sources:
            self._add((source.source, True), _wants_to_build(source, architecture))

    def learn(self, unmet: Iterable[Unmet]) -> None:
        """Take in what apt said of a set that failed."""
        by_name: dict[Name, list[Unmet]] = {}
        for one in unmet:
            by_name.setdefault((one.package.partition(":")[0], one.is_build), []).append(one)
        pending = []
        for name, those in by_name.items():
            if name not in self._wants and (candidate := self._universe.candidate(name[0])) and not name[1]:
                self._add(name, _wants(candidate))
            if name not in self._broken and self._hopeless(name):
                self._broken[name] = tuple(those)
                pending.append(name)
        while pending:
            for name in self._dependants(pending.pop()):
                if name not in self._broken and (wants := self._hopeless(name)):
                    self._broken[name] = self._reasons(name, wants)
                    pending.append(name)

    def why_broken(self, name: str, *, is_source: bool) -> tuple[Unmet, ...]:
        """Why something cannot be installed, or built; empty where that is not known."""
        return self._broken.get((name, is_source), ())

    def _add(self, name: Name, wants: tuple[_Wants, ...]) -> None:
        self._wants[name] = wants
        for want in wants:
            for relation in want.clause:
                self._wanted_by.setdefault(relation.name, []).append(name)

    def _hopeless(self, name: Name) -> _Wants | None:
        """What something wants, and nothing could give."""
        for want in self._wants.get(name, ()):
            if all((one.package, False) in self._broken for one in self._universe.satisfying(want.clause)):
                return want
        return None

    def _dependants(self, name: Name) -> Iterator[Name]:
        if name[1]:
            return
        yield from self._wanted_by.get(name[0], ())
        if one := self._universe.candidate(name[0]):
            for clause in parse_relations(one.provides) if one.provides else ():
                yield from self._wanted_by.get(clause[0].name, ())

    def _reasons(self, name: Name, wants: _Wants) -> tuple[Unmet, ...]:
        own = Unmet(name[0], wants.field, clause_text(wants.clause), CANNOT, is_build=name[1])
        below = [
            one for each in self._universe.satisfying(wants.clause) for one in self._broken[each.package, False]
        ]
        chain = list(dict.fromkeys(below))
        return (own, *chain[: CHAIN - 2], *chain[CHAIN - 2 :][-1:])


def _wants(package: BinaryPackage) -> tuple[_Wants, ...]:
    fields = (("Pre-Depends", package.pre_depends), ("Depends", package.depends))
    return tuple(_Wants(field, clause) for field, text in fields for clause in parse_relations(text))


def _wants_to_build(source: SourcePackage, architecture: str) -> tuple[_Wants, ...]:
    """As `apt-get build-dep` does: for an architecture and all that is for any."""
    fields: Sequence[tuple[str, str]] = (
        ("Build-Depends", source.build_depends),
        ("Build-Depends-Arch", source.build_depends_arch),
        ("Build-Depends-Indep", source.build_depends_indep),
    )
    found = (
        _Wants(field, tuple(one for one in clause if one.holds_on(architecture)))
        for field, text in fields
        for clause in parse_relations(text)
    )
    return tuple(one for one in found if one.clause)
