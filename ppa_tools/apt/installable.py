"""What of several PPAs put together could no longer be installed or built, proved by apt's own solver.

1. All packages are simulated in sets. Of a set that fails apt names those that it could not install, and what
   hangs on them follows (``ppa_tools.apt.inference``); the others are tried again. Where nothing follows the set
   is halved, down to the packages that fail alone.
2. What cannot be installed is tried with each single PPA that has it. Where it could be with one, putting them
   together broke it; where it could not with any, it was broken before, which is told apart.

Packages that conflict with each other are no trouble: each of them can be installed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from ppa_tools.apt.conflicting import Pin
from ppa_tools.apt.indexes import IndexText, Reader, lists_of, read_index, scan
from ppa_tools.apt.inference import Inference
from ppa_tools.apt.relations import parse_relations
from ppa_tools.apt.repositories import Repository
from ppa_tools.apt.root import AptRoot, Candidate, Laid, Simulated
from ppa_tools.apt.stanzas import SOURCE, BinaryPackage, Holdings
from ppa_tools.apt.universe import Layer, Universe, keep_all
from ppa_tools.apt.unmet import Unmet
from ppa_tools.debversion import version_key

SET_SIZE = 1500
WORKERS = 2
EXPLAINING_AT_MOST = 500
NOT_GOING_TO_BE = "it is not going to be installed"
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

    @property
    def cause(self) -> str:
        """What it comes down to: the same for all that hang on it."""
        return str(self.reasons[-1]) if self.reasons else self.errors

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
        laid = [lay_out(reader, one, architectures, _new(room / f"{at}")) for at, one in enumerate(ppas)]
        below = [
            lay_out(reader, one, architectures, _new(room / f"base-{at}"), sources=False)
            for at, one in enumerate(base)
        ]
        layers = _Layers(architecture)
        root = AptRoot(_new(room / "merged"), [*laid, *below], architectures, pins, build_essential=bool(below))
        merged = _Search(root, laid, below, layers)
        merged.infers = not pins  # which are apt's own affair
        names, sources = merged.packages(), merged.sources() if build else []
        total = len(names) + len(sources)
        tell = _Counter(lambda done: progress(done, total))
        broken = merged.explained(merged.failing_packages(names, tell), is_source=False)
        broken += merged.explained(merged.failing_sources(sources, tell), is_source=True)
        simulations = merged.simulations
        for at, one in enumerate(laid):
            held = {False: set(layers.names(one)), True: {each.source for each in layers.holdings(one).sources}}
            suspects = [each for each in broken if each.name in held[each.is_source]]
            if suspects:
                root = AptRoot(
                    _new(room / f"alone-{at}"), [one, *below], architectures, build_essential=bool(below)
                )
                alone = _Search(root, [one], below, layers)
                failing = {
                    False: alone.failing_packages([each.name for each in suspects if not each.is_source]),
                    True: alone.failing_sources([each.name for each in suspects if each.is_source]),
                }
                fine = {each for each in suspects if each.name not in failing[each.is_source]}
                label = str(one.repository)
                broken = [
                    replace(each, fine_in=(*each.fine_in, label)) if each in fine else each for each in broken
                ]
                simulations += alone.simulations
                shutil.rmtree(room / f"alone-{at}")  # its cache may be large
        by_merge = tuple(each for each in broken if each.fine_in)
        before = tuple(each for each in broken if not each.fine_in)
        return Verdict(architecture, by_merge, before, total, simulations)


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


class _Layers:
    """What repositories that were laid out hold, scanned once, and only when it is asked for."""

    def __init__(self, architecture: str) -> None:
        self.architecture = architecture
        self._holdings: dict[Repository, Holdings] = {}
        self._layers: dict[Repository, Layer] = {}

    def holdings(self, laid: Laid) -> Holdings:
        if laid.repository not in self._holdings:
            files = [(self.architecture, file) for file in laid.packages.get(self.architecture, ())]
            files += [(SOURCE, file) for file in laid.sources]
            texts = (IndexText(name, str(laid.repository), read_index(file)) for name, file in files)
            self._holdings[laid.repository] = scan(texts)
        return self._holdings[laid.repository]

    def packages(self, laid: Laid) -> Sequence[BinaryPackage]:
        return self.holdings(laid).binaries.get(self.architecture, ())

    def names(self, laid: Laid) -> Iterator[str]:
        return (one.package for one in self.packages(laid))

    def layer(self, laid: Laid) -> Layer:
        if laid.repository not in self._layers:
            self._layers[laid.repository] = Layer(self.packages(laid))
        return self._layers[laid.repository]


class _Counter:
    """Counts what is done, and tells it on."""

    def __init__(self, told: Callable[[int], None]) -> None:
        self._told, self._done = told, 0

    def __call__(self, count: int) -> None:
        self._done += count
        self._told(self._done)


class _Search:
    """A root of apt's, and what is searched for in it: the packages of ``laid``, which lie on ``below``."""

    def __init__(self, root: AptRoot, laid: Sequence[Laid], below: Sequence[Laid], layers: _Layers) -> None:
        self._root, self._laid, self._below, self._layers = root, laid, below, layers
        self._inference: Inference | None = None
        self.infers = True
        self.simulations = 0

    def packages(self) -> list[str]:
        return list(dict.fromkeys(name for one in self._laid for name in self._layers.names(one)))

    def sources(self) -> list[str]:
        return sorted({one.source for laid in self._laid for one in self._layers.holdings(laid).sources})

    def failing_packages(
        self, names: Sequence[str], done: Callable[[int], None] = lambda _count: None
    ) -> dict[str, Simulated]:
        wanted = set(names)
        packages = {
            one.package: one for laid in self._laid for one in self._layers.packages(laid) if one.package in wanted
        }
        return self._failing(compatible_sets(packages), self._root.simulate_install, done, is_source=False)

    def failing_sources(
        self, names: Sequence[str], done: Callable[[int], None] = lambda _count: None
    ) -> dict[str, Simulated]:
        return self._failing(_pieces(names), self._root.simulate_build_dep, done, is_source=True)

    def explained(self, failing: Mapping[str, Simulated], *, is_source: bool) -> list[Broken]:
        """What fails, with the versions that are there of what it wants."""
        dug = {name: said if is_source else self._dig(name, said) for name, said in sorted(failing.items())}
        targets = {one.target for said in dug.values() for one in said.unmet}
        there = self._root.candidates(sorted(targets if is_source else targets | dug.keys()))
        taken = self._newest_sources() if is_source else there
        return [
            Broken(
                name,
                taken[name].version if name in taken else "",
                self._layers.architecture,
                str(taken[name].repository) if name in taken else "",
                is_source,
                tuple(
                    replace(one, there=there[one.target].version) if one.target in there else one
                    for one in said.unmet
                ),
                said.errors,
            )
            for name, said in dug.items()
        ]

    def _failing(
        self, sets: Iterable[Sequence[str]], simulate: Simulate, done: Callable[[int], None], *, is_source: bool
    ) -> dict[str, Simulated]:
        """The packages of sets that fail alone, or for what they need; and what apt says of each."""
        failing = dict[str, Simulated]()
        with ThreadPoolExecutor(WORKERS) as pool:
            running: dict[Future[Simulated], Sequence[str]] = {}
            waiting = list(sets)
            while waiting or running:
                while waiting and len(running) < WORKERS:  # the others may be shorter by what these teach
                    names = waiting.pop(0)
                    broken = self._known(names, is_source=is_source)
                    failing.update(broken)
                    done(len(broken))
                    if rest := [name for name in names if name not in broken]:
                        running[pool.submit(simulate, rest)] = rest
                        self.simulations += 1
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    names, said = running.pop(future), future.result()
                    if said.installable:
                        done(len(names))
                        continue
                    self._learn(said)
                    if self._known(names, is_source=is_source):
                        waiting.append(names)
                    elif len(names) == 1:
                        failing[names[0]] = said
                        done(1)
                    else:
                        waiting += divide(names, said)
        return failing

    def _known(self, names: Sequence[str], *, is_source: bool) -> dict[str, Simulated]:
        """Those that are known to be broken."""
        if self._inference is None:
            return {}
        whys = ((name, self._inference.why_broken(name, is_source=is_source)) for name in names)
        return {name: Simulated(False, why) for name, why in whys if why}

    def _learn(self, said: Simulated) -> None:
        if not self.infers:
            return
        if self._inference is None:
            layers = [(self._layers.layer(one), keep_all) for one in (*self._laid, *self._below)]
            universe = Universe(self._layers.architecture, layers)
            sources = [one for laid in self._laid for one in self._layers.holdings(laid).sources]
            newest = {one.source: one for one in sorted(sources, key=lambda one: version_key(one.version))}
            self._inference = Inference(universe, self.packages(), newest.values(), self._layers.architecture)
        self._inference.learn(said.unmet)

    def _dig(self, name: str, said: Simulated) -> Simulated:
        """Why what a package wants is not going to be installed: apt tells when that is wanted, too."""
        asked = [name]
        for _ in range(DEPTH):
            deeper = [one.target for one in said.unmet if one.words == NOT_GOING_TO_BE]
            deeper = [one for one in dict.fromkeys(deeper) if one not in asked]
            if not deeper or self.simulations > EXPLAINING_AT_MOST:
                break
            self.simulations += 1
            more = self._root.simulate_install([name, *deeper])
            if more.installable or not more.unmet or {one.package for one in more.unmet} == {name}:
                break
            asked += deeper
            said = replace(more, unmet=tuple(dict.fromkeys((*said.unmet, *more.unmet))))
        return said

    def _newest_sources(self) -> dict[str, Candidate]:
        """The newest source of each name, which apt takes, and the first that has it."""
        found = dict[str, Candidate]()
        for laid in self._laid:
            for one in self._layers.holdings(laid).sources:
                known = found.get(one.source)
                if known is None or version_key(one.version) > version_key(known.version):
                    found[one.source] = Candidate(one.version, laid.repository)
        return found


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


def _new(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory
