"""Latent workers as Buildbot's objects, with what Buildbot's classes leave undone: limits, and calls in threads.

A table of ``farm.toml`` that cannot be used stops the configuration. A cloud that does not answer does not: EC2's
class asks it already when it is made, and then that worker is left out until the next reload, which the log tells.
"""

from __future__ import annotations

import base64
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from buildbot.config.errors import ConfigErrors
from buildbot.interfaces import LatentWorkerFailedToSubstantiate
from buildbot.util.twisted import async_to_deferred
from buildbot.worker.ec2 import EC2LatentWorker
from buildbot.worker.libvirt import LibVirtWorker
from buildbot.worker.openstack import BUILD, OpenStackLatentWorker
from twisted.internet import defer, threads
from twisted.python import log

from buildfarm.errors import UsageError
from buildfarm.farm import Farm
from buildfarm.latent import (
    Ec2Worker,
    LatentWorker,
    LibvirtWorker,
    OpenStackWorker,
    credentials,
    read_named,
    require_modules,
    user_data,
)
from buildfarm.master.workers import Asked

CONNECT_LIMIT_S = 10
ANSWER_LIMIT_S = 60


class FarmLatentWorker(Asked):
    """A worker that is put aside when its machine does not come up, and not after a task's ``error``."""

    def putInQuarantine(self) -> None:
        """Go on with other tasks, where it is connected."""
        if self.conn is None:
            super().putInQuarantine()  # type: ignore[misc]


class FarmOpenStackWorker(FarmLatentWorker, OpenStackLatentWorker):  # type: ignore[misc]
    """An instance of Nova. Buildbot's class asks in the reactor's thread, and waits for a hung one for ever."""

    builds_may_be_incompatible = False  # nothing in an instance depends on what is built
    instance: Any
    _give_up_at: float | None = None

    def _constructClient(self, client_version: str, auth_args: Mapping[str, str]) -> Any:
        from keystoneauth1 import loading, session
        from novaclient import client

        options = dict(auth_args)
        loader: Any = loading.get_plugin_loader(options.pop("auth_type", "password"))
        limited = session.Session(auth=loader.load_from_options(**options), timeout=ANSWER_LIMIT_S)
        nova = client.Client(client_version, session=limited)
        ask = nova.servers.get

        def get(server: str) -> Any:
            found = ask(server)
            over = self._give_up_at is not None and time.monotonic() > self._give_up_at
            if over and found.status.startswith(BUILD):
                raise LatentWorkerFailedToSubstantiate(found.id, "Nova was still making it at the limit")
            return found

        nova.servers.get = get
        return nova

    def _start_instance(self, *args: Any) -> Any:
        self._give_up_at = time.monotonic() + self.missing_timeout
        try:
            return super()._start_instance(*args)
        finally:
            self._give_up_at = None

    def stop_instance(self, fast: bool = False) -> Any:
        """Delete the instance, in a thread."""
        instance, self.instance = self.instance, None
        self.resetWorkerPropsOnStop()
        return threads.deferToThread(self._stop_instance, instance, fast)

    @async_to_deferred
    async def renderWorkerProps(self, _build: Any) -> Any:
        """What Nova is asked for, looked up in a thread."""
        return await threads.deferToThread(self._look_up)

    def _look_up(self) -> Any:
        image = self.novaclient.glance.find_image(self.image).id if self.image else None
        flavors = {flavor.name: flavor.id for flavor in self.novaclient.flavors.list()}
        devices = None
        if self.block_devices is not None:
            devices = [dict(device) for device in self.block_devices]
            for device in devices:
                if device["volume_size"] is None:
                    device["volume_size"] = self._determineVolumeSize(device["source_type"], device["uuid"])
        meta = {**(self.meta or {}), "BUILDBOT:instance": self.masterhash}
        return image, flavors.get(self.flavor, self.flavor), devices, self.nova_args, meta


class FarmEc2Worker(FarmLatentWorker, EC2LatentWorker):  # type: ignore[misc]
    """An instance of EC2. Buildbot's class takes up no changed setting: it has them from its constructor."""

    def __init__(self, name: str, password: str, **kwargs: Any) -> None:
        self._order = {key: value for key, value in kwargs.items() if key != "session"}
        super().__init__(name, password, **kwargs)

    def canReconfigWithSibling(self, sibling: Any) -> bool:
        """Only where nothing has changed."""
        return super().canReconfigWithSibling(sibling) and self._order == sibling._order


class FarmLibvirtWorker(FarmLatentWorker, LibVirtWorker):  # type: ignore[misc]
    """A libvirt domain. Buildbot's class takes a domain that is not there yet for trouble."""

    def _get_domain_id(self) -> defer.Deferred[int]:
        return self._pool_do(self._find)

    def _find(self, connection: Any) -> int:
        found = [domain.ID() for domain in connection.listAllDomains() if domain.name() == self.workername]
        return found[0] if found else -1


def latent_workers(farm: Farm) -> list[Any]:
    """Buildbot's objects for the farm's latent workers; raises UsageError for settings that cannot be used.

    Runs in the thread that reads the configuration: EC2's class speaks to EC2 here.
    """
    made = [(name, _make(farm, name, worker)) for name, worker in farm.latent_workers.items()]
    return [worker for _name, worker in made if worker is not None]


def _make(farm: Farm, name: str, worker: LatentWorker) -> Any:
    require_modules(name, worker)
    common = {
        "max_builds": worker.max_builds,
        "build_wait_timeout": worker.build_wait_timeout_s,
        "missing_timeout": worker.start_limit_s,
        "silence_limit_s": farm.settings.workers.silence_limit_s,
    }
    try:
        if isinstance(worker, OpenStackWorker):
            return _openstack(farm, name, worker, common)
        if isinstance(worker, Ec2Worker):
            return _ec2(farm, name, worker, common)
        assert isinstance(worker, LibvirtWorker)
        return _libvirt(farm, name, worker, common)
    except (ConfigErrors, ValueError) as error:
        said = "; ".join(error.errors) if isinstance(error, ConfigErrors) else str(error)
        raise UsageError(said, where=f"farm.toml, workers.latent.{name}") from error


def _user_data(farm: Farm, name: str, worker: LatentWorker) -> str:
    settings = farm.settings
    return user_data(
        name,
        farm.worker_password(name),
        worker,
        root=settings.root,
        home=settings.home,
        python=Path(sys.executable),
    )


def _openstack(farm: Farm, name: str, worker: OpenStackWorker, common: Mapping[str, Any]) -> Any:
    root = farm.settings.root
    login: dict[str, Any] = {}
    if worker.os_auth_args:
        files = worker.os_auth_secret_files
        secrets = {key: read_named(root, name, "secret", file) for key, file in files.items()}
        login["os_auth_args"] = {**worker.os_auth_args, **secrets}
    else:
        login = {
            "os_auth_url": worker.os_auth_url,
            "os_username": worker.os_username,
            "os_password": read_named(root, name, "secret", worker.os_password_file),
            "os_tenant_name": worker.os_tenant_name or None,
            "os_user_domain": worker.os_user_domain or None,
            "os_project_domain": worker.os_project_domain or None,
        }
    nova_args: dict[str, Any] = {"userdata": _user_data(farm, name, worker)}
    if worker.keypair_name:
        nova_args["key_name"] = worker.keypair_name
    if worker.security_groups:
        nova_args["security_groups"] = list(worker.security_groups)
    if worker.networks:
        nova_args["nics"] = [{"net-id": network} for network in worker.networks]
    if worker.availability_zone:
        nova_args["availability_zone"] = worker.availability_zone
    devices = [{**vars(device), "volume_size": device.volume_size or None} for device in worker.block_devices]
    return FarmOpenStackWorker(
        name,
        farm.worker_password(name),
        flavor=worker.flavor,
        image=worker.image or None,
        block_devices=devices or None,
        region=worker.region or None,
        meta=dict(worker.meta),
        nova_args=nova_args,
        **login,
        **common,
    )


def _ec2(farm: Farm, name: str, worker: Ec2Worker, common: Mapping[str, Any]) -> Any:
    import boto3
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    core = botocore.session.get_session()
    core.set_default_client_config(
        Config(connect_timeout=CONNECT_LIMIT_S, read_timeout=ANSWER_LIMIT_S, retries={"max_attempts": 2})
    )
    file = worker.secret_access_key_file
    secret = read_named(farm.settings.root, name, "secret", file) if file else None
    session = boto3.Session(
        aws_access_key_id=worker.access_key_id or None,
        aws_secret_access_key=secret,
        region_name=worker.region,
        botocore_session=core,
    )
    try:
        return FarmEc2Worker(
            name,
            farm.worker_password(name),
            session=session,
            identifier="",  # the session has it; without, Buildbot's class looks for files of its own
            secret_identifier="",
            instance_type=worker.instance_type,
            keypair_name=worker.keypair_name,
            region=worker.region,
            ami=worker.ami or None,
            valid_ami_owners=worker.valid_ami_owners or None,
            valid_ami_location_regex=worker.valid_ami_location_regex or None,
            security_name=worker.security_name or None,
            subnet_id=worker.subnet_id or None,
            security_group_ids=list(worker.security_group_ids) or None,
            instance_profile_name=worker.instance_profile_name or None,
            elastic_ip=worker.elastic_ip or None,
            placement=worker.placement or None,
            spot_instance=worker.spot_instance,
            max_spot_price=worker.max_spot_price or None,
            price_multiplier=worker.price_multiplier or None,
            block_device_map=[_ebs(device) for device in worker.block_devices] or None,
            volumes=list(worker.volumes.items()),
            tags=dict(worker.tags),
            user_data=_user_data(farm, name, worker),
            **common,
        )
    except (BotoCoreError, ClientError) as error:
        log.msg(f"latent worker {name} left out until the next reload: {error}")
        return None


def _ebs(device: Any) -> dict[str, Any]:
    ebs = {
        "VolumeSize": device.volume_gib,
        "VolumeType": device.volume_type,
        "SnapshotId": device.snapshot_id,
    }
    kept = {key: value for key, value in ebs.items() if value}
    return {"DeviceName": device.device_name, "Ebs": {**kept, "DeleteOnTermination": device.delete_on_termination}}


def _libvirt(farm: Farm, name: str, worker: LibvirtWorker, common: Mapping[str, Any]) -> Any:
    password = farm.worker_password(name)
    told = base64.b64encode(credentials(name, password, worker).encode()).decode("ascii")
    xml = read_named(farm.settings.root, name, "domain's XML", worker.xml_file)
    for mark, value in (("@NAME@", name), ("@IMAGE@", worker.hd_image), ("@CREDENTIALS@", told)):
        xml = xml.replace(mark, escape(value, {'"': "&quot;", "'": "&apos;"}))
    return FarmLibvirtWorker(
        name,
        password,
        hd_image=worker.hd_image,
        base_image=worker.base_image or None,
        uri=worker.uri,
        xml=xml,
        masterFQDN=socket.gethostname(),  # else it waits for the name server
        **common,
    )
