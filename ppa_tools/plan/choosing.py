"""Choosing what is meant: packages by name, version and glob, from series to series; near names for the rest."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ppa_tools.debversion import split_version, version_key
from ppa_tools.publication import Publication, Side

NEAREST = 3


class ChoiceError(ValueError):
    """What is asked for makes no sense; the message says what would."""


@dataclass(frozen=True)
class Wanted:
    """A source package that is asked for by name; ``version`` "" is its newest that is active."""

    source: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.source}={self.version}" if self.version else self.source


@dataclass(frozen=True)
class SeriesPair:
    """From which series to which."""

    from_series: str
    to_series: str

    def __str__(self) -> str:
        same = self.from_series == self.to_series
        return self.from_series if same else f"{self.from_series} to {self.to_series}"


@dataclass(frozen=True)
class Selection:
    """What is meant: the ``wanted``, and what fits an ``include`` glob; or all there is with ``everything``.

    With both ``everything`` and ``include``, all that fits. What fits an ``exclude`` glob is never meant.
    """

    wanted: tuple[Wanted, ...] = ()
    everything: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def admits(self, name: str) -> bool:
        """Whether a source package is meant that nobody named."""
        by_glob = fits(name, self.include) if self.include else self.everything
        return by_glob and not fits(name, self.exclude)

    def means(self, name: str) -> bool:
        """Whether a source package is meant at all, named or not."""
        named = any(one.source == name for one in self.wanted) and not fits(name, self.exclude)
        return named or self.admits(name)


@dataclass(frozen=True)
class Pick:
    """A publication that is meant, and the series it is meant for; ``latest``: its archive's newest active one."""

    publication: Publication
    to_series: str
    latest: bool = True


@dataclass(frozen=True)
class Missing:
    """A name, version or glob that nothing was found for; ``nearest`` are names or versions that there are."""

    asked: str
    where: str
    nearest: tuple[str, ...] = ()
    what: str = "package"
    source: str = ""

    def __str__(self) -> str:
        near = f"; there is {_either(self.nearest)}" if self.nearest else ""
        return f"{self.where} has no {self.what} {self.asked}{near}"


@dataclass(frozen=True)
class Chosen:
    """What was found of what was asked for."""

    picks: tuple[Pick, ...]
    missing: tuple[Missing, ...] = ()
    notes: tuple[str, ...] = ()


def parse_wanted(text: str) -> Wanted:
    """Read ``PACKAGE`` or ``PACKAGE=VERSION``; raises ChoiceError."""
    name, equals, version = text.partition("=")
    try:
        if equals:
            split_version(version)
    except ValueError as error:
        raise ChoiceError(f"{text!r}: {error}; PACKAGE=VERSION is wanted") from None
    if not name or any(letter.isspace() for letter in name):
        raise ChoiceError(f"{text!r} names no package: PACKAGE or PACKAGE=VERSION is wanted")
    return Wanted(name, version)


def fits(name: str, globs: Iterable[str]) -> bool:
    """Whether a name fits one of the globs."""
    return any(fnmatchcase(name, glob) for glob in globs)


def pair_series(
    source: Side, from_series: Sequence[str], to_series: Sequence[str], *, in_step: Side | None = None
) -> tuple[SeriesPair, ...]:
    """Which series go to which: as many of both, one to several, or (none named) each to itself.

    ``in_step`` is the destination of a sync, whose series count where none is named: what only it holds goes.
    Raises ChoiceError where that is not plain.
    """
    held = _series_held(source)
    if not to_series:
        names = from_series or sorted({*held, *(_series_held(in_step) if in_step else ())})
        return tuple(SeriesPair(name, name) for name in dict.fromkeys(names))
    if not from_series:
        if len(held) != 1:
            holds = f"has packages for {', '.join(held)}" if held else "is empty"
            raise ChoiceError(f"{source.address} {holds}: say which of them is meant with --from-series")
        from_series = held
    if len(from_series) == 1:
        return tuple(SeriesPair(from_series[0], name) for name in dict.fromkeys(to_series))
    if len(from_series) != len(to_series):
        raise ChoiceError(
            f"{len(from_series)} series to copy from and {len(to_series)} to copy to: name as many of both, "
            "in the same order, or one to copy from"
        )
    return tuple(dict.fromkeys(SeriesPair(*pair) for pair in zip(from_series, to_series, strict=True)))


def choose(source: Side, selection: Selection, pairs: Sequence[SeriesPair]) -> Chosen:
    """Find what is meant in what ``source`` holds (and held: for versions, its past must have been asked for)."""
    by_name = _by_name(source.publications)
    picks: list[Pick] = []
    notes: list[str] = []
    found: dict[Wanted, set[str]] = {one: set() for one in selection.wanted}
    for pair in pairs:
        names = by_name.get(pair.from_series, {})
        taken = set()
        for wanted in selection.wanted:
            if fits(wanted.source, selection.exclude):
                continue
            if (pick := _pick(names.get(wanted.source, ()), wanted.version, pair)) is not None:
                found[wanted].add(pair.from_series)
                taken.add(wanted.source)
                picks.append(pick)
        for name, rows in names.items():
            if name not in taken and selection.admits(name) and (pick := _pick(rows, "", pair)) is not None:
                picks.append(pick)
    of_pairs = list(dict.fromkeys(pair.from_series for pair in pairs))
    missing = []
    for wanted, places in found.items():
        if fits(wanted.source, selection.exclude):
            notes.append(f"{wanted} is left out, as it is excluded")
        elif not places:
            missing.append(_missing(source, wanted, of_pairs))
        elif lacking := [name for name in of_pairs if name not in places]:
            notes.append(f"{wanted} is not in {_listed(lacking)} of {source.address}, only in {_listed(places)}")
    active = {one.source for one in source.publications if one.is_active and one.series in of_pairs}
    place, what = _place(source, of_pairs), "package that fits"
    idle = [glob for glob in selection.include if not any(fnmatchcase(name, glob) for name in active)]
    missing += [Missing(glob, place, nearest_names(glob, active), what) for glob in idle]
    return Chosen(tuple(picks), tuple(missing), tuple(notes))


def nearest_names(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """The names that are most like one that there is not."""
    known = list(known)
    within = [one for one in sorted(known) if len(name) > NEAREST and (name in one or one in name)]
    close = difflib.get_close_matches(name, known, n=NEAREST)
    return tuple(dict.fromkeys((*close, *within)))[:NEAREST]


def newest(publications: Iterable[Publication]) -> Publication | None:
    """The one with the highest version."""
    return max(publications, key=lambda one: version_key(one.version), default=None)


def _pick(rows: Sequence[Publication], version: str, pair: SeriesPair) -> Pick | None:
    latest = newest(one for one in rows if one.is_active)
    if not version:
        return Pick(latest, pair.to_series) if latest else None
    fitting = [one for one in rows if one.version == version]
    if not fitting:
        return None
    chosen = next((one for one in reversed(fitting) if one.is_active), fitting[-1])
    return Pick(chosen, pair.to_series, latest=latest is not None and chosen.key == latest.key)


def _missing(source: Side, wanted: Wanted, series: Sequence[str]) -> Missing:
    place = _place(source, series)
    rows = [one for one in source.publications if one.source == wanted.source]
    here = [one for one in rows if one.series in series]
    if wanted.version and here:
        versions = dict.fromkeys(one.version for one in reversed(here))
        return Missing(str(wanted), place, tuple(versions)[:NEAREST], "publication of", wanted.source)
    if here and (last := here[-1]):
        ended = f"{last.version} ({last.status.lower()}; ask for it by {wanted.source}={last.version})"
        return Missing(str(wanted), place, (ended,), "active version of", wanted.source)
    if elsewhere := sorted({one.series for one in rows if one.is_active}):
        there = tuple(f"one in {name}" for name in elsewhere)
        return Missing(str(wanted), place, there, source=wanted.source)
    known = {one.source for one in source.publications if one.is_active}
    return Missing(str(wanted), place, nearest_names(wanted.source, known), source=wanted.source)


def _series_held(side: Side) -> list[str]:
    return sorted({one.series for one in side.publications if one.is_active})


def _by_name(publications: Iterable[Publication]) -> Mapping[str, Mapping[str, list[Publication]]]:
    found: dict[str, dict[str, list[Publication]]] = defaultdict(lambda: defaultdict(list))
    for one in publications:
        found[one.series][one.source].append(one)
    return found


def _place(source: Side, series: Sequence[str]) -> str:
    return f"{source.address} ({', '.join(series)})" if series else str(source.address)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
