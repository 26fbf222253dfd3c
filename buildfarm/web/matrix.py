"""The matrix: a set's packages by its last nights, those that matter first, one page of them at a time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from buildfarm.regress.entries import ORDER
from buildfarm.regress.model import RebuildVerdict, Subject
from buildfarm.regress.records import Build, Label, Night
from buildfarm.web import words
from buildfarm.web.addresses import Links, Query
from buildfarm.web.answers import Answer, NotFound
from buildfarm.web.lookups import Hit, Reading
from buildfarm.web.rendering import page

NIGHTS = 14
ROWS = 200
RUNNING_SHOWN = 12
CAUSES_SHOWN = 12
REFRESH_S = 30
SHOW = ("all", "failing", "news")
SORT = ("news", "name")
FAILING = (RebuildVerdict.NEW_FAILURE, RebuildVerdict.STILL_FAILING)
PASSING = (RebuildVerdict.STILL_PASSING, RebuildVerdict.FIXED)
# In the matrix what is wrong stands above what is mended, and what is as it should be at the end.
RANKS: Mapping[RebuildVerdict | None, int] = {one: number for number, one in enumerate(ORDER)} | {
    None: len(ORDER) - 1
}
LAST = len(ORDER) + 1


@dataclass(frozen=True)
class Wanted:
    """What of the matrix is asked for. ``before``: only nights before this one. ``rows_from``: rows left out."""

    set: str = ""
    where: str = ""
    show: str = "all"
    sort: str = "news"
    before: int | None = None
    rows_from: int = 0
    follow: bool = False

    def query(self, **those: object) -> dict[str, object]:
        """The same as a query, but for ``those``; what is said anyway is left out."""
        said = {
            "set": self.set,
            "where": self.where,
            "show": "" if self.show == SHOW[0] else self.show,
            "sort": "" if self.sort == SORT[0] else self.sort,
            "before": self.before,
            "from": self.rows_from or None,
        }
        return said | those


@dataclass(frozen=True)
class Row:
    """A package: what it came to in each night, None where a night did not have it."""

    subject: Subject
    cells: tuple[Hit | None, ...]


@dataclass(frozen=True)
class Progress:
    """How far a night is that goes on: rebuilds settled of all, and the builds that run."""

    settled: int
    total: int
    running: tuple[Build, ...]


@dataclass(frozen=True)
class CauseLine:
    """A cause of tonight's failures: how many it hits, and what people know of it."""

    fingerprint: str
    words: str
    hits: int
    label: Label | None


def read_wanted(query: Query) -> Wanted:
    """What is asked for; raises BadRequest."""
    return Wanted(
        set=query.text("set"),
        where=query.text("where"),
        show=query.choice("show", *SHOW),
        sort=query.choice("sort", *SORT),
        before=query.number("before"),
        rows_from=query.number("from") or 0,
        follow=query.text("follow") == "yes",
    )


def matrix_page(reading: Reading, links: Links, query: Query) -> Answer:
    """The page; raises NotFound for a set that has had no night."""
    wanted = read_wanted(query)
    sets = reading.sets()
    if not sets:
        return page("empty.html", links)
    if not wanted.set:
        wanted = replace(wanted, set=sets[0].name)
    if wanted.set not in {one.name for one in sets}:
        raise NotFound(f"No night of a set {wanted.set!r} is on record.", "The first page has all sets that are.")
    nights = reading.nights_of_set(wanted.set, NIGHTS, wanted.before)
    if not nights:
        raise NotFound(f"The set {wanted.set} has no nights before that one.", "Go to its newest nights.")
    newer = reading.nights_after(wanted.set, nights[0].number, NIGHTS + 1)
    older = reading.nights_of_set(wanted.set, 1, nights[-1].number)
    numbers = [one.number for one in nights]
    tonight = {one.subject: one for one in reading.hits(numbers[:1])}
    places = sorted({place_of(one) for one in reading.subjects(numbers)})
    chosen = choose(reading.subjects(numbers), tonight, wanted)
    if wanted.rows_from and wanted.rows_from >= len(chosen):
        wanted = replace(wanted, rows_from=0)
    shown = chosen[wanted.rows_from : wanted.rows_from + ROWS]
    labels = reading.labels()
    running = nights[0].ended_at is None
    return page(
        "matrix.html",
        links,
        wanted=wanted,
        sets=sets,
        places=places,
        nights=nights,
        whys=whys_of(reading, [tonight[one] for one in shown if one in tonight]),
        rows=rows_of(shown, numbers, reading.hits(numbers, sorted({one.package for one in shown}))),
        total=len(chosen),
        rows_each=ROWS,
        counts=counts_of(tonight.values()),
        rebuilds=len(tonight),
        news=sum(words.is_news(one) for one in tonight.values()),
        progress=progress_of(reading, nights[0], tonight.values()) if running else None,
        causes=causes_of(reading, tonight.values(), labels),
        labels=labels,
        workers_out=sorted(reading.workers_out().items()),
        legend=words.LEGEND,
        absent=words.ABSENT,
        newer=newer_query(newer, wanted),
        older=wanted.query(before=numbers[-1]) if older else None,
        refresh_s=REFRESH_S if running and wanted.follow else 0,
        now=time.time(),
    )


def newer_query(newer: Sequence[int], wanted: Wanted) -> dict[str, object] | None:
    """The query for the nights after those shown, None where there are none; ``newer`` are their numbers."""
    if not newer:
        return None
    return wanted.query(before=newer[NIGHTS] if len(newer) > NIGHTS else None)


def place_of(subject: Subject) -> str:
    """Series and architecture, as they are chosen."""
    return f"{subject.series}-{subject.architecture}"


def choose(subjects: Iterable[Subject], tonight: Mapping[Subject, Hit], wanted: Wanted) -> list[Subject]:
    """The subjects that are asked for, in the order in which they are."""
    chosen = [
        one for one in subjects if wanted.where in ("", place_of(one)) and is_shown(tonight.get(one), wanted.show)
    ]
    chosen.sort(key=str)
    if wanted.sort == "news":
        chosen.sort(key=lambda one: rank(tonight.get(one)))
    return chosen


def is_shown(hit: Hit | None, show: str) -> bool:
    """Whether a rebuild belongs among those that fail, or are news."""
    if show == "all":
        return True
    return hit is not None and (words.is_news(hit) if show == "news" else hit.verdict in FAILING)


def rank(hit: Hit | None) -> tuple[int, int]:
    """The place of a rebuild in a list that has what matters first."""
    return (LAST, 0) if hit is None else (RANKS[hit.verdict], not hit.cause_changed)


def rows_of(subjects: Sequence[Subject], numbers: Sequence[int], hits: Iterable[Hit]) -> tuple[Row, ...]:
    """The rows of these subjects."""
    found = {(one.subject, one.night): one for one in hits}
    return tuple(Row(one, tuple(found.get((one, number)) for number in numbers)) for one in subjects)


def counts_of(hits: Iterable[Hit]) -> tuple[tuple[words.Mark, int], ...]:
    """How many came to what, what matters first."""
    counted = Counter(one.verdict for one in hits)
    return tuple((words.mark_of(one), counted[one]) for one in (*ORDER, None) if counted[one])


def progress_of(reading: Reading, night: Night, hits: Iterable[Hit]) -> Progress:
    """How far a night is."""
    verdicts = [one.verdict for one in hits]
    settled = sum(one is not None for one in verdicts)
    return Progress(settled, len(verdicts), reading.open_builds(night.number, RUNNING_SHOWN))


def causes_of(reading: Reading, hits: Iterable[Hit], labels: Mapping[str, Label]) -> tuple[CauseLine, ...]:
    """The causes of tonight's failures, the widest first."""
    groups: dict[str, list[Hit]] = {}
    for one in hits:
        if one.fingerprint and one.verdict in (*FAILING, RebuildVerdict.FLAKY):
            groups.setdefault(one.fingerprint, []).append(one)
    widest = sorted(groups.items(), key=lambda item: (-len(item[1]), str(item[1][0].subject)))[:CAUSES_SHOWN]
    said = reading.causes([one[0].build for _name, one in widest if one[0].build])
    return tuple(
        CauseLine(name, said.get(those[0].build or 0, ""), len(those), labels.get(name)) for name, those in widest
    )


def whys_of(reading: Reading, hits: Sequence[Hit]) -> Mapping[Subject, str]:
    """Why what did not just pass again is as it is, in a few words."""
    bad = [one for one in hits if one.build and one.verdict not in (None, *PASSING)]
    said = reading.causes([one.build for one in bad if one.build])
    return {one.subject: said.get(one.build or 0, "") for one in bad}
