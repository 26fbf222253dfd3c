"""How far a run has come: a bar with counts and time left on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ppa_tools.apply.report import Progress, Step, Tell

if TYPE_CHECKING:
    from rich.progress import TaskID

LINE_EVERY_S = 30.0


@contextlib.contextmanager
def telling(*, clock: Callable[[], float] = time.monotonic) -> Iterator[Tell]:
    """Something to tell progress to."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _bars() as tell:
            yield tell
    else:
        yield _Lines(clock)


class _Lines:
    """A line when a step begins and ends, and now and then in between; no line twice."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said_at = -LINE_EVERY_S
        self._last: tuple[Step, int, int] | None = None
        self._note = ""

    def __call__(self, progress: Progress) -> None:
        if progress.note and progress.note != self._note:
            self._note = progress.note
            print(f"{progress.step}: {progress.note}", file=sys.stderr, flush=True)
        now, state = self._clock(), (progress.step, progress.done, progress.total)
        is_new_step = self._last is None or self._last[0] is not progress.step
        is_due = is_new_step or progress.done == progress.total or now - self._said_at >= LINE_EVERY_S
        if progress.total and is_due and state != self._last:
            self._last, self._said_at = state, now
            print(f"{progress.step}: {progress.done:,} of {progress.total:,}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _bars() -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import (
        Progress as Bars,
    )

    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[Step, TaskID] = {}

        def tell(progress: Progress) -> None:
            if progress.note:
                bars.console.print(f"{progress.step}: {progress.note}", markup=False, highlight=False)
            if progress.total:
                if progress.step not in tasks:
                    tasks[progress.step] = bars.add_task(str(progress.step))
                bars.update(tasks[progress.step], completed=progress.done, total=progress.total)

        yield tell
