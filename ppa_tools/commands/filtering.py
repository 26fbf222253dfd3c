"""Some packages out of many, by names and patterns; what fits nothing is told, with the nearest names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from ppa_tools.commands.ends import usage_error
from ppa_tools.plan.choosing import Missing, Selection, nearest_names
from ppa_tools.publication import Side


def selection(include: Sequence[str], exclude: Sequence[str] = ()) -> Selection:
    """What fits ``include`` (none: everything), without what fits ``exclude``."""
    return Selection(everything=True, include=tuple(include), exclude=tuple(exclude))


def plain_names(wanted: Selection) -> tuple[str, ...]:
    """The names that are meant where all are plain ones, else none; an archive need not tell the rest then."""
    return wanted.include if not any(set(one) & set("*?[") for one in wanted.include) else ()


def unmatched(wanted: Selection, known: Iterable[str]) -> tuple[str, ...]:
    """What is included and fits nothing that there is."""
    there = set(known)
    return tuple(one for one in wanted.include if not any(fnmatchcase(name, one) for name in there))


def check_names(asked: Sequence[str], known: Iterable[str], where: str) -> None:
    """Raise CommandError (usage) naming what is not there, each with the nearest names."""
    if not asked:
        return
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


def check_words(wanted: Selection, series: Iterable[str], *sides: Side) -> None:
    """Raise CommandError (usage) for names and series that none of the sides has: slips of the hand."""
    where = " and ".join(str(side.address) for side in sides)
    known = {one.source for side in sides for one in side.publications}
    check_series(series, [name for side in sides for name in side.series], where)
    check_names(unmatched(wanted, known), known, where)


def refuse_missing(missing: Sequence[Missing]) -> None:
    """Raise CommandError (usage) when something that was asked for is not there."""
    if missing:
        raise usage_error("\n  ".join(map(str, missing)), "Nothing was done. `ppa-list` shows what there is.")
