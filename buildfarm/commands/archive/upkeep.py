"""Keeping PPAs in order: writing their indexes anew."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from buildfarm.commands.archive import common
from buildfarm.settings import Settings

if TYPE_CHECKING:
    from ppa_tools.archives.local import LocalArchive


def configure(actions: common.Actions) -> None:
    """Describe these actions' arguments."""
    common.add_archive(common.add_action(actions, "publish", "write and sign a PPA's indexes anew", _publish))


def _publish(archive: LocalArchive, _settings: Settings, args: argparse.Namespace) -> int:
    for one in archive.publish(args.archive, force=True):
        print(f"{one.series}: InRelease {one.in_release_sha256}")
    return 0
