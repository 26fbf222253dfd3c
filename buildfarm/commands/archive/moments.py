"""A PPA at other times: snapshots, what changed between two of them or two moments, and the way back."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from buildfarm.commands.archive import common
from buildfarm.errors import UsageError
from buildfarm.settings import Settings
from ppa_tools.address import Address
from ppa_tools.archives.words import moment_in_words, read_moment

if TYPE_CHECKING:
    from ppa_tools.archives.local import Difference, LocalArchive

MOMENT = "a snapshot's name, or a date or time (ISO, UTC); @2026-11-01 is never a name"


def configure(actions: common.Actions) -> None:
    """Describe these actions' arguments."""
    snapshots = common.add_group(actions, "snapshot", "name what a PPA holds now, and keep it")
    create = common.add_action(snapshots, "create", "name what a PPA holds now, and keep its files", _create)
    common.add_archive(create)
    create.add_argument("name", metavar="NAME")
    common.add_why(create)
    show = common.add_action(snapshots, "list", "the snapshots of a PPA, oldest first", _list)
    common.add_archive(show)
    common.add_format(show)
    delete = common.add_action(snapshots, "delete", "forget a snapshot; its files may be collected then", _delete)
    common.add_archive(delete)
    delete.add_argument("name", metavar="NAME")

    diff = common.add_action(actions, "diff", "what changed in a PPA from one moment to another", _diff)
    common.add_archive(diff)
    diff.add_argument("before", metavar="A", help=MOMENT)
    diff.add_argument("after", metavar="B", nargs="?", help="as A; without it: now")
    common.add_series(diff)
    common.add_format(diff)

    back = common.add_action(actions, "rollback", "bring back what a PPA held at a moment", _roll_back)
    common.add_archive(back)
    back.add_argument("to", metavar="TO", help=MOMENT)
    common.add_series(back)
    back.add_argument("--dry-run", action="store_true", help="only say what would change")
    common.add_why(back)
    common.add_yes(back)


def _create(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    made = archive.snapshot(args.archive, args.name, by=common.user(), why=args.why)
    held = ", ".join(f"{series} at {generation}" for series, generation in made.generations)
    print(f"{made.name}: {args.archive} with {held or 'no series'}")
    return 0


def _list(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    found = archive.snapshots(args.archive)
    if args.format == "json":
        common.print_json([{**asdict(one), "generations": dict(one.generations)} for one in found])
        return 0
    rows = [
        (
            one.name,
            moment_in_words(one.created_at),
            one.created_by,
            " ".join(f"{series}@{generation}" for series, generation in one.generations),
            one.why,
        )
        for one in found
    ]
    common.print_table(("SNAPSHOT", "SINCE (UTC)", "WHO", "SERIES@CHANGE", "WHY"), rows)
    return 0


def _delete(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    archive.delete_snapshot(args.archive, args.name)
    print(f"{args.name} is forgotten; what only it kept goes with the next collection of garbage")
    return 0


def _diff(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    before = _moment(archive, args.archive, args.before)
    after = None if args.after is None else _moment(archive, args.archive, args.after)
    found = archive.diff(args.archive, before, after, series=args.series)
    if args.format == "json":
        common.print_json([{**asdict(one), "rebuilt": one.rebuilt} for one in found])
        return 0
    _print_differences(found)
    return 0


def _roll_back(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    to = _moment(archive, args.archive, args.to)
    since = archive.diff(args.archive, to, series=args.series)
    plan = [replace(one, before=one.after, after=one.before) for one in since]
    if not plan:
        print(f"{args.archive} holds what it held then: nothing is to be done")
        return 0
    _print_differences(plan)
    if args.dry_run:
        return 0
    common.ask(f"Roll {args.archive} back like that?", yes=args.yes)
    outcomes = archive.roll_back(args.archive, to, series=args.series, by=common.user(), why=args.why)
    restored = sum(one.what == "restored" for one in outcomes)
    print(f"{restored} source versions are restored, {len(outcomes) - restored} are deleted")
    return 0


def _print_differences(found: Sequence[Difference]) -> None:
    if not found:
        print("nothing differs")
        return
    rows = [
        (
            one.series,
            one.architecture,
            one.package,
            " ".join(one.before) or "-",
            (" ".join(one.after) or "-") + (" (rebuilt)" if one.rebuilt else ""),
        )
        for one in found
    ]
    common.print_table(("SERIES", "ARCH", "PACKAGE", "FROM", "TO"), rows)


def _moment(archive: LocalArchive, address: Address, text: str) -> str | float:
    """A snapshot's name as it stands, anything else as a time."""
    if not text.startswith("@"):
        known = [one.name for one in archive.snapshots(address)]
        if text in known or not text[:1].isdigit():
            return text
    try:
        return read_moment(text.removeprefix("@"))
    except ValueError as error:
        raise UsageError(
            str(error), resolution="`buildfarm archive snapshot list` names the snapshots."
        ) from error
