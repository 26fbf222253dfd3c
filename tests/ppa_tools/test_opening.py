"""The embedded archive is found where it is named, or where a farm keeps it; else it is told what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ppa_tools.address import Address
from ppa_tools.archives.door import DoorError, NotThere
from ppa_tools.archives.local import LocalArchive
from ppa_tools.archives.opening import Options, find_embedded, open_archive, whoever_runs_this

TRUNK = Address("local", "me", "trunk")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An archive in a farm's home, with a PPA in it."""
    directory = tmp_path / "farm/var/archive"
    directory.mkdir(parents=True)
    archive = LocalArchive(directory)
    archive.ensure_ppa(TRUNK, series=["noble"], architectures=["amd64"])
    archive.stop_agents()
    archive.close()
    return directory


def options(here: Path, named: Path | None = None, **environment: str) -> Options:
    return Options(local_archive=named, environment=environment, here=here)


def test_it_is_found_where_it_is_named(directory: Path, tmp_path: Path) -> None:
    assert find_embedded(options(tmp_path, directory)) == directory
    assert find_embedded(options(tmp_path, PPA_LOCAL_ARCHIVE=str(directory))) == directory
    assert find_embedded(options(tmp_path, directory, PPA_LOCAL_ARCHIVE="/nowhere")) == directory


def test_it_is_found_where_a_farm_keeps_it(directory: Path, tmp_path: Path) -> None:
    assert find_embedded(options(tmp_path / "farm")) == directory
    assert find_embedded(options(tmp_path, BUILDFARM_HOME=str(directory.parent))) == directory
    assert find_embedded(options(directory)) == directory


def test_what_is_named_and_is_not_there_is_told_by_how_it_was_named(tmp_path: Path) -> None:
    with pytest.raises(NotThere, match=r"named by --local-archive, is not there") as caught:
        find_embedded(options(tmp_path, tmp_path / "none"))
    assert "$PPA_LOCAL_ARCHIVE" in caught.value.resolution
    with pytest.raises(NotThere, match=r"named by \$PPA_LOCAL_ARCHIVE, is no embedded archive"):
        find_embedded(options(tmp_path, PPA_LOCAL_ARCHIVE=str(tmp_path)))


def test_where_it_was_looked_for_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotThere, match=str(tmp_path / "var/archive")) as caught:
        find_embedded(options(tmp_path, BUILDFARM_HOME="/nowhere"))
    assert "/nowhere/archive" in str(caught.value)
    assert "--local-archive" in caught.value.resolution


def test_looking_for_it_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotThere):
        open_archive(TRUNK, options(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_ppa_that_is_not_there_is_told_with_the_nearest(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(NotThere, match="no local:me/trunc here") as caught:
        open_archive(Address("local", "me", "trunc"), options(tmp_path, directory))
    assert "local:me/trunk" in caught.value.resolution


def test_an_archive_whose_history_is_in_a_database_is_not_given_another(directory: Path, tmp_path: Path) -> None:
    (directory / "history.sqlite").rename(tmp_path / "elsewhere.sqlite")
    for left in directory.glob("history.sqlite-*"):
        left.rename(tmp_path / left.name.replace("history", "elsewhere"))
    with pytest.raises(NotThere, match=r"no history\.sqlite") as caught:
        open_archive(TRUNK, options(tmp_path, directory))
    assert "$PPA_LOCAL_DATABASE" in caught.value.resolution
    assert not (directory / "history.sqlite").exists()
    url = f"sqlite:///{tmp_path}/elsewhere.sqlite"
    by_variable = open_archive(TRUNK, options(tmp_path, directory, PPA_LOCAL_DATABASE=url))
    assert by_variable.side(with_past=True).publications == ()
    by_variable.close()
    (tmp_path / "farm/farm.toml").write_text(f'[archive]\ndatabase = "{url}"\n')
    by_settings = open_archive(TRUNK, options(tmp_path, directory))
    assert by_settings.side(with_past=True).publications == ()
    by_settings.close()


def test_a_database_that_cannot_be_used_is_told_without_its_password(directory: Path, tmp_path: Path) -> None:
    url = "nosuch://me:hunter2@host/name"
    with pytest.raises(DoorError, match="cannot be used") as caught:
        open_archive(TRUNK, options(tmp_path, directory, PPA_LOCAL_DATABASE=url))
    assert "hunter2" not in str(caught.value)


def test_settings_that_cannot_be_read_are_told(directory: Path, tmp_path: Path) -> None:
    (directory.parent / "farm.toml").write_text("[archive\n")
    with pytest.raises(DoorError, match=r"farm\.toml cannot be read"):
        open_archive(TRUNK, options(tmp_path, directory))


def test_whoever_runs_it_stands_in_its_history(directory: Path, tmp_path: Path) -> None:
    archive = open_archive(TRUNK, options(tmp_path, directory))
    assert "@" in whoever_runs_this()
    assert getattr(archive, "by") == whoever_runs_this()  # noqa: B009
    archive.close()


def test_naming_an_archive_imports_nothing_of_the_other_kind() -> None:
    code = (
        "import sys; from ppa_tools.archives import opening; "
        "print([one for one in sys.modules if one.split('.')[0] in ('sqlalchemy', 'requests', 'launchpadlib')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
