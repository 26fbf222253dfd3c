"""A night's page: its news by cause, and everything else that did not just pass again."""

from __future__ import annotations

from collections.abc import Sequence

from buildfarm.regress.digest import Cause, causes_of
from buildfarm.regress.entries import Entry, News, entry_of, order
from buildfarm.regress.model import RebuildVerdict
from buildfarm.web.addresses import Links
from buildfarm.web.answers import Answer, NotFound
from buildfarm.web.lookups import Reading
from buildfarm.web.matrix import RUNNING_SHOWN, counts_of, progress_of
from buildfarm.web.rendering import page

ENTRIES_SHOWN = 600


def night_page(reading: Reading, links: Links, number: int) -> Answer:
    """The page; raises NotFound."""
    night = reading.night(number)
    if night is None:
        raise NotFound(f"There is no night {number}.", "The matrix has the nights that are on record.")
    labels = reading.labels()
    bad = reading.bad_of(night, ENTRIES_SHOWN + 1)
    entries = sorted(
        (entry_of(night, one, build, None, labels.get(one.fingerprint)) for one, build in bad[:ENTRIES_SHOWN]),
        key=order,
    )
    hits = reading.hits([number])
    later = reading.nights_after(night.set, number, 1)
    earlier = reading.nights_of_set(night.set, 1, number)
    return page(
        "night.html",
        links,
        night=night,
        counts=counts_of(hits),
        total=len(hits),
        new=_causes(entries, "new failure"),
        changed=_causes(entries, "cause changed"),
        fixed=[one for one in entries if one.news == "fixed"],
        rest=[one for one in entries if one.news not in ("new failure", "cause changed", "fixed")],
        is_cut=len(bad) > ENTRIES_SHOWN,
        progress=progress_of(reading, night, hits) if night.ended_at is None else None,
        running_shown=RUNNING_SHOWN,
        later=later[0] if later else None,
        earlier=earlier[0].number if earlier else None,
        flaky=RebuildVerdict.FLAKY,
    )


def _causes(entries: Sequence[Entry], news: News) -> tuple[Cause, ...]:
    return causes_of(entries, news)
