"""What changes to a series are asked for, and what became of each package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ppa_tools.archives import history as h


@dataclass(frozen=True)
class Wanted:
    """A source package that is asked for; ``version`` "" is its newest that is published."""

    source: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.source} {self.version}".rstrip()


@dataclass(frozen=True)
class Outcome:
    """What became of one package: ``what`` is copied, already there, deleted, superseded or restored.

    ``binaries`` counts the index entries that went with it.
    """

    series: str
    source: str
    version: str
    what: str
    binaries: int


@dataclass(frozen=True)
class Place:
    """A series of a PPA."""

    ppa: h.PPA
    series: h.Series


def outcomes(
    series: str,
    what: str,
    sources: Iterable[h.SourcePublication | h.HeldSource],
    binaries: Iterable[h.BinaryPublication | h.HeldBinary],
) -> tuple[Outcome, ...]:
    """An outcome for each source version that these belong to, with a count of its binaries."""
    counts = Counter((row.source, row.source_version) for row in binaries)
    names = dict.fromkeys((one.source, one.version) for one in sources) | dict.fromkeys(counts)
    return tuple(Outcome(series, *name, what, counts[name]) for name in sorted(names))
