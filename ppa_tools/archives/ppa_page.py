"""The page of one PPA: how to add it, what is in each of its series, and what happened to it lately.

However many packages there are, only those that are shown are read whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from urllib.parse import urlencode

from ppa_tools.archives.history import ACTIVE
from ppa_tools.archives.local import PPA, LocalArchive, Publication, Series, Status
from ppa_tools.archives.pages import cell, page, table
from ppa_tools.archives.reading import auth_line, settings_in_words
from ppa_tools.archives.words import moment_in_words

SHOWN_ENDED = 5  # superseded versions of a source
SOURCES_A_PAGE = 100
LAST = 20  # changes, and refused uploads


@dataclass(frozen=True)
class Query:
    """What of a PPA is asked for: a series ("" is any), a part of sources' names, which page, ended ones, too."""

    series: str = ""
    text: str = ""
    page: int = 1
    ended: bool = False

    @staticmethod
    def of(argument: Callable[[str], str]) -> Query:
        """The query in an address, whose arguments ``argument`` gives, "" for none."""
        number = argument("page")
        return Query(
            argument("series"),
            argument("q").strip(),
            max(1, int(number)) if re.fullmatch("[0-9]{1,6}", number) else 1,
            bool(argument("all")),
        )

    def link(self, text: str, title: str = "") -> str:
        """A link that asks for this."""
        asked = {"series": self.series, "q": self.text, "page": self.page, "all": "1" if self.ended else ""}
        words = urlencode({name: value for name, value in asked.items() if value and value != 1})
        return f'<a href="?{escape(words)}" title="{escape(title)}">{escape(text)}</a>'


def ppa_page(archive: LocalArchive, ppa: PPA, query: Query) -> str:
    """A PPA's page."""
    series = archive.series(ppa.address)
    shown = [one for one in series if query.series in ("", one.name)]
    parts = [_head(ppa), _search(query), *(_series_part(archive, ppa, one, query) for one in shown)]
    if query == Query():
        parts += [_snapshots(archive, ppa), _changes(archive, ppa), _refusals(archive, ppa)]
    return page(str(ppa.address), *parts)


def _head(ppa: PPA) -> str:
    keys = escape(" and ".join(_spaced(one) for one in ppa.key_fingerprints))
    badge = ' <span class="badge">private</span>' if ppa.settings.private else ""
    description = f"<p>{escape(ppa.description)}</p>" if ppa.description else ""
    return (
        f'<p class="muted"><a href="/">All PPAs</a></p><h1><a href="./">{escape(str(ppa.address))}</a>{badge}</h1>'
        f'{description}<p class="muted">{escape(settings_in_words(ppa))}<br>'
        f'Signed by <a href="key.asc">{keys}</a></p>'
    )


def _search(query: Query) -> str:
    hidden = f'<input type="hidden" name="series" value="{escape(query.series)}">' if query.series else ""
    other = replace(query, ended=not query.ended, page=1)
    return (
        f'<form method="get" action="./">{hidden}<input type="search" name="q" value="{escape(query.text)}"'
        ' size="28" placeholder="part of a source\'s name" aria-label="part of a source\'s name"> '
        f"<button>Search</button> {other.link('active ones alone' if query.ended else 'ended ones, too')}</form>"
    )


def _series_part(archive: LocalArchive, ppa: PPA, series: Series, query: Query) -> str:
    listed = archive.listing(ppa.address, series=series.name, active=not query.ended)
    names = sorted({one.source for one in listed if query.text in one.source})
    first = (query.page - 1) * SOURCES_A_PAGE
    wanted = names[first : first + SOURCES_A_PAGE]
    found = archive.publications(ppa.address, series=series.name, sources=wanted) if wanted else ()
    name = escape(series.name)
    count = f"{len(names):,} package{'' if len(names) == 1 else 's'}" + (" found" if query.text else "")
    nothing = "Nothing is found here." if query.text or query.page > 1 else "Nothing is published here yet."
    return (
        f"<h2>{name}</h2>"
        f'<p class="muted">{escape(count)} &middot; {escape(", ".join(series.architectures))} &middot; '
        f'<a href="{escape(ppa.address.name)}-{name}.sources">.sources file</a> &middot; '
        f'<a href="dists/{name}/">indexes</a></p>'
        + (_how_to_add(archive, ppa, series) if query == Query() else "")
        + (_publications(found) if found else f"<p>{nothing}</p>")
        + _pager(replace(query, series=series.name), len(names))
    )


def _how_to_add(archive: LocalArchive, ppa: PPA, series: Series) -> str:
    token = ""
    if ppa.settings.private:
        file = f"/etc/apt/auth.conf.d/{ppa.address.owner}-{ppa.address.name}.conf"
        token = (
            f'<p class="muted">For apt, first, in {escape(file)}, readable by root alone:</p>'
            f"<pre>{escape(auth_line(archive.url, ppa.address))}</pre>"
        )
    return f"{token}<pre>{escape(archive.one_liner(ppa.address, series.name))}</pre>"


def _pager(query: Query, count: int) -> str:
    last = -(-count // SOURCES_A_PAGE)
    if last <= 1:
        return ""
    before = replace(query, page=query.page - 1).link("earlier") if 1 < query.page <= last else ""
    after = replace(query, page=query.page + 1).link("more") if query.page < last else ""
    return f"<p>{before} <span class='muted'>page {query.page} of {last}</span> {after}</p>"


def _publications(found: Sequence[Publication]) -> str:
    shown = _recent(found)
    older = f'<p class="muted">{len(found) - len(shown)} older ones are not shown.</p>'
    rows = table(("Source", "Version", "State", "Binaries", "Since (UTC)"), [_row(one) for one in shown])
    return rows + (older if len(shown) < len(found) else "")


def _recent(found: Sequence[Publication]) -> list[Publication]:
    """The active ones, and of each source the last few that ended; ``found`` has the newest first."""
    shown, ended = [], Counter[str]()
    for one in found:
        if one.source.span.status not in ACTIVE:
            ended[one.source.source] += 1
        if one.source.span.status in ACTIVE or ended[one.source.source] <= SHOWN_ENDED:
            shown.append(one)
    return shown


def _row(one: Publication) -> tuple[str, ...]:
    span = one.source.span
    binaries = "<br>".join(
        dict.fromkeys(
            f'<span class="{escape(binary.span.status)}">{escape(binary.package)} {escape(binary.version)} '
            f"({escape(binary.index_architecture)}){_unless_published(binary.span.status)}</span>"
            for binary in one.binaries
        )
    )
    waiting = '<span class="muted">not built yet</span>' if span.status in ACTIVE else ""
    since = moment_in_words(span.ended_at or span.published_at or span.created_at)
    return (
        cell(one.source.source),
        cell(one.source.version),
        cell(span.status, f"narrow {span.status}"),
        f"<td>{binaries or waiting}</td>",
        cell(since, "narrow"),
    )


def _unless_published(status: Status) -> str:
    return "" if status is Status.PUBLISHED else f", {escape(status.lower())}"


def _snapshots(archive: LocalArchive, ppa: PPA) -> str:
    rows = [
        (cell(one.name), cell(moment_in_words(one.created_at), "narrow"), cell(one.created_by), cell(one.why))
        for one in reversed(archive.snapshots(ppa.address))
    ]
    return _part("Snapshots", ("Name", "Since (UTC)", "By", "Why"), rows)


def _changes(archive: LocalArchive, ppa: PPA) -> str:
    names = {one.fingerprint: one.uid for one in archive.uploaders(ppa.address)}
    rows = [
        (
            cell(moment_in_words(one.at), "narrow"),
            cell(one.series, "narrow"),
            cell(one.what, "narrow"),
            cell(names.get(one.by, one.by)),
            cell(one.why),
        )
        for one in reversed(archive.changes(ppa.address, limit=LAST))
    ]
    return _part("Last changes", ("When (UTC)", "Series", "What", "By", "Why"), rows)


def _refusals(archive: LocalArchive, ppa: PPA) -> str:
    rows = [
        (
            cell(moment_in_words(one.at), "narrow"),
            cell(one.series, "narrow"),
            cell(one.changes_name),
            cell(one.via, "narrow"),
            cell(one.reason, "refused"),
        )
        for one in archive.refusals(ppa.address, limit=LAST)
    ]
    return _part("Refused uploads", ("When (UTC)", "Series", "Upload", "By", "Why"), rows)


def _part(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return f"<h2>{escape(title)}</h2>{table(head, rows)}" if rows else ""


def _spaced(fingerprint: str) -> str:
    return " ".join(fingerprint[n : n + 4] for n in range(0, len(fingerprint), 4))
