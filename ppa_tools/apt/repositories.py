"""Which apt repository has the packages of an archive, and of the distribution that lies below it."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from ppa_tools.address import Address
from ppa_tools.archives.door import DoorError, NotThere
from ppa_tools.archives.layout import Layout

PPA_ROOT = "https://ppa.launchpadcontent.net"
UBUNTU_ROOT = "http://archive.ubuntu.com/ubuntu"
UBUNTU_PORTS_ROOT = "http://ports.ubuntu.com/ubuntu-ports"
UBUNTU_COMPONENTS = ("main", "restricted", "universe", "multiverse")
UBUNTU_KEYRING = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")
POCKETS = ("", "-updates", "-security")
NOT_ON_PORTS = ("amd64", "i386")
SCHEMES = ("file", "http", "https")
INDEXTARGETS_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Repository:
    """A suite of an apt repository; ``uri`` has no slash at its end.

    Its signature must be of ``keyring``, public keys, binary or armored; without any it is believed as it comes:
    from this machine's disk, or from a server that the connection vouches for. ``lists`` are the files below
    apt's own lists directory that hold its indexes, where they are read from there, and not from ``uri``.
    """

    uri: str
    suite: str
    components: tuple[str, ...] = ("main",)
    label: str = ""
    keyring: bytes = b""
    lists: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return self.label or f"{self.uri} {self.suite}"

    @property
    def directory(self) -> Path | None:
        """Where it lies on this machine's disk; None where it does not."""
        parts = urlsplit(self.uri)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None


def launchpad_repository(
    address: Address, series: str, *, keyring: bytes = b"", root: str = PPA_ROOT
) -> Repository:
    """The repository of a public PPA on Launchpad."""
    uri = f"{root}/{quote(address.owner)}/{quote(address.name)}/ubuntu"
    return Repository(uri, series, label=str(address), keyring=keyring)


def embedded_repository(address: Address, series: str, archive: Path) -> Repository:
    """The repository of a PPA of the embedded archive in ``archive``; raises NotThere."""
    layout = Layout(archive.absolute())
    for private in (False, True):
        directory = layout.served(address, private=private)
        if (directory / "dists" / series / "InRelease").is_file():
            return Repository(f"file:{quote(str(directory))}", series, label=str(address))
    there = sorted(
        path.name
        for private in (False, True)
        for path in (layout.served(address, private=private) / "dists").glob("*")
    )
    raise NotThere(
        f"{address} publishes no {series} in {archive}",
        resolution=f"It publishes {', '.join(there)}." if there else "`ppa-list` shows what it has.",
    )


def ubuntu_repositories(series: str, architecture: str, *, mirror: str = "") -> tuple[Repository, ...]:
    """Ubuntu's own archive of a series with its updates; raises DoorError where its keys are not at hand."""
    if not UBUNTU_KEYRING.is_file():
        raise DoorError(
            f"Ubuntu's keys are not on this machine, so {series} cannot be read safely",
            resolution="Install ubuntu-keyring (apt install ubuntu-keyring), or name what PPAs build upon: "
            f"--base 'deb [trusted=yes] {UBUNTU_ROOT} {series} main universe'",
        )
    root = mirror or (UBUNTU_ROOT if architecture in NOT_ON_PORTS else UBUNTU_PORTS_ROOT)
    keyring = UBUNTU_KEYRING.read_bytes()
    return tuple(Repository(root, f"{series}{pocket}", UBUNTU_COMPONENTS, keyring=keyring) for pocket in POCKETS)


def parse_deb_line(line: str) -> Repository:
    """The repository that a line of sources.list(5) names; raises ValueError saying what would be right.

    Of its options ``signed-by`` (a file with keys) and ``trusted=yes`` are heeded; ``arch`` and others are not
    known here. One of both must be there for what comes from another machine by plain HTTP.
    """
    match = re.fullmatch(r"\s*deb(?:-src)?\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)((?:\s+\S+)*)\s*", line)
    if match is None:
        raise ValueError(
            f"{line!r} is no line of sources.list: deb [trusted=yes] URI SUITE COMPONENT... is wanted"
        )
    options, uri, suite, components = match[1] or "", match[2].rstrip("/"), match[3], tuple(match[4].split())
    if urlsplit(uri).scheme not in SCHEMES:
        raise ValueError(f"{line!r}: a URI of {', '.join(SCHEMES)} is wanted")
    if suite.endswith("/") or not components:
        raise ValueError(f"{line!r}: a suite and components are wanted; flat repositories are not read")
    keyring, trusted = b"", urlsplit(uri).scheme in ("file", "https")
    for option in shlex.split(options):
        name, _, value = option.partition("=")
        match name.lower():
            case "signed-by":
                try:
                    keyring = Path(value).read_bytes()
                except OSError as error:
                    raise ValueError(f"{line!r}: its keys cannot be read: {error}") from error
            case "trusted":
                trusted = value == "yes"
            case _:
                raise ValueError(f"{line!r}: of options only signed-by and trusted are heeded, not {name}")
    if not keyring and not trusted:
        raise ValueError(f"{line!r}: [signed-by=FILE] or [trusted=yes] is wanted")
    return Repository(uri, suite, components, keyring=keyring)


def host_repositories(series: str, architectures: Collection[str]) -> tuple[Repository, ...]:
    """What this machine's own apt has read of a series and its updates, as it lies in apt's lists directory.

    Empty where apt is configured for another series, or has read nothing yet. Third parties' are left out: what
    does not call itself by the distribution's codename is none of the base.
    """
    found: dict[tuple[str, str], Repository] = {}
    for target in _index_targets():
        suite = target.get("Release", "")
        architecture = target.get("Architecture", "")
        if target.get("Codename", suite).partition("-")[0] != series or suite.partition("-")[0] != series:
            continue
        if target.get("Created-By") != "Packages" or architecture not in architectures:
            continue
        uri, component = target.get("Repo-URI", "").rstrip("/"), target.get("Component", "")
        known = found.setdefault((uri, suite), Repository(uri, suite, (), label=f"{uri} {suite}"))
        file = Path(target.get("Filename", ""))
        if file.is_file():
            found[uri, suite] = replace(
                known,
                lists=(*known.lists, file),
                components=tuple(dict.fromkeys((*known.components, component))),
            )
    return tuple(one for one in found.values() if one.lists)


def base_repositories(
    addresses: Sequence[Address], series: str, architectures: Sequence[str], lines: Sequence[str] = ()
) -> tuple[Repository, ...]:
    """What lies below PPAs: the repositories that ``lines`` name, else what fits.

    That is Ubuntu where one of the PPAs is on Launchpad, else what this machine's apt has of the series. It may
    be nothing: then only what the PPAs hold themselves is there. Raises ValueError, DoorError.
    """
    if lines:
        return tuple(parse_deb_line(line) for line in lines)
    if host := host_repositories(series, architectures):
        return host
    if any(address.backend == "ppa" for address in addresses):
        return ubuntu_repositories(series, architectures[0])
    return ()


def _index_targets() -> Iterator[dict[str, str]]:
    """What `apt-get indextargets` tells; nothing on a machine without apt, or where it hangs."""
    try:
        done = subprocess.run(
            ["apt-get", "indextargets", "Created-By: Packages"],
            capture_output=True,
            text=True,
            check=False,
            timeout=INDEXTARGETS_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return
    for paragraph in done.stdout.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.split("\n") if ": " in line)
        if fields:
            yield fields
