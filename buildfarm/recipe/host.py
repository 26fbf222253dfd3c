"""What this host is, for recipes that do not say what they are built for."""

from __future__ import annotations

import shlex
from pathlib import Path

from buildfarm.errors import FarmTrouble
from buildfarm.process import run
from buildfarm.recipe.loading import Defaults, RecipeBook, load_recipes
from buildfarm.recipe.problem import RuleError
from buildfarm.recipe.rules import check_architecture, check_series
from buildfarm.settings import Settings

OS_RELEASE = Path("/etc/os-release")


def host_series(os_release: Path = OS_RELEASE) -> str:
    """The codename of the host's series, from os-release(5); raises FarmTrouble."""
    try:
        lines = os_release.read_text(encoding="utf-8").splitlines()
        values = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        return check_series("".join(shlex.split(values.get("VERSION_CODENAME", ""))))
    except (OSError, ValueError) as error:
        raise FarmTrouble(
            f"the series of this host is not known: VERSION_CODENAME: {error}",
            where=str(os_release),
            resolution="Run the farm on Debian or Ubuntu; their os-release names the series.",
        ) from error


def host_architecture(dpkg: str = "dpkg") -> str:
    """The host's Debian architecture, as dpkg says; raises FarmTrouble."""
    finished = run([dpkg, "--print-architecture"], timeout_s=30, check=True)
    try:
        return check_architecture(finished.text.strip())
    except RuleError as error:
        raise FarmTrouble(f"dpkg names no architecture: {error}") from error


def host_defaults() -> Defaults:
    """What recipes are built for that do not say it: this host's series and architecture; raises FarmTrouble."""
    return Defaults((host_series(),), (host_architecture(),))


def load_farm_recipes(settings: Settings) -> RecipeBook:
    """The recipes of the farm, with this host's series and architecture where a recipe names none."""
    defaults = host_defaults()
    return load_recipes(settings.recipes, defaults.series, defaults.architectures)
