"""The hosts and ports that a machine may reach: named one by one, never by pattern."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from buildfarm.errors import UsageError

DEFAULT_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_PORT = re.compile(r"[0-9]{1,5}")
RESOLUTION = (
    "Write host:port (deb.debian.org:80), a host alone for its ports 80 and 443, or a URL; each host by its whole "
    "name, an IPv6 address in brackets."
)


@dataclass(frozen=True, order=True)
class Target:
    """One port of one host. ``host`` is a name in lower case, or an address in its shortest form."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The address, when the host is one."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def means_this_host(self) -> bool:
        """Whether it names the machine it is asked from, without asking a name server."""
        if self.address is not None:
            return is_own(self.address)
        return self.host == "localhost" or self.host.endswith(".localhost")


def is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether the address leads back to this host or to no host at all: loopback, link-local, multicast, none."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return is_own(inner)
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or (address.version == 4 and (address.is_reserved or int(address) >> 24 == 0))
        or (address.version == 6 and int(address) >> 32 == 0)
    )


def parse_authority(text: str, default_port: int | None = None) -> Target:
    """``host``, ``host:port`` or ``[address]:port``; raises ValueError with the reason."""
    host, port_text = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("a bracket is not closed")
        port_text = rest[1:]
        if rest == ":":
            raise ValueError("no port after the colon")
        host = str(ipaddress.IPv6Address(host))
        if "%" in host:
            raise ValueError("a zone has no meaning here")
    else:
        if "@" in text:
            raise ValueError("a user has no place here")
        if ":" in text:
            host, _, port_text = text.partition(":")
            if not port_text:
                raise ValueError("no port after the colon")
        host = _host_name(host)
    if port_text:
        if not _PORT.fullmatch(port_text) or not 0 < int(port_text) < 65536:
            raise ValueError(f"{port_text[:20]!r} is no port")
        return Target(host, int(port_text))
    if default_port is None:
        raise ValueError("no port")
    return Target(host, default_port)


def parse_url(url: str) -> tuple[Target, str]:
    """The target of an http or https URL, and what follows it ("/" at least); raises ValueError."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in DEFAULT_PORTS:
        raise ValueError("no http:// or https:// URL")
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    path = rest[len(authority) :].partition("#")[0]
    if not path.startswith("/"):
        path = "/" + path
    return parse_authority(authority, DEFAULT_PORTS[scheme.lower()]), path


def parse_targets(word: str) -> tuple[Target, ...]:
    """The targets that a recipe's or a sources file's word allows; raises UsageError.

    A URL means its host and port; ``host:port`` just that; a host alone its ports 80 and 443.
    """
    try:
        if "://" in word:
            if urlsplit(word).username is not None:
                raise ValueError("a user has no place here")
            return (parse_url(word)[0],)
        if "/" in word:
            raise ValueError("a path without http:// or https://")
        first = parse_authority(word, DEFAULT_PORTS["http"])
        named = (word.startswith("[") and not word.endswith("]")) or (not word.startswith("[") and ":" in word)
        return (first,) if named else (first, Target(first.host, DEFAULT_PORTS["https"]))
    except ValueError as error:
        raise UsageError(f"{word[:200]!r} names no host and port: {error}", resolution=RESOLUTION) from error


def _host_name(host: str) -> str:
    name = host.lower().removesuffix(".")
    if "*" in name:
        raise ValueError("patterns are not taken")
    if not name.isascii():
        raise ValueError("a name outside ASCII is written in its xn-- form")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{host[:60]!r} is no host name")
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", name.rpartition(".")[2]):
        # What the resolver would read as a number: 127.1, 0x7f.1 and 2130706433 are all the loopback address.
        return str(ipaddress.IPv4Address(name))
    return name
