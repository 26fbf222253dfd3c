"""Where an archive stands: the InRelease files of an image's sources, to know when an image is behind."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from buildfarm import process
from buildfarm.build.apt_sources import AptSources, parse_deb822
from buildfarm.errors import FarmTrouble
from buildfarm.files import sha256_of

APT_HELPER = Path("/usr/lib/apt/apt-helper")
FETCH_TIMEOUT_S = 60
LIMIT_BYTES = 16 << 20


@dataclass(frozen=True)
class Release:
    """A suite as published: its InRelease's address, hex SHA-256, and date in seconds since the epoch."""

    address: str
    sha256: str
    date_s: int


def release_addresses(sources: AptSources) -> Iterator[str]:
    """Where the InRelease files of all suites are, in the sources' order."""
    for stanza in parse_deb822(sources.text):
        fields = {name.lower(): value for name, value in stanza.items()}
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                directory = suite if suite.endswith("/") else f"dists/{suite}/"
                yield f"{uri.rstrip('/')}/{directory.removeprefix('./')}InRelease"


def read_archive(sources: AptSources) -> tuple[Release, ...]:
    """Where the archive stands now, as the host's apt reaches it; raises FarmTrouble when it does not.

    Nothing here is believed for its signature: apt checks that when the image is made.
    """
    addresses = tuple(dict.fromkeys(release_addresses(sources)))
    with TemporaryDirectory(prefix="buildfarm-release-") as scratch, ThreadPoolExecutor(4) as pool:
        files = [Path(scratch) / str(number) for number in range(len(addresses))]
        return tuple(pool.map(_read_release, addresses, files))


def newest_date(releases: tuple[Release, ...]) -> int:
    """The date of what was published last; 0 of nothing."""
    return max((release.date_s for release in releases), default=0)


def _read_release(address: str, file: Path) -> Release:
    finished = process.run(
        ["prlimit", f"--fsize={LIMIT_BYTES}", APT_HELPER, "download-file", address, file],
        timeout_s=FETCH_TIMEOUT_S,
        merge_errors=True,
    )
    if not finished.ok or not file.is_file():
        raise FarmTrouble(
            f"{address} cannot be fetched", details=finished.tail(4), resolution="Is the mirror in reach?"
        )
    match = re.search(r"^Date:\s*(.+)$", file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    try:
        date_s = int(email.utils.parsedate_to_datetime(match[1]).timestamp()) if match else 0
    except ValueError:
        date_s = 0
    return Release(address, sha256_of(file), date_s)
