"""Downloading files that are known by their size and SHA-256: several at a time, resumed where they were cut off.

A file on its way has ``.part`` at the end of its name; it gets its own once it is whole, compared and synced. So
one that has its name is right, and whatever is cut off goes on where it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, runtime_checkable
from urllib.parse import urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from ppa_tools.archives.door import DoorError, NoRights, NotThere, Refused, Stats, Unreachable
from ppa_tools.archives.words import size_in_words
from ppa_tools.publication import File

CHUNK_BYTES = 1 << 18
PARTIAL = 206
NOT_SATISFIABLE = 416
IN_TROUBLE = (429, 500, 502, 503, 504)
NO_RIGHTS = (401, 403)
GONE = (404, 410)


@dataclass(frozen=True)
class Limits:
    """What downloads may take: in seconds and bytes, for each file, and for all that is fetched together.

    ``read_s`` bounds every wait for the next bytes; ``tries`` without any progress are the end of a file.
    """

    connect_s: float = 10.0
    read_s: float = 60.0
    whole_s: float = 6 * 3600.0
    file_bytes: int = 4 << 30
    whole_bytes: int = 32 << 30
    workers: int = 4
    tries: int = 5
    first_wait_s: float = 0.5


@dataclass(frozen=True)
class Wanted:
    """A file that is to lie at ``path``."""

    file: File
    path: Path


@dataclass(frozen=True)
class Fetched:
    """How far downloads are, in bytes and files."""

    done_bytes: int
    total_bytes: int
    done_files: int
    total_files: int


@dataclass(frozen=True)
class Way:
    """A URL and the headers to ask it with; Authorization is not told to another host that it leads to."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@runtime_checkable
class AsksForLeave(Protocol):
    """An archive whose files may not be for everybody."""

    def way_to(self, url: str) -> Way:
        """Where a file of it is asked for, and what is said of who asks."""


class CutOff(Exception):
    """The connection broke, or its server is in trouble; going on may help."""


def fetch(
    wanted: Sequence[Wanted],
    *,
    limits: Limits,
    stats: Stats,
    way_to: Callable[[str], Way] = Way,
    tell: Callable[[Fetched], None] = lambda _fetched: None,
) -> None:
    """Have every file at its path, in a directory that is there.

    Raises Unreachable when trying again may help (it goes on then), NoRights, NotThere, and Refused for files that
    are too large, or are not what was promised.
    """
    _check_sizes(wanted, limits)
    run = _Run(limits, stats, way_to, tell, wanted)
    with (
        contextlib.closing(run),
        ThreadPoolExecutor(max(1, min(limits.workers, len(wanted)))) as pool,
    ):
        waiting = [pool.submit(run.fetch, one) for one in _largest_first(wanted)]
        try:
            for one in waiting:
                one.result()
        finally:
            run.over.set()
            for one in waiting:
                one.cancel()


def _largest_first(wanted: Iterable[Wanted]) -> list[Wanted]:
    return sorted(wanted, key=lambda one: one.file.size_bytes, reverse=True)


def _check_sizes(wanted: Sequence[Wanted], limits: Limits) -> None:
    for one in wanted:
        if urlsplit(one.file.url).scheme not in ("http", "https"):
            raise Refused(f"{one.file.name} cannot be downloaded from {one.file.url}")
        if one.file.size_bytes > limits.file_bytes:
            raise Refused(
                f"{one.file.name} has {size_in_words(one.file.size_bytes)}; "
                f"{size_in_words(limits.file_bytes)} are the most that is downloaded"
            )
    if (whole := sum(one.file.size_bytes for one in wanted)) > limits.whole_bytes:
        raise Refused(
            f"this would download {size_in_words(whole)}; {size_in_words(limits.whole_bytes)} go at once",
            resolution="Name fewer packages.",
        )


class _Run:
    """Downloads that go on together, each file in a thread."""

    def __init__(
        self,
        limits: Limits,
        stats: Stats,
        way_to: Callable[[str], Way],
        tell: Callable[[Fetched], None],
        wanted: Sequence[Wanted],
    ) -> None:
        self.over = threading.Event()
        self._limits, self._stats, self._way_to, self._tell = limits, stats, way_to, tell
        self._total = (sum(one.file.size_bytes for one in wanted), len(wanted))
        self._done: dict[Path, int] = {}
        self._whole: set[Path] = set()
        self._lock = threading.Lock()
        self._threads = threading.local()
        self._sessions = contextlib.ExitStack()
        self._until = time.monotonic() + limits.whole_s

    def fetch(self, one: Wanted) -> None:
        """Have one file; it is tried again, from where it is, while there is progress."""
        if not _is_whole(one.path, one.file):
            self._try(one)
        self._note(one.path, one.file.size_bytes, whole=True)

    def _try(self, one: Wanted) -> None:
        part = one.path.with_name(f"{one.path.name}.part")
        in_vain = 0
        while not _is_whole(part, one.file):
            before = _size_of(part)
            try:
                self._go_on(one, part)
                break  # what has its size and is something else is no matter of going on
            except CutOff as error:
                in_vain = in_vain + 1 if _size_of(part) <= before else 0
                wait_s = self._limits.first_wait_s * 2**in_vain
                late = time.monotonic() + wait_s > self._until
                if late or in_vain == self._limits.tries or self.over.wait(wait_s):
                    raise Unreachable(
                        f"{one.file.name} did not come from {urlsplit(one.file.url).netloc}: {error}",
                        resolution="Run this again: it goes on where it was.",
                    ) from error
                with self._lock:
                    self._stats.retried += 1
        self._finish(one, part)

    def _go_on(self, one: Wanted, part: Path) -> None:
        began = time.monotonic()
        received = 0
        try:
            with part.open("ab") as file, self._asked(one, file) as response:
                while chunk := response.raw.read1(CHUNK_BYTES):  # what is there: a trickle meets the limits, too
                    file.write(chunk)
                    received += len(chunk)
                    self._check_going_on(one, file.tell())
                    self._note(one.path, file.tell())
        except (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
            raise CutOff(_in_words(error)) from error
        finally:
            with self._lock:
                self._stats.requests += 1
                self._stats.received_bytes += received
                self._stats.seconds += time.monotonic() - began
                self._stats.by_kind["file"] = self._stats.by_kind.get("file", 0) + 1
        if _size_of(part) < one.file.size_bytes:
            raise CutOff("the connection ended before its end")

    @contextlib.contextmanager
    def _asked(self, one: Wanted, file: IO[bytes]) -> Iterator[requests.Response]:
        """The answer, with the file where its bytes go on."""
        at = file.seek(0, os.SEEK_END)
        if at >= one.file.size_bytes:
            at = 0
        way = self._way_to(one.file.url)
        headers = {**way.headers, "Accept-Encoding": "identity"}
        if at:
            headers["Range"] = f"bytes={at}-"
        timeout = (self._limits.connect_s, self._limits.read_s)
        with self._session().get(way.url, headers=headers, timeout=timeout, stream=True) as response:
            _judge(response, one.file)
            if response.status_code != PARTIAL:
                file.seek(file.truncate(0))
            if response.status_code == NOT_SATISFIABLE:
                raise CutOff("it has less than is here")
            yield response

    def _session(self) -> requests.Session:
        """The calling thread's own, whose connections serve one file after the other."""
        found: requests.Session | None = getattr(self._threads, "session", None)
        if found is None:
            found = self._threads.session = self._sessions.enter_context(requests.Session())
            found.auth = _Nobody()
        return found

    def close(self) -> None:
        """Let go of all connections."""
        self._sessions.close()

    def _check_going_on(self, one: Wanted, size_bytes: int) -> None:
        if size_bytes > one.file.size_bytes:
            raise Refused(f"{one.file.name} is longer than the {one.file.size_bytes} bytes that were promised")
        if time.monotonic() > self._until:
            raise Unreachable(
                f"downloading takes longer than {self._limits.whole_s / 3600:.0f} hours",
                resolution="Run this again: it goes on where it was.",
            )
        if self.over.is_set():
            raise Unreachable(f"{one.file.name} was given up with the others")

    def _finish(self, one: Wanted, part: Path) -> None:
        if (found := _sha256(part)) != one.file.sha256:
            part.unlink()
            raise Refused(
                f"{one.file.name} came with SHA-256 {found}; {one.file.sha256} was promised",
                resolution="It was thrown away. Should that happen again, something changes files on their way.",
            )
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(one.path)

    def _note(self, path: Path, size_bytes: int, *, whole: bool = False) -> None:
        with self._lock:
            self._done[path] = size_bytes
            if whole:
                self._whole.add(path)
            total_bytes, total_files = self._total
            self._tell(Fetched(sum(self._done.values()), total_bytes, len(self._whole), total_files))


class _Nobody(AuthBase):
    """Keeps requests from looking for a name and a password in ~/.netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def _judge(response: requests.Response, file: File) -> None:
    status, host = response.status_code, urlsplit(response.url).netloc
    if status in IN_TROUBLE:
        raise CutOff(f"it answers {status}")
    if status in NO_RIGHTS:
        raise NoRights(f"{host} gives {file.name} only to those who may read it")
    if status in GONE:
        raise NotThere(f"{host} has {file.name} no more")
    if status >= 300 and status != NOT_SATISFIABLE:
        raise DoorError(f"{host} answers {status} where {file.name} was asked for")


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _is_whole(path: Path, file: File) -> bool:
    return _size_of(path) == file.size_bytes and path.is_file() and _sha256(path) == file.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_words(error: Exception) -> str:
    if isinstance(error, requests.exceptions.Timeout | TimeoutError):
        return "no answer came in time"
    return f"the connection broke ({type(error).__name__})"
