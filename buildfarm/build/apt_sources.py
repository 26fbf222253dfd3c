"""Where the packages of a series come from: the farm's settings, the host's own apt, or the standard mirrors."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from buildfarm import process
from buildfarm.errors import FarmTrouble, UsageError
from buildfarm.settings import SeriesSettings

DISTRO_INFO = Path("/usr/share/distro-info")
KEYRINGS = {
    "debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
}
KEYRING_PACKAGES = {"debian": "debian-archive-keyring", "ubuntu": "ubuntu-archive-keyring or ubuntu-keyring"}
UBUNTU_PORTS = "http://ports.ubuntu.com/ubuntu-ports"
UBUNTU_MAIN_ARCHITECTURES = ("amd64", "i386")
# What of the host's apt configuration a root must share to reach the same mirrors: how, never what.
CARRIED_SETTINGS = re.compile(
    r"Acquire::(?:(?:http|https|ftp)::(?:Proxy(?:::[^\s]+)?|Proxy-Auto-Detect)"
    r"|ForceIPv[46]|Retries|Check-Valid-Until|Check-Date)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class AptSources:
    """deb822 ``.sources`` text, the apt.conf lines that go with it, and the host's key files it names."""

    text: str
    settings: tuple[str, ...] = ()
    keyrings: tuple[Path, ...] = ()


@dataclass(frozen=True)
class HostApt:
    """What the host says of itself: its series, its apt's source files, its apt's configuration lines."""

    codename: str
    source_files: Mapping[str, str]
    configuration: tuple[str, ...] = ()


def find_sources(series: str, architecture: str, given: SeriesSettings | None, host: HostApt) -> AptSources:
    """The sources a root of ``series`` uses.

    The settings' own text wins; then, when the host itself is of that series, the host's sources for it;
    then the distribution's standard mirror. Raises UsageError for a series that nobody knows and FarmTrouble
    when a key file that the sources name is not on this machine.
    """
    carried = tuple(line for line in host.configuration if CARRIED_SETTINGS.match(line.partition(" ")[0]))
    if given is not None and given.apt_sources.strip():
        text = given.apt_sources.strip() + "\n"
    elif series == host.codename and (own := _host_stanzas(series, host.source_files)):
        text = "\n".join(own)
    else:
        text = _standard_sources(series, architecture)
    return AptSources(text, carried, _keyrings_named(text))


def read_host() -> HostApt:
    """The host's apt as it stands, by /etc/os-release, /etc/apt and ``apt-config dump``."""
    release = dict(line.split("=", 1) for line in _read_text(Path("/etc/os-release")).splitlines() if "=" in line)
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    return HostApt(
        release.get("VERSION_CODENAME", "").strip('"'),
        {str(path): _read_text(path) for path in files if path.suffix in (".list", ".sources")},
        tuple(
            line.removesuffix(";") + ";"
            for line in process.run(["apt-config", "dump"], timeout_s=30, check=True).text.splitlines()
        ),
    )


def distribution_of(series: str, directory: Path = DISTRO_INFO) -> str:
    """``debian`` or ``ubuntu``: whose series it is, by distro-info-data; raises UsageError."""
    known: list[str] = []
    for distribution in ("debian", "ubuntu"):
        path = directory / f"{distribution}.csv"
        if not path.is_file():
            raise FarmTrouble(
                f"{path} is not there", resolution="Install the package distro-info-data (`make install` does)."
            )
        with path.open(newline="", encoding="utf-8") as file:
            names = [row["series"] for row in csv.DictReader(file)]
        if series in names:
            return distribution
        known += names[-6:]
    raise UsageError(
        f"no series is called {series!r}",
        resolution=f"Known are, among others: {', '.join(known)}. For a series of your own put its apt sources "
        f"into farm.toml: [series.{series}] apt_sources = '''...'''.",
    )


def parse_deb822(text: str) -> Iterator[dict[str, str]]:
    """The stanzas of a ``.sources`` file, field names as written, comments left out."""
    for block in re.split(r"\n[ \t]*\n", text):
        stanza: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0] in " \t" and name:
                stanza[name] += "\n" + line
            else:
                name, _, value = line.partition(":")
                stanza[name] = value.strip()
        if stanza:
            yield stanza


def parse_one_line(text: str) -> Iterator[dict[str, str]]:
    """The ``deb [option=value] URI SUITE COMPONENT...`` lines of a ``.list`` file, as deb822 stanzas."""
    names = {"arch": "Architectures", "signed-by": "Signed-By", "trusted": "Trusted"}
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if match is None:
            continue
        options, uri, suite, components = match.groups()
        stanza = {"Types": "deb", "URIs": uri, "Suites": suite}
        if components.strip():
            stanza["Components"] = " ".join(components.split())
        for option in (options or "").split():
            key, _, value = option.partition("=")
            if key.lower() in names:
                stanza[names[key.lower()]] = value.replace(",", " ")
        yield stanza


def _host_stanzas(series: str, files: Mapping[str, str]) -> list[str]:
    stanzas = []
    for path, text in files.items():
        for found in parse_deb822(text) if path.endswith(".sources") else parse_one_line(text):
            stanza = {name.lower(): (name, value) for name, value in found.items()}
            if stanza.get("enabled", ("", "yes"))[1].lower() in ("no", "false", "0"):
                continue
            suites = [suite for suite in stanza.get("suites", ("", ""))[1].split() if _is_of(series, suite)]
            if "deb" not in stanza.get("types", ("", ""))[1].split() or not suites:
                continue
            stanza["types"] = ("Types", "deb")
            stanza["suites"] = ("Suites", " ".join(suites))
            stanzas.append("".join(f"{name}: {value}\n" for name, value in stanza.values()))
    return stanzas


def _is_of(series: str, suite: str) -> bool:
    return suite == series or suite.startswith((f"{series}-", f"{series}/"))


def _standard_sources(series: str, architecture: str) -> str:
    distribution = distribution_of(series)
    keyring = KEYRINGS[distribution]
    if distribution == "debian":
        parts = [("http://deb.debian.org/debian", series if series == "sid" else f"{series} {series}-updates")]
        if series not in ("sid", "experimental"):
            parts.append(("http://deb.debian.org/debian-security", f"{series}-security"))
        components = "main"
    else:
        ports = architecture not in UBUNTU_MAIN_ARCHITECTURES
        mirror = UBUNTU_PORTS if ports else "http://archive.ubuntu.com/ubuntu"
        security = UBUNTU_PORTS if ports else "http://security.ubuntu.com/ubuntu"
        parts = [(mirror, f"{series} {series}-updates"), (security, f"{series}-security")]
        components = "main universe"
    return "\n".join(
        f"Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: {components}\nSigned-By: {keyring}\n"
        for uri, suites in parts
    )


def _keyrings_named(text: str) -> tuple[Path, ...]:
    """The key files that Signed-By fields name (a field may instead hold the key itself)."""
    words = [
        word
        for stanza in parse_deb822(text)
        for name, value in stanza.items()
        if name.lower() == "signed-by" and "\n" not in value
        for word in value.split()
        if word.startswith("/")
    ]
    paths = tuple(dict.fromkeys(Path(word) for word in words))
    for path in paths:
        if not path.is_file():
            package = next((KEYRING_PACKAGES[d] for d, keyring in KEYRINGS.items() if keyring == str(path)), "")
            raise FarmTrouble(
                f"the key file {path} that the apt sources name is not there",
                resolution=f"Install {package}." if package else "Put it there, or mend the apt sources.",
            )
    return paths


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
