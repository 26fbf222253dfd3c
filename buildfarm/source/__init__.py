"""From a revision to a Debian source package: its version, its tarballs, its description files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from buildfarm.errors import FarmTrouble
from buildfarm.files import read_json, write_json
from buildfarm.job import from_plain
from buildfarm.workspace import Workspace

VERSION_FILE = "tarball/version.json"

SourceFormat = Literal["quilt", "native"]


@dataclass(frozen=True)
class VersionInfo:
    """What the tarball stage decided, for all series at once (``tarball/version.json``).

    ``upstream_version`` has neither epoch nor revision; it names the files that all series share. ``orig`` is the
    upstream tarball's file name beside version.json, "" for a native package. ``versions`` has a full Debian
    version for each series, and ``distributions`` the distribution a series belongs to (``debian``, ``ubuntu``).
    """

    source: str
    format: SourceFormat
    upstream_version: str
    orig: str
    versions: Mapping[str, str]
    distributions: Mapping[str, str]

    @property
    def directory(self) -> str:
        """The one directory that the source package unpacks to."""
        return f"{self.source}-{self.upstream_version}"

    @property
    def dpkg_format(self) -> str:
        """The format in dpkg's words."""
        return f"3.0 ({self.format})"


def write_version(workspace: Workspace, info: VersionInfo) -> None:
    """Keep what the tarball stage decided."""
    write_json(workspace.path / VERSION_FILE, asdict(info))


def read_version(workspace: Workspace) -> VersionInfo:
    """What the tarball stage decided; raises FarmTrouble when it has not run here."""
    try:
        data: Any = read_json(workspace.path / VERSION_FILE)
        return from_plain(VersionInfo, data)
    except (OSError, ValueError) as error:
        raise FarmTrouble(
            f"the version cannot be read: {error}",
            where=VERSION_FILE,
            resolution="Run the tarball stage in this workspace first.",
        ) from error
