"""Some packages out of many, by names and patterns; what fits nothing is told, with the nearest names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ppa_tools.commands.ends import usage_error


@dataclass(frozen=True)
class Filter:
    """Which source packages are meant: those that fit ``include`` (none: all), without what fits ``exclude``."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def admits(self, name: str) -> bool:
        """Whether a package is meant."""
        return (not self.include or _fits(name, self.include)) and not _fits(name, self.exclude)

    @property
    def names(self) -> tuple[str, ...]:
        """The names where all are plain ones, else none: with names, an archive need not tell the rest."""
        return self.include if not any(is_pattern(one) for one in self.include) else ()

    def unmatched(self, known: Iterable[str]) -> tuple[str, ...]:
        """What is included and fits nothing that there is."""
        there = set(known)
        return tuple(one for one in self.include if not any(fnmatchcase(name, one) for name in there))


def is_pattern(text: str) -> bool:
    """Whether a text has wildcards."""
    return any(one in text for one in "*?[")


def check_names(asked: Sequence[str], known: Iterable[str], where: str) -> None:
    """Raise CommandError (usage) naming what is not there, each with the nearest names."""
    if not asked:
        return
    from ppa_tools.plan.choosing import nearest_names

    there = sorted(set(known))
    said = []
    for name in asked:
        near = nearest_names(name, there)
        said.append(f"{name}{' (did you mean ' + ', '.join(near) + '?)' if near else ''}")
    advice = "`ppa-list` shows what there is." if there else "Nothing is published there."
    raise usage_error(f"{where} has no {'; no '.join(said)}", advice)


def check_series(asked: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise CommandError (usage) for a series that is not there."""
    there = sorted(set(known))
    if missing := [one for one in asked if one not in there]:
        has = f"It has {', '.join(there)}." if there else "It has no series."
        raise usage_error(f"{where} has no series {', '.join(missing)}", has)


def _fits(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, one) for one in globs)
