"""What a root file system consists of: every package with its version and content, and an id for the whole.

Two environments with one id hold the same packages, bit for bit, wherever and whenever they were put together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from buildfarm.build.debs import Deb
from buildfarm.files import read_json, write_json
from ppa_tools.apt.relations import Clause, Relation, parse_relations

MANIFEST_SCHEMA = 1
FIELDS = (
    "Package",
    "Version",
    "Architecture",
    "source:Package",
    "source:Version",
    "Multi-Arch",
    "Essential",
    "Pre-Depends",
    "Depends",
    "Provides",
    "Conflicts",
    "Breaks",
    "db:Status-Abbrev",
)
# What no field can hold ends fields and packages, so that nothing a package says of itself is taken for another.
FIELD_END, PACKAGE_END = "\x1f", "\x1e"
QUERY = ("dpkg-query", "-W", "-f", FIELD_END.join(f"${{{name}}}" for name in FIELDS) + PACKAGE_END)


@dataclass(frozen=True, order=True)
class EnvironmentPackage:
    """A package of an environment; relations as they stand in its control file, "" where there are none.

    ``sha256``, ``size_bytes`` and ``url`` are those of its .deb; "" and 0 where nobody could tell.
    """

    name: str
    version: str
    architecture: str
    source: str = ""
    source_version: str = ""
    sha256: str = ""
    size_bytes: int = 0
    url: str = ""
    multi_arch: str = ""
    essential: bool = False
    pre_depends: str = ""
    depends: str = ""
    provides: str = ""
    conflicts: str = ""
    breaks: str = ""

    @property
    def deb(self) -> Deb:
        """Its file."""
        return Deb(self.name, self.version, self.architecture, self.url, self.size_bytes, self.sha256)

    @property
    def source_name(self) -> str:
        """The source it was built from: its own name where none is told, as in control fields."""
        return self.source or self.name

    @property
    def wants(self) -> tuple[Clause, ...]:
        """The clauses of Pre-Depends and Depends."""
        return (*parse_relations(self.pre_depends), *parse_relations(self.depends))

    @property
    def shuns(self) -> tuple[tuple[str, Relation], ...]:
        """What it does not go with, with the field that says so."""
        return tuple(
            (field, relation)
            for field, text in (("Conflicts", self.conflicts), ("Breaks", self.breaks))
            for clause in parse_relations(text)
            for relation in clause
        )

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Manifest:
    """All packages of an environment, by name and architecture."""

    series: str
    architecture: str
    packages: tuple[EnvironmentPackage, ...]

    @property
    def id(self) -> str:
        """The environment's name: hex SHA-256 over its packages' names, versions, architectures and contents."""
        content = [(one.name, one.version, one.architecture, one.sha256) for one in self.packages]
        told = json.dumps([MANIFEST_SCHEMA, self.series, self.architecture, sorted(content)])
        return hashlib.sha256(told.encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        write_json(
            path,
            {
                "schema": MANIFEST_SCHEMA,
                "series": self.series,
                "architecture": self.architecture,
                "packages": [{k: v for k, v in asdict(one).items() if v} for one in self.packages],
            },
        )


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file; raises FileNotFoundError, and ValueError for what is none."""
    data: Mapping[str, Any] = read_json(path)
    try:
        if data["schema"] != MANIFEST_SCHEMA:
            raise ValueError(f"{path}: schema {data['schema']!r}")
        packages = tuple(EnvironmentPackage(**one) for one in data["packages"])
        return Manifest(str(data["series"]), str(data["architecture"]), packages)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no manifest: {error}") from error


def parse_query(text: str, series: str, architecture: str, debs: Iterable[Deb]) -> Manifest:
    """What ``QUERY`` printed in a root, with the files that its packages came from."""
    files = {(deb.name, deb.version, deb.architecture): deb for deb in debs}
    found = []
    for stanza in text.split(PACKAGE_END):
        fields = stanza.split(FIELD_END)
        if len(fields) != len(FIELDS) or not fields[-1].startswith(("ii", "hi")):
            continue
        name, version, arch, source, source_version, multi_arch, essential, *relations, _ = fields
        deb = files.get((name, version, arch)) or Deb(name, version, arch, "", 0, "")
        found.append(
            EnvironmentPackage(
                name,
                version,
                arch,
                source,
                source_version,
                deb.sha256,
                deb.size_bytes,
                deb.url,
                multi_arch,
                essential == "yes",
                *(" ".join(text.split()) for text in relations),
            )
        )
    return Manifest(series, architecture, tuple(sorted(found)))


def debs_of(packages: Sequence[EnvironmentPackage]) -> tuple[Deb, ...]:
    """Their files."""
    return tuple(one.deb for one in packages)
