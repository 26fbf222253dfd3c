"""Writing the .changes of a source that is there already, to send it on to another archive and series."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO, cast

from ppa_tools.archives.control import NamedFile, SourceControl, render_paragraph
from ppa_tools.archives.debfile import BoundedReader, TooMuch

CHANGELOG = re.compile(r"(?:\./)?(?:[^/]+/)?debian/changelog")
ENTRY = re.compile(r"(\S+) \(([^()\s]+)\)[^;]*;.*")
END_OF_ENTRY = " -- "
PACKAGING = re.compile(r"(?<!\.orig)\.tar\.(gz|bz2|xz)$")
DECOMPRESS: dict[str, Callable[[Path], BinaryIO]] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}  # type: ignore[dict-item]
UNPACKED_LIMIT_BYTES = 64 << 20
CHANGELOG_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True)
class Sender:
    """Whose name is in it, as ``Name <address>``, and when it is sent (seconds since the epoch, UTC)."""

    name: str
    at: float


def changes_text(
    dsc: SourceControl, files: Sequence[NamedFile], series: str, sender: Sender, entry: Sequence[str]
) -> str:
    """The .changes, unsigned, of a source upload; ``files`` go with it, ``entry`` are the changelog's lines."""
    section, priority = _section_of(dsc)
    return render_paragraph(
        {
            "Format": "1.8",
            "Date": formatdate(sender.at),
            "Source": dsc.source,
            "Binary": dsc.fields.get("Binary", dsc.source).replace("\n", " "),
            "Architecture": "source",
            "Version": dsc.version,
            "Distribution": series,
            "Urgency": "medium",
            "Maintainer": dsc.fields.get("Maintainer", sender.name),
            "Changed-By": sender.name,
            "Changes": "".join(f"\n{line.rstrip() or '.'}" for line in entry),
            "Checksums-Sha1": "".join(f"\n{one.sha1} {one.size_bytes} {one.name}" for one in files),
            "Checksums-Sha256": "".join(f"\n{one.sha256} {one.size_bytes} {one.name}" for one in files),
            "Files": "".join(f"\n{one.md5} {one.size_bytes} {section} {priority} {one.name}" for one in files),
        }
    )


def changelog_entry(dsc: SourceControl, files: Iterable[Path], otherwise: str) -> tuple[str, ...]:
    """This version's lines of the changelog, out of the packaging; ``otherwise`` where they cannot be read."""
    for path in sorted(files):
        if (found := PACKAGING.search(path.name)) is not None:
            lines = _changelog_in(path, found[1]).splitlines()
            if entry := _entry_of(lines, dsc):
                return entry
    return (f"{dsc.source} ({dsc.version}) unstable; urgency=medium", "", f"  * {otherwise}")


def _changelog_in(path: Path, compression: str) -> str:
    """The changelog in a tarball that nobody vouches for, read within bounds; "" where it cannot be."""
    try:
        with (
            DECOMPRESS[compression](path) as plain,
            tarfile.open(fileobj=cast(BinaryIO, BoundedReader(plain, UNPACKED_LIMIT_BYTES)), mode="r|") as tar,
        ):
            for member in tar:
                if CHANGELOG.fullmatch(member.name) and member.isreg():
                    file = tar.extractfile(member)
                    return file.read(CHANGELOG_LIMIT_BYTES).decode("utf-8", "replace") if file else ""
    except (tarfile.TarError, lzma.LZMAError, zlib.error, TooMuch, OSError, EOFError, ValueError):
        return ""
    return ""


def _entry_of(lines: Sequence[str], dsc: SourceControl) -> tuple[str, ...]:
    head = ENTRY.fullmatch(lines[0]) if lines else None
    if head is None or head.groups() != (dsc.source, dsc.version):
        return ()
    entry = list(itertools.takewhile(lambda line: not line.startswith(END_OF_ENTRY), lines))
    while not entry[-1].strip():
        entry.pop()
    return tuple(entry) if all(line.isprintable() for line in entry) else ()


def _section_of(dsc: SourceControl) -> tuple[str, str]:
    """The section and the priority of the first binary package that the source says it makes."""
    for line in dsc.fields.get("Package-List", "").splitlines():
        if len(words := line.split()) >= 4:
            return words[2], words[3]
    return "misc", "optional"
