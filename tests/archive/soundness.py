"""Whether what an archive serves is whole, checked with nothing of the archive's own code."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

from debian.deb822 import Deb822, Packages, Release, Sources

from ppa_tools.address import Address
from ppa_tools.archives.findings import Severity
from ppa_tools.archives.local import LocalArchive
from tests.archive.conftest import SERIES, Apt, architecture
from tests.archive.model import Held


def check_published(directory: Path) -> None:
    """Every index and every file of a PPA that is served is what its signed Release says."""
    for in_release in directory.glob("dists/*/InRelease"):
        dists = in_release.parent
        said = Release(in_release.read_text())
        files = {row["name"]: row for row in said["SHA256"]}
        for name, row in files.items():
            for path in (dists / name, dists / Path(name).parent / "by-hash/SHA256" / row["sha256"]):
                if name.endswith(".gz"):
                    check_file(path, int(row["size"]), row["sha256"])
            if not name.endswith(".gz"):
                plain = gzip.decompress((dists / f"{name}.gz").read_bytes())
                assert (len(plain), hashlib.sha256(plain).hexdigest()) == (int(row["size"]), row["sha256"])
        for path, size, sha256 in _files_of(dists):
            check_file(directory / path, size, sha256)


def check_file(path: Path, size_bytes: int, sha256: str) -> None:
    """A file is there, with this size and hash."""
    data = path.read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (size_bytes, sha256), path


def held_by_apt(apt: Apt, address: Address) -> Held:
    """What apt knows of a PPA after an update."""
    where = f"{address.owner}_{address.name}_dists_{SERIES}_main"
    sources = [
        (one["Package"], one["Version"])
        for one in Sources.iter_paragraphs(_list(apt, f"{where}_source_Sources"), use_apt_pkg=False)
    ]
    binaries = [
        (one["Package"], one["Version"])
        for one in Packages.iter_paragraphs(
            _list(apt, f"{where}_binary-{architecture()}_Packages"), use_apt_pkg=False
        )
    ]
    assert len(dict(sources)) == len(sources)
    assert len(dict(binaries)) == len(binaries)
    return Held(dict(sources), dict(binaries))


def check_archive(archive: LocalArchive) -> None:
    """All PPAs are whole, and the archive thinks so, too; notes tell of what a crash left to be collected."""
    for ppa in archive.ppas():
        check_published(archive.directory_of(ppa))
    assert archive.publish_due() == ()
    assert [one for one in archive.verify() if one.severity is not Severity.NOTE] == []


def _files_of(dists: Path) -> Iterator[tuple[str, int, str]]:
    for path in dists.glob("main/binary-*/Packages.gz"):
        for one in Deb822.iter_paragraphs(gzip.decompress(path.read_bytes()), use_apt_pkg=False):
            yield one["Filename"], int(one["Size"]), one["SHA256"]
    plain = gzip.decompress((dists / "main/source/Sources.gz").read_bytes())
    for one in Sources.iter_paragraphs(plain, use_apt_pkg=False):
        for row in one["Checksums-Sha256"]:
            yield f"{one['Directory']}/{row['name']}", int(row["size"]), row["sha256"]


def _list(apt: Apt, ending: str) -> str:
    """An index as apt keeps it, which is not at all when it is empty."""
    found = [path.read_bytes() for path in (apt.root / "var/lib/apt/lists").glob(f"*{ending}")]
    return found[0].decode() if found else ""
