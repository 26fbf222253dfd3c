"""What apt makes of several archives together: their indexes read, and its solver asked."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ppa_tools.address import Address
from ppa_tools.apt.conflicting import Held, held_of_holdings
from ppa_tools.apt.fetching import cache_directory
from ppa_tools.apt.installable import find_broken
from ppa_tools.apt.ownership import find_clashes
from ppa_tools.commands.conflict_output import Findings
from ppa_tools.commands.indexes import base_of, choose_architecture, repository_of
from ppa_tools.commands.progress import counting
from ppa_tools.commands.session import Session
from ppa_tools.publication import Side

if TYPE_CHECKING:
    from ppa_tools.apt.repositories import Repository


def held_in_indexes(
    opened: Session, args: argparse.Namespace, sides: Sequence[Side], series: Sequence[str]
) -> list[tuple[Address, list[Held]]]:
    """The binaries, and the sources, that the archives have in apt's indexes."""
    found: dict[Address, list[Held]] = {side.address: [] for side in sides}
    reader = opened.reader
    for name in series:
        architecture = _architecture(args, sides, name)
        repositories = _repositories(opened, sides, name)
        holdings = reader.read_all(list(repositories.values()), [architecture])
        for address, repository in repositories.items():
            found[address] += held_of_holdings(holdings[repository], name)
    return list(found.items())


def what_breaks(
    opened: Session, args: argparse.Namespace, sides: Sequence[Side], series: Sequence[str]
) -> Findings:
    """What could be installed and built with one of the archives, and can not with all; files that two own."""
    verdicts, owned, reader = [], [], opened.reader
    for name in series:
        architecture = _architecture(args, sides, name)
        repositories = _repositories(opened, sides, name)
        base = base_of(list(repositories), name, architecture, args.base)
        ppas = list(repositories.values())
        with counting(f"solving {name}") as progress:
            verdict = find_broken(ppas, base, architecture, reader=reader, pins=args.pin, progress=progress)
        verdicts.append((name, verdict))
        with counting(f"files of {name}") as progress:
            ownership = find_clashes(
                list(reader.read_all(ppas, [architecture]).items()),
                architecture,
                reader=reader,
                cache=cache_directory(),
                pins=args.pin,
                download_limit_bytes=args.download_limit,
                progress=progress,
            )
        owned.append((name, ownership))
    return Findings(verdicts=tuple(verdicts), owned=tuple(owned))


def _repositories(opened: Session, sides: Sequence[Side], series: str) -> dict[Address, Repository]:
    """Those of the archives that hold anything of a series."""
    return {
        side.address: repository_of(opened, side.address, series)
        for side in sides
        if any(one.series == series for one in side.publications)
    }


def _architecture(args: argparse.Namespace, sides: Sequence[Side], series: str) -> str:
    known = [name for side in sides if series in side.series for name in side.series[series].architectures]
    return choose_architecture(args.architecture, known, ", ".join(str(side.address) for side in sides))
