"""Keeping the archive in order: indexes anew, verifying, repairing, letting go of what nobody needs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from buildfarm.commands.archive import common
from buildfarm.settings import Settings

if TYPE_CHECKING:
    from ppa_tools.archives.local import Finding, GarbageReport, LocalArchive


def configure(actions: common.Actions) -> None:
    """Describe these actions' arguments."""
    common.add_archive(common.add_action(actions, "publish", "write and sign a PPA's indexes anew", _publish))
    collect = common.add_action(actions, "gc", "remove files that no PPA needs any more", _collect)
    collect.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
    common.add_yes(collect)
    common.add_format(collect)
    verify = common.add_action(
        actions, "verify", "look for what is damaged, missing, or not as the history says", _verify
    )
    common.add_archive(verify, optional=True)
    verify.add_argument("--quick", action="store_true", help="believe files in the pool that have the right size")
    common.add_format(verify)
    repair = common.add_action(actions, "repair", "verify, and mend what can be mended", _repair)
    common.add_archive(repair, optional=True)


def _publish(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    for one in archive.publish(args.archive, force=True):
        print(f"{one.series}: InRelease {one.in_release_sha256}")
    return 0


def _collect(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    report = archive.collect_garbage(dry_run=True)
    if args.dry_run or not (report.ppas or report.files or report.leftovers):
        _print_report(report, args.format)
        return 0
    if not args.yes:
        _print_report(report, args.format)
    common.ask("Remove these?", yes=args.yes)
    _print_report(archive.collect_garbage(dry_run=False), args.format)
    return 0


def _verify(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    found = archive.verify(args.archive, deep=not args.quick)
    if args.format == "json":
        common.print_json([vars(one) | {"address": str(one.address or "")} for one in found])
    else:
        _print_findings(found)
        if not found:
            print("all is as it should be")
        elif any(one.repairable for one in found):
            print("`buildfarm archive repair` mends what can be mended")
    return 1 if found else 0


def _repair(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    result = archive.repair(args.archive)
    for line in result.done:
        print(line)
    _print_findings(result.left)
    if not (result.done or result.left):
        print("all is as it should be")
    return 1 if result.left else 0


def _print_findings(found: Sequence[Finding]) -> None:
    for one in found:
        where = one.path or " ".join(word for word in (str(one.address or ""), one.series) if word)
        what = one.what if one.path and one.what.startswith(one.path) else f"{where}: {one.what}"
        print(f"{one.severity}: {one.kind}: {what}" + ("" if one.repairable else " (not repairable)"))
        for affected in one.affected:
            print(f"  needed by {affected}")


def _print_report(report: GarbageReport, how: str) -> None:
    if how == "json":
        common.print_json(_as_json(report))
        return
    from ppa_tools.archives.words import size_in_words

    if not (report.ppas or report.files or report.leftovers):
        print("nothing is to be collected")
        return
    verb = "would go" if report.dry_run else "went"
    for one in report.ppas:
        print(f"{one.address}: {len(one.names)} file names, {size_in_words(one.size_bytes)}, {verb}")
        for name in one.names:
            print(f"  {name}")
    print(f"the pool: {report.files} files, {size_in_words(report.freed_bytes)}, {verb}")
    if report.leftovers:
        weight = size_in_words(sum(one.size_bytes for one in report.leftovers))
        print(f"leftovers: {len(report.leftovers)}, {weight}, {verb}")
        for left in report.leftovers:
            print(f"  {left.kind} {left.path}")


def _as_json(report: GarbageReport) -> dict[str, object]:
    return {
        "dry_run": report.dry_run,
        "files": report.files,
        "freed_bytes": report.freed_bytes,
        "ppas": [
            {"archive": str(one.address), "names": list(one.names), "size_bytes": one.size_bytes}
            for one in report.ppas
        ],
        "leftovers": [
            {"kind": one.kind, "path": str(one.path), "size_bytes": one.size_bytes} for one in report.leftovers
        ],
    }
