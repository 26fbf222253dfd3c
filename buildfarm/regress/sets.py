"""Package sets: what is rebuilt together, when, within which limits, and whom it is told to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from buildfarm.errors import UsageError
from buildfarm.regress.model import BuildLimits, ExtraSources

PATTERN = re.compile(r"[a-z0-9*?\[][a-z0-9+.*?!\[\]-]{0,127}")
AD_HOC = "by-hand"
"""The name of a set that stands in no file."""


@dataclass(frozen=True)
class PackageSet:
    """One set, all defaults filled in.

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
    extra: tuple[ExtraSources, ...] = ()


def ad_hoc_set(names: Sequence[str], series: Sequence[str], architectures: Sequence[str]) -> PackageSet:
    """A set of packages that are named on a command line, by name or glob; raises UsageError."""
    for name in names:
        if not PATTERN.fullmatch(name):
            raise UsageError(
                f"{name[:80]!r} is no name of a source package",
                resolution="For example openldap, or a pattern in quotes: 'lib*-perl'.",
            )
    return PackageSet(AD_HOC, tuple(series), tuple(architectures), packages=tuple(dict.fromkeys(names)))
