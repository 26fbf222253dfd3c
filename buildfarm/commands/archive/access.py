"""Keys and tokens of a PPA: what signs it, and who may read a private one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from buildfarm.commands.archive import common
from buildfarm.settings import Settings
from ppa_tools.archives.words import moment_in_words

if TYPE_CHECKING:
    from ppa_tools.archives.local import LocalArchive


def configure(actions: common.Actions) -> None:
    """Describe these actions' arguments."""
    keys = common.add_group(actions, "key", "the keys that sign a PPA, and their rotation")
    common.add_archive(common.add_action(keys, "list", "the keys that sign a PPA, oldest first", _list_keys))
    common.add_archive(
        common.add_action(keys, "add", "begin a rotation: one more key signs from now on", _add_key)
    )
    retire = common.add_action(keys, "retire", "end a rotation: a key signs no more", _retire_key)
    common.add_archive(retire)
    retire.add_argument("fingerprint", metavar="FINGERPRINT", type=str.upper)

    tokens = common.add_group(actions, "token", "the tokens that read a private PPA, or upload by HTTP")
    create = common.add_action(tokens, "create", "make a token, which is shown this once", _create_token)
    common.add_archive(create)
    create.add_argument("name", metavar="NAME", help="whose it is, or what for")
    create.add_argument("--upload", action="store_true", help="it may also send sources")
    show = common.add_action(tokens, "list", "the tokens of a PPA that hold", _list_tokens)
    common.add_archive(show)
    common.add_format(show)
    revoke = common.add_action(tokens, "revoke", "have a token hold no more", _revoke_token)
    common.add_archive(revoke)
    revoke.add_argument("name", metavar="NAME")


def _list_keys(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    for fingerprint in archive.ppa(args.archive).key_fingerprints:
        print(fingerprint)
    return 0


def _add_key(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    print(archive.add_key(args.archive, by=common.user()))
    return 0


def _retire_key(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    archive.retire_key(args.archive, args.fingerprint, by=common.user())
    print(f"{args.archive} is signed by {' and '.join(archive.ppa(args.archive).key_fingerprints)}")
    return 0


def _create_token(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    from ppa_tools.archives.reading import auth_line

    secret = archive.create_token(args.archive, args.name, may_upload=args.upload, by=common.user())
    print(auth_line(archive.url, args.archive, args.name, secret))
    return 0


def _list_tokens(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    found = archive.tokens(args.archive)
    if args.format == "json":
        shown = ("name", "may_upload", "created_at", "created_by")
        common.print_json([{name: getattr(one, name) for name in shown} for one in found])
        return 0
    rows = [
        (one.name, "read, upload" if one.may_upload else "read", moment_in_words(one.created_at), one.created_by)
        for one in found
    ]
    common.print_table(("TOKEN", "MAY", "SINCE (UTC)", "MADE BY"), rows)
    return 0


def _revoke_token(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    archive.revoke_token(args.archive, args.name)
    print(f"{args.name} holds no more")
    return 0
