"""The archives of a series as signed repositories, and the source packages that their Sources indexes have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from buildfarm.build.apt_proxy import proxies_of
from buildfarm.build.apt_sources import AptSources, HostApt, parse_deb822
from buildfarm.embedded_archive import opened_archive
from buildfarm.errors import FarmTrouble, UsageError
from buildfarm.regress.model import ExtraSources, SourceFile
from buildfarm.settings import Settings
from ppa_tools.address import Address
from ppa_tools.apt.fetching import Fetcher
from ppa_tools.apt.indexes import KEYS_LIMIT_BYTES, Reader, Release
from ppa_tools.apt.repositories import Repository, embedded_repository, launchpad_repository
from ppa_tools.apt.stanzas import IndexDamaged, SourcePackage, scan_sources
from ppa_tools.archives.door import DoorError, NotThere, Unreachable
from ppa_tools.archives.launchpad.instances import find_instance
from ppa_tools.archives.layout import Layout
from ppa_tools.debversion import version_key

TRUSTED_KEYS = Path("/etc/apt/trusted.gpg.d")
SCHEMES = ("http", "https", "file")
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_-]{0,254}")
DIRECTORY = re.compile(r"[A-Za-z0-9.+~_-]+(/[A-Za-z0-9.+~_-]+)*")
COMPONENT = "main"
FALSE = ("no", "false", "0")


@dataclass(frozen=True)
class Found:
    """A source package, and ``root``: the URL that its directory lies below."""

    source: SourcePackage
    root: str


def source_cache(settings: Settings) -> Path:
    """Where indexes and source packages that were fetched are kept; see ``ppa_tools.apt.fetching``."""
    return settings.cache / "sources"


def source_reader(settings: Settings, host: HostApt) -> Reader:
    """A reader of archives' indexes with the farm's cache, through the proxies of the host's apt."""
    return Reader(Fetcher(source_cache(settings), proxies_of(host.configuration)))


def repositories_of(sources: AptSources, trusted_keys: Path = TRUSTED_KEYS) -> tuple[Repository, ...]:
    """The repositories that apt sources name, whether or not they name them for sources (``deb-src``).

    Raises UsageError for those that are not read here, or that nothing vouches for.
    """
    found: dict[tuple[str, str], Repository] = {}
    for stanza in parse_deb822(sources.text):
        fields = {name.lower(): value for name, value in stanza.items()}
        if fields.get("enabled", "yes").lower() in FALSE or not {"deb", "deb-src"} & set(
            fields.get("types", "").split()
        ):
            continue
        trusted = fields.get("trusted", "").lower() == "yes"
        for uri in fields.get("uris", "").split():
            keyring = b"" if trusted else _keyring_of(fields.get("signed-by", ""), uri, trusted_keys)
            for suite in fields.get("suites", "").split():
                one = _repository(uri.rstrip("/"), suite, tuple(fields.get("components", "").split()), keyring)
                known = found.setdefault((one.uri, one.suite), one)
                components = tuple(dict.fromkeys((*known.components, *one.components)))
                found[one.uri, one.suite] = replace(known, components=components)
    if not found:
        raise UsageError("the apt sources name no archive", resolution="Look at [series.NAME] in farm.toml.")
    return tuple(found.values())


def _repository(uri: str, suite: str, components: tuple[str, ...], keyring: bytes) -> Repository:
    if urlsplit(uri).scheme not in SCHEMES:
        raise UsageError(
            f"sources are not read from {uri}", resolution=f"Name a mirror by {', '.join(SCHEMES)} in farm.toml."
        )
    if suite.endswith("/") or not components:
        raise UsageError(
            f"{uri} {suite} is a flat repository, which sources are not read from",
            resolution="Name an archive with suites and components in farm.toml: [series.NAME] apt_sources.",
        )
    return Repository(uri, suite, components, keyring=keyring)


def _keyring_of(signed_by: str, uri: str, trusted_keys: Path) -> bytes:
    """The keys that must have signed what is at ``uri``; without Signed-By those that apt trusts for all."""
    if "BEGIN PGP PUBLIC KEY BLOCK" in signed_by:
        # deb822 has one blank before each line, and a dot for an empty one.
        lines = [line.strip() for line in signed_by.strip().splitlines()]
        return "".join(f"{'' if line == '.' else line}\n" for line in lines).encode()
    words = signed_by.replace(",", " ").split()
    if strange := [word for word in words if not word.startswith("/")]:
        raise UsageError(
            f"Signed-By of {uri} names {strange[0]!r}, which is no key file",
            resolution="Name the file by its absolute path.",
        )
    files = [Path(word) for word in words] or sorted(trusted_keys.glob("*.[ag][sp][cg]"))
    try:
        keyring = b"\n".join(path.read_bytes() for path in files)
    except OSError as error:
        raise FarmTrouble(f"the key file {error.filename} cannot be read: {error.strerror}") from error
    if not keyring.strip():
        raise UsageError(
            f"nothing vouches for {uri}: no key is known",
            resolution="Add Signed-By with the archive's key file to the apt sources, or Trusted: yes.",
        )
    return keyring


def read_sources(reader: Reader, repository: Repository, *, root: str = "") -> list[Found]:
    """The source packages of a repository, in its index's order.

    ``root`` is where their files are fetched from, where that is not the repository's own place. Of what is not
    installed unless asked for (NotAutomatic, as backports are) none is taken. Raises FarmTrouble naming the
    repository: it is not in reach, its signature does not hold, an index is damaged.
    """
    try:
        release = reader.read_release(repository)
        if _is_not_automatic(release):
            return []
        found: list[Found] = []
        for component in repository.components:
            path = f"{component}/source/Sources"
            text = reader.read_text(release, path)
            scanned = scan_sources(text, f"{repository}: {path}")
            found += [Found(one, root or repository.uri) for one in scanned]
    except IndexDamaged as error:
        raise FarmTrouble(str(error), resolution="The archive may just be changing: it is read again.") from error
    except DoorError as error:
        raise _as_trouble(error, repository) from error
    return found


def _as_trouble(error: DoorError, repository: Repository) -> FarmTrouble:
    brief = error.args[0] if error.args else str(error)
    return FarmTrouble(str(brief), where=str(repository), resolution=error.resolution)


def _is_not_automatic(release: Release) -> bool:
    return re.search(rb"^NotAutomatic:\s*yes\s*$", release.text, re.MULTILINE) is not None


def source_files(found: Found) -> tuple[SourceFile, ...]:
    """A source package's files, the .dsc first; raises IndexDamaged for an entry that is not safe."""
    one = found.source
    files = one.files
    directory = one.directory.strip("/")
    if not DIRECTORY.fullmatch(directory) or ".." in directory.split("/"):
        raise IndexDamaged(f"{one.source} {one.version}: its Directory {one.directory[:100]!r} is no path")
    if strange := [file.name for file in files if not FILE_NAME.fullmatch(file.name)]:
        raise IndexDamaged(f"{one.source} {one.version}: {strange[0][:100]!r} is no name of a file")
    if len({file.name for file in files}) != len(files):
        raise IndexDamaged(f"{one.source} {one.version}: a file is named twice")
    dsc = [file for file in files if file.name.endswith(".dsc")]
    if len(dsc) != 1:
        raise IndexDamaged(f"{one.source} {one.version}: it has {len(dsc)} .dsc files")
    ordered = (*dsc, *(file for file in files if file is not dsc[0]))
    base = f"{found.root}/{quote(directory)}"
    return tuple(
        SourceFile(file.name, f"{base}/{quote(file.name)}", file.size_bytes, file.sha256) for file in ordered
    )


@dataclass(frozen=True)
class Ppa:
    """A PPA that is read: its repository, where its files are fetched from, and it as apt sources for builds."""

    repository: Repository
    root: str
    extra: ExtraSources


def find_ppa(address: Address, series: str, settings: Settings, reader: Reader) -> Ppa:
    """A PPA of Launchpad or of the farm's own archive.

    Raises UsageError for one that has nothing for the series or is private, FarmTrouble where it is not in reach.
    """
    find = _find_local if address.backend == "local" else _find_on_launchpad
    try:
        repository, root, key = find(address, series, settings, reader)
    except NotThere as error:
        raise UsageError(error.args[0], where=str(address), resolution=error.resolution) from error
    except (Unreachable, DoorError) as error:
        raise FarmTrouble(error.args[0], where=str(address), resolution=error.resolution) from error
    text = f"Types: deb\nURIs: {root}\nSuites: {series}\nComponents: {COMPONENT}\n"
    return Ppa(replace(repository, keyring=key), root, ExtraSources(text, key.decode("ascii", "replace")))


Finder = Callable[[Address, str, Settings, Reader], tuple[Repository, str, bytes]]


def _find_local(
    address: Address, series: str, settings: Settings, reader: Reader
) -> tuple[Repository, str, bytes]:
    """From this disk where the archive lies here, else from where it is served."""
    root = f"{settings.archive_url}/{quote(address.owner)}/{quote(address.name)}"
    layout = Layout(settings.archive_root.absolute())
    if (layout.served(address, private=True) / "dists").is_dir():
        raise UsageError(
            f"{address} is private, and what runs in a build is not trusted with its token",
            resolution="Copy what is to be rebuilt into a public PPA: `ppa-copy`.",
        )
    if (layout.served(address, private=False) / "dists").is_dir():
        repository = embedded_repository(address, series, settings.archive_root)
        with opened_archive(settings) as archive:
            return repository, root, archive.public_key(address)
    key = reader.fetcher.fetch_fresh(f"{root}/key.asc", KEYS_LIMIT_BYTES)
    return Repository(root, series, label=str(address)), root, key


def _find_on_launchpad(
    address: Address, series: str, settings: Settings, reader: Reader
) -> tuple[Repository, str, bytes]:
    try:
        instance = find_instance(settings.launchpad.instance)
    except ValueError as error:
        raise UsageError(str(error), where="farm.toml: [launchpad] instance") from error
    if not instance.content:
        raise NotThere(f"nobody knows where {instance.name} serves PPAs to apt")
    key = reader.read_launchpad_keys(instance.archive_url(address))
    if not key:
        raise NotThere(
            f"Launchpad tells no signing key of {address}",
            resolution="Look at its name; one that was made just now gets a key with its first package.",
        )
    repository = launchpad_repository(address, series, root=instance.content)
    return repository, repository.uri, key


def newest(found: Iterable[Found]) -> dict[str, Found]:
    """The newest version of each source package; what is kept only for others' sake does not count."""
    best: dict[str, Found] = {}
    for one in found:
        if one.source.extra:
            continue
        known = best.get(one.source.source)
        if known is None or version_key(known.source.version) < version_key(one.source.version):
            best[one.source.source] = one
    return best
