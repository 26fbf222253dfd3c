"""Packages that several PPAs have at different versions: which one apt would choose, and who did not expect it.

Pure. The rules of the choice are those of apt_preferences(5) for packages that are not installed yet: the highest
priority, then the highest version, then the source that is listed first.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ppa_tools.address import Address
from ppa_tools.apt.stanzas import SOURCE, Holdings
from ppa_tools.debversion import version_key
from ppa_tools.publication import Side

DEFAULT_PRIORITY = 500


class Held(NamedTuple):
    """A package that a PPA has in its index of a series; ``architecture`` is the index's, or SOURCE.

    ``sha256`` is of the .deb, or the .dsc, and "" where it is not known.
    """

    package: str
    version: str
    series: str
    architecture: str
    source: str
    source_version: str
    sha256: str = ""


@dataclass(frozen=True)
class Pin:
    """A priority for what comes from a PPA; ``package`` is a glob, for "*" any. Below 0 it is never chosen.

    Of the pins for a PPA one for certain packages goes before one for all, and else the first holds.
    """

    address: Address
    priority: int
    package: str = "*"


@dataclass(frozen=True)
class Offer:
    """A version of a package that a PPA offers."""

    address: Address
    version: str
    source: str
    source_version: str
    priority: int = DEFAULT_PRIORITY


@dataclass(frozen=True)
class Conflict:
    """A package that several PPAs have in a series, at different versions; ``offers`` are in the PPAs' order.

    ``architectures`` are those of the indexes for which the same holds, or SOURCE alone. ``chosen`` is what apt
    takes: None when pins forbid every offer.
    """

    package: str
    series: str
    architectures: tuple[str, ...]
    offers: tuple[Offer, ...]
    chosen: Offer | None

    @property
    def displaced(self) -> tuple[Offer, ...]:
        """The offers of PPAs whose project runs against a version that it was not developed with."""
        if self.chosen is None:
            return self.offers
        wanted = version_key(self.chosen.version)
        return tuple(one for one in self.offers if version_key(one.version) != wanted)

    @property
    def is_source(self) -> bool:
        """Whether it is about a source package."""
        return self.architectures == (SOURCE,)


@dataclass(frozen=True)
class Twin:
    """A package that several PPAs have at the same version with different contents; apt takes the first's."""

    package: str
    version: str
    series: str
    architecture: str
    addresses: tuple[Address, ...]


@dataclass(frozen=True)
class Found:
    """What several PPAs do not agree about, by series, package and architecture."""

    conflicts: tuple[Conflict, ...]
    twins: tuple[Twin, ...]

    def displaced_by_ppa(self) -> Mapping[Address, tuple[Conflict, ...]]:
        """For each PPA the conflicts in which its own version is not the one that apt chooses."""
        found: dict[Address, list[Conflict]] = {}
        for conflict in self.conflicts:
            for offer in conflict.displaced:
                found.setdefault(offer.address, []).append(conflict)
        return {address: tuple(conflicts) for address, conflicts in found.items()}


def held_of_side(side: Side) -> list[Held]:
    """The sources that an archive has in its indexes, or will have."""
    return [
        Held(one.source, one.version, one.series, SOURCE, one.source, one.version)
        for one in side.publications
        if one.is_active
    ]


def held_of_holdings(holdings: Holdings, series: str) -> list[Held]:
    """The binaries, and the sources, that indexes have."""
    found = [
        Held(one.package, one.version, series, architecture, one.source, one.source_version, one.sha256)
        for architecture, packages in holdings.binaries.items()
        for one in packages
    ]
    found += [
        Held(one.source, one.version, series, SOURCE, one.source, one.version, one.dsc_sha256)
        for one in holdings.sources
    ]
    return found


def find_conflicts(
    held: Sequence[tuple[Address, Iterable[Held]]], *, pins: Sequence[Pin] = (), series: Collection[str] = ()
) -> Found:
    """What the PPAs do not agree about; they are in the order in which apt's sources list them.

    Of a package that a PPA has at several versions its own highest counts. ``series``: only these.
    Raises ValueError for a version that is none.
    """
    by_name: dict[tuple[str, str, str], dict[Address, Held]] = {}
    for address, packages in held:
        for one in packages:
            if series and one.series not in series:
                continue
            here = by_name.setdefault((one.series, one.package, one.architecture), {})
            known = here.get(address)
            if known is None or _is_higher(one.version, known.version):
                here[address] = one
    priorities = Priorities(pins)
    conflicts: dict[tuple[object, ...], Conflict] = {}
    twins = []
    for (in_series, package, architecture), here in by_name.items():
        if len(here) < 2:
            continue
        twins += _twins(here, in_series, package, architecture)
        if len({one.version for one in here.values()}) < 2:
            continue
        offers = tuple(
            Offer(address, one.version, one.source, one.source_version, priorities.of(address, package))
            for address, one in here.items()
        )
        if len({version_key(one.version) for one in offers}) < 2:
            continue
        key = (in_series, package, architecture == SOURCE, offers)
        same = conflicts.get(key)
        architectures = (*same.architectures, architecture) if same else (architecture,)
        conflicts[key] = Conflict(package, in_series, tuple(sorted(architectures)), offers, choose(offers))
    return Found(
        tuple(sorted(conflicts.values(), key=lambda one: (one.series, one.package, one.architectures))),
        tuple(sorted(twins, key=lambda one: (one.series, one.package, one.architecture))),
    )


def choose(offers: Sequence[Offer]) -> Offer | None:
    """The offer that apt takes when nothing is installed: the first of the highest of the most preferred.

    A version that several offer has the highest of their priorities.
    """
    keys = [version_key(one.version) for one in offers]
    priorities = {key: max(o.priority for o, k in zip(offers, keys, strict=True) if k == key) for key in keys}
    best, best_rank = None, None
    for one, key in zip(offers, keys, strict=True):
        rank = (priorities[key], key)
        if priorities[key] > 0 and (best_rank is None or rank > best_rank):
            best, best_rank = one, rank
    return best


class Priorities:
    """The pins, ready to be asked."""

    def __init__(self, pins: Sequence[Pin]) -> None:
        self._pins: dict[Address, list[Pin]] = {}
        for pin in sorted(pins, key=lambda one: one.package == "*"):
            self._pins.setdefault(pin.address, []).append(pin)

    def of(self, address: Address, package: str) -> int:
        """The priority of what a PPA offers by a name."""
        for pin in self._pins.get(address, ()):
            if fnmatch.fnmatchcase(package, pin.package):
                return pin.priority
        return DEFAULT_PRIORITY


def _is_higher(version: str, than: str) -> bool:
    return version != than and version_key(version) > version_key(than)


def _twins(here: Mapping[Address, Held], series: str, package: str, architecture: str) -> list[Twin]:
    by_version: dict[str, list[tuple[Address, str]]] = {}
    for address, one in here.items():
        if one.sha256:
            by_version.setdefault(one.version, []).append((address, one.sha256))
    return [
        Twin(package, version, series, architecture, tuple(address for address, _ in those))
        for version, those in by_version.items()
        if len({sha256 for _, sha256 in those}) > 1
    ]
