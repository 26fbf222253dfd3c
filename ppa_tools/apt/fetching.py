"""Files of apt repositories over HTTP, within limits, kept in a cache.

What is known by its hash is fetched once. What changes (InRelease) is asked for anew each time, and comes only
when it has changed. Below the cache's directory:

by-hash/SHA256      files, by their contents; their modification time is their last use
fresh/SHA256-OF-URL what a URL gave last, with its ETag and Last-Modified in a .json beside it
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppa_tools.archives.door import NotThere, Unreachable

if TYPE_CHECKING:
    import requests

CHUNK_BYTES = 1 << 18
CONNECT_TIMEOUT_S, READ_TIMEOUT_S, WHOLE_TIMEOUT_S = 15.0, 60.0, 1800.0
TRIES, WAIT_S = 3, 1.0
KEEP_S = 30 * 86400.0
UNREACHABLE_STATUS = (429, 500, 502, 503, 504)


def cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the tools keep what they may lose: below $XDG_CACHE_HOME."""
    base = environment.get("XDG_CACHE_HOME") or ""
    root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return root / "ppa-tools"


class Fetcher:
    """Fetches files; any number of threads may. ``requests`` and ``received_bytes`` tell what it cost.

    ``proxies`` are by scheme or scheme://host, "" for none; what is not among them is as the environment says.
    """

    def __init__(self, cache: Path, proxies: Mapping[str, str] | None = None) -> None:
        self._proxies = dict(proxies or {})
        self._fresh, self._by_hash = cache / "fresh", cache / "by-hash"
        self._local, self._lock = threading.local(), threading.Lock()
        self.requests = 0
        self.received_bytes = 0

    def fetch_fresh(self, url: str, limit_bytes: int) -> bytes:
        """What a URL gives now; raises NotThere, Unreachable."""
        name = hashlib.sha256(url.encode()).hexdigest()
        kept, told = self._fresh / name, self._fresh / f"{name}.json"
        headers: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError, AttributeError):
            known = json.loads(told.read_text())
            if hashlib.sha256(kept.read_bytes()).hexdigest() == known.get("sha256"):
                wanted = {"If-None-Match": known.get("etag"), "If-Modified-Since": known.get("modified")}
                headers = {header: str(value) for header, value in wanted.items() if value}
        with self._receive(url, limit_bytes, headers) as (temporary, answer):
            if temporary is None:
                return kept.read_bytes()
            data = temporary.read_bytes()
            self._fresh.mkdir(parents=True, exist_ok=True)
            _write(kept, data)
            about = {
                "sha256": hashlib.sha256(data).hexdigest(),
                "etag": answer.get("ETag"),
                "modified": answer.get("Last-Modified"),
            }
            _write(told, json.dumps(about).encode())
            return data

    def fetch_hashed(self, url: str, size_bytes: int, sha256: str) -> Path:
        """The file with these contents, from the cache or from a URL; raises NotThere, Unreachable."""
        path = self._by_hash / sha256
        with contextlib.suppress(OSError):
            if path.stat().st_size == size_bytes and _sha256(path) == sha256:
                os.utime(path)
                return path
        with self._receive(url, size_bytes, {}) as (temporary, _):
            if temporary is None or temporary.stat().st_size != size_bytes or _sha256(temporary) != sha256:
                raise Unreachable(
                    f"{url} is not what its Release vouches for",
                    resolution="The archive may just be changing, or a proxy keeps an old copy: try again.",
                )
            self._by_hash.mkdir(parents=True, exist_ok=True)
            temporary.replace(path)
        return path

    def forget_unused(self, now: float | None = None) -> None:
        """Remove what has not been used for a month."""
        before = (time.time() if now is None else now) - KEEP_S
        for directory in (self._by_hash, self._fresh):
            for path in directory.glob("*"):
                with contextlib.suppress(OSError):
                    if path.stat().st_mtime < before:
                        path.unlink()

    @contextlib.contextmanager
    def _receive(
        self, url: str, limit_bytes: int, headers: Mapping[str, str]
    ) -> Iterator[tuple[Path | None, Mapping[str, str]]]:
        """What a URL gives, in a file that is gone after the block; None where it has not changed."""
        self._by_hash.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._by_hash.parent, prefix=".new-", delete=False) as file:
            temporary = Path(file.name)
        try:
            for attempt in range(1, TRIES + 1):
                try:
                    answer = self._try(url, limit_bytes, headers, temporary)
                    break
                except Unreachable:
                    if attempt == TRIES:
                        raise
                    time.sleep(WAIT_S * attempt)
            yield (None if answer is None else temporary), {} if answer is None else answer
        finally:
            temporary.unlink(missing_ok=True)

    def _try(
        self, url: str, limit_bytes: int, headers: Mapping[str, str], target: Path
    ) -> Mapping[str, str] | None:
        import requests

        resolution = "Look whether the network is there, and try again."
        until = time.monotonic() + WHOLE_TIMEOUT_S
        try:
            with (
                self._session().get(
                    url,
                    # Not squeezed on the way: what is vouched for are the bytes of the file.
                    headers={"Accept-Encoding": "identity", **headers},
                    timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
                    stream=True,
                    proxies=self._proxies,
                ) as answer,
                target.open("wb") as file,
            ):
                self._count(requests=1)
                if answer.status_code == 304 and headers:
                    return None
                if answer.status_code in (401, 403, 404, 410):
                    raise NotThere(f"{url} is not there ({answer.status_code})")
                if answer.status_code != 200:
                    raise Unreachable(f"{url} answered {answer.status_code}", resolution=resolution)
                received = 0
                for chunk in answer.iter_content(CHUNK_BYTES):
                    received += len(chunk)
                    if received > limit_bytes or time.monotonic() > until:
                        raise NotThere(f"{url} is longer than {limit_bytes} bytes, or comes too slowly")
                    file.write(chunk)
                self._count(received_bytes=received)
                return answer.headers
        except requests.RequestException as error:
            raise Unreachable(f"{url} cannot be read: {_in_short(error)}", resolution=resolution) from error

    def _session(self) -> requests.Session:
        import requests

        session: Any = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
        return session  # type: ignore[no-any-return]

    def _count(self, *, requests: int = 0, received_bytes: int = 0) -> None:
        with self._lock:
            self.requests += requests
            self.received_bytes += received_bytes


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, data: bytes) -> None:
    """Write a file whole, or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
        file.write(data)
    Path(file.name).replace(path)


def _in_short(error: requests.RequestException) -> str:
    """What went wrong, without the names of the libraries that it went through."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return re.sub(r"^(?:HTTPS?Connection(?:Pool)?\([^)]*\)|<[^>]*>): ", "", str(reason or error))
