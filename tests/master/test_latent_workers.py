"""Latent workers: the master asks a cloud for a machine when there is work, and gives it back."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time

import pytest

from buildfarm.master.dispatcher import queue_name
from buildfarm.verdict import Verdict
from tests.doubles.clouds import Ec2, OpenStack
from tests.scenarios.running_farm import tiny_package

FAILS_AT_ONCE = {"debian/changelog": "no changelog: these commits are to end early\n"}

COMMON = """\
[workers.latent.{name}]
kind = "{kind}"
master = "tcp://127.0.0.1:{port}"
shared_runs = true
groups = ["source", "build"]
user = "root"
build_wait_timeout_s = 2
start_limit_s = {start_limit_s}
"""
NOVA = """\
flavor = "small"
image = "bookworm"
os_auth_url = "{url}/v3"
os_username = "farm"
os_password_file = "nova-password"
os_tenant_name = "builds"
os_user_domain = "Default"
os_project_domain = "Default"
networks = ["net-1"]
"""
EC2 = """\
instance_type = "c7i.large"
region = "eu-central-1"
ami = "ami-1"
keypair_name = "farm"
subnet_id = "subnet-1"
security_group_ids = ["sg-1"]
access_key_id = "AKIA"
secret_access_key_file = "aws-secret"
"""

# What `buildbot checkconfig` does, and what it read of each worker and builder.
CHECK = """
import json, os, sys, traceback
from pathlib import Path
from buildbot.config.master import FileLoader
Path("master.cfg").write_text("from buildfarm.master import configure\\nBuildmasterConfig = configure()\\n")
try:
    config = FileLoader(".", "master.cfg").loadConfig()
    workers = {one.name: [type(one).__name__, one.max_builds, one.missing_timeout] for one in config.workers}
    builders = {one.name: one.workernames for one in config.builders}
    print("READ " + json.dumps([workers, builders, config.protocols["pb"]["port"]]), flush=True)
except Exception:
    traceback.print_exc()
finally:
    sys.stderr.flush()
    os._exit(0)  # the history's threads would wait for the reactor's end
"""


def with_latent(farm, name, kind, text, url="http://127.0.0.1:9", start_limit_s=60):
    (farm.root / "nova-password").write_text(f"{OpenStack.PASSWORD}\n")
    (farm.root / "aws-secret").write_text("a secret\n")
    config = COMMON + text
    port = farm.settings.workers.port
    with (farm.root / "farm.toml").open("a") as file:
        file.write(config.format(name=name, kind=kind, port=port, url=url, start_limit_s=start_limit_s))


def at_endpoint(farm, url):
    """Where boto3 looks for EC2: a file in the user's home."""
    (farm.root.parent / "author" / ".aws").mkdir(exist_ok=True)
    (farm.root.parent / "author" / ".aws" / "config").write_text(f"[default]\nendpoint_url = {url}\n")


def checked(farm):
    return subprocess.run(
        [sys.executable, "-c", CHECK],
        env=farm.environment,
        cwd=farm.root,
        capture_output=True,
        text=True,
        timeout=120,
    )


def read_by_buildbot(farm):
    done = checked(farm)
    (read,) = [line for line in done.stdout.splitlines() if line.startswith("READ ")] or pytest.fail(done.stderr)
    return json.loads(read[5:])


def worker_of_last_build(farm):
    from buildfarm.parts import _get

    base = f"{farm.settings.web_local_url}/api/v2"
    builds = json.loads(_get(f"{base}/builds"))["builds"]
    workers = {one["workerid"]: one["name"] for one in json.loads(_get(f"{base}/workers"))["workers"]}
    return workers[max(builds, key=lambda one: one["buildid"])["workerid"]]


def await_true(said, limit_s=60):
    deadline = time.monotonic() + limit_s
    while not said():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(("kind", "text", "double"), [("openstack", NOVA, OpenStack), ("ec2", EC2, Ec2)])
def test_a_machine_is_started_for_a_task_does_it_and_is_given_back(farm, tmp_path, kind, text, double):
    with double(tmp_path / "machines") as cloud:
        at_endpoint(farm, cloud.url)
        with_latent(farm, "cloud-1", kind, text, cloud.url)
        farm.recipe("tiny")
        trunk = farm.trunk("tiny")
        farm.up()
        assert cloud.instances == []
        farm.kill("worker-1")
        run = farm.await_run("tiny", trunk.commit(tiny_package(**FAILS_AT_ONCE)), 90)
        assert run.verdict is Verdict.FAIL, farm.evidence()
        assert worker_of_last_build(farm) == "cloud-1"
        (instance,) = cloud.instances
        await_true(lambda: not cloud.living)
        assert instance.machine.poll() is not None
        if kind == "openstack":
            assert instance.asked["flavorRef"] == "42"
            assert instance.asked["imageRef"] == OpenStack.IMAGES["bookworm"]
            assert instance.asked["networks"] == [{"uuid": "net-1"}]
        else:
            assert (instance.asked["ImageId"], instance.asked["SecurityGroupId.1"]) == ("ami-1", "sg-1")
        assert OpenStack.PASSWORD not in (farm.settings.logs / "master.log").read_text()


def test_no_machine_is_started_while_the_farms_own_worker_is_there(farm, tmp_path):
    with OpenStack(tmp_path / "machines") as cloud:
        with_latent(farm, "cloud-1", "openstack", NOVA, cloud.url)
        farm.recipe("tiny")
        trunk = farm.trunk("tiny")
        farm.up()
        assert farm.await_run("tiny", trunk.commit(tiny_package(**FAILS_AT_ONCE)), 60).verdict is Verdict.FAIL
        assert worker_of_last_build(farm) == "worker-1"
        assert cloud.instances == []


def test_a_machine_that_never_comes_up_is_deleted_and_the_task_goes_to_another_worker(farm, tmp_path):
    with OpenStack(tmp_path / "machines", boots=False, hangs=True) as cloud:
        with_latent(farm, "cloud-1", "openstack", NOVA, cloud.url, start_limit_s=3)
        farm.recipe("tiny")
        trunk = farm.trunk("tiny")
        farm.up()
        farm.kill("worker-1")
        revision = trunk.commit(tiny_package(**FAILS_AT_ONCE))
        await_true(lambda: cloud.instances and not cloud.living)
        farm.up()
        assert farm.await_run("tiny", revision, 90).verdict is Verdict.FAIL, farm.evidence()


def test_a_machine_that_an_earlier_master_left_is_deleted_at_the_next_start(farm, tmp_path):
    with OpenStack(tmp_path / "machines") as cloud:
        with_latent(farm, "cloud-1", "openstack", NOVA, cloud.url)
        farm.recipe("tiny", unittest={"command": ["sleep", "5"]})
        trunk = farm.trunk("tiny")
        farm.up()
        farm.kill("worker-1")
        run = farm.await_run("tiny", trunk.commit(tiny_package(**FAILS_AT_ONCE)), 90, ended=False)
        farm.await_stage(run, "unittest")
        farm.kill("master")
        farm.up()
        farm.kill("worker-1")
        run = farm.await_run("tiny", run.revision, 120)
        assert run.verdict is Verdict.FAIL, farm.evidence()
        await_true(lambda: not cloud.living)


def test_the_configuration_makes_buildbots_objects(farm, tmp_path):
    with Ec2(tmp_path / "machines", boots=False) as cloud:
        at_endpoint(farm, cloud.url)
        with_latent(farm, "nova-1", "openstack", NOVA)
        with_latent(farm, "ec2-1", "ec2", EC2.replace("ami-1", "ami-2"))
        with (farm.root / "farm.toml").open("a") as file:
            file.write('[workers.latent.ec2-1.tags]\nName = "farm"\n')
        workers, builders, port = read_by_buildbot(farm)
    assert workers["nova-1"] == ["FarmOpenStackWorker", 1, 60]
    assert workers["ec2-1"] == ["FarmEc2Worker", 1, 60]
    assert builders[queue_name("source")] == builders[queue_name("build")] == ["worker-1", "nova-1", "ec2-1"]
    assert builders[queue_name("upload")] == ["signer"]
    assert port.endswith(":interface=127.0.0.1")


def test_an_ec2_that_does_not_answer_leaves_out_its_worker_only(farm):
    at_endpoint(farm, "http://127.0.0.1:9")
    with_latent(farm, "ec2-1", "ec2", EC2)
    workers, builders, _port = read_by_buildbot(farm)
    assert "ec2-1" not in workers
    assert builders[queue_name("build")] == ["worker-1"]


def test_what_is_missing_is_said_with_what_to_do(farm):
    with_latent(farm, "nova-1", "openstack", NOVA)
    (farm.root / "nova-password").unlink()
    assert "the secret of latent worker 'nova-1' cannot be read" in checked(farm).stderr
    farm_toml = farm.root / "farm.toml"
    head = farm_toml.read_text().partition("[workers.latent")[0]
    farm_toml.write_text(head)
    libvirt = 'uri = "qemu:///session"\nxml_file = "d.xml"\nhd_image = "/d.qcow2"\n'
    with_latent(farm, "domain-1", "libvirt", libvirt)
    if importlib.util.find_spec("libvirt") is None:
        said = checked(farm).stderr
        assert "needs the Python module libvirt, which is not installed" in said
        assert "pip install '.[libvirt]'" in said


def test_a_task_on_a_machine_with_another_runs_is_the_farms_error(farm):
    (farm.home / "runs").mkdir()
    done = farm.cli("stage", "checkout", "--workspace", str(farm.home / "runs" / "x"), check=False)
    assert done.returncode == 2
    farm.environment["BUILDFARM_RUNS_MARK"] = "of another farm"
    done = farm.cli("stage", "checkout", "--workspace", str(farm.home / "runs" / "x"), check=False)
    assert done.returncode == 3
    assert "does not share the farm's runs/" in done.stderr


def test_a_machine_that_no_master_wants_ends_itself(farm, tmp_path):
    said = {"name": "cloud-1", "password": "x", "master": "tcp://127.0.0.1:9", "lonely_limit_s": 1}
    (tmp_path / "credentials.json").write_text(json.dumps(said))
    done = farm.cli("worker", "--credentials", str(tmp_path / "credentials.json"))
    assert "no master has wanted this worker" in done.stdout
    (tmp_path / "credentials.json").write_text(json.dumps(said | {"master": "127.0.0.1"}))
    refused = farm.cli("worker", "--credentials", str(tmp_path / "credentials.json"), check=False)
    assert refused.returncode == 2
    assert "tcp://HOST:PORT" in refused.stderr
