"""Whole collections of Launchpad in few requests: pages of 300, read at once, and found again whole.

Launchpad cuts pages by row number anew for each request, so rows that come or go while pages are read shift the
others from one page to another, where they are read twice or never. So every page begins with the last row of the
one before: where these differ, something moved, and the collection is read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

from ppa_tools.archives.door import Stats, Unreachable
from ppa_tools.archives.launchpad.answers import refusal
from ppa_tools.archives.launchpad.session import Session
from ppa_tools.parallel import in_parallel

PAGE_ROWS = 300
"""Launchpad's ``max_batch_size``; it refuses more."""

STEP_ROWS = PAGE_ROWS - 1
READINGS = 5
MOST_ROWS = 2_000_000
"""More than any PPA ever had."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Collection:
    """What is read: ``doing`` says so for people, ``kind`` for the count of requests."""

    url: str
    parameters: Mapping[str, object]
    kind: str
    doing: str


@dataclass(frozen=True)
class Page:
    """Some rows that follow each other; ``total`` is how many there are in all, where it is told."""

    rows: tuple[Row, ...]
    is_last: bool
    total: int | None

    @property
    def pages_left(self) -> int:
        """How many requests the rows after the first page take."""
        return 0 if self.is_last else -(-((self.total or 0) - len(self.rows)) // STEP_ROWS)


def read_first(session: Session, wanted: Collection, stats: Stats) -> Page:
    """The first page. Where it does not tell the number of rows (the ``devel`` API), that is asked for as well.

    Raises NotThere, NoRights, Unreachable, Refused.
    """
    page = _page(session, wanted, stats, 0)
    if page.total is not None:
        return page
    total = _ask(session, wanted, {"ws.show": "total_size"}, f"{wanted.kind} (total)", stats)
    return replace(page, total=_count(total))


def read_rest(session: Session, wanted: Collection, first: Page, stats: Stats) -> tuple[Row, ...]:
    """All rows, each once, ``first`` being those that are known. Raises as ``read_first``."""
    for _ in range(READINGS):
        starts = [STEP_ROWS * (1 + more) for more in range(first.pages_left)]
        pages = [first, *in_parallel([partial(_page, session, wanted, stats, start) for start in starts])]
        if _fit(pages):
            return tuple({row["self_link"]: row for page in pages for row in page.rows}.values())
        first = read_first(session, wanted, stats)
    raise Unreachable(
        f"what is to be read changes faster than it can be read ({wanted.doing})",
        resolution="Try again when less is copied there.",
    )


def read_all(session: Session, wanted: Collection, stats: Stats) -> tuple[Row, ...]:
    """All rows of a collection. Raises as ``read_first``."""
    return read_rest(session, wanted, read_first(session, wanted, stats), stats)


def _fit(pages: Sequence[Page]) -> bool:
    """Whether each page goes on where the one before ended, up to the last."""
    return pages[-1].is_last and all(
        bool(before.rows and after.rows) and before.rows[-1]["self_link"] == after.rows[0]["self_link"]
        for before, after in pairwise(pages)
    )


def _page(session: Session, wanted: Collection, stats: Stats, start: int) -> Page:
    steering = {"ws.size": PAGE_ROWS, **({"ws.start": start} if start else {})}
    page = _ask(session, wanted, steering, wanted.kind, stats)
    if not isinstance(page, dict) or not isinstance(page.get("entries"), list):
        raise Unreachable(f"Launchpad's answer is no page of a collection ({wanted.doing})")
    total = _count(page["total_size"]) if "total_size" in page else None
    return Page(tuple(page["entries"]), "next_collection_link" not in page, total)


def _ask(session: Session, wanted: Collection, steering: Mapping[str, object], kind: str, stats: Stats) -> Any:
    answer, found = session.read_json(wanted.url, {**wanted.parameters, **steering}, kind=kind, stats=stats)
    if not answer.is_good:
        raise refusal(answer, wanted.doing, session.token)
    return found


def _count(told: Any) -> int:
    """How many rows there are; raises ValueError for more than there can be."""
    total = int(told)
    if not 0 <= total <= MOST_ROWS:
        raise ValueError(f"{total} rows")
    return total
