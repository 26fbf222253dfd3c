"""A package set with all its defaults filled in: what is rebuilt together, when, within which limits."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from buildfarm.build.limits import BuildLimits
from buildfarm.regress.model import ExtraSources

PATTERN = re.compile(r"[a-z0-9*?\[][a-z0-9+.*?!\[\]-]{0,127}")
"""A source package's name, or a glob of them."""
AD_HOC = "by-hand"
"""The name of a set that stands in no file."""


@dataclass(frozen=True)
class PackageSet:
    """One set.

    ``packages`` and ``exclude`` are names of source packages or globs. What ``packages``,
    ``reverse_build_depends_of`` and ``ppa`` name adds up; ``exclude`` takes away. ``at`` is a time of day,
    ``HH:MM``; ``every_s`` seconds from start to start (0: none); with neither it runs only by hand. The first
    of ``architectures`` also builds what is Architecture: all.
    """

    name: str
    series: tuple[str, ...]
    architectures: tuple[str, ...]
    packages: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    reverse_build_depends_of: tuple[str, ...] = ()
    ppa: str = ""
    at: str = ""
    every_s: int = 0
    priority: int = 0
    publish: str = ""
    limits: BuildLimits = field(default_factory=BuildLimits)
    options: tuple[str, ...] = ()
    control: str = ""
    confirm: bool = True
    culprit: bool = True
    culprit_builds: int = 24
    culprit_s: int = 4 * 3600
    tell: bool = True
    watch_tests: bool = True
    extra: tuple[ExtraSources, ...] = ()

    @property
    def when(self) -> str:
        """When it is rebuilt, in words."""
        if self.every_s:
            minutes = self.every_s // 60
            return f"every {minutes // 60} h" if minutes % 60 == 0 else f"every {minutes} min"
        return f"at {self.at}" if self.at else "by hand"
