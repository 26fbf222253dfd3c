"""KVM is believed when a guest has run, and the answer is kept while nothing changes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from buildfarm.errors import FarmTrouble
from buildfarm.files import read_json, write_json
from buildfarm.vm import accel
from buildfarm.vm.accel import PROBE, find_accel, run_probe


@pytest.fixture
def device(tmp_path: Path) -> Path:
    made = tmp_path / "kvm"
    made.touch()
    return made


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the next guests come to."""
    waiting: list[str] = []
    monkeypatch.setattr(accel, "run_probe", lambda _accel, _cpu: waiting.pop(0))
    return waiting


def test_the_guest_is_what_binutils_make_of_its_source(tmp_path: Path) -> None:
    source = PROBE.with_suffix(".S")
    subprocess.run(["as", "--64", "-o", tmp_path / "probe.o", source], check=True)
    subprocess.run(
        ["objcopy", "-O", "binary", "-j", ".text", tmp_path / "probe.o", tmp_path / "probe.bin"], check=True
    )

    assert PROBE.read_bytes() == (tmp_path / "probe.bin").read_bytes()


def test_the_guest_answers_when_it_is_emulated() -> None:
    assert run_probe("tcg", "qemu64") == ""


def test_a_guest_that_cannot_start_is_told_with_qemus_own_words() -> None:
    assert "unable to find CPU model" in run_probe("tcg", "no-such-cpu")


def test_without_the_device_machines_are_emulated(tmp_path: Path) -> None:
    found = find_accel("auto", tmp_path, device=tmp_path / "kvm")

    assert found.name == "tcg"
    assert found.note == f"no KVM: {tmp_path}/kvm is not there; machines are emulated (TCG)"


def test_a_device_that_opens_is_not_enough(tmp_path: Path, device: Path, answers: list[str]) -> None:
    answers.append("a guest does not run in 3 s")

    found = find_accel("auto", tmp_path, device=device)

    assert found.name == "tcg"
    assert found.note == ("no KVM: /dev/kvm opens but a guest does not run in 3 s; machines are emulated (TCG)")


def test_a_guest_that_ran_is_believed_and_not_asked_again(
    tmp_path: Path, device: Path, answers: list[str]
) -> None:
    answers.append("")

    assert find_accel("auto", tmp_path, device=device).name == "kvm"
    assert find_accel("auto", tmp_path, device=device).name == "kvm"
    assert not answers


def test_after_a_boot_of_the_host_it_is_asked_again(tmp_path: Path, device: Path, answers: list[str]) -> None:
    answers += ["", "a guest does not run in 3 s"]
    find_accel("auto", tmp_path, device=device)
    record = read_json(tmp_path / "accel.json")
    record["conditions"][0] = "another boot"
    write_json(tmp_path / "accel.json", record)

    assert find_accel("auto", tmp_path, device=device).name == "tcg"


def test_who_wants_kvm_alone_is_told_why_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(FarmTrouble, match="is not there"):
        find_accel("kvm", tmp_path, device=tmp_path / "kvm")


def test_who_wants_emulation_gets_it(tmp_path: Path, device: Path) -> None:
    assert find_accel("tcg", tmp_path, device=device).name == "tcg"
