"""Pages for people, every word escaped: what all of them share, the list of PPAs, and directories."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from ppa_tools.archives.local import PPA
from ppa_tools.archives.words import moment_in_words, size_in_words

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5c6878; --line: #d9dee5; --fill: #f3f5f8;
  --link: #0b5cad; --good: #1d6f2f; --wait: #9a6200; --bad: #a4262c }
@media (prefers-color-scheme: dark) { :root { --ink: #dde3ea; --soft: #97a3b3; --line: #323a45; --fill: #1f252d;
  --link: #7ab8ff; --good: #6fcf84; --wait: #e5b35c; --bad: #ff9a9a } body { background: #14181e } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem;
  color: var(--ink) }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere } h1 a { color: inherit; text-decoration: none }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .2rem } p { margin: .4rem 0 }
a { color: var(--link) } .muted, .Superseded, .Deleted { color: var(--soft) }
.Pending { color: var(--wait) } .Published { color: var(--good) }
.refused { color: var(--bad); overflow-wrap: anywhere }
.badge { font-size: .8rem; font-weight: 600; border: 1px solid var(--wait); color: var(--wait); border-radius: 4px;
  padding: .1rem .4rem; vertical-align: middle }
table { border-collapse: collapse; width: 100%; margin-top: .6rem }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: break-word }
th { font-weight: 600; color: var(--soft); font-size: .9rem } .narrow { white-space: nowrap }
.files th:nth-child(2), .files td:nth-child(2) { text-align: right; padding-right: 2.5rem; white-space: nowrap;
  font-variant-numeric: tabular-nums }
pre { background: var(--fill); padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; border-radius: 4px;
  margin: .6rem 0; font-size: .9rem }
@media (max-width: 45rem) { .narrow { white-space: normal } table { display: block; overflow-x: auto } }
form { margin: 1rem 0 } input, button { font: inherit; padding: .3rem .6rem }
"""


def page(title: str, *parts: str) -> str:
    """A whole page; ``parts`` are HTML already."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "plain") -> str:
    """A table; its cells are whole ``<td>`` elements."""
    lines = ["".join(f"<th>{escape(word)}</th>" for word in head), *("".join(row) for row in rows)]
    return f'<table class="{escape(kind)}">' + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def cell(text: str, kind: str = "") -> str:
    """A cell of plain text."""
    return f'<td class="{escape(kind)}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def home_page(ppas: Sequence[PPA]) -> str:
    """The PPAs that everybody may see."""
    rows = [
        (f'<td><a href="/{_path(ppa)}/">{escape(str(ppa.address))}</a></td>', cell(ppa.description))
        for ppa in ppas
        if not ppa.settings.private
    ]
    empty = "<p>There is no public PPA. <code>buildfarm archive create</code> makes one.</p>"
    return page(
        "Package archive", "<h1>Package archive</h1>", table(("PPA", "Description"), rows) if rows else empty
    )


def directory_page(directory: Path, shown: str) -> str:
    """The files of a directory, which is at ``shown`` in the address; hidden ones are left out."""
    with os.scandir(directory) as found:
        entries = sorted(
            ((not entry.is_dir(), entry.name, entry.stat()) for entry in found if not entry.name.startswith(".")),
            key=lambda entry: entry[:2],
        )
    rows = [
        (
            _link(name + ("" if is_file else "/")),
            cell(size_in_words(stat.st_size) if is_file else ""),
            cell(moment_in_words(stat.st_mtime), "narrow"),
        )
        for is_file, name, stat in entries
    ]
    parent = (_link("../"), "<td></td>", "<td></td>")
    return page(
        f"{shown}/",
        f"<h1>{escape(shown)}/</h1>",
        table(("Name", "Size", "Changed (UTC)"), [parent, *rows], "files"),
    )


def _link(name: str) -> str:
    return f'<td><a href="./{escape(quote(name))}">{escape(name)}</a></td>'


def _path(ppa: PPA) -> str:
    return escape(f"{ppa.address.owner}/{ppa.address.name}")
