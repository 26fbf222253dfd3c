"""What cloud-init is told: the NoCloud files of one machine, served under a secret path by its gateway."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PHONE_HOME_TRIES = 5
FILES = ("meta-data", "user-data", "vendor-data", "network-config")
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Seed:
    """One machine's NoCloud files. ``secret`` is the part of the path that only this machine knows.

    A new ``instance_id`` makes cloud-init take the machine for a new one. ``vendor_data`` is served though it is
    empty: cloud-init asks again and again for a file that is not there, for 11 s in all.
    """

    secret: str
    instance_id: str
    hostname: str
    user_data: str
    network_config: str = ""
    vendor_data: str = "#cloud-config\n{}\n"

    def __post_init__(self) -> None:
        if not _HOST_NAME.fullmatch(self.hostname):
            raise ValueError(f"{self.hostname!r} is no host name")

    def content(self, name: str) -> str | None:
        """The file of that name; None for one there is not."""
        return {
            "meta-data": to_yaml({"instance-id": self.instance_id, "local-hostname": self.hostname}),
            "user-data": self.user_data,
            "vendor-data": self.vendor_data,
            "network-config": self.network_config or None,
        }.get(name)


def cloud_config(
    *,
    phone_home_url: str = "",
    runcmd: Sequence[Sequence[str]] = (),
    write_files: Mapping[str, tuple[str, str | bytes]] | None = None,
    apt_proxy: str = "",
    more: Mapping[str, object] | None = None,
) -> str:
    """User data: commands as argument lists, files as path to (mode, content), ``more`` keys as they are. Content
    in bytes is anything, a text what YAML can say.

    phone_home runs last of all; it posts the instance's id to ``phone_home_url``, which carries the token.
    """
    config: dict[str, object] = {"ssh_pwauth": False, "disable_root": False, **(more or {})}
    if write_files:
        config["write_files"] = [
            {"path": path, "permissions": mode, **_content(content)}
            for path, (mode, content) in write_files.items()
        ]
    if apt_proxy:
        config["apt"] = {"preserve_sources_list": True, "proxy": apt_proxy, "https_proxy": apt_proxy}
    if runcmd:
        config["runcmd"] = [list(command) for command in runcmd]
    if phone_home_url:
        config["phone_home"] = {
            "url": phone_home_url,
            "post": ["instance_id", "hostname"],
            "tries": PHONE_HOME_TRIES,
        }
    return "#cloud-config\n" + to_yaml(config)


def _content(content: str | bytes) -> dict[str, str]:
    if isinstance(content, str):
        return {"content": content}
    return {"encoding": "b64", "content": base64.b64encode(content).decode()}


def static_network(address: str, gateway: str = "") -> str:
    """A version 2 network configuration: the one Ethernet interface with a fixed address ("10.0.2.15/24")."""
    interface: dict[str, object] = {"match": {"name": "e*"}, "dhcp4": False, "addresses": [address]}
    if gateway:
        interface["routes"] = [{"to": "0.0.0.0/0", "via": gateway}]
    return to_yaml({"version": 2, "ethernets": {"farm": interface}})


def smbios_serial(base_url: str, secret: str) -> str:
    """The SMBIOS serial number (``-smbios type=1,serial=...``) that sends cloud-init to the seed.

    The old name, nocloud-net, is the one that every release takes: until 23 nocloud alone meant files, and from
    24.1 on the old name only counts as deprecated.
    """
    return f"ds=nocloud-net;s={base_url.rstrip('/')}/seed/{secret}/"


def to_yaml(value: object) -> str:
    """Values as YAML: as JSON, which YAML contains, and whose quoting leaves nothing to chance."""
    return json.dumps(value, indent=1) + "\n"
