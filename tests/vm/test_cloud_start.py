"""What cloud-init is told in a machine of a given image: the agent, apt's way out, the call at the end."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from buildfarm.build.apt_sources import AptSources
from buildfarm.vm.cloud_start import MIRRORS, UNIT, cloud_seed, foreign_keys, unit_text, user_data
from buildfarm.vm.image_recipe import GUEST
from buildfarm.vm.seed import cloud_config

APT = AptSources("Types: deb\nURIs: http://mirror/debian\nSuites: bookworm\n", ('Acquire::Retries "3";',))


def read(text: str) -> dict[str, Any]:
    read = YAML(typ="safe").load(text)
    assert isinstance(read, dict)
    return read


def files(text: str) -> dict[str, tuple[str, bytes]]:
    """The files by path: mode and content, as cloud-init makes them."""
    return {
        file["path"]: (
            file["permissions"],
            base64.b64decode(file["content"]) if file.get("encoding") == "b64" else file["content"].encode(),
        )
        for file in read(text)["write_files"]
    }


def test_the_agent_is_put_in_place_whole() -> None:
    made = files(user_data("t", APT, {}))

    assert made["/usr/lib/buildfarm/agent"] == ("0755", (GUEST / "buildfarm-agent").read_bytes())
    assert UNIT in "".join(made)


def test_the_agents_unit_wants_no_credential_and_waits_for_nothing() -> None:
    unit = unit_text((GUEST / UNIT).read_text())

    assert "LoadCredential" not in unit
    assert "Type=idle" not in unit
    assert "ExecStart=/usr/lib/buildfarm/agent\n" in unit
    assert "WantedBy=multi-user.target\n" in unit


def test_the_agent_is_started_and_the_call_comes_last() -> None:
    config = read(user_data("tok3n", APT, {}))

    assert config["runcmd"][-1] == ["systemctl", "start", "--no-block", UNIT]
    assert config["phone_home"]["url"] == "http://10.0.2.100/phone-home/tok3n"


def test_what_failed_as_the_image_booted_is_forgotten_before_the_agent_begins() -> None:
    commands = read(user_data("t", APT, {}))["runcmd"]

    assert ["systemctl", "reset-failed"] in commands[: commands.index(["systemctl", "daemon-reload"])]


def test_apt_goes_by_the_gateway_to_the_farms_mirrors() -> None:
    text = user_data("t", APT, {"/etc/k.gpg": b"\x99\x00key"})
    made = files(text)

    assert made[MIRRORS] == ("0644", APT.text.encode())
    assert made["/etc/k.gpg"] == ("0644", b"\x99\x00key")
    settings = made["/etc/apt/apt.conf.d/80buildfarm"][1].decode()
    assert 'Acquire::http::Proxy "http://10.0.2.100/";\nAcquire::https::Proxy "http://10.0.2.100/";\n' in settings
    assert 'Acquire::Retries "3";' in settings
    assert 'APT::Periodic::Enable "0";' in settings
    assert read(text)["apt"] == {"preserve_sources_list": True}


def test_without_sources_the_images_own_stay() -> None:
    text = user_data("t", None, {})

    assert MIRRORS not in files(text)
    assert not any("sources.list" in word for command in read(text)["runcmd"] for word in command)


def test_the_images_own_sources_are_put_aside_and_ours_are_not(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    ours = tmp_path / "sources.list.d/ours.sources"
    for path in (ours, tmp_path / "sources.list", tmp_path / "sources.list.d/x y.list", tmp_path / "keep.conf"):
        path.touch()
    command = next(words for words in read(user_data("t", APT, {}))["runcmd"] if MIRRORS in words)
    script = command[2].replace("/etc/apt", '"$ROOT"')

    subprocess.run(["sh", "-c", script, str(ours)], check=True, env={"ROOT": str(tmp_path), "PATH": "/bin"})

    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == [
        "keep.conf",
        "sources.list.aside",
        "sources.list.d/ours.sources",
        "sources.list.d/x y.list.aside",
    ]


def test_only_the_seed_holds_the_token() -> None:
    seed = cloud_seed("s3cret", "greet-1", "tok3n", APT, {})

    assert [
        name for name in ("meta-data", "vendor-data", "network-config") if "tok3n" in (seed.content(name) or "")
    ] == []
    assert "tok3n" in (seed.content("user-data") or "")
    assert read(seed.content("meta-data") or "")["local-hostname"] == "greet-1"


def test_the_network_stays_the_images_own_and_nothing_is_asked_for_again() -> None:
    network = cloud_seed("s", "h", "t", None, {}).content("network-config")

    assert network is not None  # a file that is not there is asked for ten times
    assert YAML(typ="safe").load(network) is None


def test_a_distributions_own_keys_are_not_sent(tmp_path: Path) -> None:
    ours = tmp_path / "ours.gpg"
    ours.write_bytes(b"key")
    apt = AptSources("", (), (Path("/usr/share/keyrings/debian-archive-keyring.gpg"), ours))

    assert foreign_keys(apt) == {str(ours): b"key"}


@given(st.binary(max_size=200))
def test_any_bytes_come_out_of_the_yaml_as_they_went_in(content: bytes) -> None:
    assert files(cloud_config(write_files={"/x": ("0600", content)})) == {"/x": ("0600", content)}
