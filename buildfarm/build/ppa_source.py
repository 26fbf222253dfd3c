"""The PPA itself as a source of build-dependencies: whether it has the series yet, and its key."""

from __future__ import annotations

import urllib.error
import urllib.request

from buildfarm.build.sbuild import ExtraRepository
from buildfarm.errors import FarmTrouble
from ppa_tools.address import Address

TIMEOUT_S = 15
KEY_LIMIT_BYTES = 64 << 10  # it goes onto a command line
COMPONENT = "main"


def find_ppa(address: Address, series: str, archive_url: str) -> ExtraRepository | str:
    """The PPA as an apt source; or, in words, why it is left out.

    Raises FarmTrouble when the archive does not answer: a build without it could be another build.
    """
    base = f"{archive_url}/{address.owner}/{address.name}"
    status, _ = _fetch(f"{base}/dists/{series}/InRelease")
    if status == 401:
        # The token would stand in the root, and what runs there as root is not trusted with one.
        return f"{address} is private: build-dependencies from {series} alone"
    if status == 404:
        return f"{address} has nothing for {series} yet: build-dependencies from {series} alone"
    status, key = _fetch(f"{base}/key.asc")
    if status != 200:
        raise FarmTrouble(f"{address} has no key at {base}/key.asc", resolution="Is the archive served whole?")
    return ExtraRepository(base, series, COMPONENT, key)


def _fetch(url: str) -> tuple[int, bytes]:
    """The status of an answer, 200, 401 or 404, and what stands at ``url``, up to a limit."""
    try:
        # ProxyHandler({}): the farm's own archive is asked directly, whatever the environment says.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=TIMEOUT_S) as reply:
            content: bytes = reply.read(KEY_LIMIT_BYTES + 1)
    except urllib.error.HTTPError as error:
        if error.code in (401, 404):
            return error.code, b""
        raise FarmTrouble(
            f"{url} answers {error.code}", resolution="`buildfarm status` tells what runs."
        ) from error
    except (urllib.error.URLError, OSError) as error:
        raise FarmTrouble(
            f"the archive at {url} does not answer: {error}",
            resolution="Is the farm up? `buildfarm up` starts it.",
        ) from error
    return 200, content
