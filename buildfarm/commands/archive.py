"""``buildfarm archive``: the embedded archive's PPAs, and the process that serves them."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from buildfarm.commands.archive_server import serve
from buildfarm.errors import FarmError, FarmTrouble, UsageError
from buildfarm.settings import Settings, load_settings
from ppa_tools.address import Address, parse_address

if TYPE_CHECKING:
    from ppa_tools.archives.local import LocalArchive


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("serve", help="serve the archive over HTTP, in the foreground")
    create = actions.add_parser("create", help="create a PPA, or add series, architectures and uploaders to one")
    create.add_argument("archive", metavar="local:OWNER/NAME")
    create.add_argument("--series", action="append", default=[], metavar="NAME")
    create.add_argument("--architecture", action="append", default=[], metavar="ARCH")
    create.add_argument("--uploader", action="append", default=[], type=Path, metavar="KEYFILE")
    create.add_argument("--description", metavar="TEXT")
    for name, summary in (
        ("list", "the PPAs, or what is published in one"),
        ("show", "how to add a PPA to a machine"),
        ("history", "who did what to a PPA's packages, when and why"),
        ("publish", "write and sign a PPA's indexes anew"),
    ):
        action = actions.add_parser(name, help=summary)
        action.add_argument("archive", metavar="local:OWNER/NAME", nargs="?" if name == "list" else None)
        if name != "publish":
            action.add_argument("--series", default="", metavar="NAME")
        if name in ("list", "history"):
            action.add_argument("--source", default="", metavar="NAME")
            action.add_argument("--format", choices=("table", "json"), default="table")
        if name == "list":
            action.add_argument("--all", action="store_true", help="superseded and deleted ones, too")


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    settings = load_settings()
    actions = {
        "serve": serve,
        "create": _create,
        "list": _list,
        "show": _show,
        "history": _print_history,
        "publish": _publish,
    }
    with _opened(settings) as archive:
        return actions[args.action](archive, settings, args)


@contextmanager
def _opened(settings: Settings) -> Iterator[LocalArchive]:
    from ppa_tools.archives.errors import ArchiveError, UnknownPPA
    from ppa_tools.archives.local import LocalArchive
    from ppa_tools.openpgp import OpenPGPError

    archive = LocalArchive(settings.archive_root, url=settings.archive_url)
    try:
        yield archive
    except UnknownPPA as error:
        raise UsageError(
            f"{error}", resolution="`buildfarm archive list` names the PPAs, `create` makes one."
        ) from error
    except ArchiveError as error:
        raise FarmError(str(error)) from error
    except OpenPGPError as error:
        raise FarmTrouble(str(error)) from error


def _create(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    address = _address(args.archive)
    ppa = archive.ensure_ppa(
        address,
        description=args.description,
        series=args.series,
        architectures=args.architecture,
        uploaders=[_read_key(path) for path in args.uploader],
    )
    print(f"{ppa.address}, signed by {' and '.join(ppa.key_fingerprints)}")
    for series in archive.series(address):
        print(f"  {series.name}: {', '.join(series.architectures)}")
    for uploader in archive.uploaders(address):
        print(f"  uploader {uploader.fingerprint} {uploader.uid}")
    return 0


def _list(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    if args.archive is None:
        rows = [
            (str(ppa.address), " ".join(one.name for one in archive.series(ppa.address)), ppa.description)
            for ppa in archive.ppas()
        ]
        if args.format == "json":
            _print_json([dict(zip(("archive", "series", "description"), row, strict=True)) for row in rows])
        else:
            _print_table(("PPA", "SERIES", "DESCRIPTION"), rows)
        return 0
    found = archive.publications(
        _address(args.archive), series=args.series, source=args.source, active=not args.all
    )
    if args.format == "json":
        from ppa_tools.archives.views import publication_json

        _print_json([publication_json(one) for one in found])
        return 0
    _print_table(
        ("SERIES", "SOURCE", "VERSION", "STATE", "BUILT ON", "SINCE (UTC)"),
        [
            (
                one.source.series,
                one.source.source,
                one.source.version,
                one.source.span.status.value,
                " ".join(one.built_on) or "-",
                _moment(one.source.span.created_at),
            )
            for one in found
        ],
    )
    return 0


def _show(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    address = _address(args.archive)
    known = [series.name for series in archive.series(address)]
    for name in [args.series] if args.series else known:
        print(f"# {name}: {archive.one_liner(address, name)}\n{archive.sources_text(address, name)}")
    return 0


def _print_history(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    events = archive.history(_address(args.archive), series=args.series, source=args.source)
    if args.format == "json":
        _print_json([asdict(event) for event in events])
        return 0
    _print_table(
        ("WHEN (UTC)", "WHAT", "PACKAGE", "VERSION", "SERIES", "ARCH", "WHO", "WHY"),
        [
            (
                _moment(event.at),
                event.what,
                event.name,
                event.version,
                event.series,
                event.architecture,
                event.who,
                event.why,
            )
            for event in events
        ],
    )
    return 0


def _publish(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    for one in archive.publish(_address(args.archive), force=True):
        print(f"{one.series}: InRelease {one.in_release_sha256}")
    return 0


def _address(text: str) -> Address:
    try:
        address = parse_address(text)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if address.backend != "local":
        raise UsageError(f"{text} is on Launchpad", resolution="The embedded archive has local:owner/name.")
    return address


def _read_key(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"the uploader's key {path} cannot be read: {error.strerror}") from error


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


def _print_json(data: object) -> None:
    print(json.dumps(data, indent=2))


def _print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = [head, *rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
