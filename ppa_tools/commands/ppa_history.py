"""``ppa-history``: what came to an archive and what went, when, by whom and why."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ppa_tools.archives.door import Archive
from ppa_tools.commands import arguments
from ppa_tools.commands.command import Command, Example
from ppa_tools.commands.ends import Exit
from ppa_tools.commands.filtering import check_words, selection
from ppa_tools.commands.moments import read_when
from ppa_tools.commands.output import Column, Table, counted, moment_column, note, print_rows
from ppa_tools.commands.session import session
from ppa_tools.publication import Publication, Status

CAME = "came"
STYLES = {CAME: "good", "deleted": "bad", "superseded": "dim", "obsolete": "dim"}


@dataclass(frozen=True)
class Event:
    """Something that happened to a source version; ``at`` is None where nobody knows when."""

    at: float | None
    series: str
    source: str
    version: str
    what: str
    by: str
    why: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("archive", metavar=arguments.ARCHIVE, type=arguments.address, help=arguments.ARCHIVE_HELP)
    parser.add_argument("packages", metavar="PACKAGE", nargs="*", help="source packages, or patterns; none: all")
    group = parser.add_argument_group("which of it")
    arguments.add_series(group)
    group.add_argument("--since", metavar="WHEN", help="from a date, a snapshot, or a time ago (7d) on")
    group.add_argument("--last", metavar="N", type=arguments.count, default=0, help="the last N events alone")
    arguments.add_format(parser)
    arguments.add_archives(parser)


def run(args: argparse.Namespace) -> int:
    """Tell what happened."""
    wanted = selection(args.packages)
    with session(args) as opened:
        archive = opened.archive(args.archive)
        since = _since(archive, args.since)
        side = archive.side(with_past=True)
    check_words(wanted, args.series, side)
    chosen = [
        one
        for one in side.publications
        if wanted.admits(one.source) and (not args.series or one.series in args.series)
    ]
    found = sorted(events(chosen), key=lambda one: (one.at or 0.0, one.series, one.source, one.what == CAME))
    found = [one for one in found if since is None or (one.at is not None and one.at > since)]
    shown = found[-args.last :] if args.last else found
    print_rows(_table(shown), args.format)
    if args.format == "table":
        of_all = f" of {len(found):,}" if len(shown) < len(found) else ""
        note(f"{counted(len(shown), 'event')}{of_all}")
    return Exit.DONE


def events(publications: Iterable[Publication]) -> Iterator[Event]:
    """What publications tell of the past: each came, and some went."""
    for one in publications:
        place = (one.series, one.source, one.version)
        yield Event(one.created_at, *place, CAME, one.by, one.why)
        if not one.is_active:
            yield Event(one.ended_at, *place, Status(one.status).lower(), one.ended_by, one.end_why)


def _since(archive: Archive, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return time.time() - arguments.read_duration(text)
    except ValueError:
        return read_when(archive, text)


def _table(found: list[Event]) -> Table:
    columns = (
        moment_column("at", "WHEN (UTC)"),
        Column("series", "SERIES"),
        Column("source", "SOURCE"),
        Column("version", "VERSION"),
        Column("what", "WHAT", style=lambda what: STYLES.get(what, "")),
        Column("by", "BY"),
        Column("why", "WHY"),
    )
    rows = ((one.at, one.series, one.source, one.version, one.what, one.by, one.why) for one in found)
    return Table(columns, tuple(rows))


COMMAND = Command(
    name="ppa-history",
    summary="tell what came to an archive and what went, when, by whom and why",
    description=(
        "Lists an archive's publishing history, oldest first. Launchpad tells who and why only of some of it."
    ),
    examples=(
        Example("ppa-history ppa:me/trunk hello", "all that became of a package"),
        Example("ppa-history ppa:me/stable --since 7d", "the last week"),
        Example("ppa-history local:me/trunk 'qt*' --last 20", "the last changes to Qt"),
    ),
    configure=configure,
    run=run,
)
