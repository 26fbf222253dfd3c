"""Which distribution a series belongs to, and its number: what versions end in, since codenames do not sort."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import FarmTrouble, PackageFault

DISTRO_INFO = Path("/usr/share/distro-info")
DISTRIBUTIONS = ("debian", "ubuntu")


@dataclass(frozen=True)
class Series:
    """A series by its codename, with its distribution and number (``12``, ``24.04``)."""

    codename: str
    distribution: str
    number: str

    @property
    def label(self) -> str:
        """What a version carries: ``debian12``, ``ubuntu24.04``."""
        return f"{self.distribution}{self.number}"


def find_series(codename: str, directory: Path = DISTRO_INFO) -> Series:
    """The series of that codename, by the tables of Debian's package distro-info-data.

    Raises PackageFault for one that is unknown or has no number (sid), and FarmTrouble without the tables.
    """
    for distribution in DISTRIBUTIONS:
        for number, series in _read_table(directory / f"{distribution}.csv"):
            if series == codename:
                return _numbered(codename, distribution, number)
    raise PackageFault(
        f"no distribution has a series {codename!r}",
        where="series",
        resolution="Give codenames as in bookworm or noble; a new series needs a newer distro-info-data.",
    )


def _numbered(codename: str, distribution: str, number: str) -> Series:
    if not number:
        raise PackageFault(
            f"series {codename!r} has no number, so no version can end in it",
            where="series",
            resolution="Name the series it will become by its own codename (the testing release's, for sid).",
        )
    return Series(codename, distribution, number)


def _read_table(path: Path) -> list[tuple[str, str]]:
    """Number ("" for none, without Ubuntu's ``LTS``) and codename of each series in a table."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [(row["version"].removesuffix(" LTS"), row["series"]) for row in csv.DictReader(file)]
    except FileNotFoundError as error:
        raise FarmTrouble(
            f"{path} is not there: the numbers of series are unknown",
            resolution="Install the package distro-info-data.",
        ) from error
