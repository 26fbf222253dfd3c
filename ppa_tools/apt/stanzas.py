"""Packages and Sources as plain values: a scanner that keeps the few fields that the tools ask about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ppa_tools.debversion import split_version

SOURCE = "source"
"""Stands for sources where else an architecture would."""

FOLD = "\x1f"
"""Stands where a line of a field's value ended while a stanza is cut into fields."""

LINE_END = "\n"
LONGEST_SIZE = 18  # digits
SIZE = re.compile(r"[0-9]{1,18}", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}")


class IndexDamaged(Exception):
    """An index is not what it says that it is; the message names it, and the place."""


class BinaryPackage(NamedTuple):
    """A stanza of Packages; relations are as they stand there, and "" where there are none."""

    package: str
    version: str
    architecture: str
    source: str
    source_version: str
    multi_arch: str
    provides: str
    pre_depends: str
    depends: str
    conflicts: str
    breaks: str
    replaces: str
    file_name: str
    size_bytes: int
    sha256: str


class IndexedFile(NamedTuple):
    """A file that an index names, in the directory of its stanza."""

    name: str
    size_bytes: int
    sha256: str


class SourcePackage(NamedTuple):
    """A stanza of Sources; ``binaries`` are the names of the packages that it builds.

    ``directory`` is below the repository's root; ``checksums`` are the lines of Checksums-Sha256, see ``files``.
    ``extra``: the archive keeps it only because something that was built with it is still there.
    """

    source: str
    version: str
    architectures: tuple[str, ...]
    binaries: tuple[str, ...]
    build_depends: str
    build_depends_arch: str
    build_depends_indep: str
    build_conflicts: str
    build_conflicts_arch: str
    build_conflicts_indep: str
    dsc_sha256: str
    directory: str = ""
    checksums: str = ""
    extra: bool = False

    @property
    def files(self) -> tuple[IndexedFile, ...]:
        """Its files, in the index's order; raises IndexDamaged for lines that are none."""
        found = []
        for line in filter(str.strip, self.checksums.split(LINE_END)):
            words = line.split()
            if len(words) != 3 or not SHA256.fullmatch(words[0]) or not SIZE.fullmatch(words[1]):
                raise IndexDamaged(f"{self.source} {self.version}: {line[:100]!r} is no line of Checksums-Sha256")
            found.append(IndexedFile(words[2], int(words[1]), words[0]))
        return tuple(found)


@dataclass(frozen=True)
class Holdings:
    """What an archive, or a base distribution, has in a series: binaries by the architecture of their index."""

    binaries: Mapping[str, Sequence[BinaryPackage]]
    sources: Sequence[SourcePackage] = ()


def scan_packages(text: str, what: str) -> list[BinaryPackage]:
    """The stanzas of a Packages index; raises IndexDamaged, naming ``what`` and the stanza."""
    found = []
    for number, fields in _stanzas(text):
        get = fields.get
        package, version = get("Package", "").strip(), get("Version", "").strip()
        size = get("Size", " 0").strip()
        if not package or not size.isdecimal() or len(size) > LONGEST_SIZE:
            raise IndexDamaged(f"{what}: stanza {number} has no Package, or a Size that is no number")
        source, source_version = package, version
        if told := get("Source"):
            source, _, inside = told.strip().partition(" ")
            source_version = inside.strip("() ") or version
        _check_versions(f"{what}: stanza {number}", {version, source_version})
        found.append(
            BinaryPackage(
                package,
                version,
                get("Architecture", "").strip(),
                source,
                source_version,
                get("Multi-Arch", "").strip(),
                _unfold(get("Provides", "")),
                _unfold(get("Pre-Depends", "")),
                _unfold(get("Depends", "")),
                _unfold(get("Conflicts", "")),
                _unfold(get("Breaks", "")),
                _unfold(get("Replaces", "")),
                get("Filename", "").strip(),
                int(size),
                get("SHA256", "").strip(),
            )
        )
    return found


def scan_sources(text: str, what: str) -> list[SourcePackage]:
    """The stanzas of a Sources index; raises IndexDamaged, naming ``what`` and the stanza."""
    found = []
    for number, fields in _stanzas(text):
        get = fields.get
        source, version = get("Package", "").strip(), get("Version", "").strip()
        if not source:
            raise IndexDamaged(f"{what}: stanza {number} has no Package")
        _check_versions(f"{what}: stanza {number}", {version})
        checksums = get("Checksums-Sha256", "")
        found.append(
            SourcePackage(
                source,
                version,
                tuple(get("Architecture", "").split()),
                tuple(_unfold(get("Binary", "")).replace(",", " ").split()),
                _unfold(get("Build-Depends", "")),
                _unfold(get("Build-Depends-Arch", "")),
                _unfold(get("Build-Depends-Indep", "")),
                _unfold(get("Build-Conflicts", "")),
                _unfold(get("Build-Conflicts-Arch", "")),
                _unfold(get("Build-Conflicts-Indep", "")),
                _dsc_sha256(checksums),
                get("Directory", "").strip(),
                checksums.replace(FOLD, LINE_END).strip(),
                get("Extra-Source-Only", "").strip() == "yes",
            )
        )
    return found


def _check_versions(where: str, versions: Iterable[str]) -> None:
    try:
        for one in versions:
            split_version(one)
    except ValueError as error:
        raise IndexDamaged(f"{where}: {error}") from error


def _stanzas(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Each stanza's number, from 1, and its fields; a folded value has FOLD where its lines end."""
    number = 0
    for stanza in text.replace(FOLD, "").replace("\n ", FOLD).replace("\n\t", FOLD).split("\n\n"):
        fields = {name: value for name, _, value in [line.partition(":") for line in stanza.split("\n")]}
        fields.pop("", None)
        if fields:
            number += 1
            yield number, fields


def _unfold(value: str) -> str:
    return value.replace(FOLD, " ").strip() if value else ""


def _dsc_sha256(checksums: str) -> str:
    for line in checksums.split(FOLD):
        if line.endswith(".dsc"):
            return line.split()[0]
    return ""
