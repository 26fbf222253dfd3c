"""The archive as others read it: publications as JSON values, and pages for people, every word escaped."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

from ppa_tools.archives.history import ACTIVE
from ppa_tools.archives.local import PPA, BinaryPublication, LocalArchive, Publication, Series, Status

SHOWN_ENDED = 5  # superseded versions of a source on a PPA's page
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430 }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.2rem; margin-top: 2rem }
a { color: #0b5cad } .muted { color: #5c6878 } .state { white-space: nowrap }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid #d9dee5; vertical-align: top }
pre { background: #f3f5f8; padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; border-radius: 4px }
.Superseded, .Deleted { color: #5c6878 } .Pending { color: #9a6200 } .Published { color: #1d6f2f }
@media (prefers-color-scheme: dark) {
  body { background: #14181e; color: #dde3ea } a { color: #7ab8ff } pre { background: #1f252d }
  th, td { border-color: #323a45 } .muted, .Superseded, .Deleted { color: #97a3b3 }
  .Published { color: #6fcf84 } .Pending { color: #e5b35c }
}
"""


def publication_json(one: Publication) -> dict[str, Any]:
    """A publication as plain JSON values; times are seconds since the epoch, UTC."""
    source, span = one.source, one.source.span
    return {
        "source": source.source,
        "version": source.version,
        "series": source.series,
        "status": span.status.value,
        "created_at": span.created_at,
        "created_by": span.created_by,
        "why": span.why,
        "published_at": span.published_at,
        "ended_at": span.ended_at,
        "end_why": span.end_why,
        "built_on": list(one.built_on),
        "binaries": [_binary_json(binary) for binary in one.binaries],
    }


def _binary_json(one: BinaryPublication) -> dict[str, Any]:
    return {
        "package": one.package,
        "version": one.version,
        "architecture": one.architecture,
        "index": one.index_architecture,
        "status": one.span.status.value,
        "created_at": one.span.created_at,
        "created_by": one.span.created_by,
        "published_at": one.span.published_at,
    }


def home_page(ppas: Sequence[PPA]) -> str:
    """All PPAs."""
    rows = "".join(
        f'<tr><td><a href="/{_path(ppa)}/">{escape(str(ppa.address))}</a></td>'
        f"<td>{escape(ppa.description)}</td></tr>"
        for ppa in ppas
    )
    table = f"<table><tr><th>PPA</th><th>Description</th></tr>{rows}</table>" if ppas else ""
    empty = "" if ppas else "<p>There is no PPA yet. <code>buildfarm archive create</code> makes one.</p>"
    return _page("Package archive", f"<h1>Package archive</h1>{table}{empty}")


def ppa_page(archive: LocalArchive, ppa: PPA) -> str:
    """One PPA: how to add it, and what is in each of its series."""
    keys = escape(" and ".join(_spaced(one) for one in ppa.key_fingerprints))
    parts = [
        f'<p class="muted"><a href="/">All PPAs</a></p><h1>{escape(str(ppa.address))}</h1>',
        f"<p>{escape(ppa.description)}</p>" if ppa.description else "",
        f'<p class="muted">Signed by <a href="key.asc">{keys}</a></p>',
    ]
    parts += [_series_part(archive, ppa, series) for series in archive.series(ppa.address)]
    return _page(str(ppa.address), "".join(parts))


def _series_part(archive: LocalArchive, ppa: PPA, series: Series) -> str:
    found = archive.publications(ppa.address, series=series.name)
    shown = _recent(found)
    rows = "".join(_publication_row(one) for one in shown)
    older = f'<p class="muted">{len(found) - len(shown)} older ones are not shown.</p>'
    table = (
        "<table><tr><th>Source</th><th>Version</th><th>State</th><th>Binaries</th><th>Since (UTC)</th></tr>"
        f"{rows}</table>{older if len(shown) < len(found) else ''}"
        if found
        else "<p>Nothing is published here yet.</p>"
    )
    name = escape(series.name)
    return (
        f"<h2>{name}</h2>"
        f'<p class="muted">{escape(", ".join(series.architectures))} &middot; '
        f'<a href="{escape(ppa.address.name)}-{name}.sources">.sources file</a> &middot; '
        f'<a href="dists/{name}/">indexes</a></p>'
        f"<pre>{escape(archive.one_liner(ppa.address, series.name))}</pre>{table}"
    )


def _recent(found: Sequence[Publication]) -> list[Publication]:
    """The active ones, and of each source the last few that ended; ``found`` has the newest first."""
    shown, ended = [], Counter[str]()
    for one in found:
        if one.source.span.status not in ACTIVE:
            ended[one.source.source] += 1
        if one.source.span.status in ACTIVE or ended[one.source.source] <= SHOWN_ENDED:
            shown.append(one)
    return shown


def _publication_row(one: Publication) -> str:
    span = one.source.span
    binaries = "<br>".join(
        dict.fromkeys(
            f'<span class="{escape(binary.span.status)}">{escape(binary.package)} {escape(binary.version)} '
            f"({escape(binary.index_architecture)}){_unless_published(binary.span.status)}</span>"
            for binary in one.binaries
        )
    )
    since = _moment(span.ended_at or span.published_at or span.created_at)
    waiting = '<span class="muted">not built yet</span>' if span.status in ACTIVE else ""
    return (
        f"<tr><td>{escape(one.source.source)}</td><td>{escape(one.source.version)}</td>"
        f'<td class="state {escape(span.status)}">{escape(span.status)}</td>'
        f"<td>{binaries or waiting}</td><td>{since}</td></tr>"
    )


def _unless_published(status: Status) -> str:
    return "" if status is Status.PUBLISHED else f", {escape(status.lower())}"


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))


def _spaced(fingerprint: str) -> str:
    return " ".join(fingerprint[n : n + 4] for n in range(0, len(fingerprint), 4))


def _path(ppa: PPA) -> str:
    return escape(f"{ppa.address.owner}/{ppa.address.name}")


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )
