"""Environments mixed of two: some suspects at their earlier versions, the others at their later ones, and whether
such a mix holds together.

What relations demand of a mix is known beforehand, as ``Rule``s over suspects: "when libfoo is at its earlier
version, so is libbar". Both environments existed, so what one of them itself violates is no rule; every rule then
has both sides, and any set of suspects can be made consistent by taking a few more along.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from buildfarm.build.manifest import EnvironmentPackage
from buildfarm.regress.environment_diff import EnvironmentDiff, Offers
from ppa_tools.apt.relations import clause_text

Presence = frozenset[tuple[str, bool]]
"""When a package is in the mix: with any of these suspects at its earlier (True) or later version."""


@dataclass(frozen=True)
class Rule:
    """With all of ``earlier`` at their earlier versions, one of ``then`` is as well; ``words`` tell why."""

    earlier: frozenset[str]
    then: frozenset[str]
    words: str

    def is_kept_by(self, earlier: Collection[str]) -> bool:
        """Whether it holds with these suspects, and no others, at their earlier versions."""
        return not self.earlier <= set(earlier) or any(one in earlier for one in self.then)


@dataclass(frozen=True)
class Ties:
    """The rules between suspects, named by their sources."""

    rules: tuple[Rule, ...] = ()

    def taking_back(self, earlier: Collection[str], within: Collection[str]) -> frozenset[str]:
        """The least set of suspects that can be at their earlier versions when ``earlier`` are.

        ``within`` is a set that itself keeps all rules; nothing beyond it is added.
        """
        steps = [(rule.earlier, rule.then) for rule in self.rules]
        return _follow(steps, frozenset(earlier), frozenset(within))

    def moving_on(self, later: Collection[str], within: Collection[str]) -> frozenset[str]:
        """The least set that can be at their later versions when ``later`` are, in the same way."""
        steps = [(rule.then, rule.earlier) for rule in self.rules]
        return _follow(steps, frozenset(later), frozenset(within))


@dataclass(frozen=True)
class Mix:
    """The packages of a mixed environment, by name; ``problems`` say what does not hold together."""

    packages: tuple[EnvironmentPackage, ...]
    problems: tuple[str, ...] = ()

    @property
    def is_consistent(self) -> bool:
        """Whether it can be installed, as far as its packages' relations tell."""
        return not self.problems


class Mixing:
    """All mixes of two environments.

    Changed packages are at the version that their suspect is at. One that stands in only one of the environments
    is in the mix as long as a suspect that needs it is at that environment's version.
    """

    def __init__(self, diff: EnvironmentDiff) -> None:
        self.suspects = diff.suspects
        self._parts = tuple(_parts(diff))
        self.ties = Ties(tuple(_rules(self._parts, diff.architecture)))

    def mix(self, earlier: Collection[str]) -> Mix:
        """With these suspects, by their sources' names, at their earlier versions, and all others at later ones.

        Raises KeyError for a name that is no suspect's.
        """
        names = frozenset(earlier)
        if unknown := names - {one.source for one in self.suspects}:
            raise KeyError(f"no suspects: {', '.join(sorted(unknown))}")
        there = [
            one
            for one, presence in self._parts
            if not presence or any((source in names) == wanted for source, wanted in presence)
        ]
        problems = tuple(rule.words for rule in self.ties.rules if not rule.is_kept_by(names))
        return Mix(tuple(sorted(there, key=lambda one: (one.name, one.architecture))), problems)


def _parts(diff: EnvironmentDiff) -> Iterator[tuple[EnvironmentPackage, Presence]]:
    for one in diff.unchanged:
        yield one, frozenset()
    for change in diff.changes:
        if change.before is not None:
            yield change.before, frozenset((source, True) for source in change.sources)
        if change.after is not None:
            yield change.after, frozenset((source, False) for source in change.sources)


def _rules(parts: Iterable[tuple[EnvironmentPackage, Presence]], native: str) -> Iterator[Rule]:
    listed = list(parts)
    presences = {id(one): presence for one, presence in listed}
    offers = Offers((one for one, _ in listed), native)
    seen = set()
    for one, presence in listed:
        for literals, words in _demands(one, presence, presences, offers):
            earlier = frozenset(source for source, wanted in literals if not wanted)
            then = frozenset(source for source, wanted in literals if wanted)
            # With one side empty one of the environments, which did exist, would violate it.
            if earlier and then and not earlier & then and (earlier, then) not in seen:
                seen.add((earlier, then))
                yield Rule(earlier, then, words)


def _demands(
    one: EnvironmentPackage, presence: Presence, presences: Mapping[int, Presence], offers: Offers
) -> Iterator[tuple[Presence, str]]:
    """What a package demands of a mix that it is in: literals of which one must hold."""
    for clause in one.wants:
        doing = [presences[id(each)] for each in offers.satisfying(clause, one)]
        if all(doing):  # what is always there has an empty presence, and satisfies in every mix
            for absent in _absences(presence):
                yield absent.union(*doing), f"{one} needs {clause_text(clause)}"
    for field, relation in one.shuns:
        for other in offers.shunned(relation, one):
            for absent in _absences(presence):
                for gone in _absences(presences[id(other)]):
                    yield absent | gone, f"{one} does not go with {other} ({field}: {relation})"


def _absences(presence: Presence) -> Iterator[Presence]:
    """A package is absent when each of these holds; what is always there contributes nothing to a demand."""
    if not presence:
        yield frozenset()
    for source, wanted in sorted(presence):
        yield frozenset({(source, not wanted)})


def _follow(
    steps: Iterable[tuple[frozenset[str], frozenset[str]]], start: frozenset[str], within: frozenset[str]
) -> frozenset[str]:
    """``start`` with one of the second taken in wherever all of the first are in; the sole ones first, as they
    leave no choice and may settle the others."""
    listed = sorted(((first, sorted(second & within)) for first, second in steps), key=lambda step: len(step[1]))
    found = set(start)
    while True:
        for first, second in listed:
            if second and first <= found and found.isdisjoint(second):
                found.add(second[0])
                break
        else:
            return frozenset(found)
