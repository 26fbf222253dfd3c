"""The farm's upload key."""

from __future__ import annotations

import multiprocessing
import stat
import subprocess
from pathlib import Path

import pytest

from buildfarm.errors import FarmTrouble
from buildfarm.keys import algorithm_for, ensure_upload_key, public_key, signing_key
from buildfarm.settings import FarmSettings, Settings
from ppa_tools.openpgp import Algorithm, Key, read_keys, secret_keys, stop_agent


@pytest.fixture
def farm(tmp_path: Path) -> Settings:
    return Settings(
        tmp_path, tmp_path / "home", tmp_path / "recipes", farm=FarmSettings("Ünsere Farm", "farm@example.org")
    )


def make_key(farm: Settings) -> None:
    ensure_upload_key(farm)


def upload_key(farm: Settings, algorithm: Algorithm = "ed25519") -> Key:
    with signing_key(farm, algorithm) as key:
        return key


def test_the_key_is_made_once_and_is_private(farm: Settings) -> None:
    made = ensure_upload_key(farm)
    assert ensure_upload_key(farm) == made == upload_key(farm)
    assert (made.algorithm, made.expires_at, made.uid) == ("ed25519", None, "Ünsere Farm <farm@example.org>")
    assert stat.S_IMODE(farm.keys.stat().st_mode) == 0o700


def test_two_farms_starting_at_once_make_one_key(farm: Settings) -> None:
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=make_key, args=(farm,)) for _ in range(3)]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    assert [one.exitcode for one in both] == [0, 0, 0]
    made = secret_keys(farm.keys)
    stop_agent(farm.keys)
    assert len(made) == 1


def test_the_public_part_is_for_everybody(farm: Settings) -> None:
    made = ensure_upload_key(farm)
    exported = public_key(farm)
    assert exported.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
    assert [key.fingerprint for key in read_keys(exported)] == [made.fingerprint]


def test_without_a_key_the_error_says_what_makes_one(farm: Settings) -> None:
    with pytest.raises(FarmTrouble) as caught:
        upload_key(farm)
    assert "buildfarm up" in caught.value.resolution
    farm.keys.mkdir(parents=True, mode=0o700)
    with pytest.raises(FarmTrouble, match="no upload key"):
        upload_key(farm)


def test_no_agent_stays_behind(farm: Settings) -> None:
    ensure_upload_key(farm)
    public_key(farm)
    listed = subprocess.run(["ps", "-eo", "args", "-ww"], capture_output=True, text=True, check=True)
    assert not [line for line in listed.stdout.splitlines() if "gpg-agent" in line and str(farm.keys) in line]


def test_launchpad_gets_a_key_of_its_own_kind_beside_the_embedded_archives(farm: Settings) -> None:
    local = ensure_upload_key(farm, algorithm_for("local:owner/name"))
    assert upload_key(farm, algorithm_for("ppa:owner/name")) == local
    launchpad = ensure_upload_key(farm, algorithm_for("ppa:owner/name"))
    assert (local.algorithm, launchpad.algorithm) == ("ed25519", "rsa4096")
    assert upload_key(farm, algorithm_for("ppa:owner/name")) == launchpad
    assert upload_key(farm) == local
