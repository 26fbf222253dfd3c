"""``ppa-wait``: waits until versions are published, built everywhere, and in the index that apt reads."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ppa_tools.address import Address
from ppa_tools.archives.door import Archive
from ppa_tools.commands import arguments
from ppa_tools.commands.command import Command, Example
from ppa_tools.commands.ends import Exit, usage_error
from ppa_tools.commands.filtering import check_series
from ppa_tools.commands.indexes import repository_of
from ppa_tools.commands.output import Column, Table, age_text, counted, note, print_json, print_rows
from ppa_tools.commands.progress import counting
from ppa_tools.commands.session import Session, session
from ppa_tools.publication import ACTIVE, Side

if TYPE_CHECKING:
    from ppa_tools.apply.waiting import Awaited, ReadIndex, Sighting, Waited
    from ppa_tools.apt.stanzas import Holdings
    from ppa_tools.plan.choosing import Wanted


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("archive", metavar=arguments.ARCHIVE, type=arguments.address, help=arguments.ARCHIVE_HELP)
    parser.add_argument(
        "packages", metavar="PACKAGE[=VERSION]", nargs="+", type=arguments.package, help="source packages"
    )
    arguments.add_series(parser, "in this series; may be repeated (all that it is in)")
    arguments.add_limit(parser, "2h")
    arguments.add_format(parser)
    arguments.add_archives(parser)


def run(args: argparse.Namespace) -> int:
    """Wait, and tell how far everything has come."""
    from ppa_tools.apply.waiting import Stage, wait_for

    with session(args) as opened:
        archive = opened.archive(args.archive)
        side = archive.side(with_past=False, names={one.source for one in args.packages})
        check_series(args.series, side.series, str(args.archive))
        awaited = tuple(one for package in args.packages for one in _awaited(package, args.series, side, archive))
        with _telling(len(awaited)) as tell:
            waited = wait_for(
                archive,
                awaited,
                limit_s=args.limit,
                requested=_requested(opened, args.archive, awaited),
                read_index=None if side.private else _index_reader(opened, args.archive),
                progress=tell,
            )
    _show(waited, args.format)
    if waited.timed_out:
        left = sum(one.stage is not Stage.INDEXED for one in waited.sightings)
        note(f"gave up after {age_text(args.limit)}: {counted(left, 'package')} not in the index yet")
    return Exit.DONE if waited.is_good else Exit.IN_PART


def _awaited(package: Wanted, series: Sequence[str], side: Side, archive: Archive) -> Iterator[Awaited]:
    """What is meant by a word: the series that were named, or those that have the package, or the only one."""
    from ppa_tools.apply.waiting import Awaited
    from ppa_tools.plan.choosing import nearest_names

    held = {
        one.series
        for one in side.publications
        if one.source == package.source and package.version in ("", one.version)
    }
    places = list(series) or sorted(held)
    if not places:
        everything = archive.publications(statuses=ACTIVE)
        places = sorted({one.series for one in everything} or side.series)
        if len(places) > 1:
            near = nearest_names(package.source, {one.source for one in everything})
            meant = f" (did you mean {', '.join(near)}?)" if near else ""
            raise usage_error(
                f"{side.address} has no {package} yet{meant}, and several series",
                f"Say by --series where it will come: {', '.join(places)}.",
            )
    yield from (Awaited(package.source, name, package.version) for name in places)


def _requested(opened: Session, address: Address, awaited: Sequence[Awaited]) -> Collection[Awaited]:
    """What the journal knows to have been asked for; another run may be using it."""
    from ppa_tools.apply.journal import JournalError, open_items
    from ppa_tools.plan.actions import Kind

    with contextlib.suppress(JournalError):
        copies = [one for one in open_items(address, opened.instance_of(address)) if one.kind == Kind.COPY]
        versions = {(one.series, one.source, version) for one in copies for version in ("", one.version)}
        return [one for one in awaited if (one.series, one.source, one.version) in versions]
    return ()


def _index_reader(opened: Session, address: Address) -> ReadIndex:
    def read(series: str, architectures: Sequence[str]) -> Holdings:
        return opened.reader.read_holdings(repository_of(opened, address, series), architectures, sources=False)

    return read


@contextlib.contextmanager
def _telling(count: int) -> Iterator[Callable[[Sequence[Sighting], str], None]]:
    """A line for each step that something takes, and how many are there."""
    from ppa_tools.apply.waiting import Stage

    said: dict[Awaited, str] = {}
    with counting("waiting") as counts:

        def tell(sightings: Sequence[Sighting], trouble: str) -> None:
            if trouble:
                note(f"{trouble}; trying again")
            for one in sightings:
                words = f"{one.awaited}: {one.stage}" + (f" ({one.why})" if one.why else "")
                if said.get(one.awaited) != words:
                    said[one.awaited] = words
                    note(words)
            counts(sum(one.stage is Stage.INDEXED for one in sightings), count)

        yield tell


def _show(waited: Waited, how: str) -> None:
    if how == "json":
        print_json([_sighting_json(one) for one in waited.sightings])
        return
    columns = (
        Column("series", "SERIES"),
        Column("source", "SOURCE"),
        Column("version", "VERSION"),
        Column("state", "STATE", style=_style),
        Column("why", "WHY"),
    )
    rows = ((one.awaited.series, one.awaited.source, one.version, one.stage, one.why) for one in waited.sightings)
    print_rows(Table(columns, tuple(rows)), how)
    packages = tuple(
        (one.awaited.series, package.package, package.version, package.architecture, package.sha256)
        for one in waited.sightings
        for package in one.packages
    )
    if packages and how == "table":
        heads = (("series", "SERIES"), ("package", "PACKAGE"), ("version", "VERSION"), ("architecture", "ARCH"))
        print()
        print_rows(Table((*(Column(*head) for head in heads), Column("sha256", "SHA-256")), packages), how)


def _style(stage: Any) -> str:
    from ppa_tools.apply.waiting import ENDS_BADLY, Stage

    return "good" if stage is Stage.INDEXED else "bad" if stage in ENDS_BADLY else "new"


def _sighting_json(one: Sighting) -> dict[str, Any]:
    return {
        "source": one.awaited.source,
        "series": one.awaited.series,
        "version": one.version,
        "state": str(one.stage),
        "why": one.why,
        "builds": {build.architecture: str(build.state) for build in one.builds},
        "packages": [
            {
                "package": package.package,
                "version": package.version,
                "architecture": package.architecture,
                "sha256": package.sha256,
            }
            for package in one.packages
        ],
    }


COMMAND = Command(
    name="ppa-wait",
    summary="wait until packages are published, built, and in the index that apt reads",
    description=(
        "Tells how far each package is: requested, pending, building, built, in the index. It ends when all are "
        "in the index with all of their packages, and with exit status 1 when a build has failed, a package is "
        "gone, or the time is up."
    ),
    examples=(
        Example("ppa-wait ppa:me/trunk hello=1.2-1", "until apt can install it"),
        Example("ppa-wait ppa:me/trunk hello world --series noble --limit 30m", "for half an hour at most"),
        Example("ppa-wait ppa:me/trunk hello --format json", "the packages with their SHA-256"),
    ),
    configure=configure,
    run=run,
)
