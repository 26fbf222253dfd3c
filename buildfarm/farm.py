"""One farm on this machine: its settings, recipes, secrets, PPAs, and the names of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from buildfarm.embedded_archive import opened_archive
from buildfarm.recipe import RecipeBook, load_farm_recipes
from buildfarm.recipe.loading import SETS_FILE
from buildfarm.secrets_store import ensure_secret
from buildfarm.settings import Settings, load_settings

if TYPE_CHECKING:
    from buildfarm.latent import LatentWorker
    from buildfarm.recipe import Recipe
    from buildfarm.recipe.problem import Problem
    from buildfarm.regress.package_set import PackageSet
    from buildfarm.regress.sets import SetBook


@dataclass(frozen=True)
class Farm:
    """A farm's settings and the recipes that were found; secrets are made when first asked for."""

    settings: Settings
    book: RecipeBook

    @cached_property
    def sets(self) -> SetBook:
        """The package sets that are rebuilt by night, and what is wrong with those that do not load."""
        from buildfarm.regress.opening import load_farm_sets  # with it come the archives' readers

        return load_farm_sets(self.settings)

    @property
    def _publishing_sets(self) -> tuple[PackageSet, ...]:
        has_sets = (self.settings.recipes / SETS_FILE).exists()
        return tuple(one for one in self.sets.sets.values() if one.publish) if has_sets else ()

    @property
    def uploads_to(self) -> frozenset[str]:
        """The archives that recipes and package sets publish to, by their addresses."""
        published = {recipe.publish for recipe in self.book.recipes.values()}
        return frozenset(published | {one.publish for one in self._publishing_sets})

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the recipes and the package sets that are left out."""
        has_sets = (self.settings.recipes / SETS_FILE).exists()
        return (*self.book.problems, *(self.sets.problems if has_sets else ()))

    @property
    def build_workers(self) -> tuple[str, ...]:
        """The names of the workers that run what commits say."""
        return tuple(f"worker-{number}" for number in range(1, self.settings.workers.builders + 1))

    @property
    def latent_workers(self) -> Mapping[str, LatentWorker]:
        """The workers on machines that the master starts for a build, by name."""
        return self.settings.workers.latent

    @property
    def signer(self) -> str:
        """The name of the worker that has the key and runs nothing else."""
        return "signer"

    def worker_password(self, name: str) -> str:
        """A worker's own password."""
        return ensure_secret(self.settings.secrets / f"{name}-password")

    @cached_property
    def admin_password(self) -> str:
        """The password of the web user ``admin``."""
        return ensure_secret(self.settings.secrets / "admin-password")

    def ensure_archives(self) -> None:
        """Make the embedded PPAs that recipes and package sets publish or promote to, with the farm's key as
        their uploader."""
        recipes = self.book.recipes.values()
        self.ensure_archives_of(
            *((recipe.publish, recipe) for recipe in recipes),
            *((recipe.promote, recipe) for recipe in recipes),
            *((one.publish, one) for one in self._publishing_sets),
        )

    def ensure_archives_of(self, *uses: tuple[str, Recipe | PackageSet]) -> None:
        """As ``ensure_archives``, of these addresses and who publishes there; Launchpad's PPAs are left out."""
        wanted: dict[str, tuple[set[str], set[str]]] = {}
        for address, use in uses:
            series, architectures = wanted.setdefault(address, (set(), set()))
            series.update(use.series)
            architectures.update(use.architectures)
        local = {name: sets for name, sets in wanted.items() if name.startswith("local:")}
        if not local:
            return
        from buildfarm.keys import public_key
        from ppa_tools.address import parse_address

        key = public_key(self.settings)
        with opened_archive(self.settings) as archive:
            for name, (series, architectures) in sorted(local.items()):
                archive.ensure_ppa(
                    parse_address(name),
                    series=sorted(series),
                    architectures=sorted(architectures),
                    uploaders=[key],
                )


def stop_agents(settings: Settings) -> None:
    """End GnuPG's agents that the embedded archive's keys had started."""
    from ppa_tools.archives.local import stop_agents

    stop_agents(settings.archive_root)


def open_farm(root: Path | None = None) -> Farm:
    """The farm of a checkout, found as ``load_settings`` finds it when ``root`` is None."""
    settings = load_settings(root)
    return Farm(settings, load_farm_recipes(settings))
