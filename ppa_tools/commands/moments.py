"""Moments as people name them: a date or time, or a snapshot of the embedded archive."""

from __future__ import annotations

import time

from ppa_tools.address import Address
from ppa_tools.archives.door import Archive
from ppa_tools.archives.words import read_moment
from ppa_tools.commands.ends import CommandError, usage_error

DATES = "2026-11-01, 2026-11-01T12:00 or 2026-11-01T12:00:00+01:00 (UTC where no zone is named)"


def read_when(archive: Archive, when: str) -> float:
    """The moment that somebody means: a snapshot's, where the archive has one by this name, or a date.

    Raises CommandError (usage), naming the snapshots there are.
    """
    snapshots = snapshots_of(archive)
    if when in snapshots:
        return snapshots[when]
    try:
        moment = read_moment(when.removeprefix("@"))
    except ValueError:
        raise _unknown(archive.address, when, snapshots) from None
    if moment > time.time():
        raise usage_error(f"{when} has not come yet", f"A moment of the past is wanted: {DATES}.")
    return moment


def snapshots_of(archive: Archive) -> dict[str, float]:
    """The snapshots of an archive and their moments; Launchpad has none."""
    if archive.address.backend != "local":
        return {}
    from ppa_tools.archives.embedded import EmbeddedArchive

    assert isinstance(archive, EmbeddedArchive)
    return {one.name: one.created_at for one in archive.archive.snapshots(archive.address)}


def _unknown(address: Address, when: str, snapshots: dict[str, float]) -> CommandError:
    if address.backend != "local":
        return usage_error(f"{when!r} is no date, and Launchpad has no snapshots", f"A date is wanted: {DATES}.")
    has = f"It has {', '.join(sorted(snapshots))}" if snapshots else "It has none"
    return usage_error(f"{address} has no snapshot {when!r}", f"{has}; or give a date: {DATES}.")
