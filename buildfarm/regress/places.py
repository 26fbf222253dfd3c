"""Where nightly rebuilds keep what they keep, below the farm's home."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from buildfarm.build.debs import DebStore
from buildfarm.build.environments import deb_cache
from buildfarm.build.manifest import Manifest, read_manifest
from buildfarm.errors import FarmTrouble, UsageError
from buildfarm.settings import Settings


@dataclass(frozen=True)
class Places:
    """The directories of one farm's rebuilds.

    builds/ID/             one build: its order, its report, its log, what it made
    environments/ID.json   the exact packages of an environment
    debs/by-hash/SHA256    the .debs of all kept environments
    packs/SHA256/          the source of a pack that was taken in
    launchpad/NAME.json    what Launchpad was asked for
    """

    root: Path
    cache: Path

    @property
    def history_file(self) -> Path:
        """The nights and their builds (SQLite)."""
        return self.root.parent / "regression.sqlite"

    def build(self, number: int) -> Path:
        """A build's directory."""
        return self.root / "builds" / str(number)

    @property
    def packs(self) -> Path:
        """The sources of packs that were taken in, a directory each."""
        return self.root / "packs"

    @property
    def asked_of_launchpad(self) -> Path:
        """The directory that tells what Launchpad was asked for: a file a source version and series."""
        return self.root / "launchpad"

    @property
    def store(self) -> DebStore:
        """The .debs of kept environments; what was downloaded for others is taken from there."""
        return DebStore(self.root / "debs", others=[deb_cache(self.cache)])

    def manifest_path(self, environment: str) -> Path:
        """Where an environment's packages stand."""
        return self.root / "environments" / f"{environment}.json"

    def manifest(self, environment: str) -> Manifest:
        """A kept environment; raises UsageError when it is not kept (any more)."""
        try:
            return read_manifest(self.manifest_path(environment))
        except FileNotFoundError as error:
            raise UsageError(
                f"the environment {environment[:12]} is not kept here",
                resolution="Those of the last nights are kept: see keep_nights in docs/reference/settings.md.",
            ) from error
        except ValueError as error:
            raise FarmTrouble(f"the record of an environment is damaged: {error}") from error

    def keep(self, manifest: Manifest) -> str:
        """Keep an environment, its packages' files with it; returns its id.

        Raises FarmTrouble when a file cannot be had; the environment is on record all the same.
        """
        path = self.manifest_path(manifest.id)
        store = self.store
        with store.held():
            if path.is_file():
                path.touch()  # what is young is left when old environments are removed
            else:
                manifest.write(path)
        store.fetch(one.deb for one in manifest.packages if one.sha256)
        return manifest.id


def places_of(settings: Settings) -> Places:
    """The places of a farm."""
    return Places(settings.home / "regression", settings.cache)
