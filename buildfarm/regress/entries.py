"""What rebuilds came to, as an entry for each, news first; and of several nights as a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from buildfarm.regress.flaky import Rate
from buildfarm.regress.model import NOT_PUBLISHED, Culprit, RebuildVerdict, Subject, TestCounts
from buildfarm.regress.record import Record
from buildfarm.regress.records import Build, Label, Night, Rebuild

News = Literal["new failure", "cause changed", "fixed", "newly flaky", ""]
ORDER = (
    RebuildVerdict.NEW_FAILURE,
    RebuildVerdict.STILL_FAILING,
    RebuildVerdict.FIXED,
    RebuildVerdict.FLAKY,
    RebuildVerdict.DEPENDENCY_WAIT,
    RebuildVerdict.INFRASTRUCTURE,
    RebuildVerdict.STILL_PASSING,
)
NEWS_ORDER: tuple[News, ...] = ("new failure", "cause changed", "fixed", "newly flaky", "")


@dataclass(frozen=True)
class Entry:
    """What one rebuild came to. ``verdict`` is None while it goes on.

    ``news`` says what of it is new. ``since`` is when its state began (epoch seconds). ``build`` is the number of
    the build to look at, None where there is none; ``stage``, ``first_error``, ``failing_tests``, ``tests`` and
    ``build_s`` (its own build, seconds) are that build's, ``usual_s`` is how long passes took before. ``cause`` is
    the failure's cause in words, ``label`` what people noted of it. ``flaky_rate`` is how often it fails. Of tests
    that its package's rules forgive ``failing_tests`` has those alone that it fails by, where there are any.
    """

    night: int
    set: str
    subject: Subject
    version: str
    verdict: RebuildVerdict | None
    news: News
    since: float | None
    reason: str
    build: int | None = None
    worker: str = ""
    page: str = ""
    environment: str = ""
    stage: str = ""
    build_s: float = 0.0
    total_s: float = 0.0
    usual_s: float | None = None
    tests: TestCounts | None = None
    failing_tests: tuple[str, ...] = ()
    first_error: tuple[str, ...] = ()
    fingerprint: str = ""
    cause: str = ""
    label: Label | None = None
    culprit: Culprit | None = None
    flaky_rate: Rate | None = None

    @property
    def slower(self) -> float | None:
        """By which share a pass took longer than usual (0.5: half as long again); None where nothing compares."""
        passed = self.verdict in (RebuildVerdict.STILL_PASSING, RebuildVerdict.FIXED)
        return self.build_s / self.usual_s - 1 if passed and self.usual_s else None

    @property
    def words(self) -> str:
        """In one line why it is so: the culprit or the cause, and what people noted of it.

        Of a pass only why it was not published, where it was to be; else "".
        """
        if self.verdict in (RebuildVerdict.STILL_PASSING, RebuildVerdict.FIXED):
            _, mark, why = self.reason.partition(NOT_PUBLISHED)
            return mark + why
        cause = self.cause or self.reason
        if self.verdict in (RebuildVerdict.NEW_FAILURE, RebuildVerdict.STILL_FAILING):
            if self.culprit is not None and self.culprit.suspects:
                cause = self.culprit.words
        elif self.verdict is not RebuildVerdict.FLAKY or not self.cause:
            cause = self.reason
        if self.flaky_rate is not None:
            cause = f"fails {self.flaky_rate} of the times; {cause}"
        noted = f"{self.label.text} {self.label.url}".strip() if self.label else ""
        return " ".join((f"[{noted}] {cause}" if noted else cause).split())


@dataclass(frozen=True)
class Report:
    """Nights, oldest first, and the entries of all their rebuilds, news first; ``made_at`` in epoch seconds."""

    made_at: float
    nights: tuple[Night, ...]
    entries: tuple[Entry, ...]
    workers_out: Mapping[str, tuple[str, float]]

    def of(self, night: Night) -> tuple[Entry, ...]:
        """The entries of one night."""
        return tuple(one for one in self.entries if one.night == night.number)

    @property
    def shown(self) -> tuple[Entry, ...]:
        """What people want to see: of each subject and set the newest entry, and news older than that."""
        newest: dict[tuple[str, Subject], int] = {}
        for one in self.entries:
            key = (one.set, one.subject)
            newest[key] = max(one.night, newest.get(key, 0))
        return tuple(one for one in self.entries if one.news or newest[(one.set, one.subject)] == one.night)

    @property
    def summary(self) -> str:
        """One line: how many nights, and what their rebuilds came to."""
        nights = _number(len(self.nights), "night")
        if not self.nights:
            return "No nights."
        numbers = sorted(one.number for one in self.nights)
        which = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
        counts = f"{nights} ({which}), {_number(len(self.entries), 'rebuild')}: {count_words(self.entries)}"
        out = f"; out of service: {', '.join(sorted(self.workers_out))}" if self.workers_out else ""
        return f"{counts}{out}."


def count_words(entries: Iterable[Entry]) -> str:
    """How many came to what: ``2 new failures, 1 fixed, 40 still passing``."""
    counts = Counter(one.verdict for one in entries)
    words = [f"{counts[verdict]} {verdict}" for verdict in ORDER if counts[verdict]]
    words = [f"{one}s" if one.endswith("failure") and not one.startswith("1 ") else one for one in words]
    return ", ".join([*words, f"{counts[None]} not ended"] if counts[None] else words) or "nothing"


def entries_of(nights: Record, night: Night, labels: Mapping[str, Label]) -> tuple[Entry, ...]:
    """What a night's rebuilds came to, news first."""
    deciding, usual = nights.deciding_builds(night), nights.usual_build_s(night)
    entries = (
        entry_of(night, one, deciding.get(one.id), usual.get(one.id), labels.get(one.fingerprint))
        for one in nights.rebuilds(night)
    )
    return tuple(sorted(entries, key=order))


def entry_of(
    night: Night, rebuild: Rebuild, build: Build | None, usual_s: float | None, label: Label | None
) -> Entry:
    """What a rebuild came to; ``build`` is the one that it was settled with."""
    entry = {
        "night": night.number,
        "set": night.set,
        "subject": rebuild.subject,
        "version": rebuild.job.version,
        "verdict": rebuild.verdict,
        "news": news_of(night, rebuild),
        "since": rebuild.since,
        "reason": rebuild.reason,
        "usual_s": usual_s,
        "fingerprint": rebuild.fingerprint,
        "label": label,
        "culprit": rebuild.culprit,
        "flaky_rate": rebuild.flaky_rate,
    }
    if build is not None and build.report is not None:
        told = build.report
        entry |= {
            "build": build.id,
            "worker": build.worker,
            "page": build.page,
            "environment": told.environment,
            "stage": told.stage,
            "build_s": told.build_s,
            "total_s": told.total_s,
            "tests": told.tests,
            "failing_tests": told.broken_tests or told.failing_tests,
            "first_error": told.first_error,
            "cause": told.cause or (told.reason if told.outcome == "fail" else ""),
        }
    return Entry(**entry)  # type: ignore[arg-type]


def news_of(night: Night, rebuild: Rebuild) -> News:
    """What of a rebuild is new, "" when it is as before or says nothing of its package."""
    if rebuild.verdict is RebuildVerdict.NEW_FAILURE:
        return "new failure"
    if rebuild.verdict is RebuildVerdict.FIXED:
        return "fixed"
    if rebuild.cause_changed:
        return "cause changed"
    if rebuild.verdict is RebuildVerdict.FLAKY and rebuild.since == night.started_at:
        return "newly flaky"
    return ""


def order(entry: Entry) -> tuple[int, int, int, str]:
    """The key that sorts entries: news first, the newest night before."""
    verdict = ORDER.index(entry.verdict) if entry.verdict else len(ORDER)
    return NEWS_ORDER.index(entry.news), verdict, -entry.night, str(entry.subject)


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
