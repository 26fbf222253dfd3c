"""The feed and the reports as files: made anew only when the record has changed, known again by who has them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from buildfarm.errors import UsageError
from buildfarm.regress.feed import feed
from buildfarm.regress.report import make_report, parse_since, render
from buildfarm.settings import Settings
from buildfarm.web.addresses import Links, Query
from buildfarm.web.answers import Answer, BadRequest, etag_of
from buildfarm.web.lookups import NewsOnly, Reading

KEPT = 16
MOST_REBUILDS = 10_000  # a few seconds' work
TYPES = {
    "feed.atom": "application/atom+xml; charset=utf-8",
    "report.json": "application/json; charset=utf-8",
    "report.xml": "application/xml; charset=utf-8",
}


class Forms:
    """What was made, by its name and query, with the state of the record that it was made of."""

    def __init__(self, settings: Settings, reading: Reading, news: NewsOnly) -> None:
        self._settings = settings
        self._reading = reading
        self._news = news
        self._kept: OrderedDict[tuple[str, ...], tuple[str, Answer]] = OrderedDict()
        self._lock = threading.Lock()
        self._making = threading.Lock()

    def answer(self, name: str, query: Query) -> Answer:
        """The feed or a report; raises BadRequest."""
        chosen, since = query.text("set"), query.text("since")
        if name == "feed.atom":
            return self._once((name, chosen), lambda: self._feed(chosen))
        return self._once((name, chosen, since), lambda: self._report(name, chosen, since))

    def _once(self, key: tuple[str, ...], make: Callable[[], str]) -> Answer:
        state = self._reading.state()
        if (kept := self._found(key, state)) is not None:
            return kept
        with self._making:  # who waits for another that makes the same has it then
            if (kept := self._found(key, state)) is not None:
                return kept
            changed_at = changed_at_of(self._settings.regression_file)
            body = make().encode("utf-8", "replace")
            answer = Answer(body, TYPES[key[0]], etag=etag_of(body), changed_at=changed_at)
            with self._lock:
                self._kept[key] = (state, answer)
                self._kept.move_to_end(key)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return answer

    def _found(self, key: tuple[str, ...], state: str) -> Answer | None:
        with self._lock:
            found = self._kept.get(key)
        return found[1] if found is not None and found[0] == state else None

    def _feed(self, chosen: str) -> str:
        base = self._settings.web_url
        self_url = f"{base}rebuilds/{Links().at('feed.atom', set=chosen).removeprefix('./')}"
        return feed(self._news, base, chosen, self_url=self_url, author=self._settings.farm.name)

    def _report(self, name: str, chosen: str, since: str) -> str:
        if since:
            self._check_length(since, chosen)
        return render(make_report(self._reading, since, chosen), "json" if name == "report.json" else "junit")

    def _check_length(self, since: str, chosen: str) -> None:
        try:
            begin = parse_since(since, time.time())
        except UsageError as error:
            raise BadRequest(f"since: {error.brief}.", error.resolution) from error
        nights = [one.number for one in self._reading.nights_since(*begin) if chosen in ("", one.set)]
        if len(nights) > 1 and self._reading.count_rebuilds(nights) > MOST_REBUILDS:
            raise BadRequest(
                f"Since then there were more than {MOST_REBUILDS} rebuilds.",
                "Ask for fewer nights, or for one set alone; buildfarm rebuild report has no such limit.",
            )


def changed_at_of(record: Path) -> float:
    """When a record was last written to (epoch seconds): the file, or what SQLite keeps beside it."""
    times = [0.0]
    for path in (record, record.with_name(f"{record.name}-wal")):
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:
            continue
    return max(times)
