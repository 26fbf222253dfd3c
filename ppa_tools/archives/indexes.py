"""The text of apt's indexes: stanzas for Packages and Sources, and the Release that vouches for them."""

from __future__ import annotations

import email.utils
import gzip
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ppa_tools.archives.control import BinaryControl, NamedFile, Paragraph, SourceControl, render_paragraph
from ppa_tools.archives.durable import Digests

GZIP_LEVEL = 6
# What the archive says of a package, whatever the package says of itself.
OURS_IN_PACKAGES = ("Filename", "Size", "MD5sum", "SHA1", "SHA256", "SHA512", "Status")
OURS_IN_SOURCES = (
    *("Source", "Package", "Directory", "Files", "Checksums-Sha1", "Checksums-Sha256"),
    *("Checksums-Sha512", "Priority", "Section", "Status"),
)


@dataclass(frozen=True)
class IndexFile:
    """An index by its path below dists/SERIES/."""

    path: str
    content: bytes
    sha256: str

    @property
    def by_hash_path(self) -> str:
        """Where it also lies, under its hash, so that readers of an older Release still find theirs."""
        return by_hash_path(self.path, self.sha256)


def by_hash_path(path: str, sha256: str) -> str:
    """The by-hash path of an index."""
    return f"{path.rpartition('/')[0]}/by-hash/SHA256/{sha256}"


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


def render_indexes(packages: Mapping[str, Iterable[str]], sources: Iterable[str]) -> tuple[IndexFile, ...]:
    """The indexes of component main: Packages of each architecture and Sources, plain and gz."""
    texts = {f"main/binary-{architecture}/Packages": stanzas for architecture, stanzas in packages.items()}
    texts["main/source/Sources"] = sources
    indexes = []
    for path, stanzas in texts.items():
        plain = "\n".join(stanzas).encode()
        # No time in the gzip header: the same packages make the same bytes.
        for name, content in ((path, plain), (f"{path}.gz", gzip.compress(plain, GZIP_LEVEL, mtime=0))):
            indexes.append(IndexFile(name, content, hashlib.sha256(content).hexdigest()))
    return tuple(indexes)


def render_release(
    origin: str,
    description: str,
    series: str,
    architectures: Sequence[str],
    indexes: Iterable[IndexFile],
    now: float,
) -> bytes:
    """The Release of a series, as the Debian repository format has it; ``now`` in seconds since the epoch."""
    fields = {
        "Origin": origin,
        "Label": origin,
        "Suite": series,
        "Codename": series,
        "Date": email.utils.formatdate(now, usegmt=True).replace("GMT", "UTC"),
        "Architectures": " ".join(architectures),
        "Components": "main",
        "Description": " ".join(description.split()) or origin,
        "Acquire-By-Hash": "yes",
        "SHA256": "".join(f"\n{index.sha256} {len(index.content):>8} {index.path}" for index in indexes),
    }
    return render_paragraph(fields).encode()


def release_indexes(release: bytes) -> dict[str, str]:
    """The indexes that a Release (clear-signed or not) names: path -> SHA-256."""
    found: dict[str, str] = {}
    inside = False
    for line in release.decode("utf-8", "replace").splitlines():
        if inside and line.startswith(" ") and len(words := line.split()) == 3:
            found[words[2]] = words[0]
        else:
            inside = line.startswith("SHA256:")
    return found
