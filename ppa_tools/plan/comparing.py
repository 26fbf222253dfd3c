"""The difference of two sides, each as it is or as it was at a moment."""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ppa_tools.debversion import version_key
from ppa_tools.plan.choosing import SeriesPair
from ppa_tools.publication import Publication, Side


class Change(enum.StrEnum):
    """How the right side differs from the left."""

    ADDED = "added"
    REMOVED = "removed"
    NEWER = "newer"
    OLDER = "older"


@dataclass(frozen=True)
class Difference:
    """A source whose versions differ; none on a side: it is not there. ``series`` is the right side's.

    Versions are in their order, lowest first; where several are kept, the highest tells what has changed.
    """

    series: str
    source: str
    left: tuple[str, ...]
    right: tuple[str, ...]

    @property
    def change(self) -> Change:
        """How the right side differs."""
        if not self.left:
            return Change.ADDED
        if not self.right:
            return Change.REMOVED
        left, right = ([version_key(one) for one in reversed(side)] for side in (self.left, self.right))
        return Change.NEWER if right > left else Change.OLDER


def active_at(publications: Iterable[Publication], moment: float | None) -> tuple[Publication, ...]:
    """What was active at a moment, in seconds since the epoch; None: what is now.

    What has ended, nobody knows when, counts as gone before; what came, nobody knows when, as there all along.
    """
    if moment is None:
        return tuple(one for one in publications if one.is_active)
    return tuple(one for one in publications if _stood(one, moment))


def compare(
    left: Side,
    right: Side,
    pairs: Sequence[SeriesPair] = (),
    *,
    left_at: float | None = None,
    right_at: float | None = None,
) -> tuple[Difference, ...]:
    """What differs, by series and name; with no ``pairs`` each series of either side with its namesake."""
    before = _versions(active_at(left.publications, left_at), left.versions)
    after = _versions(active_at(right.publications, right_at), right.versions)
    names = sorted({series for series, _ in (*before, *after)})
    found = []
    for pair in pairs or [SeriesPair(name, name) for name in names]:
        of_left = {name for series, name in before if series == pair.from_series}
        of_right = {name for series, name in after if series == pair.to_series}
        for name in sorted(of_left | of_right):
            sides = before.get((pair.from_series, name), ()), after.get((pair.to_series, name), ())
            if sides[0] != sides[1]:
                found.append(Difference(pair.to_series, name, *sides))
    return tuple(found)


def _stood(one: Publication, moment: float) -> bool:
    if one.created_at is not None and one.created_at > moment:
        return False
    return one.is_active if one.ended_at is None else one.ended_at > moment


def _versions(publications: Iterable[Publication], kept: int) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """The versions by place, as many as an archive keeps; more are there only until the newest is published."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in publications:
        found[one.series, one.source].add(one.version)
    return {place: tuple(sorted(versions, key=version_key)[-kept:]) for place, versions in found.items()}
