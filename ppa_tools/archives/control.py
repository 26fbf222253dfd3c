"""Reading .changes, .dsc and control files, strictly: what is doubtful is refused, not guessed.

python-debian lets the last of two fields with one name win, and dpkg another; here that is an error, so that
what was checked is what is published. It is also quick to import, which the upload stage needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ppa_tools.archives.errors import UploadRefused
from ppa_tools.debversion import split_version

FIELD = re.compile(r"([!-9;-~]+):(.*)")
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.~_-]{0,199}")
PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]{1,127}")
ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9-]{1,31}")
SOURCE_FIELD = re.compile(r"(\S+)(?:\s+\((\S+)\))?")
SIZE = re.compile(r"[0-9]{1,15}")
HASHES = {"md5": 32, "sha1": 40, "sha256": 64}


class Paragraph(Mapping[str, str]):
    """The fields of one control paragraph, in their order; names are looked up without regard to case.

    A value of several lines has them joined by newlines, without the space they began with.
    """

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._names = {name.lower(): name for name, _ in fields}
        self._values = {name.lower(): value for name, value in fields}

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names.values())

    def __len__(self) -> int:
        return len(self._values)

    def without(self, *names: str) -> Paragraph:
        """The paragraph less some fields."""
        dropped = {name.lower() for name in names}
        return Paragraph([(name, value) for name, value in self.items() if name.lower() not in dropped])


@dataclass(frozen=True)
class NamedFile:
    """A file as a .changes or .dsc names it: size in bytes, hashes as hex."""

    name: str
    size_bytes: int
    md5: str
    sha1: str
    sha256: str
    section: str = ""
    priority: str = ""


@dataclass(frozen=True)
class Changes:
    """A .changes file: ``source`` and ``source_version`` name the source package it is about."""

    source: str
    source_version: str
    version: str
    distribution: str
    architectures: tuple[str, ...]
    changed_by: str
    files: tuple[NamedFile, ...]


@dataclass(frozen=True)
class SourceControl:
    """A .dsc: ``architectures`` are the words of its Architecture field; ``fields`` all it says."""

    source: str
    version: str
    format: str
    architectures: tuple[str, ...]
    files: tuple[NamedFile, ...]
    fields: Paragraph


@dataclass(frozen=True)
class BinaryControl:
    """The control fields of a .deb."""

    package: str
    version: str
    architecture: str
    source: str
    source_version: str
    fields: Paragraph


def parse_paragraph(data: bytes, what: str) -> Paragraph:
    """The one paragraph that ``data`` is; raises UploadRefused, naming ``what`` and the line."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UploadRefused(f"{what} is not UTF-8 at byte {error.start}") from error
    fields: list[tuple[str, str]] = []
    seen: set[str] = set()
    lines = text.strip("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise UploadRefused(f"{what}, line {number}: a second paragraph begins; one is wanted")
        if line[0] in " \t":
            if not fields:
                raise UploadRefused(f"{what}, line {number}: a continuation without a field")
            name, value = fields[-1]
            fields[-1] = (name, f"{value}\n{line[1:].rstrip()}")
            continue
        match = FIELD.fullmatch(line)
        if match is None or match[1][0] in "#-":
            raise UploadRefused(f"{what}, line {number}: {line[:60]!r} is no field")
        if match[1].lower() in seen:
            raise UploadRefused(f"{what}, line {number}: {match[1]} stands there twice")
        seen.add(match[1].lower())
        fields.append((match[1], match[2].strip()))
    return Paragraph(fields)


def render_paragraph(fields: Mapping[str, str]) -> str:
    """The text of a paragraph, with a newline at its end."""
    return "".join(f"{name}:{_render_value(value)}\n" for name, value in fields.items())


def _render_value(value: str) -> str:
    first, *rest = value.split("\n")
    return "\n".join([f" {first}" if first else "", *(f" {line}" for line in rest)])


def parse_changes(data: bytes, what: str = "the .changes") -> Changes:
    """The .changes whose text, signature taken off, is ``data``; raises UploadRefused."""
    fields = parse_paragraph(data, what)
    version = _version(_wanted(fields, "Version", what), what)
    source, source_version = _source(_wanted(fields, "Source", what), version, what)
    return Changes(
        source=source,
        source_version=source_version,
        version=version,
        distribution=_wanted(fields, "Distribution", what),
        architectures=tuple(_wanted(fields, "Architecture", what).split()),
        changed_by=fields.get("Changed-By") or fields.get("Maintainer", ""),
        files=_files(fields, what, extra=("section", "priority")),
    )


def parse_dsc(data: bytes, what: str = "the .dsc") -> SourceControl:
    """The .dsc whose text, signature taken off, is ``data``; raises UploadRefused."""
    fields = _fit_to_publish(parse_paragraph(data, what), what)
    version = _version(_wanted(fields, "Version", what), what)
    return SourceControl(
        source=_package(_wanted(fields, "Source", what), what),
        version=version,
        format=_wanted(fields, "Format", what),
        architectures=tuple(_wanted(fields, "Architecture", what).split()),
        files=_files(fields, what),
        fields=fields,
    )


def parse_binary_control(data: bytes, what: str) -> BinaryControl:
    """The control file of a .deb; raises UploadRefused."""
    fields = _fit_to_publish(parse_paragraph(data, what), what)
    package = _package(_wanted(fields, "Package", what), what)
    version = _version(_wanted(fields, "Version", what), what)
    architecture = _wanted(fields, "Architecture", what)
    if not ARCHITECTURE.fullmatch(architecture):
        raise UploadRefused(f"{what}: {architecture!r} is no architecture")
    source, source_version = _source(fields.get("Source") or package, version, what)
    return BinaryControl(package, version, architecture, source, source_version, fields)


def check_file_name(name: str, what: str) -> str:
    """The name, when it is a plain one that can go into a pool; raises UploadRefused."""
    if not FILE_NAME.fullmatch(name):
        raise UploadRefused(f"{what}: {name!r} is no name for a file of a package")
    return name


def _fit_to_publish(fields: Paragraph, what: str) -> Paragraph:
    """The fields, when they can stand in an index; a .changes may say what it likes."""
    for name, value in fields.items():
        if bad := next((c for c in value if (ord(c) < 32 and c not in "\t\n") or ord(c) == 127), ""):
            raise UploadRefused(f"{what}: the character {bad!r} has no place in {name}")
    return fields


def _wanted(fields: Paragraph, name: str, what: str) -> str:
    value = fields.get(name, "")
    if not value:
        raise UploadRefused(f"{what} has no {name} field")
    return value


def _package(name: str, what: str) -> str:
    if not PACKAGE_NAME.fullmatch(name):
        raise UploadRefused(f"{what}: {name!r} is no name for a package")
    return name


def _version(version: str, what: str) -> str:
    try:
        split_version(version)
    except ValueError as error:
        raise UploadRefused(f"{what}: {error}") from error
    return version


def _source(value: str, version: str, what: str) -> tuple[str, str]:
    match = SOURCE_FIELD.fullmatch(value)
    if match is None:
        raise UploadRefused(f"{what}: {value!r} names no source package")
    return _package(match[1], what), _version(match[2] or version, what)


def _files(fields: Paragraph, what: str, extra: tuple[str, ...] = ()) -> tuple[NamedFile, ...]:
    """The files that Files, Checksums-Sha1 and Checksums-Sha256 name, all three alike."""
    lists = {
        "md5": _file_list(fields, "Files", ("md5", "size", *extra, "name"), what),
        "sha1": _file_list(fields, "Checksums-Sha1", ("sha1", "size", "name"), what),
        "sha256": _file_list(fields, "Checksums-Sha256", ("sha256", "size", "name"), what),
    }
    names = lists["sha256"].keys()
    for kind in ("md5", "sha1"):
        if lists[kind].keys() != names:
            odd = ", ".join(sorted(lists[kind].keys() ^ names))
            raise UploadRefused(f"{what}: its lists of files differ about {odd}")
        for name, row in lists[kind].items():
            if row["size"] != lists["sha256"][name]["size"]:
                raise UploadRefused(f"{what}: its lists differ about the size of {name}")
    return tuple(
        NamedFile(
            name,
            int(row["size"]),
            lists["md5"][name]["md5"],
            lists["sha1"][name]["sha1"],
            row["sha256"],
            lists["md5"][name].get("section", ""),
            lists["md5"][name].get("priority", ""),
        )
        for name, row in lists["sha256"].items()
    )


def _file_list(fields: Paragraph, field: str, columns: tuple[str, ...], what: str) -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for line in _wanted(fields, field, what).split("\n"):
        words = line.split()
        if not words:
            continue
        row = dict(zip(columns, words, strict=False))
        if len(words) != len(columns) or not SIZE.fullmatch(row["size"]):
            raise UploadRefused(f"{what}: {field} has a line that cannot be read: {line[:80]!r}")
        digest = row[columns[0]]
        if not re.fullmatch(rf"[0-9a-f]{{{HASHES[columns[0]]}}}", digest):
            raise UploadRefused(f"{what}: {field} has {digest[:70]!r} where a hash is wanted")
        name = check_file_name(row["name"], what)
        if name in rows:
            raise UploadRefused(f"{what}: {field} names {name} twice")
        rows[name] = row
    if not rows:
        raise UploadRefused(f"{what}: {field} names no file")
    return rows
