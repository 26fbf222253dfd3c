"""Which series and architectures there are: what `buildfarm check` holds the names in a set against."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from buildfarm import process
from buildfarm.build.apt_sources import distribution_of
from buildfarm.errors import UsageError
from buildfarm.recipe.loading import Defaults
from buildfarm.recipe.problem import RuleError, nearest
from buildfarm.settings import Settings

Look = Callable[[str], None]
"""Looks at a name; raises RuleError for one that nothing has."""


def looks_by_key(settings: Settings, host: Defaults) -> Mapping[str, Look]:
    """How the names under a set's keys are looked at: by the settings, the host, distro-info-data and dpkg."""

    def look_at_series(name: str) -> None:
        given = settings.series.get(name)
        if name in host.series or (given is not None and given.apt_sources.strip()):
            return
        try:
            distribution_of(name)
        except UsageError as error:
            raise RuleError(error.brief, error.resolution) from error

    def look_at_architecture(name: str) -> None:
        if name in host.architectures or name in _architectures():
            return
        near = nearest(name, _architectures())
        hint = f"Did you mean {near!r}? " if near else ""
        raise RuleError(
            f"no architecture is called {name!r}", f"{hint}`dpkg-architecture -L` names those there are."
        )

    return {"series": look_at_series, "architectures": look_at_architecture}


@functools.cache
def _architectures() -> frozenset[str]:
    return frozenset(process.run(["dpkg-architecture", "-L"], timeout_s=30, check=True).text.split())
