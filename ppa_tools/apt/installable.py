"""What of several PPAs put together could no longer be installed or built, proved by apt's own solver.

1. All packages are simulated in sets; of a set that fails the packages that apt names are tried apart from the
   others, and what is left is halved, down to the packages that fail alone: the culprits.
2. Each culprit is tried with each single PPA that has it. Where it could be installed with one, putting them
   together broke it; where it could not with any, it was broken before, which is told apart.

Packages that conflict with each other are no trouble: each of them can be installed.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from ppa_tools.apt.conflicting import Pin
from ppa_tools.apt.indexes import IndexText, Reader, lists_of, scan
from ppa_tools.apt.relations import parse_relations
from ppa_tools.apt.repositories import Repository
from ppa_tools.apt.root import AptRoot, Candidate, Laid, Simulated
from ppa_tools.apt.stanzas import SOURCE, BinaryPackage, Holdings
from ppa_tools.apt.unmet import Unmet

SET_SIZE = 400
WORKERS = 2
EXPLAINED_AT_MOST = 200
DEPTH = 4

Simulate = Callable[[Sequence[str]], Simulated]


@dataclass(frozen=True)
class Broken:
    """A package that cannot be installed, or a source that cannot be built; ``reasons`` are apt's.

    ``version`` is the one that apt would take, of ``repository``. ``fine_in`` are the PPAs with which alone it
    could be: empty for what was broken before.
    """

    name: str
    version: str
    architecture: str
    repository: str
    is_source: bool
    reasons: tuple[Unmet, ...]
    errors: str = ""
    fine_in: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = "built" if self.is_source else "installed"
        why = "; ".join(str(one) for one in self.reasons) or self.errors
        return f"{self.name} {self.version} cannot be {what} on {self.architecture}: {why}"


@dataclass(frozen=True)
class Verdict:
    """What was found on one architecture; ``tested`` counts packages and sources, ``simulations`` runs of apt."""

    architecture: str
    by_merge: tuple[Broken, ...]
    before: tuple[Broken, ...]
    tested: int
    simulations: int


def find_broken(
    ppas: Sequence[Repository],
    base: Sequence[Repository],
    architecture: str,
    *,
    reader: Reader,
    pins: Sequence[Pin] = (),
    foreign: Sequence[str] = (),
    build: bool = True,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Verdict:
    """What cannot be installed, and with ``build`` what cannot be built, once all PPAs are used together.

    ``ppas`` are in the order in which apt's sources list them; ``foreign`` are other architectures that the
    machine could run. ``progress`` is told how many of all packages are done. Raises what reading raises.
    """
    architectures = (architecture, *foreign)
    with tempfile.TemporaryDirectory(prefix="ppa-apt-") as name:
        room = Path(name)
        laid = {one: lay_out(reader, one, architectures, _new(room / f"{at}")) for at, one in enumerate(ppas)}
        below = [
            lay_out(reader, one, architectures, _new(room / f"base-{at}"), sources=False)
            for at, one in enumerate(base)
        ]
        holdings = {one: _holdings(laid[one], architecture) for one in ppas}
        merged = AptRoot(_new(room / "merged"), [*laid.values(), *below], architectures, pins)
        search = _Search(merged, holdings, architecture, build, progress)
        broken = search.run()
        for at, one in enumerate(ppas):
            suspects = [each for each in broken if each.name in search.names(one, is_source=each.is_source)]
            if suspects:
                alone = AptRoot(_new(room / f"alone-{at}"), [laid[one], *below], architectures)
                fine = search.fine_alone(alone, suspects)
                broken = [
                    replace(each, fine_in=(*each.fine_in, str(one))) if each in fine else each for each in broken
                ]
        return Verdict(
            architecture,
            tuple(one for one in broken if one.fine_in),
            tuple(one for one in broken if not one.fine_in),
            search.tested,
            search.simulations,
        )


def lay_out(
    reader: Reader, repository: Repository, architectures: Sequence[str], room: Path, *, sources: bool = True
) -> Laid:
    """A repository's indexes as files below ``room``, an empty directory; raises what reading raises."""
    if repository.lists:
        return Laid(repository, {name: lists_of(repository, name) for name in architectures})
    files: dict[str, list[Path]] = {}
    for at, one in enumerate(reader.read_texts(repository, architectures, sources=sources)):
        file = room / f"{at}-{one.architecture}"
        file.write_text(one.text, encoding="utf-8")
        files.setdefault(one.architecture, []).append(file)
    its_sources = tuple(files.pop(SOURCE, ()))
    return Laid(repository, {name: tuple(those) for name, those in files.items()}, its_sources)


class _Search:
    """One search on the merged root."""

    def __init__(
        self,
        merged: AptRoot,
        holdings: Mapping[Repository, Holdings],
        architecture: str,
        build: bool,
        progress: Callable[[int, int], None],
    ) -> None:
        self._merged, self._holdings, self._architecture = merged, holdings, architecture
        self._build, self._progress = build, progress
        self._done = 0
        self.tested = 0
        self.simulations = 0

    def run(self) -> list[Broken]:
        binaries = _first_of_each(
            one for held in self._holdings.values() for one in held.binaries.get(self._architecture, ())
        )
        sources = sorted({one.source for held in self._holdings.values() for one in held.sources})
        sources = [] if not self._build else sources
        self.tested = len(binaries) + len(sources)
        broken = self._explained(list(compatible_sets(binaries)), self._merged.simulate_install, is_source=False)
        return broken + self._explained(list(_pieces(sources)), self._merged.simulate_build_dep, is_source=True)

    @functools.cache  # noqa: B019 (a search lives as long as one call)
    def names(self, repository: Repository, *, is_source: bool) -> frozenset[str]:
        held = self._holdings[repository]
        if is_source:
            return frozenset(one.source for one in held.sources)
        return frozenset(one.package for one in held.binaries.get(self._architecture, ()))

    def fine_alone(self, root: AptRoot, suspects: Sequence[Broken]) -> list[Broken]:
        failing = set[tuple[str, bool]]()
        for is_source, simulate in ((False, root.simulate_install), (True, root.simulate_build_dep)):
            names = [one.name for one in suspects if one.is_source == is_source]
            failing |= {(name, is_source) for name in self._failing(_pieces(names), simulate)}
        return [one for one in suspects if (one.name, one.is_source) not in failing]

    def _explained(self, sets: Sequence[Sequence[str]], simulate: Simulate, *, is_source: bool) -> list[Broken]:
        failing = self._failing(sets, simulate, self._tell)
        candidates = {} if is_source else self._merged.candidates(sorted(failing))
        found = []
        for at, (name, said) in enumerate(sorted(failing.items())):
            if not is_source and at < EXPLAINED_AT_MOST:
                said = self._dig(name, said)
            there = self._merged.candidates(sorted({one.target for one in said.unmet}))
            taken = self._source(name) if is_source else candidates.get(name)
            found.append(
                Broken(
                    name,
                    taken.version if taken else "",
                    self._architecture,
                    str(taken.repository) if taken else "",
                    is_source,
                    tuple(replace(one, there=_version_of(there.get(one.target))) for one in said.unmet),
                    said.errors,
                )
            )
        return found

    def _dig(self, name: str, said: Simulated) -> Simulated:
        """Why what a package wants is not going to be installed: apt tells when that is wanted, too."""
        asked = [name]
        for _ in range(DEPTH):
            deeper = [one.target for one in said.unmet if one.words == "it is not going to be installed"]
            deeper = [one for one in dict.fromkeys(deeper) if one not in asked]
            if not deeper:
                break
            self.simulations += 1
            more = self._merged.simulate_install([name, *deeper])
            if more.installable or not more.unmet or {one.package for one in more.unmet} == {name}:
                break
            asked += deeper
            said = replace(more, unmet=tuple(dict.fromkeys((*said.unmet, *more.unmet))))
        return said

    def _source(self, name: str) -> Candidate | None:
        """The newest source of a name, which apt takes."""
        from ppa_tools.debversion import version_key

        found = [
            Candidate(one.version, repository)
            for repository, held in self._holdings.items()
            for one in held.sources
            if one.source == name
        ]
        return max(found, key=lambda one: version_key(one.version), default=None)

    def _failing(
        self,
        sets: Iterable[Sequence[str]],
        simulate: Simulate,
        done: Callable[[int], None] = lambda _count: None,
    ) -> dict[str, Simulated]:
        """The packages of sets that fail alone, and what apt says of each."""
        failing = dict[str, Simulated]()
        with ThreadPoolExecutor(WORKERS) as pool:
            running: dict[Future[Simulated], Sequence[str]] = {}
            waiting = [one for one in sets if one]
            while waiting or running:
                running.update({pool.submit(simulate, one): one for one in waiting})
                self.simulations += len(waiting)
                waiting = []
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    names, said = running.pop(future), future.result()
                    if said.installable:
                        done(len(names))
                    elif len(names) == 1:
                        failing[names[0]] = said
                        done(1)
                    else:
                        waiting += divide(names, said)
        return failing

    def _tell(self, count: int) -> None:
        self._done += count
        self._progress(self._done, self.tested)


def divide(names: Sequence[str], said: Simulated) -> list[Sequence[str]]:
    """Sets to try next in the place of one that failed: those that apt named, halved, and the others."""
    named = {one.package.partition(":")[0] for one in said.unmet}
    suspects = [name for name in names if name in named]
    others = [name for name in names if name not in named]
    if not suspects or not others:
        half = len(names) // 2
        return [names[:half], names[half:]]
    half = (len(suspects) + 1) // 2
    return [one for one in (suspects[:half], suspects[half:], others) if one]


def compatible_sets(packages: Mapping[str, BinaryPackage]) -> Iterator[Sequence[str]]:
    """The names in sets of SET_SIZE at most, in which none declares a conflict with another.

    Only a help: a set that fails nevertheless is halved.
    """
    providers: dict[str, set[str]] = {}
    for name, one in packages.items():
        providers.setdefault(name, set()).add(name)
        for clause in parse_relations(one.provides) if one.provides else ():
            providers.setdefault(clause[0].name, set()).add(name)
    enemies: dict[str, set[str]] = {name: set() for name in packages}
    for name, one in packages.items():
        for clause in parse_relations(", ".join(part for part in (one.conflicts, one.breaks) if part)):
            for other in providers.get(clause[0].name, set()) - {name}:
                enemies[name].add(other)
                enemies[other].add(name)
    layers: list[list[str]] = []
    of_layer: dict[str, int] = {}
    for name in packages:
        taken = {of_layer[other] for other in enemies[name] if other in of_layer}
        at = next(number for number in range(len(layers) + 1) if number not in taken)
        if at == len(layers):
            layers.append([])
        layers[at].append(name)
        of_layer[name] = at
    for layer in layers:
        yield from _pieces(layer)


def _pieces(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), SET_SIZE):
        yield names[start : start + SET_SIZE]


def _first_of_each(packages: Iterable[BinaryPackage]) -> dict[str, BinaryPackage]:
    found = dict[str, BinaryPackage]()
    for one in packages:
        found.setdefault(one.package, one)
    return found


def _holdings(laid: Laid, architecture: str) -> Holdings:
    files = [(architecture, file) for file in laid.packages.get(architecture, ())]
    files += [(SOURCE, file) for file in laid.sources]
    return scan(IndexText(name, str(laid.repository), file.read_text(encoding="utf-8")) for name, file in files)


def _version_of(candidate: Candidate | None) -> str:
    return candidate.version if candidate else ""


def _new(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory
