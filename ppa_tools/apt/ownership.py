"""Files that two packages of several PPAs both own, so that dpkg would refuse to install the second.

What a package installs is told by the Contents of its repository, else by the .deb itself; what a .deb told is
kept by its SHA-256. What Conflicts, Breaks or Replaces permit is no clash. Maintainer scripts may divert files:
what they do is unknown until they run, so of packages whose scripts call dpkg-divert it is said that they may.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from ppa_tools.address import parse_address
from ppa_tools.apt.conflicting import DEFAULT_PRIORITY, Pin, Priorities
from ppa_tools.apt.indexes import Reader
from ppa_tools.apt.relations import parse_relations
from ppa_tools.apt.repositories import Repository
from ppa_tools.apt.stanzas import BinaryPackage, Holdings
from ppa_tools.apt.universe import provides
from ppa_tools.archives.debfile import list_deb_paths
from ppa_tools.archives.door import DoorError
from ppa_tools.archives.errors import ArchiveError
from ppa_tools.debversion import version_key

MERGED_DIRECTORIES = ("bin/", "sbin/", "lib/", "lib32/", "lib64/", "libx32/", "libo32/")
READERS = 2
SCRIPTS_LIMIT_BYTES = 32 << 20
PATHS_LIMIT_BYTES = 128 << 20


@dataclass(frozen=True)
class Owner:
    """A package that apt would take, and the repository that has it."""

    package: str
    version: str
    repository: str

    def __str__(self) -> str:
        return f"{self.package} {self.version} ({self.repository})"


@dataclass(frozen=True)
class Clash:
    """Two packages that may be installed together, and the files that both own.

    ``may_divert`` names those whose maintainer scripts call dpkg-divert, ``unread`` those whose scripts could not
    be looked at: with either it is not certain that dpkg refuses.
    """

    one: Owner
    other: Owner
    paths: tuple[str, ...]
    may_divert: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def is_within_one(self) -> bool:
        """Whether one repository has both: then putting it together with others has not brought it about."""
        return self.one.repository == self.other.repository


@dataclass(frozen=True)
class Ownership:
    """What was found; ``unseen`` are packages whose files are not known, and why."""

    clashes: tuple[Clash, ...]
    unseen: tuple[tuple[Owner, str], ...]


@dataclass(frozen=True)
class _Taken:
    repository: Repository
    package: BinaryPackage

    @property
    def owner(self) -> Owner:
        return Owner(self.package.package, self.package.version, str(self.repository))


def find_clashes(
    held: Sequence[tuple[Repository, Holdings]],
    architecture: str,
    *,
    reader: Reader,
    cache: Path,
    pins: Sequence[Pin] = (),
    download_limit_bytes: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Ownership:
    """The files that two packages both own, of those that apt would take from these repositories, in their order.

    ``cache`` keeps what .debs told. From other machines .debs are fetched up to ``download_limit_bytes`` in all.
    """
    taken = _taken(held, architecture, pins)
    files = _Files(reader, cache, download_limit_bytes)
    contents = {one: _contents(reader, one, architecture) for one, _ in held}
    paths: dict[str, Sequence[str]] = {}
    unseen: list[tuple[Owner, str]] = []
    with ThreadPoolExecutor(READERS) as pool:
        told = pool.map(lambda one: _paths(one, contents[one.repository], files), taken.values())
        for done, (one, (found, why)) in enumerate(zip(taken.values(), told, strict=True), 1):
            if found is None:
                unseen.append((one.owner, why))
            else:
                paths[one.package.package] = found
            progress(done, len(taken))
    clashes = [
        _clash(taken[one], taken[other], certain, files)
        for (one, other), those in _shared(paths).items()
        if not _permitted(taken[one], taken[other])
        if (certain := _certain(taken[one], taken[other], those, files))
    ]
    return Ownership(tuple(clashes), tuple(unseen))


def _taken(
    held: Sequence[tuple[Repository, Holdings]], architecture: str, pins: Sequence[Pin]
) -> dict[str, _Taken]:
    """What apt would take of each name."""
    priorities = Priorities(pins)
    found: dict[str, tuple[tuple[object, ...], _Taken]] = {}
    for repository, holdings in held:
        for one in holdings.binaries.get(architecture, ()):
            priority = DEFAULT_PRIORITY
            with contextlib.suppress(ValueError):  # what is no PPA has no pins
                priority = priorities.of(parse_address(repository.label), one.package)
            known = found.get(one.package)
            if known is None and priority > 0:
                found[one.package] = ((priority, version_key(one.version)), _Taken(repository, one))
            elif known is not None and (rank := (priority, version_key(one.version))) > known[0]:
                found[one.package] = (rank, _Taken(repository, one))
    return {name: one for name, (_, one) in found.items()}


def _shared(paths: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], tuple[str, ...]]:
    """The paths that two packages have in common, by both names."""
    owners: dict[str, list[str]] = {}
    for name, those in paths.items():
        for path in those:
            owners.setdefault(_merged(path), []).append(name)
    found: dict[tuple[str, str], list[str]] = {}
    for path, names in owners.items():
        for at, one in enumerate(names):
            for other in names[at + 1 :]:
                if one != other:
                    found.setdefault((min(one, other), max(one, other)), []).append(path)
    return {pair: tuple(sorted(those)) for pair, those in sorted(found.items())}


def _merged(path: str) -> str:
    """Where a path really lies on a machine whose /bin, /sbin and /lib are links to those in /usr."""
    return f"usr/{path}" if path.startswith(MERGED_DIRECTORIES) else path


def _certain(one: _Taken, other: _Taken, paths: tuple[str, ...], files: _Files) -> tuple[str, ...]:
    """Those of the paths that the .debs have, where these are at hand: Contents may be of versions before."""
    for each in (one, other):
        with contextlib.suppress(ArchiveError, DoorError, OSError):
            known = files.kept(each.package.sha256)
            there = {_merged(path) for path in (files.list(each) if known is None else known)}
            paths = tuple(path for path in paths if path in there)
    return paths


def _permitted(one: _Taken, other: _Taken) -> bool:
    """Whether both may not be installed together, or one says that it replaces files of the other."""
    return any(
        _names(here.package.conflicts, there.package)
        or _names(here.package.breaks, there.package)
        or _names(here.package.replaces, there.package, provided=False)
        for here, there in ((one, other), (other, one))
    )


def _names(field: str, package: BinaryPackage, *, provided: bool = True) -> bool:
    """Whether a field of relations names a package, or with ``provided`` something that it provides."""
    for clause in parse_relations(field) if field else ():
        relation = clause[0]
        if relation.name == package.package and relation.fits(package.version):
            return True
        if provided and package.provides and provides(package, relation):
            return True
    return False


def _clash(one: _Taken, other: _Taken, paths: tuple[str, ...], files: _Files) -> Clash:
    calls = {each.package.package: files.calls_divert(each) for each in (one, other)}
    may_divert = tuple(name for name, called in calls.items() if called)
    unread = tuple(name for name, called in calls.items() if called is None)
    return Clash(one.owner, other.owner, paths, may_divert, unread)


def _contents(reader: Reader, repository: Repository, architecture: str) -> dict[str, list[str]]:
    """What the Contents of a repository tell of each package; nothing where it has none."""
    release = reader.read_release(repository)
    found: dict[str, list[str]] = {}
    for path in (*(f"{one}/Contents-{architecture}" for one in repository.components), f"Contents-{architecture}"):
        for line in reader.read_text(release, path).splitlines():
            name, _, packages = line.rstrip().rpartition(" ")
            for package in packages.split(","):
                found.setdefault(package.rpartition("/")[2], []).append(name.rstrip())
    return found


def _paths(one: _Taken, contents: Mapping[str, Sequence[str]], files: _Files) -> tuple[Sequence[str] | None, str]:
    """What a package installs; None, and why, where that cannot be told."""
    if (known := files.kept(one.package.sha256)) is not None:
        return known, ""
    if (told := contents.get(one.package.package)) is not None:
        return told, ""
    try:
        return files.list(one), ""
    except (ArchiveError, DoorError, OSError) as error:
        return None, str(error)


class _Files:
    """The .debs of packages, and what they told before."""

    def __init__(self, reader: Reader, cache: Path, download_limit_bytes: int) -> None:
        self._reader, self._cache = reader, cache / "deb-paths"
        self._left_bytes, self._lock = download_limit_bytes, threading.Lock()

    def kept(self, sha256: str) -> tuple[str, ...] | None:
        """What a .deb told before; None where it was never asked."""
        with contextlib.suppress(OSError, zlib.error, UnicodeDecodeError):
            packed = (self._cache / sha256).read_bytes() if _is_sha256(sha256) else None
            if packed is not None:
                text = zlib.decompressobj().decompress(packed, PATHS_LIMIT_BYTES).decode()
                return tuple(text.split("\n")) if text else ()
        return None

    def list(self, one: _Taken) -> tuple[str, ...]:
        """What a .deb installs; raises ArchiveError, DoorError, OSError."""
        with self._deb(one) as file:
            found = list_deb_paths(file)
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._cache, prefix=".new-", delete=False) as kept:
            kept.write(zlib.compress("\n".join(found).encode()))
        Path(kept.name).replace(self._cache / one.package.sha256)
        return found

    def calls_divert(self, one: _Taken) -> bool | None:
        """Whether a package's maintainer scripts name dpkg-divert; None where they cannot be read."""
        try:
            with self._deb(one) as file:
                return _scripts_name(file, b"dpkg-divert")
        except (ArchiveError, DoorError, OSError):
            return None

    @contextlib.contextmanager
    def _deb(self, one: _Taken) -> Iterator[Path]:
        """The .deb, which is what the index says, for the time of the block."""
        package, directory = one.package, one.repository.directory
        path = PurePosixPath(package.file_name)
        if path.is_absolute() or ".." in path.parts or not _is_sha256(package.sha256):
            raise ArchiveError(f"{package.package}: its index tells no file that could be read")
        if directory is not None:
            with (directory / path).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != package.sha256:
                    raise ArchiveError(f"{directory / path} is not what its index says")
            yield directory / path
            return
        with self._lock:
            if package.size_bytes > self._left_bytes:
                raise ArchiveError("its repository has no Contents, and no more may be downloaded")
            self._left_bytes -= package.size_bytes
        url = f"{one.repository.uri}/{quote(str(path))}"
        fetched = self._reader.fetcher.fetch_hashed(url, package.size_bytes, package.sha256)
        try:
            yield fetched
        finally:
            fetched.unlink(missing_ok=True)


def _scripts_name(file: Path, word: bytes) -> bool:
    """Whether the control part of a .deb, its scripts, has a word in it; dpkg-deb only unpacks it."""
    with subprocess.Popen(
        ["dpkg-deb", "--ctrl-tarfile", str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdout is not None
        data = child.stdout.read(SCRIPTS_LIMIT_BYTES + 1)
        child.kill()
    if len(data) > SCRIPTS_LIMIT_BYTES or not data:
        raise ArchiveError(f"{file.name}: its scripts cannot be read")
    return word in data


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
