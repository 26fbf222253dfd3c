"""From a package set to the rebuilds of a night: which sources, in which version, from which signed index."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from buildfarm.build.apt_sources import HostApt, find_sources, read_host
from buildfarm.errors import FarmError, FarmTrouble, UsageError
from buildfarm.recipe.problem import nearest
from buildfarm.regress.model import ExtraSources, LeftOut, RebuildJob, Subject
from buildfarm.regress.package_set import PackageSet
from buildfarm.regress.source_index import (
    Found,
    Ppa,
    find_ppa,
    newest,
    read_sources,
    repositories_of,
    source_files,
    source_reader,
)
from buildfarm.settings import Settings
from ppa_tools.address import parse_address
from ppa_tools.apt.indexes import Reader
from ppa_tools.apt.relations import Relation, parse_relations
from ppa_tools.apt.repositories import Repository
from ppa_tools.apt.stanzas import IndexDamaged, SourcePackage

WILDCARDS = frozenset("*?[")
NAME_AROUND = "a-z0-9+.-"
READERS = 4
ANY_MAIN_ARCHITECTURE = "amd64"


@dataclass(frozen=True)
class Selection:
    """What a set comes to today."""

    jobs: tuple[RebuildJob, ...]
    left_out: tuple[LeftOut, ...] = ()

    def require_jobs(self) -> tuple[RebuildJob, ...]:
        """The jobs; raises UsageError, saying why, where there is none."""
        if not self.jobs:
            raise UsageError(
                "there is nothing to rebuild",
                details="\n".join(map(str, self.left_out[:20])),
                resolution="Name source packages as the series has them; `buildfarm check` looks at the sets.",
            )
        return self.jobs


@dataclass(frozen=True)
class Shelf:
    """The newest sources of a series, by name: its own, and the PPA's."""

    series: str
    own: Mapping[str, Found]
    ppa: Mapping[str, Found]
    hidden: frozenset[str] = frozenset()
    extra: tuple[ExtraSources, ...] = ()

    @functools.cached_property
    def all(self) -> Mapping[str, Found]:
        """Every source by its name; what the PPA has stands before the series' own."""
        return {**self.own, **self.ppa}

    @functools.cached_property
    def builders(self) -> Mapping[str, str]:
        """Which source builds a binary package."""
        return {binary: name for name, found in self.all.items() for binary in found.source.binaries}


def select(
    wanted: PackageSet, settings: Settings, *, reader: Reader | None = None, host: HostApt | None = None
) -> Selection:
    """What is rebuilt of a set, from the archives as they stand now.

    What cannot be is left out, with the reason; a series whose archives cannot be read leaves out only itself,
    unless none is left: then its FarmTrouble or UsageError is raised.
    """
    host = host or read_host()
    reader = reader or source_reader(settings, host)
    shelves: dict[str, Shelf] = {}
    troubles: dict[str, FarmError] = {}
    for series in wanted.series:
        try:
            shelves[series] = _read_shelf(wanted, series, settings, reader, host)
        except FarmError as error:
            troubles[series] = error
        except OSError as error:
            troubles[series] = FarmTrouble(
                f"the indexes of {series} cannot be kept: {error}",
                where=str(settings.cache),
                resolution="Is the disk of the farm's cache full, or not mounted?",
            )
    reader.fetcher.forget_unused()
    if not shelves and troubles:
        raise next(iter(troubles.values()))
    return choose(wanted, shelves, troubles)


def _read_shelf(wanted: PackageSet, series: str, settings: Settings, reader: Reader, host: HostApt) -> Shelf:
    given = settings.series.get(series)
    repositories = repositories_of(find_sources(series, wanted.architectures[0], given, host))
    held = _read_all(reader, repositories)
    if not held and (given is None or not given.apt_sources.strip()):
        # A mirror may leave sources out, as Ubuntu's of ports does: its distribution's own has them.
        standard = find_sources(series, ANY_MAIN_ARCHITECTURE, None, HostApt("", {}))
        held = _read_all(reader, repositories_of(standard))
    if not held and not wanted.ppa:
        names = ", ".join(map(str, repositories))
        raise UsageError(
            f"the archives of {series} have no sources: {names}",
            resolution=f"Name a mirror that has them in farm.toml: [series.{series}] apt_sources.",
        )
    ppa: Ppa | None = None
    held_by_ppa: list[Found] = []
    if wanted.ppa:
        ppa = find_ppa(parse_address(wanted.ppa), series, settings, reader)
        held_by_ppa = read_sources(reader, ppa.repository, root=ppa.root)
    own, of_ppa = newest(held), newest(held_by_ppa)
    hidden = {one.source.source for one in held if one.source.extra} - own.keys() - of_ppa.keys()
    return Shelf(series, own, of_ppa, frozenset(hidden), (ppa.extra,) if ppa else ())


def _read_all(reader: Reader, repositories: Sequence[Repository]) -> list[Found]:
    with ThreadPoolExecutor(READERS) as pool:
        return [one for some in pool.map(functools.partial(read_sources, reader), repositories) for one in some]


def choose(
    wanted: PackageSet, shelves: Mapping[str, Shelf], troubles: Mapping[str, FarmError] | None = None
) -> Selection:
    """What a set comes to, from what its series have; ``troubles`` are those that could not be read. Pure."""
    jobs: list[RebuildJob] = []
    left_out: list[LeftOut] = []
    for series in wanted.series:
        for number, architecture in enumerate(wanted.architectures):
            if series not in shelves:
                trouble = (troubles or {}).get(series)
                reason = str(trouble) if trouble is not None else "its archives were not read"
                left_out.append(LeftOut(Subject("*", series, architecture), reason))
                continue
            for one in _choose_of(wanted, shelves[series], architecture, number == 0, shelves):
                if isinstance(one, RebuildJob):
                    jobs.append(one)
                else:
                    left_out.append(one)
    return Selection(tuple(jobs), tuple(left_out))


def _choose_of(
    wanted: PackageSet, shelf: Shelf, architecture: str, arch_all: bool, shelves: Mapping[str, Shelf]
) -> Iterator[RebuildJob | LeftOut]:
    names: set[str] = set(shelf.ppa)
    if wanted.ppa and not shelf.ppa:
        yield LeftOut(Subject("*", shelf.series, architecture), f"{wanted.ppa} has no sources for it")
    for pattern in wanted.packages:
        found = match(pattern, shelf.all)
        names |= found
        if not found:
            yield LeftOut(Subject(pattern, shelf.series, architecture), why_missing(pattern, shelf, shelves))
    for target in wanted.reverse_build_depends_of:
        found, reason = reverse_build_depends(target, shelf, architecture, arch_all)
        names |= found
        if not found:
            yield LeftOut(Subject(target, shelf.series, architecture), reason)
    for pattern in wanted.exclude:
        names -= match(pattern, names)
    for name in sorted(names):
        yield _job(wanted, shelf, shelf.all[name], architecture, arch_all)


def _job(
    wanted: PackageSet, shelf: Shelf, found: Found, architecture: str, arch_all: bool
) -> RebuildJob | LeftOut:
    one = found.source
    subject = Subject(one.source, shelf.series, architecture)
    if not builds_on(one.architectures, architecture, arch_all=arch_all):
        reason = f"it is not built on {architecture}, only on {' '.join(one.architectures) or 'nothing'}"
        if one.architectures == ("all",):
            reason = f"Architecture: all is built on {wanted.architectures[0]} alone"
        return LeftOut(subject, reason)
    try:
        files = source_files(found)
    except IndexDamaged as error:
        return LeftOut(subject, f"its entry in the index cannot be used: {error}")
    return RebuildJob(
        wanted.name,
        one.source,
        one.version,
        shelf.series,
        architecture,
        files,
        arch_all and "all" in one.architectures,
        (*wanted.extra, *shelf.extra),
        wanted.limits,
        wanted.options,
        wanted.publish,
    )


def builds_on(architectures: tuple[str, ...], architecture: str, *, arch_all: bool) -> bool:
    """Whether a source with this Architecture field builds anything on an architecture."""
    if "all" in architectures and arch_all:
        return True
    concrete = tuple(name for name in architectures if name != "all")
    if not concrete:
        return False
    return Relation("", architectures=tuple((True, name) for name in concrete)).holds_on(architecture)


def match(pattern: str, names: Iterable[str]) -> set[str]:
    """The names that a name or glob means."""
    if not WILDCARDS & set(pattern):
        return {pattern} & set(names)
    fits = re.compile(fnmatch.translate(pattern)).match
    return {name for name in names if fits(name)}


def why_missing(pattern: str, shelf: Shelf, shelves: Mapping[str, Shelf]) -> str:
    """Why a series has nothing for a name or glob, and what may have been meant."""
    if WILDCARDS & set(pattern):
        return f"nothing in {shelf.series} matches the pattern {pattern!r}"
    if pattern in shelf.hidden:
        return f"{shelf.series} has no version of it but one kept only for what was built with it"
    if builder := shelf.builders.get(pattern):
        return f"it is a binary package; its source in {shelf.series} is {builder}"
    if others := [series for series, other in shelves.items() if pattern in other.all]:
        return f"it has no version for {shelf.series}; it has for {', '.join(others)}"
    near = nearest(pattern, shelf.all)
    meant = f"; did you mean {near!r}?" if near else ""
    return f"{shelf.series} has no source package of this name{meant}"


def reverse_build_depends(target: str, shelf: Shelf, architecture: str, arch_all: bool) -> tuple[set[str], str]:
    """The sources whose Build-Depends, -Arch or (with ``arch_all``) -Indep name a package; or none, and why.

    A source package stands for every binary package that it builds; any other name for the binary package, or
    what is only provided, of that name. A clause counts where it holds on the architecture, in any alternative.
    """
    known = shelf.all.get(target)
    names = frozenset(known.source.binaries) if known is not None else frozenset((target,))
    if not names:
        return set(), f"the source package {target} builds nothing"
    # Few of the fields name one of them: only those are read as relations.
    word = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    mentions = re.compile(f"(?<![{NAME_AROUND}])(?:{word})(?![{NAME_AROUND}])").search
    found = {
        name
        for name, one in shelf.all.items()
        if any(
            mentions(field) and _names_any(field, names, architecture)
            for field in build_depends_fields(one.source, arch_all=arch_all)
        )
    }
    if found:
        return found, ""
    if known is not None or target in shelf.builders:
        return found, f"nothing in {shelf.series} build-depends on it"
    near = nearest(target, (*shelf.all, *shelf.builders))
    meant = f"; did you mean {near!r}?" if near else ""
    return found, f"{shelf.series} has no package of this name that anything build-depends on{meant}"


def build_depends_fields(source: SourcePackage, *, arch_all: bool) -> tuple[str, ...]:
    """The fields that say what a source wants to be built."""
    indep = (source.build_depends_indep,) if arch_all else ()
    return (source.build_depends, source.build_depends_arch, *indep)


def _names_any(field: str, names: frozenset[str], architecture: str) -> bool:
    return any(
        one.name in names and one.holds_on(architecture) for clause in parse_relations(field) for one in clause
    )
