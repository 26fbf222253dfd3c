"""The paths that clients like dput upload to, and the PPA and series that each of them means.

~OWNER/NAME[/SERIES], and ~OWNER/ubuntu/NAME[/SERIES] as Launchpad has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ppa_tools.address import Address, parse_address
from ppa_tools.archives.administration import SERIES_NAME
from ppa_tools.archives.errors import UnknownPPA
from ppa_tools.archives.local import LocalArchive

DISTRIBUTIONS = ("ubuntu", "debian")


@dataclass(frozen=True)
class Target:
    """Where files are left: a PPA, and its series, or "" for the one that the .changes names."""

    address: Address
    series: str = ""

    def __str__(self) -> str:
        return f"{self.address} {self.series}".strip()


def segments_of(directory: Sequence[str], path: str) -> tuple[str, ...]:
    """The path from the root that ``path`` means in ``directory``; ``..`` never leads above the root."""
    segments = [] if path.startswith("/") else list(directory)
    for word in path.split("/"):
        if word == "..":
            del segments[-1:]
        elif word not in ("", "."):
            segments.append(word)
    return tuple(segments)


def targets_of(path: Sequence[str]) -> tuple[Target, ...]:
    """What a path may mean, the likeliest first; nothing for a path that has another form."""
    if not path or not path[0].startswith("~"):
        return ()
    owner, rest = path[0][1:], path[1:]
    readings = [rest] if 1 <= len(rest) <= 2 else []
    if 2 <= len(rest) <= 3 and rest[0] in DISTRIBUTIONS:
        readings.append(rest[1:])
    return tuple(target for reading in readings if (target := _target(owner, *reading)) is not None)


def is_on_the_way(path: Sequence[str]) -> bool:
    """Whether a path leads to places without being one: the root, ~OWNER, ~OWNER/ubuntu."""
    if not path:
        return True
    if not path[0].startswith("~") or _target(path[0][1:], "any") is None:
        return False
    return len(path) == 1 or (len(path) == 2 and path[1] in DISTRIBUTIONS)


def find_target(archive: LocalArchive, path: Sequence[str]) -> Target:
    """The place that a path means; raises UnknownPPA for one that cannot be a place. Reads the history.

    A private PPA is as one that is not there: both take files, and what is signed decides.
    """
    problem = UnknownPPA(
        f"{'/'.join(path)[:200] or '/'!r} is no place for uploads; ~OWNER/NAME or ~OWNER/NAME/SERIES is one"
    )
    hidden = list[Target]()
    for target in reversed(targets_of(path)):
        try:
            ppa = archive.ppa(target.address)
        except UnknownPPA:
            hidden.append(target)
            continue
        try:
            if target.series:
                archive.check_series(target.address, target.series)
        except UnknownPPA as error:
            if ppa.settings.private:
                hidden.insert(0, target)
            problem = error
        else:
            return target
    if hidden:
        return hidden[0]
    raise problem


def _target(owner: str, name: str, series: str = "") -> Target | None:
    try:
        address = parse_address(f"local:{owner}/{name}")
    except ValueError:
        return None
    return Target(address, series) if not series or SERIES_NAME.fullmatch(series) else None
