"""Doing a few slow things at once, so that an interrupted program ends at once as well."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

WORKERS = 8
"""Launchpad answers as many as this of one client well."""


def in_parallel(calls: Sequence[Callable[[], T]], *, workers: int = WORKERS) -> list[T]:
    """What each call returns, in their order; the first error that comes is raised, and no further call begun.

    The threads are daemons: unlike those of an executor, they keep no interrupted program from ending.
    """
    if len(calls) <= 1:
        return [call() for call in calls]
    waiting: queue.SimpleQueue[tuple[int, Callable[[], T]]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, T | None, BaseException | None]] = queue.SimpleQueue()
    for job in enumerate(calls):
        waiting.put(job)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                at, call = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((at, call(), None))
            except BaseException as error:  # noqa: BLE001 (raised again by whoever waits)
                done.put((at, None, error))

    for _ in range(min(workers, len(calls))):
        threading.Thread(target=work, name="ppa-tools request", daemon=True).start()
    found: dict[int, T] = {}
    try:
        for _ in calls:
            at, value, error = done.get()
            if error is not None:
                raise error
            found[at] = value  # type: ignore[assignment]  # no error, so a value
    finally:
        stop.set()
    return [found[at] for at in range(len(calls))]
