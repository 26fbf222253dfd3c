"""What is in PPAs: listing it and its history, and copying, deleting and superseding packages."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from buildfarm.commands.archive import common
from buildfarm.settings import Settings
from ppa_tools.archives.words import moment_in_words, size_in_words

if TYPE_CHECKING:
    from ppa_tools.archives.local import LocalArchive, Outcome


def configure(actions: common.Actions) -> None:
    """Describe these actions' arguments."""
    show = common.add_action(actions, "list", "the PPAs, or what is published in one", _list)
    common.add_archive(show, optional=True)
    common.add_series(show)
    _add_source(show)
    show.add_argument("--all", action="store_true", help="superseded and deleted ones, too")
    common.add_format(show)
    history = common.add_action(actions, "history", "what became of each of a PPA's packages, and why", _history)
    common.add_archive(history)
    common.add_series(history)
    _add_source(history)
    common.add_format(history)
    changes = common.add_action(actions, "changes", "the changes made to a PPA, a transaction a line", _changes)
    common.add_archive(changes)
    common.add_series(changes)
    _add_limit(changes, 0, "the last N alone; 0: all")
    common.add_format(changes)
    refusals = common.add_action(actions, "refusals", "the last uploads that were turned away, and why", _refusals)
    common.add_archive(refusals)
    _add_limit(refusals, 20, "how many (20)")
    common.add_format(refusals)

    copy = common.add_action(actions, "copy", "copy packages to another PPA or series", _copy)
    common.add_archive(copy, "source")
    common.add_archive(copy, "destination")
    _add_packages(copy)
    copy.add_argument("--from-series", default="", metavar="NAME", help="where they are (if there are several)")
    copy.add_argument("--to-series", default="", metavar="NAME", help="where they go to (the same series)")
    copy.add_argument("--no-binaries", action="store_true", help="the sources alone, to be built again")
    copy.add_argument("--unembargo", action="store_true", help="consent that what is private becomes public")
    common.add_why(copy)
    common.add_format(copy)
    _configure_ending(actions, "delete", "delete packages with their binaries", _delete)
    _configure_ending(actions, "supersede", "end packages with their binaries as superseded", _supersede)


def _configure_ending(actions: common.Actions, name: str, summary: str, act: common.Act) -> None:
    ending = common.add_action(actions, name, summary, act)
    common.add_archive(ending)
    _add_packages(ending)
    common.add_series(ending)
    common.add_why(ending)
    common.add_yes(ending)
    common.add_format(ending)


def _add_packages(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("packages", metavar="PACKAGE[=VERSION]", nargs="*", help="source packages")
    parser.add_argument("--all", action="store_true", help="all packages that are published there")


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", default="", metavar="NAME", help="this source package alone")


def _add_limit(parser: argparse.ArgumentParser, default: int, words: str) -> None:
    parser.add_argument("--limit", type=common.number(int, "number"), default=default, metavar="N", help=words)


def _list(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    if args.archive is None:
        return _list_ppas(archive, args.format)
    found = archive.listing(args.archive, series=args.series, source=args.source, active=not args.all)
    if args.format == "json":
        common.print_json([one._asdict() for one in found])
        return 0
    rows = [(one.series, one.source, one.version, one.status, moment_in_words(one.since)) for one in found]
    common.print_table(("SERIES", "SOURCE", "VERSION", "STATE", "SINCE (UTC)"), rows)
    return 0


def _list_ppas(archive: LocalArchive, how: str) -> int:
    found = [(ppa, [one.name for one in archive.series(ppa.address)]) for ppa in archive.ppas()]
    if how == "json":
        common.print_json(
            [
                {
                    "archive": str(ppa.address),
                    "series": series,
                    "description": ppa.description,
                    "private": ppa.settings.private,
                    "used_bytes": ppa.used_bytes,
                }
                for ppa, series in found
            ]
        )
        return 0
    rows = [
        (
            str(ppa.address),
            " ".join(series),
            "private" if ppa.settings.private else "public",
            size_in_words(ppa.used_bytes),
            ppa.description,
        )
        for ppa, series in found
    ]
    common.print_table(("PPA", "SERIES", "READ", "USED", "DESCRIPTION"), rows)
    return 0


def _history(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    events = archive.history(args.archive, series=args.series, source=args.source)
    names = _names_of(archive, args)
    if args.format == "json":
        common.print_json([asdict(event) for event in events])
        return 0
    common.print_table(
        ("WHEN (UTC)", "WHAT", "PACKAGE", "VERSION", "SERIES", "ARCH", "WHO", "WHY"),
        [
            (
                moment_in_words(event.at),
                event.what,
                event.name,
                event.version,
                event.series,
                event.architecture,
                names.get(event.who, event.who),
                event.why,
            )
            for event in events
        ],
    )
    return 0


def _changes(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    found = archive.changes(args.archive, series=args.series, limit=args.limit)
    if args.format == "json":
        common.print_json([asdict(one) for one in found])
        return 0
    names = _names_of(archive, args)
    rows = [
        (moment_in_words(one.at), one.series, str(one.generation), one.what, names.get(one.by, one.by), one.why)
        for one in found
    ]
    common.print_table(("WHEN (UTC)", "SERIES", "NUMBER", "WHAT", "WHO", "WHY"), rows)
    return 0


def _refusals(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    found = archive.refusals(args.archive, limit=args.limit)
    if args.format == "json":
        common.print_json([asdict(one) for one in found])
        return 0
    names = _names_of(archive, args)
    rows = [
        (
            moment_in_words(one.at),
            one.via,
            one.series,
            one.changes_name,
            names.get(one.signer, one.signer) or "-",
            one.reason,
        )
        for one in found
    ]
    common.print_table(("WHEN (UTC)", "BY", "SERIES", "UPLOAD", "SIGNED BY", "WHY NOT"), rows)
    return 0


def _names_of(archive: LocalArchive, args: argparse.Namespace) -> dict[str, str]:
    """Whose the uploaders' keys are, by fingerprint: people know each other by name."""
    return {one.fingerprint: one.uid for one in archive.uploaders(args.archive)}


def _copy(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    here = common.only_series(archive, args.source, args.from_series, "--from-series")
    outcomes = archive.copy(
        args.source,
        here,
        args.destination,
        args.to_series or here,
        common.wanted_packages(args.packages, all_of_them=args.all),
        binaries=not args.no_binaries,
        consent=args.unembargo,
        by=common.user(),
        why=args.why,
    )
    common.print_outcomes(outcomes, args.format)
    return 0


def _delete(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    return _end(archive, args, archive.delete)


def _supersede(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    return _end(archive, args, archive.supersede)


def _end(archive: LocalArchive, args: argparse.Namespace, end: Callable[..., tuple[Outcome, ...]]) -> int:
    wanted = common.wanted_packages(args.packages, all_of_them=args.all)
    series = common.only_series(archive, args.archive, args.series)
    if wanted is None:
        held = len(archive.listing(args.archive, series=series))
        what = "the one package" if held == 1 else f"all {held} packages"
        common.ask(f"End {what} of {args.archive} in {series}?", yes=args.yes)
    outcomes = end(args.archive, series, wanted, by=common.user(), why=args.why)
    common.print_outcomes(outcomes, args.format)
    return 0
