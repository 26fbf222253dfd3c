"""A night's digest: what is new, fixed, or fails of another cause now; one cause is one paragraph."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from buildfarm.regress.entries import Entry, News, count_words, entries_of
from buildfarm.regress.model import LeftOut
from buildfarm.regress.record import Record
from buildfarm.regress.records import Label, Night
from buildfarm.regress.report_forms import (
    day,
    entry_json,
    left_out_json,
    left_out_lines,
    seconds_words,
    tests_words,
    utc,
)
from ppa_tools.plain_text import plain_line

DIGEST_SCHEMA = 1
WIDTH = 76
TESTS_SHOWN = 8
ERROR_LINES = 12
ERROR_COLUMNS = 500
PACKAGES_SHOWN = 60
SERIES_IN_SUBJECT = 2


@dataclass(frozen=True)
class Pages:
    """Where the farm's pages are; ``base`` ends with a slash, "" is nowhere."""

    base: str = ""

    def night(self, number: int) -> str:
        """A night's page."""
        return f"{self.base}rebuilds/nights/{number}" if self.base else ""

    def build(self, number: int) -> str:
        """A build's page."""
        return f"{self.base}rebuilds/builds/{number}" if self.base else ""


@dataclass(frozen=True)
class Cause:
    """Rebuilds of a night that fail of one cause and are news for one reason, by package."""

    news: News
    entries: tuple[Entry, ...]

    @property
    def label(self) -> Label | None:
        """What people noted of it, tonight or long ago."""
        return self.entries[0].label

    @property
    def words(self) -> str:
        """The cause in one line."""
        return " ".join((self.entries[0].cause or self.entries[0].reason).split())


@dataclass(frozen=True)
class Digest:
    """What is to be told of a night; ``entries`` are all its rebuilds', ``pages`` where more is to be read.

    ``gone`` is what it leaves out, and the set's night before rebuilt.
    """

    night: Night
    entries: tuple[Entry, ...]
    causes: tuple[Cause, ...]
    fixed: tuple[Entry, ...]
    newly_flaky: tuple[Entry, ...]
    gone: tuple[LeftOut, ...]
    pages: Pages

    @property
    def is_due(self) -> bool:
        """Whether there is news that somebody is to be told of; flakiness alone is none."""
        return bool(self.causes or self.fixed or self.gone)

    @property
    def id(self) -> str:
        """A name for it that stays, for who gets it twice."""
        name = "".join(one if one.isascii() and (one.isalnum() or one in "-_") else "-" for one in self.night.set)
        return f"rebuilds.{name}.{self.night.number}.{int(self.night.started_at)}"

    @property
    def counts(self) -> str:
        """How much of what is new: ``2 new failures, 1 fixed``."""
        new = sum(len(one.entries) for one in self.causes if one.news == "new failure")
        changed = sum(len(one.entries) for one in self.causes if one.news == "cause changed")
        words = [
            f"{new} new failure{'s' if new != 1 else ''}" if new else "",
            f"{changed} with another cause" if changed else "",
            f"{len(self.fixed)} fixed" if self.fixed else "",
            f"{len(self.gone)} left out" if self.gone else "",
        ]
        return ", ".join(word for word in words if word)

    @property
    def subject(self) -> str:
        """The mail's subject: ``[rebuilds] nightly bookworm: 2 new failures, 1 fixed``."""
        series = sorted({one.subject.series for one in self.entries})
        where = " ".join(series) if len(series) <= SERIES_IN_SUBJECT else f"({len(series)} series)"
        return plain_line(f"[rebuilds] {self.night.set} {where}: {self.counts or 'nothing new'}")


def digest_of(nights: Record, night: Night, pages: Pages = Pages()) -> Digest:
    """What is to be told of a night that has ended."""
    entries = entries_of(nights, night, nights.labels())
    return Digest(
        night=night,
        entries=entries,
        causes=(*causes_of(entries, "new failure"), *causes_of(entries, "cause changed")),
        fixed=tuple(one for one in entries if one.news == "fixed"),
        newly_flaky=tuple(one for one in entries if one.news == "newly flaky"),
        gone=_gone(nights, night),
        pages=pages,
    )


def _gone(nights: Record, night: Night) -> tuple[LeftOut, ...]:
    """What is left out and was rebuilt in the set's night before. Of a series whose archives could not be read no
    package is named: that is the farm's own trouble."""
    before = nights.night_before(night)
    if before is None or not night.left_out:
        return ()
    were = {one.subject for one in nights.rebuilds(before)}
    return tuple(one for one in night.left_out if one.subject in were)


def causes_of(entries: Iterable[Entry], news: News) -> tuple[Cause, ...]:
    """The entries that are news for this reason, put together by their fingerprints; the widest cause first."""
    groups: dict[str, list[Entry]] = {}
    for number, one in enumerate(entries):
        if one.news == news:
            groups.setdefault(one.fingerprint or f"\0{number}", []).append(one)
    causes = (Cause(news, tuple(sorted(group, key=lambda one: str(one.subject)))) for group in groups.values())
    return tuple(sorted(causes, key=lambda cause: (-len(cause.entries), str(cause.entries[0].subject))))


# As text


def digest_text(digest: Digest) -> str:
    """The digest as people read it in a mail."""
    night = digest.night
    head = f"Night {night.number} of the set {night.set}, {day(night.started_at)}: {digest.counts}."
    parts = [_fill(head)]
    for news, title in (("new failure", "NEW FAILURES"), ("cause changed", "FAILING AS BEFORE, OF ANOTHER CAUSE")):
        found = [one for one in digest.causes if one.news == news]
        if found:
            parts += [title, *(cause_text(one, digest.pages) for one in found)]
    if digest.fixed:
        parts += ["FIXED", "\n".join(_fixed_line(one) for one in digest.fixed)]
    if digest.gone:
        parts += ["REBUILT BEFORE, AND LEFT OUT NOW", "\n".join(_item(str(one)) for one in digest.gone)]
    if digest.newly_flaky:
        parts += [
            "FLAKY SINCE THIS NIGHT",
            "\n".join(_item(f"{one.subject}: {one.words}") for one in digest.newly_flaky),
        ]
    parts.append(_fill(f"All {len(digest.entries)} rebuilds: {count_words(digest.entries)}."))
    if left_out := left_out_lines(night, WIDTH):
        parts.append("\n".join(left_out))
    if page := digest.pages.night(night.number):
        parts.append(page)
    return "\n\n".join(parts) + "\n"


def cause_text(cause: Cause, pages: Pages) -> str:
    """One cause: who fails, why, the first error, the failing tests, and how to see it."""
    several = len(cause.entries) > 1
    first = cause.entries[0]
    parts = [_fill(f"* {_who(cause.entries)}: {cause.words}")]
    if cause.label is not None:
        parts.append(_fill(f"Known: {cause.label.text} {cause.label.url}"))
    culprits: dict[str, list[Entry]] = {}
    for one in cause.entries:
        if one.culprit is not None:
            culprits.setdefault(one.culprit.words, []).append(one)
    for words, whose in culprits.items():
        prefix = f"{_names(whose)}: " if len(culprits) > 1 else ""
        parts.append(_fill(f"{prefix}{words}"))
    error = [plain_line(line)[:ERROR_COLUMNS] for line in first.first_error[:ERROR_LINES]]
    stage = f", stage {first.stage}" if first.stage else ""
    if error:
        parts.append("\n".join([f"The first error ({first.subject}{stage}):", *(f"    {line}" for line in error)]))
    parts += [text for one in cause.entries[:PACKAGES_SHOWN] if (text := _tests_text(one))][: 3 if several else 1]
    lines = [_build_line(one, pages) for one in cause.entries[:PACKAGES_SHOWN] if one.build is not None]
    more = len(cause.entries) - PACKAGES_SHOWN
    parts.append("\n".join([*lines, *([f"  and {more} more"] if more > 0 else [])]))
    return "\n\n".join(part for part in parts if part)


def _who(entries: Sequence[Entry]) -> str:
    if len(entries) == 1:
        return f"{entries[0].subject} ({entries[0].version})"
    return f"{len(entries)} packages fail of one cause ({_names(entries)})"


def _names(entries: Sequence[Entry]) -> str:
    places = {(one.subject.series, one.subject.architecture) for one in entries}
    names = [one.subject.package if len(places) == 1 else str(one.subject) for one in entries]
    more = [f"and {len(names) - PACKAGES_SHOWN} more"] if len(names) > PACKAGES_SHOWN else []
    return ", ".join([*names[:PACKAGES_SHOWN], *more])


def _tests_text(one: Entry) -> str:
    if not one.failing_tests:
        return ""
    names = [" ".join(plain_line(name).split())[:ERROR_COLUMNS] for name in one.failing_tests[:TESTS_SHOWN]]
    more = len(one.failing_tests) - TESTS_SHOWN
    counts = f" ({tests_words(one.tests)})" if one.tests and tests_words(one.tests) else ""
    lines = [f"Failing tests of {one.subject.package}{counts}:", *(f"    {name}" for name in names)]
    return "\n".join([*lines, *([f"    and {more} more"] if more > 0 else [])])


def _build_line(one: Entry, pages: Pages) -> str:
    since = f", since {day(one.since)}" if one.news == "cause changed" and one.since is not None else ""
    took = f", {seconds_words(one.total_s)}" if one.total_s else ""
    page = pages.build(one.build or 0) or one.page
    line = f"  #{one.build} {one.subject} {one.version}{since}{took}"
    return "\n".join([line, *([f"      {page}"] if page else []), f"      buildfarm repro {one.build}"])


def _fixed_line(one: Entry) -> str:
    build = f" (#{one.build})" if one.build is not None else ""
    tests = f", {tests_words(one.tests)}" if tests_words(one.tests) else ""
    return _item(f"{one.subject} {one.version}{tests}{build}")


def _fill(text: str) -> str:
    return textwrap.fill(plain_line(text), WIDTH, break_long_words=False, break_on_hyphens=False)


def _item(text: str) -> str:
    return textwrap.indent(_fill(text), "  ")


# As plain data


def digest_json(digest: Digest) -> dict[str, Any]:
    """The digest as plain values, with its text; times in UTC."""
    night = digest.night
    return {
        "schema": DIGEST_SCHEMA,
        "id": digest.id,
        "subject": digest.subject,
        "text": digest_text(digest),
        "set": night.set,
        "night": night.number,
        "started_at": utc(night.started_at),
        "ended_at": utc(night.ended_at) if night.ended_at is not None else None,
        "url": digest.pages.night(night.number),
        "counts": _counts(digest.entries),
        "causes": [
            {
                "news": one.news,
                "fingerprint": one.entries[0].fingerprint,
                "cause": one.words,
                "label": {"text": one.label.text, "url": one.label.url} if one.label else None,
                "rebuilds": [_linked(entry, digest.pages) for entry in one.entries],
            }
            for one in digest.causes
        ],
        "fixed": [_linked(one, digest.pages) for one in digest.fixed],
        "newly_flaky": [_linked(one, digest.pages) for one in digest.newly_flaky],
        "gone": [left_out_json(one) for one in digest.gone],
        "left_out": [left_out_json(one) for one in night.left_out],
    }


def _linked(one: Entry, pages: Pages) -> dict[str, Any]:
    return entry_json(one) | {"url": pages.build(one.build) if one.build is not None else ""}


def _counts(entries: Iterable[Entry]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for one in entries:
        key = one.verdict.value if one.verdict else "not ended"
        counts[key] = counts.get(key, 0) + 1
    return counts
