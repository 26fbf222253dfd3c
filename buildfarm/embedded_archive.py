"""The farm's embedded archive: opening it as the settings say, and its errors in the farm's words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from buildfarm.errors import FarmError, FarmTrouble, UsageError
from buildfarm.settings import Settings

if TYPE_CHECKING:
    from ppa_tools.archives.local import LocalArchive


@contextlib.contextmanager
def opened_archive(settings: Settings) -> Iterator[LocalArchive]:
    """The archive, closed again at the end.

    Raises UsageError for PPAs that are not there, FarmTrouble for what is wrong with the machine (disk, database,
    keys), and FarmError for what the archive refuses to do.
    """
    from ppa_tools.archives.errors import ArchiveError, ArchiveTrouble, UnknownPPA
    from ppa_tools.openpgp import OpenPGPError

    try:
        with contextlib.closing(_open(settings)) as archive:
            yield archive
    except UnknownPPA as error:
        raise UsageError(
            f"{error}", resolution="`buildfarm archive list` names the PPAs and their series, `create` makes them."
        ) from error
    except (ArchiveTrouble, OpenPGPError) as error:
        raise FarmTrouble(str(error)) from error
    except ArchiveError as error:
        raise FarmError(str(error)) from error
    except BrokenPipeError:  # whoever read what was printed has enough
        raise
    except OSError as error:
        raise FarmTrouble(
            f"the archive cannot go on: {error}", resolution="Is the disk full, or is this another user's archive?"
        ) from error


def _open(settings: Settings) -> LocalArchive:
    import sqlalchemy.exc

    from ppa_tools.archives.local import LocalArchive

    url = settings.archive.database
    try:
        return LocalArchive(settings.archive_root, url=settings.archive_url, database=url)
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError, ModuleNotFoundError):
        if not url:
            raise
        # The URL may have a password in it: neither it nor what SQLAlchemy says of it is shown.
        raise UsageError(
            "[archive] database cannot be used",
            resolution="An SQLAlchemy URL is wanted, such as postgresql+psycopg://host/name, and its driver"
            " installed beside the farm.",
        ) from None
