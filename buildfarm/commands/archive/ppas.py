"""PPAs as a whole: making, configuring and removing them, and how a machine is told of one."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildfarm.commands.archive import common
from buildfarm.commands.archive.server import serve
from buildfarm.errors import UsageError
from buildfarm.settings import Settings
from ppa_tools.address import Address
from ppa_tools.archives.words import DAY_S, read_size

if TYPE_CHECKING:
    from ppa_tools.archives.local import PPA, LocalArchive


def configure(actions: common.Actions) -> None:
    """Describe these actions' arguments."""
    common.add_action(actions, "serve", "serve the archive, in the foreground", serve)
    create = common.add_action(actions, "create", "create a PPA, or add to one what it lacks", _create)
    common.add_archive(create)
    create.add_argument("--series", action="append", default=[], metavar="NAME")
    _add_parts(create)
    create.add_argument("--private", action="store_true", default=None, help="read with a token only")

    change = common.add_action(actions, "configure", "change a PPA's settings, series and uploaders", _configure)
    common.add_archive(change)
    change.add_argument("--add-series", action="append", default=[], metavar="NAME", dest="series")
    change.add_argument(
        "--remove-series", action="append", default=[], metavar="NAME", help="with all that it has"
    )
    _add_parts(change)
    change.add_argument("--remove-uploader", action="append", default=[], metavar="FINGERPRINT")
    privacy = change.add_mutually_exclusive_group()
    privacy.add_argument("--private", action="store_true", default=None, help="read with a token only")
    privacy.add_argument("--public", action="store_false", dest="private", help="read by everybody")
    change.add_argument("--unembargo", action="store_true", help="consent that what was private becomes public")
    common.add_yes(change)

    remove = common.add_action(actions, "remove", "delete a PPA with all that it publishes", _remove)
    common.add_archive(remove)
    common.add_why(remove)
    common.add_yes(remove)

    show = common.add_action(actions, "show", "a PPA's settings, and how to add it to a machine", _show)
    common.add_archive(show)
    common.add_series(show)


def _add_parts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--architecture", action="append", default=[], metavar="ARCH", help="of the series that are named"
    )
    parser.add_argument(
        "--uploader", "--add-uploader", action="append", default=[], type=Path, metavar="KEYFILE", dest="uploader"
    )
    parser.add_argument("--description", metavar="TEXT")
    parser.add_argument(
        "--quota", type=_size, metavar="SIZE", help="what its files may weigh together, as 20G; 0: any"
    )
    days = common.number(float, "number of days")
    parser.add_argument(
        "--keep-days", type=days, metavar="DAYS", help="how long files of superseded and deleted packages are kept"
    )
    parser.add_argument(
        "--versions",
        type=common.number(int, "number of versions"),
        metavar="N",
        help="how many versions of a package stay published in a series",
    )
    parser.add_argument("--compression", metavar="LIST", help="forms of the indexes: gz, and xz and zst if wanted")
    parser.add_argument(
        "--valid-for", type=days, metavar="DAYS", help="how long apt believes a Release; 0: for ever"
    )


def _create(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    ppa = archive.ensure_ppa(
        args.archive,
        description=args.description,
        series=args.series,
        architectures=args.architecture or _architectures(archive, args),
        uploaders=[_read_key(path) for path in args.uploader],
        private=bool(args.private),
        by=common.user(),
    )
    if changes := _changes(args):
        ppa = archive.configure(args.archive, by=common.user(), **changes)
    _print_ppa(archive, ppa)
    return 0


def _architectures(archive: LocalArchive, args: argparse.Namespace) -> list[str]:
    """Those that a PPA has in its series, where none are named for a new one; raises UsageError for a new PPA."""
    from ppa_tools.archives.local import UnknownPPA

    with contextlib.suppress(UnknownPPA):
        series = archive.series(args.archive)
        if known := dict.fromkeys(arch for one in series for arch in one.architectures):
            return list(known)
    if args.series:
        raise UsageError(
            f"{args.series[0]} needs an architecture", resolution="Say which by --architecture, as amd64."
        )
    return []


def _configure(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    address, by = args.archive, common.user()
    known = [one.name for one in archive.series(address)]
    keys = [_read_key(path) for path in args.uploader]
    if unknown := sorted(set(args.remove_series) - set(known)):
        raise UsageError(f"{address} has no series {unknown[0]}")
    if args.remove_series:
        common.ask(f"Delete {', '.join(args.remove_series)} of {address} with all packages?", yes=args.yes)
    changes = _changes(args)
    if changes:
        archive.configure(address, consent=args.unembargo, by=by, **changes)
    if args.series or args.architecture or keys or args.description is not None:
        archive.ensure_ppa(
            address,
            description=args.description,
            series=args.series or (known if args.architecture else []),
            architectures=args.architecture or _architectures(archive, args),
            uploaders=keys,
            by=by,
        )
    for fingerprint in args.remove_uploader:
        archive.remove_uploader(address, fingerprint)
    for name in args.remove_series:
        archive.delete_series(address, name, by=by)
    _print_ppa(archive, archive.ppa(address))
    return 0


def _remove(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    held = archive.listing(args.archive)
    common.ask(f"Delete {args.archive} with the {len(held)} packages that it publishes?", yes=args.yes)
    archive.delete_ppa(args.archive, by=common.user(), why=args.why)
    print(f"{args.archive} is deleted; its history and its keys are kept")
    return 0


def _show(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    from ppa_tools.archives.reading import auth_line

    address: Address = args.archive
    ppa = archive.ppa(address)
    if args.series:
        archive.check_series(address, args.series)
    for line in _lines_of(archive, ppa):
        print(f"# {line}")
    if ppa.settings.private:
        print("# in a file below /etc/apt/auth.conf.d/, with a token from `buildfarm archive token create`:")
        print(f"# {auth_line(archive.url, address)}")
    for name in [args.series] if args.series else [series.name for series in archive.series(address)]:
        print(f"\n# {name}: {archive.one_liner(address, name)}\n{archive.sources_text(address, name)}", end="")
    return 0


def _print_ppa(archive: LocalArchive, ppa: PPA) -> None:
    print("\n".join(_lines_of(archive, ppa)))


def _lines_of(archive: LocalArchive, ppa: PPA) -> list[str]:
    """A PPA, its settings, series and uploaders."""
    from ppa_tools.archives.reading import settings_in_words

    return [
        f"{ppa.address}, signed by {' and '.join(ppa.key_fingerprints)}",
        *([f"  {' '.join(ppa.description.split())}"] if ppa.description else []),
        f"  {settings_in_words(ppa)}",
        *(f"  {one.name}: {', '.join(one.architectures)}" for one in archive.series(ppa.address)),
        *(f"  uploader {one.fingerprint} {one.uid}" for one in archive.uploaders(ppa.address)),
    ]


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that were named."""
    given = {
        "private": args.private,
        "quota_bytes": args.quota,
        "versions": args.versions,
        "keep_ended_s": None if args.keep_days is None else args.keep_days * DAY_S,
        "valid_for_s": None if args.valid_for is None else args.valid_for * DAY_S,
        "compressions": None
        if args.compression is None
        else tuple(filter(None, (one.strip() for one in args.compression.split(",")))),
    }
    return {name: value for name, value in given.items() if value is not None}


def _size(text: str) -> int:
    try:
        return read_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _read_key(path: Path) -> bytes:
    from ppa_tools import openpgp

    try:
        data = path.read_bytes()
        openpgp.read_keys(data)
    except OSError as error:
        raise UsageError(f"the uploader's key {path} cannot be read: {error.strerror}") from error
    except openpgp.OpenPGPError as error:
        raise UsageError(f"{path} is no uploader's public key: {error}") from error
    return data
