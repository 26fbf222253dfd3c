"""``ppa-list``: what archives hold, with where each stands, and how its builds are."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence

from ppa_tools.address import Address
from ppa_tools.archives.door import Archive
from ppa_tools.commands import arguments
from ppa_tools.commands.command import Command, Example
from ppa_tools.commands.ends import Exit
from ppa_tools.commands.filtering import check_names, check_series, plain_names, selection, unmatched
from ppa_tools.commands.output import Column, Table, age_text, counted, moment_column, note, print_rows
from ppa_tools.commands.session import Session, session
from ppa_tools.plan.choosing import Selection
from ppa_tools.publication import ACTIVE, Build, BuildState, Publication, Status

STYLES = {Status.PUBLISHED: "good", Status.PENDING: "new", Status.DELETED: "bad"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "archives", metavar=arguments.ARCHIVE, nargs="+", type=arguments.address, help=arguments.ARCHIVE_HELP
    )
    group = parser.add_argument_group("which packages")
    arguments.add_filters(group, "source packages")
    arguments.add_series(group)
    group.add_argument(
        "--status",
        action="append",
        default=[],
        choices=[one.lower() for one in Status],
        help="what stands there; may be repeated (pending and published)",
    )
    group.add_argument("--all", action="store_true", help="whatever their status")
    group.add_argument(
        "--newer-than", metavar="TIME", type=arguments.duration, help="came within this time: 12h, 7d"
    )
    group.add_argument("--older-than", metavar="TIME", type=arguments.duration, help="came before that: 30d, 8w")
    group.add_argument("--builds", action="store_true", help="show the state of each architecture's build")
    arguments.add_format(parser)
    arguments.add_archives(parser)


def run(args: argparse.Namespace) -> int:
    """List what is there."""
    statuses = tuple(one for one in Status if args.all or one.lower() in args.status) or ACTIVE
    wanted = selection(args.include, args.exclude)
    addresses = list(dict.fromkeys(args.archives))
    with session(args) as opened:
        found = _found(opened, addresses, args.series, statuses, wanted)
        now = time.time()
        chosen = {
            address: [one for one in its if wanted.admits(one.source) and _is_of_age(one, args, now)]
            for address, its in found.items()
        }
        builds = _builds(opened, chosen) if args.builds else {}
    rows = [
        (str(address), one.series, one.source, one.version, one.status, one.created_at, _age(one, now))
        + ((builds[address].get(one.key, ()),) if args.builds else ())
        + (one.key,)
        for address, its in chosen.items()
        for one in sorted(its, key=lambda one: (one.series, one.source))
    ]
    print_rows(Table(_columns(several=len(addresses) > 1, builds=args.builds), tuple(rows)), args.format)
    if args.format == "table":
        sources = {row[2] for row in rows}
        note(f"{counted(len(rows), 'publication')} of {counted(len(sources), 'source package')}")
    return Exit.DONE


def _found(
    opened: Session,
    addresses: Sequence[Address],
    series: Sequence[str],
    statuses: Sequence[Status],
    wanted: Selection,
) -> Mapping[Address, Sequence[Publication]]:
    """What the archives have; raises CommandError when names or series are in none of them."""

    def read(names: Sequence[str]) -> dict[Address, Sequence[Publication]]:
        def ask(archive: Archive) -> Sequence[Publication]:
            return archive.publications(names=names, series=series, statuses=statuses)

        return dict(zip(addresses, opened.each(addresses, ask), strict=True))

    found = read(plain_names(wanted))
    known = {one.source for its in found.values() for one in its}
    if lacking := unmatched(wanted, known):
        if plain_names(wanted):
            known = {one.source for its in read(()).values() for one in its}
        _check_series(opened, addresses, series)
        check_names(lacking, known, _place(addresses, series))
    elif series and not known:
        _check_series(opened, addresses, series)
    return found


def _check_series(opened: Session, addresses: Sequence[Address], series: Sequence[str]) -> None:
    if series:
        sides = opened.sides(addresses, with_past=False)
        check_series(series, [name for side in sides for name in side.series], _place(addresses, ()))


def _place(addresses: Sequence[Address], series: Sequence[str]) -> str:
    return ", ".join(map(str, addresses)) + (f" ({', '.join(series)})" if series else "")


def _builds(
    opened: Session, chosen: Mapping[Address, Sequence[Publication]]
) -> dict[Address, Mapping[str, tuple[Build, ...]]]:
    answers = opened.each(list(chosen), lambda archive: archive.builds(chosen[archive.address]))
    return dict(zip(chosen, answers, strict=True))


def _is_of_age(one: Publication, args: argparse.Namespace, now: float) -> bool:
    if args.newer_than is None and args.older_than is None:
        return True
    age = _age(one, now)
    return (
        age is not None
        and (args.newer_than is None or age <= args.newer_than)
        and (args.older_than is None or age > args.older_than)
    )


def _age(one: Publication, now: float) -> float | None:
    return None if one.created_at is None else now - one.created_at


def _columns(*, several: bool, builds: bool) -> tuple[Column, ...]:
    return (
        Column("archive", "PPA" if several else ""),
        Column("series", "SERIES"),
        Column("source", "SOURCE"),
        Column("version", "VERSION"),
        Column("status", "STATUS", style=lambda status: STYLES.get(status, "dim")),
        moment_column("created_at", "SINCE (UTC)"),
        Column(heading="AGE", number=True, say=_age_text),
        *((Column("builds", "BUILDS", say=builds_text, tell=_builds_told, style=builds_style),) if builds else ()),
        Column("key"),
    )


def _age_text(age: float | None) -> str:
    return "-" if age is None else age_text(age)


def builds_text(builds: Sequence[Build]) -> str:
    """Builds in words, by state: built on amd64 arm64; failed to build on riscv64."""
    by_state: dict[str, list[str]] = {}
    for one in builds:
        words = (
            ("built" if one.published else "built, not published") if one.state is BuildState.BUILT else one.state
        )
        by_state.setdefault(words, []).append(one.architecture)
    return (
        "; ".join(f"{' '.join(names)}: {words[0].lower()}{words[1:]}" for words, names in by_state.items()) or "-"
    )


def builds_style(builds: Sequence[Build]) -> str:
    """How well they are."""
    if any(one.state is not BuildState.BUILT and not one.state.is_under_way for one in builds):
        return "bad"
    return "new" if any(not one.published for one in builds) else ""


def _builds_told(builds: Sequence[Build]) -> dict[str, str]:
    return {one.architecture: str(one.state) for one in builds}


COMMAND = Command(
    name="ppa-list",
    summary="list what archives hold",
    description=(
        "Lists source publications, by series and name: those that are in the index, or will be, unless --status "
        "or --all says otherwise. A name that is in none of the archives ends in exit status 2, with the nearest."
    ),
    examples=(
        Example("ppa-list ppa:deadsnakes/ppa --series noble", "what is published for noble"),
        Example("ppa-list ppa:me/trunk ppa:me/stable --include 'qt*'", "all of Qt in two PPAs"),
        Example("ppa-list local:me/trunk --builds --newer-than 1d", "today's packages, and how their builds are"),
        Example("ppa-list ppa:me/trunk --format lines | cut -f 3,4", "names and versions, for a script"),
    ),
    configure=configure,
    run=run,
)
