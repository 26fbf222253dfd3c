"""Latent workers: machines in a cloud that the master starts for a build; what ``farm.toml`` says of one.

The names are those of Buildbot's own classes. A secret is never among the settings: what ends in ``_file`` names
the file it stands in.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from buildfarm.errors import UsageError
from buildfarm.job import from_plain

SECRET_LIMIT_BYTES = 64 * 1024
CREDENTIALS = "/etc/buildfarm-worker.json"
UNIT = "buildfarm-worker.service"
WORKER_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
OWN_NAMES = re.compile(r"worker-\d+|signer|master|archive")
SECRET_KEY = re.compile(r"password|secret|token|passcode", re.IGNORECASE)

UNIT_TEXT = """\
[Unit]
Description=Build farm: latent worker
Wants=network-online.target
After=network-online.target remote-fs.target
# Whoever has no master left costs money for nothing.
SuccessAction=poweroff
FailureAction=poweroff

[Service]
User={user}
Environment=BUILDFARM_ROOT={root} BUILDFARM_HOME={home}
ExecStart={python} -m buildfarm worker --credentials {credentials}
KillMode=control-group
TasksMax=8192
UMask=0022
"""


@dataclass(frozen=True, kw_only=True)
class LatentWorker:
    """What all kinds have.

    ``master`` is where a machine finds the master: ``tcp://HOST:PORT``, or ``tls://HOST:PORT`` where something
    before the master speaks TLS. ``groups`` are the groups of stages it serves. ``shared_runs`` says that the
    machine has this farm's ``runs/`` at the same path: the stages of a run hand their files on there.
    """

    kind: str
    master: str
    groups: tuple[Literal["source", "build", "verify"], ...] = ("build",)
    shared_runs: bool = False
    user: str = "buildfarm"
    max_builds: int = 1
    build_wait_timeout_s: int = 600
    start_limit_s: int = 1200
    lonely_limit_s: int = 1800

    MODULES: ClassVar[tuple[str, ...]] = ()

    def check(self) -> None:
        """Raise ValueError for what cannot be."""
        master_address(self.master)
        if not self.groups:
            raise ValueError("groups: at least one of source, build, verify is wanted")
        for key, least in (
            ("max_builds", 1),
            ("build_wait_timeout_s", 0),
            ("start_limit_s", 1),
            ("lonely_limit_s", 60),
        ):
            if getattr(self, key) < least:
                raise ValueError(f"{key}: a number from {least} on is wanted")
        if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", self.user):
            raise ValueError("user: the name of the machine's user who runs the worker is wanted")
        if not self.shared_runs:
            raise ValueError(
                "shared_runs: a worker on another machine works only where that machine has this farm's runs/ at "
                "the same path; see docs/how-to/latent-workers.md, then say shared_runs = true"
            )


@dataclass(frozen=True)
class BlockDevice:
    """A disk of an OpenStack instance, in Nova's words; ``volume_size`` in GiB, 0 is as large as its source."""

    uuid: str
    device_name: str = "vda"
    source_type: Literal["image", "snapshot", "volume", "blank"] = "image"
    destination_type: Literal["volume", "local"] = "volume"
    delete_on_termination: bool = True
    boot_index: int = 0
    volume_size: int = 0


@dataclass(frozen=True, kw_only=True)
class OpenStackWorker(LatentWorker):
    """An instance of OpenStack's Nova. Who asks for it stands in ``os_username`` and its like, or, for other ways
    to log in, in ``os_auth_args`` and ``os_auth_secret_files``, by keystoneauth's names.
    """

    flavor: str
    image: str = ""
    block_devices: tuple[BlockDevice, ...] = ()
    os_auth_url: str = ""
    os_username: str = ""
    os_password_file: str = ""
    os_tenant_name: str = ""
    os_user_domain: str = ""
    os_project_domain: str = ""
    os_auth_args: Mapping[str, str] = field(default_factory=dict)
    os_auth_secret_files: Mapping[str, str] = field(default_factory=dict)
    region: str = ""
    availability_zone: str = ""
    keypair_name: str = ""
    security_groups: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)

    MODULES: ClassVar[tuple[str, ...]] = ("novaclient", "keystoneauth1")

    def check(self) -> None:
        """Raise ValueError for what cannot be."""
        super().check()
        if not self.image and not self.block_devices:
            raise ValueError("image: an image's name or id is wanted, or block_devices")
        if self.os_auth_args:
            if "auth_url" not in self.os_auth_args:
                raise ValueError("os_auth_args.auth_url: Keystone's address is wanted")
            for key in self.os_auth_args:
                if SECRET_KEY.search(key):
                    raise ValueError(
                        f"os_auth_args.{key}: a secret stands in a file, named in os_auth_secret_files"
                    )
        else:
            for key in ("os_auth_url", "os_username", "os_password_file"):
                if not getattr(self, key):
                    raise ValueError(f"{key}: it is wanted where there are no os_auth_args")
        _check_url("Keystone's address", self.os_auth_args.get("auth_url") or self.os_auth_url)


@dataclass(frozen=True)
class EbsVolume:
    """A disk of an EC2 instance that is made with it; ``volume_gib`` of 0 is as large as its snapshot."""

    device_name: str
    volume_gib: int = 0
    volume_type: str = ""
    snapshot_id: str = ""
    delete_on_termination: bool = True


@dataclass(frozen=True, kw_only=True)
class Ec2Worker(LatentWorker):
    """An instance of Amazon's EC2. Without ``access_key_id`` the master's own rights are used, wherever boto3
    finds them (environment, ``~/.aws``, the profile of the instance it runs on).
    """

    instance_type: str
    keypair_name: str
    region: str
    ami: str = ""
    valid_ami_owners: tuple[int, ...] = ()
    valid_ami_location_regex: str = ""
    access_key_id: str = ""
    secret_access_key_file: str = ""
    security_name: str = ""
    subnet_id: str = ""
    security_group_ids: tuple[str, ...] = ()
    instance_profile_name: str = ""
    elastic_ip: str = ""
    placement: str = ""
    spot_instance: bool = False
    max_spot_price: float = 0.0
    price_multiplier: float = 0.0
    block_devices: tuple[EbsVolume, ...] = ()
    volumes: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    MODULES: ClassVar[tuple[str, ...]] = ("boto3",)

    def check(self) -> None:
        """Raise ValueError for what cannot be."""
        super().check()
        if bool(self.ami) == bool(self.valid_ami_owners or self.valid_ami_location_regex):
            raise ValueError("ami: an image is wanted, or else valid_ami_owners or valid_ami_location_regex")
        try:
            re.compile(self.valid_ami_location_regex)
        except re.error as error:
            raise ValueError(f"valid_ami_location_regex: {error}") from error
        if bool(self.security_name) == bool(self.subnet_id):
            raise ValueError("subnet_id: a subnet with security_group_ids is wanted, or else a security_name")
        if bool(self.access_key_id) != bool(self.secret_access_key_file):
            raise ValueError("access_key_id: it and secret_access_key_file go together")
        if self.spot_instance and not self.max_spot_price and not self.price_multiplier:
            raise ValueError("max_spot_price: a spot instance wants it, or price_multiplier, or both")
        if self.spot_instance and self.price_multiplier and not self.placement:
            raise ValueError("placement: the zone's letter is wanted where a price is reckoned from the zone's")
        if self.spot_instance and not self.ami:
            raise ValueError("ami: a spot instance wants it")


@dataclass(frozen=True, kw_only=True)
class LibvirtWorker(LatentWorker):
    """A domain of a libvirt host. ``xml_file`` has the domain; ``@NAME@`` in it stands for the worker's name,
    ``@IMAGE@`` for ``hd_image``, and ``@CREDENTIALS@`` for the worker's credentials in base64.
    """

    uri: str
    xml_file: str
    hd_image: str
    base_image: str = ""

    MODULES: ClassVar[tuple[str, ...]] = ("libvirt",)

    def check(self) -> None:
        """Raise ValueError for what cannot be."""
        super().check()
        if not self.xml_file or not self.hd_image:
            raise ValueError("xml_file: it and hd_image are wanted")


KINDS: dict[str, type[LatentWorker]] = {"openstack": OpenStackWorker, "ec2": Ec2Worker, "libvirt": LibvirtWorker}


def read_latent(tables: Any, host: str) -> dict[str, LatentWorker]:
    """The workers of ``[workers.latent.NAME]``, for a master that listens on ``host``; raises ValueError."""
    if not isinstance(tables, Mapping):
        raise ValueError("workers.latent: a table for each worker is wanted, as [workers.latent.NAME]")
    workers = {name: _read_one(name, table) for name, table in tables.items()}
    for name, worker in workers.items():
        _check_reach(host, name, worker)
    return workers


def _read_one(name: str, table: Any) -> LatentWorker:
    where = f"workers.latent.{name}"
    if not WORKER_NAME.fullmatch(name):
        raise ValueError(f"{where}: a name has small letters, digits and hyphens, and begins with a letter")
    if OWN_NAMES.fullmatch(name):
        raise ValueError(f"{where}: the farm's own parts have names like this; take another")
    if not isinstance(table, Mapping):
        raise ValueError(f"{where}: a table is wanted, not {type(table).__name__}")
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{where}.kind: {', '.join(KINDS)} are known, not {kind!r}")
    try:
        worker = from_plain(KINDS[kind], table)
        worker.check()
    except ValueError as error:
        raise ValueError(f"{where}: {str(error).replace(KINDS[kind].__name__ + '.', '')}") from error
    return worker


def _check_url(what: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{what} begins with http:// or https://; {url!r} does not")
    if parts.password:
        raise ValueError(f"{what}: a password stands in a file")


@dataclass(frozen=True)
class MasterAddress:
    """Where a worker finds its master."""

    host: str
    port: int
    tls: bool


def master_address(text: str) -> MasterAddress:
    """Read ``tcp://HOST:PORT`` or ``tls://HOST:PORT``; raises ValueError."""
    parts = urlsplit(text)
    plain = not (parts.path or parts.query or parts.fragment or parts.username)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or parts.port in (None, 0) or not plain:
        raise ValueError(f"master: tcp://HOST:PORT or tls://HOST:PORT is wanted, not {text!r}")
    assert parts.port is not None
    return MasterAddress(parts.hostname, parts.port, parts.scheme == "tls")


def is_loopback(host: str) -> bool:
    """Whether an address is one that only this machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_reach(host: str, name: str, worker: LatentWorker) -> None:
    """Raise ValueError for a worker whose machine could not reach a master that listens on ``host``."""
    address = master_address(worker.master)
    if is_loopback(host) and not address.tls and not is_loopback(address.host):
        raise ValueError(
            f"workers.latent.{name}.master: the master listens on {host}, which {address.host} is not; set "
            "workers.host, or better let something before the master speak TLS and give tls://HOST:PORT"
        )


# What the machine is told


def credentials(name: str, password: str, worker: LatentWorker) -> str:
    """What ``buildfarm worker`` reads on the machine."""
    said = {
        "name": name,
        "password": password,
        "master": worker.master,
        "lonely_limit_s": worker.lonely_limit_s,
    }
    return json.dumps(said) + "\n"


@dataclass(frozen=True)
class Credentials:
    """Who a worker is, and where its master."""

    name: str
    password: str = field(repr=False)
    master: str
    lonely_limit_s: int


def read_credentials(path: Path) -> Credentials:
    """The file that ``credentials`` wrote; raises UsageError."""
    try:
        read = from_plain(Credentials, json.loads(_read_bounded(path)))
        master_address(read.master)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"no credentials of a worker: {error}",
            where=str(path),
            resolution="The master gives them to a latent worker's machine; see docs/how-to/latent-workers.md.",
        ) from error
    return read


def user_data(name: str, password: str, worker: LatentWorker, *, root: Path, home: Path, python: Path) -> str:
    """What cloud-init does on the machine: keep the credentials, and start the worker.

    It is YAML's subset JSON, so nothing needs to be quoted by hand.
    """
    unit = UNIT_TEXT.format(user=worker.user, root=root, home=home, python=python, credentials=CREDENTIALS)
    config = {
        "write_files": [
            {
                "path": CREDENTIALS,
                "permissions": "0600",
                "owner": f"{worker.user}:{worker.user}",
                "defer": True,
                "content": credentials(name, password, worker),
            },
            {"path": f"/etc/systemd/system/{UNIT}", "permissions": "0644", "content": unit},
        ],
        "runcmd": [["systemctl", "daemon-reload"], ["systemctl", "start", "--no-block", UNIT]],
    }
    return "#cloud-config\n" + json.dumps(config, indent=1) + "\n"


# What the master needs


def require_modules(name: str, worker: LatentWorker) -> None:
    """Raise UsageError when the modules that speak to this kind of cloud are not installed."""
    missing = [module for module in worker.MODULES if importlib.util.find_spec(module) is None]
    if missing:
        raise UsageError(
            f"latent worker {name!r} needs the Python module {missing[0]}, which is not installed",
            where=f"farm.toml, workers.latent.{name}",
            resolution=f"`.venv/bin/pip install '.[{worker.kind}]'` in the checkout installs it.",
        )


def read_named(root: Path, name: str, what: str, file: str) -> str:
    """The text of a file that a latent worker's setting names; raises UsageError."""
    path = root / file
    try:
        text = _read_bounded(path).strip()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the {what} of latent worker {name!r} cannot be read: {error}",
            where=f"farm.toml, workers.latent.{name}",
            resolution="Make the file, readable by the farm's user alone.",
        ) from error
    if not text:
        raise UsageError(f"the {what} of latent worker {name!r} is empty", where=str(path))
    return text


def _read_bounded(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(SECRET_LIMIT_BYTES + 1)
    if len(data) > SECRET_LIMIT_BYTES:
        raise ValueError(f"{path} is larger than {SECRET_LIMIT_BYTES} bytes")
    return data.decode("utf-8")
