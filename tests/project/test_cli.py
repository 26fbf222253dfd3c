"""The command line as a whole: which word is the command, and what the exit status says."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildfarm.cli import main


def test_a_home_named_like_a_command_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUILDFARM_HOME", "")
    assert main(["--home", "demo", "run", "nothing"]) == 2
    assert "no recipe is named 'nothing'" in capsys.readouterr().err


def test_the_farms_own_trouble_is_exit_status_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUILDFARM_HOME", str(tmp_path))
    assert main(["reload"]) == 3
    assert "buildfarm up" in capsys.readouterr().err
