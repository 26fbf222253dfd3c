"""The measurements themselves: the same steps, on the same packages, for every archive and every size."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import archive_aptly
import archive_ours
import archive_reprepro
from archive_engines import Engine, Family, NotOffered, Place, Upload, disk_bytes, make_upload, open_signer
from archive_packages import Package, make_packages, package_name
from archive_profile import profile_adds

FAMILIES: Mapping[str, Family] = {
    family.name: family for family in (archive_ours.FAMILY, archive_aptly.FAMILY, archive_reprepro.FAMILY)
}

LOAD = "load all and publish"
ACCEPT = "add 1"
PUBLISH = "publish that"
ADD = "add 1, up to published"
COPY = "copy 1, up to published"
COPY_BATCH = "copy 1,000, up to published"
DELETE = "delete 1, up to published"
GARBAGE = "collect the garbage of that"
LIST = "list all"
FIND = "list 1"
SNAPSHOT = "snapshot"
ROLL_BACK = "roll 1,000 back, up to published"
MEMORY = "memory at most"
DISK = "disk"
DISK_BESIDE = "disk, beside the packages"

TIMED = (LOAD, ACCEPT, PUBLISH, ADD, COPY, COPY_BATCH, DELETE, LIST, FIND, SNAPSHOT, ROLL_BACK, GARBAGE)
SIZED = (MEMORY, DISK, DISK_BESIDE)
"""What is measured, as the tables have it: first what takes milliseconds, then what takes bytes."""

BATCH = 1000
BATCH_TIMES = 3
SIDE_FROM, UPLOADS_FROM = 10_000_000, 20_000_000
"""Where the numbers begin of the packages that are copied, and of those that are uploaded."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Task:
    """One archive at one size; ``times`` is how often each thing is measured."""

    family: str
    size: int
    times: int
    work: Path

    @property
    def place(self) -> Place:
        """Where the archive is."""
        return Place(self.work / f"{self.family}-{self.size}", open_signer(self.work / "gnupg"))

    @property
    def batch(self) -> range:
        """The numbers of the packages that are copied all at once."""
        return range(SIDE_FROM, SIDE_FROM + min(BATCH, self.size))

    @property
    def singles(self) -> range:
        """The numbers of those that are copied one by one, of all columns."""
        return range(self.batch.stop, self.batch.stop + self.times * len(FAMILIES[self.family].columns))


@dataclass(frozen=True)
class Measured:
    """What one column came to: seconds (medians) and bytes, by the names above; what is lacking is not offered."""

    column: str
    size: int
    seconds: dict[str, float]
    size_bytes: dict[str, int]
    load_average: float


def measure(task: Task) -> Iterator[Measured]:
    """All columns of an archive at one size, each in a process of its own, so that its memory is its own, too."""
    shutil.rmtree(task.place.root, ignore_errors=True)
    loaded_s, sizes = in_a_process(load, task)
    for number, column in enumerate(FAMILIES[task.family].columns):
        seconds, memory_bytes = in_a_process(measure_column, task, number)
        first = number == 0
        yield Measured(
            column,
            task.size,
            ({LOAD: loaded_s} if first else {}) | seconds,
            {MEMORY: memory_bytes} | (sizes if first else {}),
            os.getloadavg()[0],
        )


def load(task: Task) -> tuple[float, dict[str, int]]:
    """Make the archive and fill it; the seconds of the filling, and the bytes on disk."""
    place, family = task.place, FAMILIES[task.family]
    big = make_packages(task.work / "packages", range(task.size))
    side = make_packages(task.work / "packages", range(task.batch.start, task.singles.stop))
    place.root.mkdir()
    family.prepare(place)
    began = time.perf_counter()
    family.load(place, big, side)
    took_s = time.perf_counter() - began
    disk = disk_bytes(place.root)
    return took_s, {DISK: disk, DISK_BESIDE: disk - sum(map(_allocated_bytes, (*big, *side)))}


def measure_column(task: Task, number: int) -> tuple[dict[str, float], int]:
    """Measure one way to drive a loaded archive; medians in seconds, and the most memory in bytes."""
    family, place, watch = FAMILIES[task.family], task.place, Watch()
    ready = _make_uploads(task, number)
    singles = [package_name(one) for one in task.singles[number * task.times : (number + 1) * task.times]]
    with family.open(family.columns[number], place) as engine:
        _measure_lists(engine, task, watch)
        _measure_adds(engine, ready, watch)
        _measure_singles(engine, singles, watch)
        _measure_batches(engine, task, watch)
        memory_bytes = engine.peak_rss_bytes()
    return watch.medians(), memory_bytes


def measure_steps(task: Task) -> dict[str, float]:
    """Where the time of an add goes in the first column of a loaded archive; seconds by step."""
    family = FAMILIES[task.family]
    ready = _make_uploads(task, len(family.columns))
    with family.open(family.columns[0], task.place) as engine:
        return profile_adds(engine, ready)


def in_a_process(function: Callable[..., Answer], *arguments: Any) -> Answer:
    """What a function returns that is called in a new process, so that the memory it takes is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


@dataclass
class Watch:
    """Keeps what each thing took."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    @contextlib.contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Count the ``with`` block for a thing; one that is not offered is not counted."""
        began = time.perf_counter()
        with contextlib.suppress(NotOffered):
            yield
            self.note(name, time.perf_counter() - began)

    def note(self, name: str, seconds: float) -> None:
        """Count seconds for a thing."""
        self.seconds.setdefault(name, []).append(seconds)

    def medians(self) -> dict[str, float]:
        """What each thing took."""
        return {name: median(each) for name, each in self.seconds.items()}


def _make_uploads(task: Task, number: int) -> list[Upload]:
    """Uploads that no other number has: one to warm up, and one for each time."""
    first = UPLOADS_FROM + BATCH * number
    where, series = task.place.root / f"uploads-{number}", FAMILIES[task.family].series
    return [make_upload(task.place.signer, where, first + n, series) for n in range(task.times + 1)]


def _measure_lists(engine: Engine, task: Task, watch: Watch) -> None:
    first = package_name(0)
    engine.find(first)  # warm up
    for _ in range(task.times):
        with watch.time(LIST):
            found = engine.count()
        with watch.time(FIND):
            is_there = engine.find(first)
        # What an earlier column uploaded is still there.
        if not is_there or not task.size <= found < task.size + BATCH:
            raise RuntimeError(f"{task.family} lists {found} packages of {task.size}; one is there: {is_there}")


def _measure_adds(engine: Engine, uploads: Sequence[Upload], watch: Watch) -> None:
    for number, upload in enumerate(uploads):
        seen = watch if number else Watch()  # the first one warms up
        began = time.perf_counter()
        try:
            engine.accept(upload)
        except NotOffered:
            return
        accepted = time.perf_counter()
        engine.publish()
        published = time.perf_counter()
        seen.note(PUBLISH, published - accepted)
        if engine.accept_publishes:
            seen.note(ADD, accepted - began)
        else:
            seen.note(ACCEPT, accepted - began)
            seen.note(ADD, published - began)
        _expect(engine, upload.name, there=True)


def _measure_singles(engine: Engine, names: Sequence[str], watch: Watch) -> None:
    for name in names:
        with watch.time(COPY):
            engine.copy([name])
    for name in names:
        with watch.time(DELETE):
            engine.delete([name])
        with watch.time(GARBAGE):
            engine.collect_garbage()


def _measure_batches(engine: Engine, task: Task, watch: Watch) -> None:
    """Copy a batch and roll back; in a PPA without packages enough for a batch only the snapshot is taken."""
    names = [package_name(one) for one in task.batch]
    for number in range(task.times):
        label = f"before-{number}-{time.time_ns()}"
        with watch.time(SNAPSHOT):
            engine.snapshot(label)
        if len(names) < BATCH or number >= BATCH_TIMES:
            continue
        before = engine.count()
        with watch.time(COPY_BATCH):
            engine.copy(names)
        if engine.count() != before + BATCH:
            return  # copying is not offered
        engine.prepare_roll_back()
        with watch.time(ROLL_BACK):
            engine.roll_back(label)
        if engine.count() != before:
            engine.delete(names)


def _expect(engine: Engine, name: str, *, there: bool) -> None:
    if engine.find(name) != there:
        raise RuntimeError(f"{name} {'is not' if there else 'is still'} there")


def _allocated_bytes(package: Package) -> int:
    return sum(path.stat().st_blocks * 512 for path in package.files)
