"""Which Launchpad is meant: production, staging, qastaging, or one at a URL."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from ppa_tools.address import Address

API_VERSION = "devel"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Instance:
    """A Launchpad: ``api`` is where its web service answers, ``content`` where its public PPAs are for apt.

    ``content`` is "" where that is not known; of one at a URL it is looked for below it, at ppa/. Neither ends in
    a slash.
    """

    name: str
    api: str
    content: str = ""

    def archive_url(self, address: Address) -> str:
        """The PPA in the web service."""
        return f"{self.api}/~{address.owner}/+archive/ubuntu/{address.name}"

    def series_url(self, series: str) -> str:
        """A series of Ubuntu in the web service."""
        return f"{self.api}/ubuntu/{series}"

    @property
    def service_root(self) -> str:
        """As launchpadlib names it, without the version."""
        return self.api.removesuffix(API_VERSION)

    @property
    def is_safe(self) -> bool:
        """Whether credentials may be sent there: by TLS, or without leaving this machine."""
        parts = urlsplit(self.api)
        return parts.scheme == "https" or parts.hostname in LOOPBACK


INSTANCES = {
    one.name: one
    for one in (
        Instance("production", f"https://api.launchpad.net/{API_VERSION}", "https://ppa.launchpadcontent.net"),
        Instance("staging", f"https://api.staging.launchpad.net/{API_VERSION}"),
        Instance("qastaging", f"https://api.qastaging.launchpad.net/{API_VERSION}"),
    )
}


def find_instance(text: str) -> Instance:
    """The Launchpad of that name, or whose service root is that URL; raises ValueError, which says what may be."""
    if text in INSTANCES:
        return INSTANCES[text]
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise ValueError(f"{text!r} is no Launchpad: {', '.join(INSTANCES)} or a URL (https://HOST/) is wanted")
    root = text.rstrip("/").removesuffix(f"/{API_VERSION}")
    return Instance(root, f"{root}/{API_VERSION}", f"{root}/ppa")
