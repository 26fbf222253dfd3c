"""The version that a rebuild is published under, so that an archive takes it and nobody keeps it by mistake."""

from __future__ import annotations

from datetime import date

from buildfarm.errors import UsageError
from ppa_tools.debversion import LONGEST, split_version


def regression_version(version: str, day: date, again: int = 0) -> str:
    """The version for what is rebuilt of ``version`` in the night of ``day``: ``1.0-1~regression20261127``.

    It sorts just below ``version``: whoever has the archive enabled gets the true one as soon as it is there, and
    keeps it. It sorts above every older version that is not itself one of ``version~...``, and above that of an
    earlier night; ``again`` counts further ones of the same day. Raises UsageError for what is no Debian version,
    or too long to get a suffix.
    """
    suffix = f"~regression{day:%Y%m%d}" + (f".{again}" if again else "")
    try:
        split_version(version)
        split_version(version + suffix)
    except ValueError as error:
        raise UsageError(
            f"{version[:80]!r} gets no {suffix}: {error}",
            resolution=f"A Debian version of at most {LONGEST - len(suffix)} characters is wanted.",
        ) from error
    return version + suffix
