"""Looking at a source package before it is signed: is it complete, what it says it is, and nothing else?

The signing worker believes nobody. It copies the files first and looks at its own copies, so that what it checked
is what it signs, whoever else can write in the workspace.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import FarmTrouble
from buildfarm.files import sha256_of
from buildfarm.source.control import (
    ControlError,
    ListedFile,
    describe_file,
    read_fields,
    read_listed,
    replace_checksums,
)
from buildfarm.source.package import SourcePackage
from buildfarm.source.upstream import show_name
from buildfarm.source.version import parse_version
from buildfarm.verdict import FileRef

TEXT_LIMIT_BYTES = 1024 * 1024
CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Expected:
    """What the farm itself knows of a source package; ``changes_sha256`` "" when nobody vouches for it."""

    source: str
    version: str
    distribution: str
    changes_sha256: str = ""


def take_copies(directory: Path, refs: Sequence[FileRef], allowed: Sequence[str], target: Path) -> tuple[str, ...]:
    """Copy the files that a stage recorded, each with the content it recorded; returns their bare names.

    Raises FarmTrouble when one is missing, changed, or no plain file, and when something stands there that is
    neither recorded nor ``allowed``.
    """
    names = {Path(ref.path).name: ref for ref in refs}
    if strangers := sorted({entry.name for entry in directory.iterdir()} - set(names) - set(allowed)):
        raise _refused(f"{show_name(strangers[0])} is not of the source stage's making", directory)
    for name, ref in names.items():
        _copy_plain_file(directory / name, target / name, ref.size_bytes)
        if sha256_of(target / name) != ref.sha256:
            raise _refused(f"{name} was changed after the source stage made it", directory)
    return tuple(names)


def _copy_plain_file(source: Path, target: Path, size_bytes: int) -> None:
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _refused(f"{source.name} cannot be read: {error.strerror}", source.parent) from error
    with os.fdopen(handle, "rb") as reader, target.open("xb") as writer:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size_bytes:
            raise _refused(f"{source.name} is not the file that the source stage made", source.parent)
        left = size_bytes
        while left and (chunk := reader.read(min(left, CHUNK_BYTES))):
            writer.write(chunk)
            left -= len(chunk)


def check_package(directory: Path, names: Sequence[str], expected: Expected) -> SourcePackage:
    """The source package that the files in ``directory`` are; raises FarmTrouble when they are another.

    .changes lists the .dsc, the .buildinfo and all the .dsc lists; every list agrees with the files in size and
    checksums; source, version and distribution are the expected ones; no file is left over.
    """
    stem = f"{expected.source}_{parse_version(expected.version).without_epoch}"
    dsc, buildinfo, changes = f"{stem}.dsc", f"{stem}_source.buildinfo", f"{stem}_source.changes"
    if missing := {dsc, buildinfo, changes} - set(names):
        raise _refused(f"{min(missing)} is missing", directory)
    if expected.changes_sha256 and sha256_of(directory / changes) != expected.changes_sha256:
        raise _refused(f"{changes} is not the one that the source stage reported to the master", directory)
    with_fields = {name: _read_fields(directory / name) for name in (dsc, buildinfo, changes)}
    wanted = {"source": expected.source, "version": expected.version}
    _check_fields(dsc, with_fields[dsc], wanted)
    _check_fields(buildinfo, with_fields[buildinfo], wanted | {"architecture": "source"})
    _check_fields(
        changes,
        with_fields[changes],
        wanted | {"architecture": "source", "distribution": expected.distribution},
    )
    tarballs = set(_check_listed(directory, dsc, with_fields[dsc]))
    listed = set(_check_listed(directory, changes, with_fields[changes]))
    if listed != tarballs | {dsc, buildinfo} or set(names) != listed | {changes}:
        raise _refused(f"{changes}, {dsc} and the files beside them do not name the same files", directory)
    return SourcePackage(directory, dsc, buildinfo, changes, tuple(sorted(tarballs)))


def _read_fields(path: Path) -> dict[str, str]:
    if path.stat().st_size > TEXT_LIMIT_BYTES:
        raise _refused(f"{path.name} has more than {TEXT_LIMIT_BYTES} bytes", path.parent)
    try:
        text = path.read_text(encoding="utf-8")
        fields = read_fields(text)
    except (ControlError, UnicodeDecodeError) as error:
        raise _refused(f"{path.name} cannot be read: {error}", path.parent) from error
    if "\n\n" in text.strip() or text.startswith("-----"):
        raise _refused(f"{path.name} is more than one unsigned paragraph", path.parent)
    return fields


def _check_fields(name: str, fields: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    for field, value in wanted.items():
        if fields.get(field) != value:
            raise _refused(f"{name} has the {field} {fields.get(field, '')[:80]!r}, not {value!r}", Path())


def _check_listed(directory: Path, name: str, fields: Mapping[str, str]) -> dict[str, ListedFile]:
    try:
        listed = read_listed(fields)
    except ControlError as error:
        raise _refused(f"{name}: {error}", directory) from error
    for file in listed.values():
        if not (directory / file.name).is_file() or describe_file(directory / file.name) != file:
            raise _refused(f"{file.name} is not the file that {name} lists", directory)
    return listed


def sign_package(package: SourcePackage, clearsign: Callable[[bytes], bytes]) -> None:
    """Sign .dsc, .buildinfo and .changes in place, in this order: each later one lists the earlier as signed."""
    signed: list[str] = []
    for name in (package.dsc, package.buildinfo, package.changes):
        path = package.directory / name
        text = path.read_text(encoding="utf-8")
        for earlier in signed:
            text = replace_checksums(text, describe_file(package.directory / earlier))
        path.write_bytes(clearsign(text.encode()))
        signed.append(name)


def _refused(why: str, directory: Path) -> FarmTrouble:
    return FarmTrouble(
        f"not signed: {why}",
        where=str(directory) if directory.parts else "",
        resolution="Run the source stage again. If it happens again, see who else writes in the workspaces.",
    )
