"""Keeping the disk from filling with old nights: their builds' directories, and environments that nobody needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from buildfarm.build.collecting import collect_environments
from buildfarm.build.manifest import Manifest, read_manifest
from buildfarm.build.namespaces import remove_owned_tree
from buildfarm.errors import FarmError
from buildfarm.files import remove_tree
from buildfarm.regress.local import HERE, is_built_here
from buildfarm.regress.nights import Nights
from buildfarm.regress.places import Places
from buildfarm.settings import Settings

YOUNG_S = 2 * 86400.0
"""What was asked for since may be for a build that is not on record yet, or `buildfarm repro`, which never is."""
UNUSED_S = 14 * 86400.0
ASKED_S = 60 * 86400.0
"""What was asked of Launchpad is of no use once its night has ended, and no night lasts so long."""
LEAVING = ".leaving-"


def tidy(settings: Settings, nights: Nights, now: float) -> tuple[int, ...]:
    """Remove what is past ``keep_nights`` and no longer used; returns the numbers of the builds that went.

    What is in these directories and is none of ours is left alone. Environments stay while anything is built.
    ``now`` is in seconds since the epoch.
    """
    places = Places(settings.regression_root, settings.cache)
    keep = settings.regression.keep_nights
    gone = _remove_builds(places.root / "builds", nights.kept_builds_past(keep))
    if not _is_anything_built(nights, settings):
        _remove_environments(places, nights.environments_in_use(keep), now)
    _remove_asked(places.asked_of_launchpad, now)
    for pack in places.packs.glob("*"):
        if pack.stat().st_mtime < now - UNUSED_S:
            _remove(pack)
    collect_environments(
        settings.cache,
        max_age_s=UNUSED_S,
        max_bytes=settings.regression.cache_gib << 30,
        now=now,
    )
    return gone


def _is_anything_built(nights: Nights, settings: Settings) -> bool:
    """What a killed command left stays submitted for as long as nobody takes it up."""
    return bool(nights.submitted("farm") or (nights.submitted(HERE) and is_built_here(settings)))


def _remove_builds(directory: Path, past: tuple[int, ...]) -> tuple[int, ...]:
    """Each directory is renamed first, so that none is ever found half removed."""
    if not directory.is_dir():
        return ()
    present = {path.name for path in directory.iterdir()}
    gone = tuple(number for number in past if str(number) in present)
    for number in gone:
        (directory / str(number)).rename(directory / f"{LEAVING}{number}")
    for path in directory.glob(f"{LEAVING}*"):
        _remove(path)
    return gone


def _remove_asked(directory: Path, now: float) -> None:
    for path in directory.glob("*.json"):
        if path.stat().st_mtime < now - ASKED_S:
            path.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    try:
        try:
            remove_tree(path)
        except PermissionError:  # something a build left belongs to the ids it ran under
            remove_owned_tree(path)
    except (OSError, FarmError):
        return  # it is tried again the next time


def _remove_environments(places: Places, in_use: frozenset[str], now: float) -> None:
    """Reading takes minutes, and others keep environments meanwhile: what is theirs is young by then."""
    before = now - YOUNG_S
    store = places.store
    kept: set[str] = set()
    for path in places.manifest_path("x").parent.glob("*.json"):
        if path.stem not in in_use:
            store.remove_unused(path, before)
        kept.update(deb.sha256 for manifest in _read(path) for deb in manifest.packages)
    store.forget_unused(before, frozenset(kept))


def _read(path: Path) -> Iterator[Manifest]:
    try:
        yield read_manifest(path)
    except (OSError, ValueError):
        return
