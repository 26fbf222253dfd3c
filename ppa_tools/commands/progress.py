"""How far a run has come: a bar with counts and time left on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ppa_tools.plain_text import plain_line

if TYPE_CHECKING:
    from rich.progress import TaskID

    from ppa_tools.apply.report import Tell

LINE_EVERY_S = 30.0


Say = Callable[[str, int, int, str], None]
"""What is being done, how many of how many, and a note for people."""


@contextlib.contextmanager
def telling() -> Iterator[Tell]:
    """Something to tell the progress of applying a plan to."""
    with _saying() as say:
        yield lambda progress: say(progress.step, progress.done, progress.total, progress.note)


@contextlib.contextmanager
def counting(label: str) -> Iterator[Callable[[int, int], None]]:
    """Something to tell how many of how many are done."""
    with _saying() as say:
        yield lambda done, total: say(label, done, total, "")


@contextlib.contextmanager
def _saying() -> Iterator[Say]:
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _bars() as say:
            yield say
    else:
        yield _Lines(time.monotonic)


class _Lines:
    """A line when a step begins and ends, and now and then in between; no line twice."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said_at = 0.0
        self._last: tuple[str, int, int] | None = None
        self._note = ""

    def __call__(self, label: str, done: int, total: int, note: str) -> None:
        if note and note != self._note:
            self._note = note
            print(plain_line(f"{label}: {note}"), file=sys.stderr, flush=True)
        now, state = self._clock(), (label, done, total)
        is_new_step = self._last is None or self._last[0] != label
        is_due = is_new_step or done == total or now - self._said_at >= LINE_EVERY_S
        if total and is_due and state != self._last:
            self._last, self._said_at = state, now
            print(f"{label}: {done:,} of {total:,}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _bars() -> Iterator[Say]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def say(label: str, done: int, total: int, note: str) -> None:
            if note:
                bars.console.print(plain_line(f"{label}: {note}"), markup=False, highlight=False)
            if total:
                if label not in tasks:
                    tasks[label] = bars.add_task(label)
                bars.update(tasks[label], completed=done, total=total)

        yield say
