"""A home or a record that cannot be used is told in words, with what to do: never by a traceback."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildfarm.cli import main
from buildfarm.errors import FarmTrouble, UsageError
from buildfarm.regress.nights import open_nights
from buildfarm.settings import load_settings

NOBODY = 65534


@pytest.fixture(autouse=True)
def _anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUILDFARM_HOME", "")
    monkeypatch.setenv("BUILDFARM_ROOT", str(tmp_path))


@contextmanager
def shut(directory: Path) -> Iterator[None]:
    """The directory as somebody finds it who may neither read nor write there."""
    directory.chmod(0o000)
    was = os.geteuid()
    if was == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(was)
        directory.chmod(0o755)


def test_a_home_that_cannot_be_made_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--home", "/proc/nothing", "rebuild", "hello"]) == 3
    said = capsys.readouterr().err
    assert said.startswith(
        "buildfarm rebuild: /proc/nothing/regression.sqlite: the record of nights cannot be opened"
    )
    assert "--home DIR" in said


@pytest.mark.parametrize("command", [["rebuild", "report"], ["status"], ["check"], ["root", "list"], ["down"]])
def test_a_home_that_is_a_file_is_told(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").write_text("")
    assert main(["--home", "home", *command]) in (2, 3)
    said = capsys.readouterr().err
    assert f"{tmp_path}/home" in said
    assert "ot a directory" in said


def test_a_home_in_a_loop_of_links_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "home").symlink_to("home")
    assert main(["--home", "home", "status"]) == 2
    assert "symbolic links" in capsys.readouterr().err


def test_settings_that_may_not_be_read_are_told(tmp_path: Path) -> None:
    home = tmp_path / "var"
    home.mkdir()
    with shut(home), pytest.raises(UsageError, match="Permission denied") as caught:
        load_settings(tmp_path, {})
    assert caught.value.where.startswith(str(tmp_path))
    assert "BUILDFARM_HOME" in caught.value.resolution


def test_a_record_that_may_not_be_opened_is_told(tmp_path: Path) -> None:
    home = tmp_path / "var"
    open_nights(home / "regression.sqlite")
    with shut(home), pytest.raises(FarmTrouble, match=r"cannot be opened") as caught:
        open_nights(home / "regression.sqlite")
    assert caught.value.where == str(home / "regression.sqlite")


def test_a_directory_in_a_records_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "regression.sqlite").mkdir()
    with pytest.raises(FarmTrouble, match="cannot be opened"):
        open_nights(tmp_path / "regression.sqlite")


def test_a_record_that_is_no_database_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "regression.sqlite").write_text("no database" * 100)
    with pytest.raises(FarmTrouble, match="damaged") as caught:
        open_nights(tmp_path / "regression.sqlite")
    assert caught.value.where == str(tmp_path / "regression.sqlite")
    assert "docs/how-to/backup-and-restart.md" in caught.value.resolution


def test_damage_that_is_met_only_in_reading_is_told_as_well(tmp_path: Path) -> None:
    path = tmp_path / "regression.sqlite"
    open_nights(path)
    with sqlite3.connect(path) as record:
        record.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size_bytes = record.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek(size_bytes)
        file.write(b"\xff" * (path.stat().st_size - size_bytes))
    with pytest.raises(FarmTrouble, match="damaged"):
        open_nights(path).workers_out()


@pytest.mark.parametrize("kind", [PermissionError, IsADirectoryError, FileNotFoundError])
def test_a_path_that_cannot_be_used_ends_a_command_in_words(
    kind: type[OSError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = {PermissionError: 13, IsADirectoryError: 21, FileNotFoundError: 2}[kind]

    def run(_args: object) -> int:
        raise OSError(error, os.strerror(error), "/somewhere/a file")

    monkeypatch.setattr("buildfarm.commands.status.run", run)
    assert main(["status"]) == 3
    assert capsys.readouterr().err.startswith(f"buildfarm status: /somewhere/a file: {os.strerror(error)}\n")


def test_what_names_no_path_is_a_fault_of_the_farms_and_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_args: object) -> int:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr("buildfarm.commands.status.run", run)
    with pytest.raises(OSError, match="Bad file descriptor"):
        main(["status"])
