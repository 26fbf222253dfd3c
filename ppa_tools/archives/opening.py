"""Opening an archive by its address; what a kind of archive needs is imported when one of it is opened."""

from __future__ import annotations

import getpass
import os
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ppa_tools.address import Address
from ppa_tools.archives.door import Archive, DoorError, NoRights, NotThere, Unreachable

if TYPE_CHECKING:
    from ppa_tools.archives.embedded import EmbeddedArchive

DIRECTORY_VARIABLE = "PPA_LOCAL_ARCHIVE"
DATABASE_VARIABLE = "PPA_LOCAL_DATABASE"
FARM_VARIABLE = "BUILDFARM_HOME"
FARM_SETTINGS = "farm.toml"
HISTORY_FILE = "history.sqlite"
POOL = "blobs"
HOW_TO_NAME_IT = (
    f"Name its directory by --local-archive DIR or ${DIRECTORY_VARIABLE}; "
    "in a build farm's checkout it is var/archive, once `buildfarm archive create` has made a PPA."
)


@dataclass(frozen=True)
class Options:
    """What archives are opened with.

    ``instance`` is Launchpad's: production, staging, qastaging or a URL. ``local_archive`` is the embedded
    archive's directory where it was named. ``by`` says in its history who changes it, "" is whoever runs this.
    """

    instance: str = "production"
    local_archive: Path | None = None
    by: str = ""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    here: Path = field(default_factory=Path.cwd)


def open_archive(address: Address, options: Options) -> Archive:
    """The archive at an address, to be closed when it is done with.

    Raises NotThere, NoRights, Unreachable, and DoorError for what is wrong on this machine.
    """
    if address.backend == "local":
        return open_embedded(address, options)
    from ppa_tools.archives.launchpad import open_launchpad

    return open_launchpad(address, options)


def open_embedded(address: Address, options: Options) -> EmbeddedArchive:
    """A PPA of the embedded archive; raises as ``open_archive``."""
    directory = find_embedded(options)
    database = _database_of(directory, options.environment)
    if not database and not (directory / HISTORY_FILE).is_file():
        raise NotThere(
            f"{directory} has files of an archive, and no {HISTORY_FILE}",
            resolution=f"Where its history is in a database, ${DATABASE_VARIABLE} must name it: "
            "postgresql+psycopg://host/name",
        )
    import sqlalchemy.exc

    from ppa_tools.archives.embedded import EmbeddedArchive
    from ppa_tools.archives.errors import ArchiveError, ArchiveTrouble
    from ppa_tools.archives.local import LocalArchive

    try:
        archive = LocalArchive(directory, database=database)
    except PermissionError as error:
        raise NoRights(
            f"the archive in {directory} is another user's: {error}",
            resolution="Run this as the user that runs the archive, or give yourself the rights.",
        ) from error
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError, ModuleNotFoundError):
        # The URL may have a password in it: neither it nor what SQLAlchemy says of it is shown.
        raise DoorError(
            f"the database of the archive in {directory} cannot be used",
            resolution=f"${DATABASE_VARIABLE}, or [archive] database in its farm's {FARM_SETTINGS}, must be an "
            "SQLAlchemy URL such as postgresql+psycopg://host/name, and its driver must be installed.",
        ) from None
    except ArchiveTrouble as error:
        raise Unreachable(str(error)) from error
    except ArchiveError as error:
        raise DoorError(str(error)) from error
    opened = EmbeddedArchive(archive, address, by=options.by or whoever_runs_this())
    try:
        opened.check()
    except DoorError:
        opened.close()
        raise
    return opened


def find_embedded(options: Options) -> Path:
    """The directory of the embedded archive; raises NotThere, which says where it was looked for."""
    if options.local_archive is not None:
        return _must_be_one(options.local_archive, "--local-archive")
    if named := options.environment.get(DIRECTORY_VARIABLE):
        return _must_be_one(Path(named), f"${DIRECTORY_VARIABLE}")
    tried = []
    if home := options.environment.get(FARM_VARIABLE):
        tried += [options.here / home / "archive", options.here / home / "var/archive"]
    tried += [options.here / "var/archive", options.here / "archive", options.here]
    for directory in tried:
        if _is_one(directory):
            return directory
    looked = ", ".join(str(one) for one in tried)
    raise NotThere(f"no embedded archive was found: looked in {looked}", resolution=HOW_TO_NAME_IT)


def whoever_runs_this() -> str:
    """The user and the machine, for histories."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _must_be_one(directory: Path, how: str) -> Path:
    if _is_one(directory):
        return directory
    problem = "is no embedded archive" if directory.is_dir() else "is not there"
    raise NotThere(f"{directory}, named by {how}, {problem}", resolution=HOW_TO_NAME_IT)


def _is_one(directory: Path) -> bool:
    try:
        return (directory / HISTORY_FILE).is_file() or (directory / POOL).is_dir()
    except OSError:
        return False


def _database_of(directory: Path, environment: Mapping[str, str]) -> str:
    """The SQLAlchemy URL of an archive's history; "" where it is the file beside it.

    A farm names it in the settings of its home, which the archive's directory is in, or of its checkout.
    """
    if named := environment.get(DATABASE_VARIABLE):
        return named
    for parent in directory.absolute().parents[:2]:
        settings = parent / FARM_SETTINGS
        try:
            archive = tomllib.loads(settings.read_text(encoding="utf-8")).get("archive", {})
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            said = f"{settings} cannot be read, and may say where the archive's history is: {error}"
            raise DoorError(said, resolution=f"Mend it, or name the database by ${DATABASE_VARIABLE}.") from error
        if named := archive.get("database"):
            return str(named)
    return ""
