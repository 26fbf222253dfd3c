"""Reading the indexes of apt repositories: from disk, over HTTP, or from what apt itself has read.

What is read is what InRelease vouches for, by size and SHA-256, and InRelease is vouched for by the repository's
keys where they are known. Everything has a limit.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ppa_tools import openpgp
from ppa_tools.apt.fetching import Fetcher, cache_directory
from ppa_tools.apt.repositories import Repository
from ppa_tools.apt.stanzas import (
    SOURCE,
    BinaryPackage,
    Holdings,
    IndexDamaged,
    SourcePackage,
    scan_packages,
    scan_sources,
)
from ppa_tools.archives.compression import FORMS, PLAIN, UNREADABLE
from ppa_tools.archives.door import DoorError, NotThere
from ppa_tools.archives.indexes import Listed, release_listed

KEYS_LIMIT_BYTES = 1 << 20
RELEASE_LIMIT_BYTES = 16 << 20
INDEX_LIMIT_BYTES = 512 << 20
TEXT_LIMIT_BYTES = 2 << 30
READING_ON_DISK = ("zst", "gz", "xz", PLAIN)
READING_FROM_AFAR = ("xz", "zst", "gz", PLAIN)
CAT_FILE = "/usr/lib/apt/apt-helper"
PACKED = (".lz4", ".gz", ".xz", ".zst", ".bz2", ".lzma")
CAT_TIMEOUT_S = 120.0
READERS = 8
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Release:
    """What a repository's InRelease vouches for, by path; ``text`` is what it says."""

    repository: Repository
    listed: Mapping[str, Listed]
    text: bytes

    @property
    def by_hash(self) -> bool:
        """Whether files lie under their hashes, too."""
        return b"\nAcquire-By-Hash: yes" in self.text

    def forms_of(self, path: str) -> tuple[Listed, ...]:
        """An index's files, the handiest first; none where the repository has no such index."""
        forms = READING_FROM_AFAR if self.repository.directory is None else READING_ON_DISK
        names = (f"{path}.{form}" if form else path for form in forms)
        return tuple(self.listed[name] for name in names if name in self.listed)


class IndexText(NamedTuple):
    """The text of an index, of an architecture or of SOURCE; ``what`` names it for people."""

    architecture: str
    what: str
    text: str


class Reader:
    """Reads repositories; any number of threads may use one."""

    def __init__(self, fetcher: Fetcher | None = None) -> None:
        self.fetcher = fetcher or Fetcher(cache_directory())

    def read_release(self, repository: Repository) -> Release:
        """What a repository has; raises NotThere, Unreachable, DoorError for a signature that does not hold."""
        where = f"dists/{repository.suite}/InRelease"
        try:
            if repository.directory is None:
                text = self.fetcher.fetch_fresh(f"{repository.uri}/{where}", RELEASE_LIMIT_BYTES)
            else:
                text = _read_limited(repository.directory / where, RELEASE_LIMIT_BYTES)
        except (NotThere, FileNotFoundError) as error:
            raise NotThere(
                f"{repository} has no {repository.suite}: there is no {where} at {repository.uri}",
                resolution="Look at the names of the archive and of the series. One that was made just now has no "
                "indexes before its first package is published.",
            ) from error
        said = text
        if repository.keyring:
            try:
                said = openpgp.verify_clearsigned(text, repository.keyring).payload
            except openpgp.OpenPGPError as error:
                raise DoorError(
                    f"{repository}: its InRelease is not signed as it must be: {error}",
                    resolution="Its keys may be new: look where the archive is described.",
                ) from error
        listed = {one.path: one for one in release_listed(said) if SHA256.fullmatch(one.sha256)}
        return Release(repository, listed, said)

    def read_launchpad_keys(self, archive_url: str) -> bytes:
        """The keys that sign a PPA, as Launchpad's web service tells them; b"" where it tells none.

        ``archive_url`` is the PPA there. Raises Unreachable.
        """
        try:
            answer = self.fetcher.fetch_fresh(f"{archive_url}?ws.op=getSigningKeyData", KEYS_LIMIT_BYTES)
            told = json.loads(answer)
        except (NotThere, ValueError):
            return b""
        return told.encode() if isinstance(told, str) else b""

    def fetch(self, release: Release, path: str) -> tuple[Path, Listed] | None:
        """The file of an index, in the handiest form there is; None where there is no such index.

        Raises Unreachable, and IndexDamaged where a file is not what Release says.
        """
        directory, suite = release.repository.directory, release.repository.suite
        forms = release.forms_of(path)
        for one in forms:
            if one.size_bytes > INDEX_LIMIT_BYTES:
                raise IndexDamaged(f"{release.repository}: {one.path} is too long: {one.size_bytes} bytes")
            for place in (one.by_hash_path, one.path) if release.by_hash else (one.path,):
                if directory is not None:
                    file = directory / "dists" / suite / place
                    if _is(file, one):
                        return file, one
                    continue
                try:
                    url = f"{release.repository.uri}/dists/{suite}/{place}"
                    return self.fetcher.fetch_hashed(url, one.size_bytes, one.sha256), one
                except NotThere:
                    continue
        if forms:
            raise IndexDamaged(f"{release.repository}: {path} is not there as its Release says: read it again")
        return None

    def read_text(self, release: Release, path: str) -> str:
        """An index's text; "" where there is no such index. Raises as ``fetch``."""
        fetched = self.fetch(release, path)
        if fetched is None:
            return ""
        file, listed = fetched
        form = _form_of(listed.path)
        what = f"{release.repository}: {listed.path}"
        try:
            with FORMS[form].open(file) as stream:
                data = stream.read(TEXT_LIMIT_BYTES + 1)
        except UNREADABLE as error:
            raise IndexDamaged(f"{what} cannot be unpacked: {error}") from error
        if len(data) > TEXT_LIMIT_BYTES:
            raise IndexDamaged(f"{what} unpacks to more than {TEXT_LIMIT_BYTES >> 30} GiB")
        return str(data, "utf-8", "replace")

    def read_texts(
        self, repository: Repository, architectures: Sequence[str], *, sources: bool = True
    ) -> Iterator[IndexText]:
        """The indexes that a repository has for some architectures, and its Sources; raises as ``fetch``."""
        if repository.lists:
            for architecture in architectures:
                for file in lists_of(repository, architecture):
                    yield IndexText(architecture, str(file), read_index(file))
            return
        release = self.read_release(repository)
        for component in repository.components:
            wanted = [(name, f"{component}/binary-{name}/Packages") for name in architectures]
            for name, path in (*wanted, *([(SOURCE, f"{component}/source/Sources")] if sources else [])):
                yield IndexText(name, f"{repository}: {path}", self.read_text(release, path))

    def read_holdings(
        self, repository: Repository, architectures: Sequence[str], *, sources: bool = True
    ) -> Holdings:
        """What a repository has for some architectures, and its sources; raises as ``fetch``, ``read_release``."""
        return scan(self.read_texts(repository, architectures, sources=sources))

    def read_all(
        self, repositories: Collection[Repository], architectures: Sequence[str], *, sources: bool = True
    ) -> dict[Repository, Holdings]:
        """The holdings of several, read at the same time where that is of use; raises as ``read_holdings``."""
        afar = [one for one in repositories if one.directory is None and not one.lists]
        found = dict[Repository, Holdings]()
        with ThreadPoolExecutor(max(1, min(len(afar), READERS))) as pool:
            waiting = {one: pool.submit(self.read_holdings, one, architectures, sources=sources) for one in afar}
            for one in repositories:
                if one not in waiting:
                    found[one] = self.read_holdings(one, architectures, sources=sources)
            found.update({one: future.result() for one, future in waiting.items()})
        return {one: found[one] for one in repositories}


def scan(texts: Iterable[IndexText]) -> Holdings:
    """What indexes hold; raises IndexDamaged."""
    binaries: dict[str, list[BinaryPackage]] = {}
    sources: list[SourcePackage] = []
    for one in texts:
        if one.architecture == SOURCE:
            sources += scan_sources(one.text, one.what)
        else:
            binaries.setdefault(one.architecture, []).extend(scan_packages(one.text, one.what))
    return Holdings(binaries, sources)


def lists_of(repository: Repository, architecture: str) -> tuple[Path, ...]:
    """The files of apt's own that hold its packages of an architecture."""
    return tuple(file for file in repository.lists if f"_binary-{architecture}_Packages" in file.name)


def architectures_of(release: Release) -> tuple[str, ...]:
    """The architectures that a repository has Packages for."""
    found = set()
    for path in release.listed:
        component, _, rest = path.partition("/")
        name, _, file = rest.partition("/")
        if component in release.repository.components and file.partition(".")[0] == "Packages":
            found.add(name.removeprefix("binary-"))
    return tuple(sorted(found - {"all"}))


def merge_holdings(those: Iterable[Holdings]) -> Holdings:
    """Several as one."""
    binaries: dict[str, list[BinaryPackage]] = {}
    sources: list[SourcePackage] = []
    for one in those:
        sources += one.sources
        for architecture, packages in one.binaries.items():
            binaries.setdefault(architecture, []).extend(packages)
    return Holdings(binaries, sources)


def read_index(file: Path) -> str:
    """The text of a file below apt's lists; one that is packed is unpacked by apt, which packs in its own ways."""
    if not file.name.endswith(PACKED):
        return file.read_text(encoding="utf-8", errors="replace")
    argv = [CAT_FILE, "cat-file", str(file)]
    try:
        done = subprocess.run(
            argv, capture_output=True, check=True, timeout=CAT_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise IndexDamaged(f"{file} cannot be read by apt's own apt-helper: {error}") from error
    return str(done.stdout, "utf-8", "replace")


def _form_of(path: str) -> str:
    ending = path.rpartition("/")[2].partition(".")[2]
    return ending if ending in FORMS else PLAIN


def _read_limited(path: Path, limit_bytes: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise IndexDamaged(f"{path} is longer than {limit_bytes >> 20} MiB")
    return data


def _is(file: Path, listed: Listed) -> bool:
    """Whether a file is what Release says."""
    try:
        if file.stat().st_size != listed.size_bytes:
            return False
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == listed.sha256
    except FileNotFoundError:
        return False
