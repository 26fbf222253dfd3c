"""Where the time of an add goes in the embedded archive: what its thread does, step by step, each by itself.

Steps are functions of the archive, timed from outside, so that the archive itself knows nothing of it. Other
threads (signing beside syncing, compressing) count only as far as they are waited for.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from archive_engines import Engine, Upload
from sqlalchemy.engine.default import DefaultDialect

from ppa_tools.archives import accept, checks, dists, incremental, publisher
from ppa_tools.archives.pool import Pool

STEPS: tuple[tuple[Any, str, str], ...] = (
    (checks, "check_source_upload", "check the source: two signatures, sums"),
    (checks, "check_binary_upload", "check the binary: dpkg-deb, sums"),
    (Pool, "adopt", "keep the files: link, sync"),
    (accept, "accept_source", "the history's rules and rows"),
    (accept, "accept_binaries", "the history's rules and rows"),
    (DefaultDialect, "do_commit", "commits, each synced"),
    (publisher, "_render", "render and compress what changed, put indexes together"),
    (Pool, "link_into", "name and sync: pool, by-hash"),
    (dists, "name_by_hash", "name and sync: pool, by-hash"),
    (publisher, "sync_directories", "name and sync: pool, by-hash"),
    (publisher, "publish_series", "wait for the signatures"),
    (dists, "replace_names", "Release and InRelease: write, sync, rename"),
    (dists, "remove_old", "tidy up"),
    (incremental, "keep", "tidy up"),
)
REST = "the rest"


def profile_adds(engine: Engine, uploads: list[Upload]) -> dict[str, float]:
    """Add and publish; mean seconds an upload by step. The first upload warms up."""
    for upload in uploads[:1]:
        engine.accept(upload)
        engine.publish()
    steps = Steps()
    with steps.watched():
        for upload in uploads[1:]:
            with steps.step(REST):
                engine.accept(upload)
                engine.publish()
    return {label: seconds / len(uploads[1:]) for label, seconds in steps.seconds.items()}


@dataclass
class Steps:
    """Counts the seconds of one thread to the innermost step it is in."""

    seconds: dict[str, float] = field(default_factory=dict)
    _inside: list[str] = field(default_factory=list)
    _since: float = 0.0
    _thread: int = field(default_factory=threading.get_ident)

    @contextlib.contextmanager
    def step(self, label: str) -> Iterator[None]:
        """Count the ``with`` block, less the steps in it."""
        self._count()
        self._inside.append(label)
        try:
            yield
        finally:
            self._count()
            self._inside.pop()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Time the archive's functions in the ``with`` block."""
        with contextlib.ExitStack() as stack:
            for owner, name, label in STEPS:
                stack.enter_context(mock.patch.object(owner, name, self._timed(getattr(owner, name), label)))
            yield

    def _count(self) -> None:
        now = time.perf_counter()
        if self._inside:
            label = self._inside[-1]
            self.seconds[label] = self.seconds.get(label, 0.0) + now - self._since
        self._since = now

    def _timed(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            if threading.get_ident() != self._thread:
                return function(*arguments, **named)
            with self.step(label):
                return function(*arguments, **named)

        return timed
