"""An Atom feed (RFC 4287) of nightly rebuilds' news: an entry for each cause, and for each package fixed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

from buildfarm.regress.digest import Cause, Digest, Pages, cause_text, digest_of
from buildfarm.regress.entries import Entry
from buildfarm.regress.record import Record
from buildfarm.regress.report_forms import clean, utc

ATOM = "http://www.w3.org/2005/Atom"
NIGHTS = 60
ENTRIES = 100
NEVER = 0.0
NAMED_PACKAGES = 3


@dataclass(frozen=True)
class Item:
    """An entry of the feed: ``key`` names it within its night for ever, ``at`` in epoch seconds."""

    night: int
    night_at: float
    key: str
    at: float
    title: str
    text: str
    link: str


def feed(nights: Record, base: str, set: str = "", *, self_url: str = "", author: str = "Build Farm") -> str:  # noqa: A002
    """The feed of a set, or ("") of all; ``base`` is where the farm's pages are, with a slash at its end.

    The host of ``base`` is the authority of the entries' ids, which stay as they are once they are given.
    """
    pages = Pages(base)
    authority = urlsplit(base).hostname or "localhost"
    if not re.fullmatch(r"[a-z0-9.-]+", authority):
        authority = "localhost"  # tag: URIs have no place for an address in brackets
    items = [item for digest in _digests(nights, set, pages) for item in _items(digest)][:ENTRIES]
    root = ET.Element("feed", xmlns=ATOM)
    whole = f"rebuilds/{quote(set)}" if set else "rebuilds"
    _add(root, "id", f"tag:{authority},2025:{whole}")
    _add(root, "title", f"Nightly rebuilds: {set}" if set else "Nightly rebuilds")
    _add(root, "updated", utc(max((item.at for item in items), default=NEVER)))
    ET.SubElement(_add(root, "author"), "name").text = clean(author)
    if self_url:
        ET.SubElement(root, "link", rel="self", type="application/atom+xml", href=clean(self_url))
    for item in items:
        entry = _add(root, "entry")
        day = datetime.fromtimestamp(item.night_at, UTC).strftime("%Y-%m-%d")
        _add(entry, "id", f"tag:{authority},{day}:rebuilds/{item.night}/{item.key}")
        _add(entry, "title", item.title)
        _add(entry, "updated", utc(item.at))
        _add(entry, "content", item.text).set("type", "text")
        if item.link:
            ET.SubElement(entry, "link", rel="alternate", href=clean(item.link))
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _digests(nights: Record, set: str, pages: Pages) -> Iterator[Digest]:  # noqa: A002
    for night in nights.recent_nights(NIGHTS, set):
        if night.ended_at is not None and night.settings.tell:
            yield digest_of(nights, night, pages)


def _items(digest: Digest) -> Iterator[Item]:
    for cause in digest.causes:
        first = min(cause.entries, key=lambda one: one.build or 0)
        key = f"{'new' if cause.news == 'new failure' else 'cause'}/{first.build or 0}"
        yield _item(digest, key, _title(cause), cause_text(cause, digest.pages).removeprefix("* "), first)
    for one in digest.fixed:
        title = f"fixed: {one.subject}"
        yield _item(digest, f"fixed/{one.build or 0}", title, f"{one.subject} {one.version}: {one.reason}", one)


def _item(digest: Digest, key: str, title: str, text: str, shown: Entry) -> Item:
    night = digest.night
    at = night.ended_at if night.ended_at is not None else night.started_at
    link = digest.pages.build(shown.build) if shown.build is not None else digest.pages.night(night.number)
    return Item(night.number, night.started_at, key, at, title, text, link)


def _title(cause: Cause) -> str:
    names = [str(one.subject) for one in cause.entries]
    more = f" and {len(names) - NAMED_PACKAGES} more" if len(names) > NAMED_PACKAGES else ""
    what = "new failure" if cause.news == "new failure" else "another cause"
    return f"{what}: {', '.join(names[:NAMED_PACKAGES])}{more}: {cause.words}"


def _add(parent: ET.Element, name: str, text: str = "") -> ET.Element:
    child = ET.SubElement(parent, name)
    if text:
        child.text = clean(text)
    return child
