"""Binary packages by their content: downloaded once, kept by hash, laid out by name where dpkg wants them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import urllib.parse
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from buildfarm.build.apt_proxy import host_proxies
from buildfarm.build.bootstrap import locked
from buildfarm.errors import FarmTrouble
from ppa_tools.apt.fetching import Fetcher
from ppa_tools.archives.door import DoorError, NotThere

DOWNLOADS_AT_ONCE = 8
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_:%-]*")
# What `apt-get --print-uris` prints: 'URI' FILE SIZE SHA256:HASH
URI_LINE = re.compile(r"^'([^']+)' (\S+) (\d+) SHA256:([0-9a-f]{64})$", re.MULTILINE)
FILE_NAME = re.compile(r"([a-z0-9][a-z0-9+.-]*)_([A-Za-z0-9.+~:-]+)_([a-z0-9-]+)\.deb")


@dataclass(frozen=True, order=True)
class Deb:
    """A binary package's file: where it was to be had, its size and its SHA-256 ("" and 0 where unknown)."""

    name: str
    version: str
    architecture: str
    url: str
    size_bytes: int
    sha256: str

    @property
    def file_name(self) -> str:
        """Its name in a directory of .debs; a version's colon stays out, as in every archive's pool."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is, wherever it came from."""
        return self.name, self.version, self.architecture, self.sha256


class Missing(FarmTrouble):
    """A package's file is kept nowhere, and its archive has it no more."""


class DebStore:
    """The .debs below one directory, by hash. ``others`` are stores that are looked in before a download.

    A file's time is when it was asked for last, and only what was not for long is removed. Whoever looks for a
    file holds the store's lock with others, until it has that time; whoever removes one holds it alone, from
    looking at the time on. So a file that was found is there, whatever other processes do.
    """

    def __init__(self, directory: Path, fetcher: Fetcher | None = None, others: Sequence[DebStore] = ()) -> None:
        self.directory = directory
        self._fetcher = fetcher or Fetcher(directory, host_proxies())
        self._others = others

    def path(self, sha256: str) -> Path:
        """Where the file of this content lies, if it does."""
        return self.directory / "by-hash" / sha256

    def fetch(self, debs: Iterable[Deb]) -> None:
        """Have all of these here; raises Missing for what is gone, FarmTrouble when an archive is out of reach."""
        wanted = [deb for deb in {deb.sha256: deb for deb in debs}.values() if not self._have(deb)]
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
            for done in [pool.submit(self._download, deb) for deb in wanted]:
                done.result()

    def lay_out(self, debs: Iterable[Deb], directory: Path) -> None:
        """Give the files of these, which are here, their names in ``directory``, by links where that can be."""
        directory.mkdir(parents=True, exist_ok=True)
        for deb in debs:
            if not SAFE_NAME.fullmatch(deb.file_name):
                raise FarmTrouble(f"{deb.file_name!r} is no name for a package's file")
            link_or_copy(self.path(deb.sha256), directory / deb.file_name)

    def held(self) -> AbstractContextManager[None]:
        """For a ``with`` block while which nothing is removed; any number of processes may be in one."""
        return locked(self._lock, shared=True)

    def remove_unused(self, path: Path, before: float) -> None:
        """Remove a file, of the store's or of what tells its use, if nobody has asked for it since ``before``."""
        with locked(self._lock), contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()

    def forget_unused(self, before: float, keep: frozenset[str] = frozenset()) -> None:
        """Remove what nobody has asked for since ``before`` (epoch seconds), but for the contents to ``keep``, and
        what killed downloads left."""
        for path in (*self.directory.glob("by-hash/*"), *self.directory.glob(".new-*")):
            if path.name not in keep:
                self.remove_unused(path, before)

    @property
    def _lock(self) -> Path:
        return self.directory / "lock"

    def _have(self, deb: Deb) -> bool:
        if not deb.sha256:
            return False
        path = self.path(deb.sha256)
        with self.held():
            with contextlib.suppress(FileNotFoundError):
                if deb.size_bytes in (0, path.stat().st_size):
                    os.utime(path)
                    return True
                path.unlink()  # the machine went down as it was written
            for other in self._others:
                with other.held():
                    if other._have(deb):
                        link_or_copy(other.path(deb.sha256), path)
                        return True
        return False

    def _download(self, deb: Deb) -> None:
        where = f"{deb.name} {deb.version} ({deb.architecture})"
        if not deb.sha256 or not deb.url.startswith(("http://", "https://")):
            raise Missing(
                f"the file of {where} is not kept here, and nothing says where to fetch it",
                resolution="It was installed before the farm kept what it installs.",
            )
        try:
            path = self._fetcher.fetch_hashed(deb.url, deb.size_bytes, deb.sha256)
            path.chmod(0o644)  # dpkg reads it as one of "others"
        except NotThere as error:
            raise Missing(
                f"{where} is not at {deb.url} any more",
                resolution="The archive has moved on: read its index again.",
            ) from error
        except DoorError as error:
            raise FarmTrouble(
                f"{where} cannot be fetched: {error}", resolution="Is the mirror in reach? It is tried again."
            ) from error


def link_or_copy(source: Path, target: Path) -> None:
    """The same file under another name too; a copy where the two lie on different file systems. Once is enough,
    and each time the file is as young as if it were new."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
        os.utime(target)
    except FileExistsError:
        os.utime(target)
    except OSError:
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(source, beside)
        beside.replace(target)


def parse_uris(text: str) -> tuple[Deb, ...]:
    """What ``apt-get --print-uris`` said; names and versions are those of the files, escapes undone."""
    found = []
    for url, file, size, sha256 in URI_LINE.findall(text):
        if match := FILE_NAME.fullmatch(urllib.parse.unquote(file)):
            found.append(Deb(match[1], match[2], match[3], url, int(size), sha256))
    return tuple(sorted(found))
