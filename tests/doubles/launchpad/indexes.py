"""The apt repository of each archive: indexes made from what is Published, and the pool. Not signed."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime

from tests.doubles.launchpad.model import PUBLISHED, Archive, BinaryRelease, Release
from tests.doubles.launchpad.packages import Packages, binary_fields, dsc_fields
from tests.doubles.launchpad.world import World


class Repository:
    """Serves ``dists/`` and ``pool/`` of archives; an index is kept until its archive changes."""

    def __init__(self, world: World, packages: Packages) -> None:
        self.world = world
        self.packages = packages

    def read(self, archive: Archive, path: str) -> bytes | None:
        """The bytes of a file below the repository's root; None where there is none."""
        parts = path.split("/")
        if parts[0] == "pool":
            return self.file(archive, parts[-1])
        if parts[0] != "dists" or len(parts) < 3 or parts[1] not in self.world.series:
            return None
        return self._dist(archive, parts[1]).get("/".join(parts[2:]))

    def _dist(self, archive: Archive, series: str) -> dict[str, bytes]:
        return archive.remember(("dist", series), lambda: self._render(archive, series))

    def _render(self, archive: Archive, series: str) -> dict[str, bytes]:
        releases = [one.release for one in archive.sources if one.series == series and one.status == PUBLISHED]
        files = _index("main/source/Sources", (self._source_stanza(one) for one in releases))
        for architecture in self.world.series[series].architectures:
            binaries = [
                one.binary
                for one in archive.binaries
                if (one.series, one.architecture, one.status) == (series, architecture, PUBLISHED)
            ]
            name = f"main/binary-{architecture}/Packages"
            files |= _index(name, (self._binary_stanza(one) for one in binaries))
        files["Release"] = files["InRelease"] = self._release(archive, series, files)
        return files

    def _release(self, archive: Archive, series: str, files: dict[str, bytes]) -> bytes:
        at = datetime.fromtimestamp(self.world.now(), UTC).strftime("%a, %d %b %Y %H:%M:%S UTC")
        rows = [f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n" for name, data in files.items()]
        return (
            f"Origin: LP-PPA-{archive.owner}-{archive.name}\nLabel: {archive.display_name}\nSuite: {series}\n"
            f"Codename: {series}\nVersion: {self.world.series[series].version}\nDate: {at}\n"
            f"Architectures: {' '.join(self.world.series[series].architectures)}\nComponents: main\n"
            f"SHA256:\n{''.join(rows)}"
        ).encode()

    def _source_stanza(self, release: Release) -> str:
        files = self.packages.source_files(release)
        fields = {"Package": release.name} | {k: v for k, v in dsc_fields(release).items() if k != "Source"}
        fields["Directory"] = pool_directory(release.name)
        for field, digest in (
            ("Files", self.packages.md5),
            ("Checksums-Sha1", self.packages.sha1),
            ("Checksums-Sha256", self.packages.sha256),
        ):
            fields[field] = "".join(f"\n {digest(data)} {len(data)} {name}" for name, data in files.items())
        return _stanza(fields)

    def _binary_stanza(self, binary: BinaryRelease) -> str:
        data = self.packages.deb(binary)
        fields = binary_fields(binary)
        fields["Filename"] = f"{pool_directory(binary.build.release.name)}/{binary.file_name}"
        fields |= {"Size": str(len(data)), "MD5sum": self.packages.md5(data)}
        fields |= {"SHA1": self.packages.sha1(data), "SHA256": self.packages.sha256(data)}
        return _stanza(fields)

    def file(self, archive: Archive, name: str) -> bytes | None:
        """A file by its name: of anything whose files have not been removed."""
        found = archive.remember("pool", lambda: _pool_of(archive)).get(name)
        if isinstance(found, BinaryRelease):
            return self.packages.deb(found)
        return self.packages.source_files(found)[name] if found is not None else None


def pool_directory(source: str) -> str:
    prefix = source[:4] if source.startswith("lib") else source[:1]
    return f"pool/main/{prefix}/{source}"


def _pool_of(archive: Archive) -> dict[str, BinaryRelease | Release]:
    found: dict[str, BinaryRelease | Release] = {}
    for source in archive.sources:
        if source.removed_at is None and not source.release.expired:
            found |= dict.fromkeys(source.release.file_keys(), source.release)
    for binary in archive.binaries:
        if binary.removed_at is None and not binary.binary.build.release.binaries_expired:
            found[binary.binary.file_name] = binary.binary
    return found


def _stanza(fields: dict[str, str]) -> str:
    return "".join(f"{name}:{value if value[:1] == chr(10) else ' ' + value}\n" for name, value in fields.items())


def _index(name: str, stanzas: Iterable[str]) -> dict[str, bytes]:
    plain = "\n".join(sorted(stanzas)).encode()
    return {name: plain, f"{name}.gz": gzip.compress(plain, compresslevel=6, mtime=0)}
