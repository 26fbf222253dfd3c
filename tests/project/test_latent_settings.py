"""What a latent worker's table may say, and what its machine is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from buildfarm.errors import UsageError
from buildfarm.latent import MasterAddress, OpenStackWorker, master_address, read_credentials, user_data
from buildfarm.settings import load_settings

NOVA = {
    "kind": "openstack",
    "master": "tls://farm.example.org:9990",
    "shared_runs": True,
    "flavor": "small",
    "image": "bookworm",
    "os_auth_url": "https://keystone.example.org/v3",
    "os_username": "farm",
    "os_password_file": "secret",
}
EC2 = {
    "kind": "ec2",
    "master": "tls://farm.example.org:9990",
    "shared_runs": True,
    "instance_type": "c7i.large",
    "region": "eu-central-1",
    "keypair_name": "farm",
    "ami": "ami-1",
    "subnet_id": "subnet-1",
}
LIBVIRT = {
    "kind": "libvirt",
    "master": "tcp://192.168.122.1:9989",
    "shared_runs": True,
    "uri": "qemu:///system",
    "xml_file": "domain.xml",
    "hd_image": "/disk.qcow2",
}


def read(tmp_path: Path, table: dict[str, object], name: str = "cloud-1", host: str = "10.0.0.5") -> object:
    lines = [f'[workers]\nhost = "{host}"\n[workers.latent."{name}"]']
    for key, value in table.items():
        if value is not None and not isinstance(value, dict):
            lines.append(f"{key} = {json.dumps(value)}")
    lines += [
        f'[workers.latent."{name}".{key}]\n' + "\n".join(f"{k} = {json.dumps(v)}" for k, v in value.items())
        for key, value in table.items()
        if isinstance(value, dict)
    ]
    (tmp_path / "farm.toml").write_text("\n".join(lines) + "\n")
    return load_settings(tmp_path, {}).workers.latent[name]


@pytest.mark.parametrize("table", [NOVA, EC2, LIBVIRT], ids=lambda table: str(table["kind"]))
def test_each_kind_is_read(tmp_path: Path, table: dict[str, object]) -> None:
    assert getattr(read(tmp_path, table), "kind") == table["kind"]  # noqa: B009 (a table of any kind)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (NOVA | {"kind": "marathon"}, "kind: openstack, ec2, libvirt are known"),
        (NOVA | {"kind": 3}, "kind: openstack, ec2, libvirt are known"),
        (NOVA | {"shared_runs": None}, "shared_runs: a worker on another machine works only where"),
        (NOVA | {"groups": ["upload"]}, "'upload' is none of source, build, verify"),
        (NOVA | {"groups": []}, "groups: at least one"),
        (NOVA | {"master": "farm.example.org:9990"}, "tcp://HOST:PORT"),
        (NOVA | {"master": "tls://farm.example.org"}, "tcp://HOST:PORT"),
        (NOVA | {"master": "tls://farm.example.org:99900"}, "out of range|tcp://HOST:PORT"),
        (NOVA | {"max_builds": 0}, "max_builds: a number from 1 on"),
        (NOVA | {"build_wait_timeout_s": -1}, "build_wait_timeout_s: a number from 0 on"),
        (NOVA | {"user": "a b"}, "user: the name"),
        (NOVA | {"image": None}, "image: an image's name or id is wanted"),
        (NOVA | {"flavor": None}, "flavor"),
        (NOVA | {"flavour": "x"}, "unknown flavour"),
        (NOVA | {"os_password": "x"}, "unknown os_password"),
        (NOVA | {"os_password_file": None}, "os_password_file: it is wanted"),
        (NOVA | {"os_auth_url": "keystone"}, "begins with http"),
        (NOVA | {"os_auth_args": {"auth_url": "https://k/v3", "password": "x"}}, "a secret stands in a file"),
        (NOVA | {"os_auth_args": {"username": "x"}}, "os_auth_args.auth_url"),
        (EC2 | {"ami": None}, "ami: an image is wanted"),
        (EC2 | {"valid_ami_owners": [1]}, "ami: an image is wanted"),
        (EC2 | {"security_name": "x"}, "subnet_id: a subnet"),
        (EC2 | {"access_key_id": "AKIA"}, "go together"),
        (EC2 | {"spot_instance": True}, "max_spot_price"),
        (EC2 | {"spot_instance": True, "price_multiplier": 1.2}, "placement"),
        (EC2 | {"ami": None, "valid_ami_location_regex": "("}, "valid_ami_location_regex"),
        (LIBVIRT | {"xml_file": ""}, "xml_file"),
    ],
)
def test_a_table_that_cannot_be_is_refused(tmp_path: Path, table: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        read(tmp_path, table)
    assert "workers.latent.cloud-1" in caught.value.brief
    assert caught.value.where == str(tmp_path / "farm.toml")


@pytest.mark.parametrize("name", ["worker-1", "signer", "master", "Cloud", "a b", "1"])
def test_names_of_the_farms_own_parts_and_odd_ones_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        read(tmp_path, NOVA, name)


@pytest.mark.parametrize(
    ("host", "master", "good"),
    [
        ("127.0.0.1", "tls://farm.example.org:9990", True),
        ("127.0.0.1", "tcp://127.0.0.1:9989", True),
        ("127.0.0.1", "tcp://10.0.0.5:9989", False),
        ("::1", "tcp://[fd00::5]:9989", False),
        ("0.0.0.0", "tcp://10.0.0.5:9989", True),
        ("::", "tcp://[fd00::5]:9989", True),
    ],
)
def test_a_master_that_a_machine_could_not_reach_is_refused(
    tmp_path: Path, host: str, master: str, good: bool
) -> None:
    if good:
        read(tmp_path, NOVA | {"master": master}, host=host)
    else:
        with pytest.raises(UsageError, match=r"workers\.host"):
            read(tmp_path, NOVA | {"master": master}, host=host)


def test_an_address_is_read() -> None:
    assert master_address("tls://[fd00::5]:9990") == MasterAddress("fd00::5", 9990, tls=True)


def test_the_machine_is_told_who_it_is_and_starts_its_worker(tmp_path: Path) -> None:
    worker = read(tmp_path, NOVA | {"user": "builder"})
    assert isinstance(worker, OpenStackWorker)
    places = {
        "root": Path("/opt/farm"),
        "home": Path("/var/lib/farm"),
        "python": Path("/opt/farm/.venv/bin/python"),
    }
    text = user_data("cloud-1", 'a "password"', worker, **places)
    first, _, rest = text.partition("\n")
    assert first == "#cloud-config"
    told = json.loads(rest)
    credentials, unit = told["write_files"]
    assert (credentials["permissions"], credentials["owner"]) == ("0600", "builder:builder")
    (tmp_path / "credentials").write_text(credentials["content"])
    assert read_credentials(tmp_path / "credentials").password == 'a "password"'
    assert "password" not in unit["content"]
    assert "BUILDFARM_ROOT=/opt/farm BUILDFARM_HOME=/var/lib/farm" in unit["content"]
    assert told["runcmd"][-1][-1] == "buildfarm-worker.service"
