"""The proxies that the host's apt goes through, so that the farm reaches the same mirrors by itself."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from buildfarm.build.apt_sources import read_host

_LINE = re.compile(r'Acquire::(https?)::Proxy(?:::([^\s"]+))? "([^"]*)";?', re.IGNORECASE)
_OWN_MACHINE = ("127.0.0.1", "localhost", "::1")


def proxies_of(configuration: Iterable[str]) -> dict[str, str]:
    """The proxies that ``apt-config dump`` tells, by ``scheme`` or ``scheme://host`` as requests wants them.

    "" is none. What has no proxy of its own for https goes through that for http. This machine is asked directly.
    """
    found: dict[tuple[str, str], str] = {}
    for line in configuration:
        if match := _LINE.fullmatch(line.strip()):
            scheme, host, proxy = match.groups()
            found[scheme.lower(), host or ""] = "" if proxy.upper() in ("DIRECT", "FALSE") else proxy
    both = {("https", host): proxy for (scheme, host), proxy in found.items() if scheme == "http"} | found
    own = {(scheme, host): "" for scheme in ("http", "https") for host in _OWN_MACHINE} if both else {}
    return {f"{scheme}://{host}" if host else scheme: proxy for (scheme, host), proxy in {**own, **both}.items()}


@functools.cache
def host_proxies() -> dict[str, str]:
    """Those of this host."""
    return proxies_of(read_host().configuration)
