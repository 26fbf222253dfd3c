"""Fields of Debian's control files, read strictly, and the files that a .dsc or a .changes lists.

python-debian reads them too, and takes 28 ms to load: more than all else that signing does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 1024 * 1024
_FIELD = re.compile(r"([!-9;-~]+):[ \t]*(.*)")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.~_-]*")


class ControlError(ValueError):
    """Text that is no control stanza; ``line`` counts from 1, 0 when no line is to blame."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def read_fields(text: str) -> dict[str, str]:
    """The first stanza: lower-case field names, and values with their lines as they stand (deb-control(5)).

    Raises ControlError for a line that is no field, and for a field that comes twice.
    """
    fields: dict[str, str] = {}
    name = ""
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                break
        elif line[0] in " \t" and name:
            fields[name] += f"\n{line}"
        elif match := _FIELD.fullmatch(line):
            name = match[1].lower()
            if name in fields:
                raise ControlError(f"the field {match[1]} comes twice", number)
            fields[name] = match[2]
        else:
            raise ControlError("here should be a field, as in 'Maintainer: A Name <mail@address>'", number)
    return fields


@dataclass(frozen=True)
class ListedFile:
    """A file as a .dsc or a .changes lists it: bare name, size in bytes, hex checksums."""

    name: str
    size_bytes: int
    md5: str
    sha1: str
    sha256: str


def describe_file(path: Path) -> ListedFile:
    """A file as it would be listed."""
    hashes = [hashlib.new(name, usedforsecurity=False) for name in ("md5", "sha1", "sha256")]
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            size += len(chunk)
            for one in hashes:
                one.update(chunk)
    return ListedFile(path.name, size, *(one.hexdigest() for one in hashes))


def read_listed(fields: Mapping[str, str]) -> dict[str, ListedFile]:
    """The files that a .dsc or .changes lists, by name.

    Raises ControlError where the three lists do not name the same files with the same sizes, or a name is more
    than a bare file name.
    """
    lists = [_read_list(fields, name) for name in ("files", "checksums-sha1", "checksums-sha256")]
    sizes = [{name: size for name, (_, size) in one.items()} for one in lists]
    if sizes[0] != sizes[1] or sizes[0] != sizes[2]:
        raise ControlError("Files, Checksums-Sha1 and Checksums-Sha256 do not list the same files")
    return {name: ListedFile(name, size, *(one[name][0] for one in lists)) for name, size in sizes[0].items()}


def _read_list(fields: Mapping[str, str], name: str) -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    for line in fields.get(name, "").split("\n"):
        words = line.split()
        if not words:
            continue
        if len(words) < 3 or not words[1].isdecimal() or not _FILE_NAME.fullmatch(words[-1]):
            raise ControlError(f"{line.strip()!r} in {name} names no file with its checksum and size")
        if words[-1] in found:
            raise ControlError(f"{words[-1]} is listed twice in {name}")
        found[words[-1]] = (words[0], int(words[1]))
    if not found:
        raise ControlError(f"{name} lists no file")
    return found


def checksum_fields(files: Iterable[ListedFile]) -> list[str]:
    """The lines of Checksums-Sha1 and Checksums-Sha256."""
    files = list(files)
    lines = ["Checksums-Sha1:", *(f" {file.sha1} {file.size_bytes} {file.name}" for file in files)]
    return [*lines, "Checksums-Sha256:", *(f" {file.sha256} {file.size_bytes} {file.name}" for file in files)]


def replace_checksums(text: str, file: ListedFile) -> str:
    """The control text with the checksums and size of one listed file brought up to date; the rest untouched."""
    fresh = {32: file.md5, 40: file.sha1, 64: file.sha256}
    lines, in_list = text.split("\n"), False
    for n, line in enumerate(lines):
        if not line.startswith((" ", "\t")):
            in_list = line.lower().startswith(("files:", "checksums-"))
        elif in_list and (words := line.split())[-1:] == [file.name] and len(words) >= 3:
            lines[n] = " ".join(["", fresh[len(words[0])], str(file.size_bytes), *words[2:]])
    return "\n".join(lines)
