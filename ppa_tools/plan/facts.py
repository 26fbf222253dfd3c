"""What planning must know beyond what both sides hold, and of which few packages: builds, and files to compare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ppa_tools.debversion import split_version, version_key, without_epoch
from ppa_tools.plan.choosing import Pick
from ppa_tools.publication import Build, File, Publication, Side


@dataclass(frozen=True)
class Terms:
    """How copies are wanted.

    Without ``with_binaries`` the destination builds them again. ``unembargo`` consents to copies from a private
    archive to a public one, ``incomplete`` to those of packages whose builds failed on some architectures.
    """

    with_binaries: bool = True
    unembargo: bool = False
    incomplete: bool = False


@dataclass(frozen=True)
class Facts:
    """What was asked of single publications, by their keys; of what is not there, nobody asked.

    No files means that they are no longer kept. Those ``there`` are the destination's, which has keys of its own.
    """

    builds: Mapping[str, tuple[Build, ...]] = field(default_factory=dict)
    source_files: Mapping[str, tuple[File, ...]] = field(default_factory=dict)
    binary_files: Mapping[str, tuple[File, ...]] = field(default_factory=dict)
    there_source_files: Mapping[str, tuple[File, ...]] = field(default_factory=dict)
    there_binary_files: Mapping[str, tuple[File, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """Which publications of each side facts are wanted of."""

    builds: tuple[Publication, ...] = ()
    source_files: tuple[Publication, ...] = ()
    binary_files: tuple[Publication, ...] = ()
    there_source_files: tuple[Publication, ...] = ()
    there_binary_files: tuple[Publication, ...] = ()

    def with_twins(self, pairs: Iterable[tuple[Publication, Publication]]) -> Question:
        """With the sources of ``twins``."""
        mine = {one.key: one for one in self.source_files}
        theirs = {one.key: one for one in self.there_source_files}
        for one, row in pairs:
            mine[one.key], theirs[row.key] = one, row
        return replace(self, source_files=tuple(mine.values()), there_source_files=tuple(theirs.values()))


class Shelf:
    """A side's publications by name: what is active, lowest version first, and all that it knows of."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.active: dict[tuple[str, str], list[Publication]] = defaultdict(list)
        self.every: dict[str, list[Publication]] = defaultdict(list)
        for one in side.publications:
            self.every[one.source].append(one)
            if one.is_active:
                self.active[one.series, one.source].append(one)
        for rows in self.active.values():
            rows.sort(key=lambda one: version_key(one.version))

    def in_place(self, series: str, source: str) -> Sequence[Publication]:
        """What is active of a source in a series, lowest version first."""
        return self.active.get((series, source), ())

    def versions(self, series: str, source: str) -> tuple[str, ...]:
        """The versions that are active of a source in a series, lowest first."""
        return tuple(one.version for one in self.in_place(series, source))


def questions(picks: Iterable[Pick], source: Shelf, destination: Shelf, terms: Terms) -> Question:
    """What must be asked before it is known whether these may be copied: as little as the rules can do with.

    Files are compared only where their names may be the same and their contents not: the destination knows the
    same version, or another of the same upstream version that ``source`` does not know. Where the publication has
    ended they are looked for.
    """
    same_archive = source.side.address == destination.side.address
    builds: dict[str, Publication] = {}
    mine: tuple[dict[str, Publication], dict[str, Publication]] = ({}, {})
    theirs: tuple[dict[str, Publication], dict[str, Publication]] = ({}, {})
    for pick in picks:
        one = pick.publication
        same, upstream = rivals(one, source, destination)
        if terms.with_binaries:
            builds[one.key] = one
        if not one.is_active:
            mine[0][one.key] = one
            mine[1].update({one.key: one} if terms.with_binaries else {})
        if not same_archive and (same or upstream):
            mine[0][one.key] = one
            theirs[0].update({row.key: row for row in (*same, *upstream)})
        if same and not (same_archive and terms.with_binaries):
            mine[1].update({one.key: one} if terms.with_binaries else {})
            theirs[1].update({row.key: row for row in same})
    return Question(*(tuple(rows.values()) for rows in (builds, *mine, *theirs)))


def twins(picks: Iterable[Pick], destination: Shelf) -> Iterable[tuple[Publication, Publication]]:
    """Publications whose version is active where they are to go, each with what is there."""
    for pick in picks:
        for row in destination.in_place(pick.to_series, pick.publication.source):
            if row.version == pick.publication.version:
                yield pick.publication, row


def rivals(
    one: Publication, source: Shelf, destination: Shelf
) -> tuple[tuple[Publication, ...], tuple[Publication, ...]]:
    """What the destination has, or had, whose file names may be those of a publication.

    First those of the same version, which file names have without its epoch; then one of the same upstream
    version, unless ``source`` knows it as well: a name stands for the same in an archive for ever.
    """
    here = {row.version for row in source.every.get(one.source, ())}
    there = destination.every.get(one.source, ())
    named = without_epoch(one.version)
    _, upstream, revision = split_version(one.version)
    same = tuple(row for row in there if without_epoch(row.version) == named)
    others = (row for row in there if without_epoch(row.version) != named and row.version not in here)
    like = (row for row in others if revision and split_version(row.version)[1:2] == (upstream,))
    return same, tuple(like)[:1]
