"""The text of apt's indexes: stanzas for Packages and Sources, and the Release that vouches for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime

from ppa_tools.archives.control import BinaryControl, NamedFile, Paragraph, SourceControl, render_paragraph
from ppa_tools.archives.durable import Digests

# What the archive says of a package, whatever the package says of itself.
OURS_IN_PACKAGES = ("Filename", "Size", "MD5sum", "SHA1", "SHA256", "SHA512", "Status")
OURS_IN_SOURCES = (
    *("Source", "Package", "Directory", "Files", "Checksums-Sha1", "Checksums-Sha256"),
    *("Checksums-Sha512", "Priority", "Section", "Status"),
)
SUM_LINE = re.compile(r"\s+(\S+)\s+([0-9]{1,18})\s+(\S+)\s*")
"""A line of a Release below SHA256: the sum, the size in bytes, the path."""


@dataclass(frozen=True)
class Index:
    """An index of component main: Packages of an architecture, or Sources, for which it is None."""

    architecture: str | None

    @property
    def name(self) -> str:
        """The directory it is in, below main/."""
        return "source" if self.architecture is None else f"binary-{self.architecture}"

    @property
    def path(self) -> str:
        """Its path below dists/SERIES/, without an ending."""
        return f"main/{self.name}/{'Sources' if self.architecture is None else 'Packages'}"


@dataclass(frozen=True)
class Listed:
    """A file that Release vouches for, by its path below dists/SERIES/."""

    path: str
    size_bytes: int
    sha256: str

    @property
    def by_hash_path(self) -> str:
        """Where it also lies, under its hash, so that readers of an older Release still find theirs."""
        return f"{self.path.rpartition('/')[0]}/by-hash/SHA256/{self.sha256}"


def package_stanza(control: BinaryControl, pool_path: str, digests: Digests) -> str:
    """A .deb's stanza in Packages."""
    own = control.fields.without(*OURS_IN_PACKAGES)
    ours = {
        "Filename": pool_path,
        "Size": str(digests.size_bytes),
        "MD5sum": digests.md5,
        "SHA1": digests.sha1,
        "SHA256": digests.sha256,
    }
    return render_paragraph({**own, **ours})


def source_stanza(dsc: SourceControl, dsc_file: NamedFile, files: Sequence[NamedFile], pool_directory: str) -> str:
    """A source package's stanza in Sources; ``files`` are what the .dsc names."""
    own: Paragraph = dsc.fields.without(*OURS_IN_SOURCES)
    every = (dsc_file, *files)
    ours = {
        "Priority": dsc_file.priority or "optional",
        "Section": dsc_file.section or "misc",
        "Directory": pool_directory,
        "Files": "".join(f"\n{file.md5} {file.size_bytes} {file.name}" for file in every),
        "Checksums-Sha1": "".join(f"\n{file.sha1} {file.size_bytes} {file.name}" for file in every),
        "Checksums-Sha256": "".join(f"\n{file.sha256} {file.size_bytes} {file.name}" for file in every),
    }
    return render_paragraph({"Package": dsc.source, **own, **ours})


def render_release(
    origin: str,
    description: str,
    series: str,
    architectures: Sequence[str],
    listed: Iterable[Listed],
    date_s: float,
    valid_for_s: float,
) -> bytes:
    """The Release of a series, as the Debian repository format has it.

    ``date_s`` is in seconds since the epoch; after ``valid_for_s`` more apt believes it no longer (0: for ever).
    """
    fields = {
        "Origin": origin,
        "Label": origin,
        "Suite": series,
        "Codename": series,
        "Date": _date(date_s),
        **({"Valid-Until": _date(date_s + valid_for_s)} if valid_for_s else {}),
        "Architectures": " ".join(architectures),
        "Components": "main",
        "Description": " ".join(description.split()) or origin,
        "Acquire-By-Hash": "yes",
        "SHA256": "".join(f"\n{one.sha256} {one.size_bytes:>8} {one.path}" for one in listed),
    }
    return render_paragraph(fields).encode()


def release_listed(release: bytes) -> tuple[Listed, ...]:
    """The files that a Release (clear-signed or not) of this archive vouches for."""
    found = list[Listed]()
    inside = False
    for line in release.decode("utf-8", "replace").splitlines():
        if inside and (words := SUM_LINE.fullmatch(line)):
            found.append(Listed(words[3], int(words[2]), words[1]))
        else:
            inside = line.startswith("SHA256:")
    return tuple(found)


def release_date(release: bytes) -> float | None:
    """The Date of a Release in seconds since the epoch; None where it has none that can be read."""
    for line in release.decode("utf-8", "replace").splitlines():
        if line.startswith("Date:"):
            try:
                return parsedate_to_datetime(line.partition(":")[2].strip()).timestamp()
            except ValueError:
                return None
    return None


def _date(at_s: float) -> str:
    return formatdate(at_s, usegmt=True).replace("GMT", "UTC")
