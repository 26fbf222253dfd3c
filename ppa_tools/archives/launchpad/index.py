"""A public PPA's own apt indexes, which name all files of a series with sizes and hashes in one request."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from ppa_tools.address import Address
from ppa_tools.apt.stanzas import IndexDamaged, scan_packages
from ppa_tools.archives.door import DoorError, Stats
from ppa_tools.archives.launchpad.session import Session
from ppa_tools.publication import File

LONGEST_INDEX_BYTES = 512 << 20
CHECKSUMS = "Checksums-Sha256"

BySource = Mapping[tuple[str, str], tuple[File, ...]]
"""Files by source package and its version."""


@dataclass(frozen=True)
class IndexReader:
    """Reads the indexes of one PPA below ``content``, an instance's root of public PPAs."""

    session: Session
    content: str
    address: Address
    stats: Stats

    @property
    def root(self) -> str:
        """What apt's sources.list would name."""
        return f"{self.content}/{self.address.owner}/{self.address.name}/ubuntu"

    def sources(self, series: str) -> BySource:
        """The files of the sources in the index of a series; empty where there is none that can be read."""
        text = self._index(f"dists/{series}/main/source/Sources.gz", "Sources")
        found: dict[tuple[str, str], tuple[File, ...]] = {}
        for stanza in text.split("\n\n"):
            fields = _fields(stanza)
            if not {"Package", "Version", "Directory", CHECKSUMS} <= fields.keys():
                continue
            below = f"{self.root}/{quote(fields['Directory'].strip())}"
            rows = [line.split() for line in fields[CHECKSUMS].splitlines() if line.strip()]
            if all(len(row) == 3 and row[1].isdecimal() for row in rows):
                files = tuple(File(name, f"{below}/{quote(name)}", sha, int(size)) for sha, size, name in rows)
                found[fields["Package"].strip(), fields["Version"].strip()] = files
        return found

    def binaries(self, series: str, architecture: str) -> BySource:
        """The .debs in the index of an architecture, by their source; empty where none can be read."""
        name = f"dists/{series}/main/binary-{architecture}/Packages.gz"
        try:
            packages = scan_packages(self._index(name, "Packages"), name)
        except IndexDamaged:
            return {}
        found: dict[tuple[str, str], tuple[File, ...]] = {}
        for one in packages:
            url = f"{self.root}/{quote(one.file_name)}"
            file = File(one.file_name.rpartition("/")[2], url, one.sha256, one.size_bytes)
            key = (one.source, one.source_version)
            found[key] = (*found.get(key, ()), file)
        return found

    def _index(self, path: str, kind: str) -> str:
        """The text of an index; "" where it cannot be had, as then each publication can be asked."""
        try:
            answer = self.session.get(f"{self.root}/{path}", kind=kind, stats=self.stats, tries=2)
            if not answer.is_good:
                return ""
            unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            text = unpacking.decompress(answer.body, LONGEST_INDEX_BYTES)
            return text.decode() if unpacking.eof else ""
        except (DoorError, zlib.error, UnicodeDecodeError):
            return ""


def _fields(stanza: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    name = ""
    for line in stanza.split("\n"):
        if line[:1] in (" ", "\t"):
            found[name] = f"{found.get(name, '')}\n{line}"
        else:
            name, _, found[name] = line.partition(":")
    return found
