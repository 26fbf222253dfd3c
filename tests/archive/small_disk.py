"""Run in a mount namespace of its own: an archive on a small disk that is full, or read-only, whenever it writes.

    python -m tests.archive.small_disk DIRECTORY OPERATION

makes the archive, does the operation again and again with a little more room each time until it succeeds, and each
time looks at what readers have. It fails with an AssertionError where a promise is broken.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ppa_tools import openpgp
from ppa_tools.archives.errors import ArchiveError
from ppa_tools.archives.local import LocalArchive
from tests.archive.conftest import SERIES, Apt, architecture, make_signer
from tests.archive.model import ADDRESSES, PPA, STABLE, Job, Model, Operation, agrees, perform, prepare
from tests.archive.shelf import ME, Shelf
from tests.archive.soundness import check_archive, check_published, held_by_apt

DISK_BYTES = 32 << 20
PAGE_BYTES = 4096
FIRST_STEPS = 4
GROWTH = 1.6
FULL = ("is full", "disk is full", "No space left", "disk I/O error")
READ_ONLY = ("is read-only", "readonly database", "unable to open database file")
DAY_S = 86400.0


@dataclass
class Disk:
    """A small file system of its own."""

    root: Path
    ballast: Path = field(init=False)

    def __post_init__(self) -> None:
        self.root.mkdir()
        self.ballast = self.root / "ballast"
        mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(self.root))

    def leave(self, free_bytes: int) -> None:
        """Fill it but for so much."""
        with self.ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(PAGE_BYTES))
            except OSError:
                file.truncate(max(0, file.tell() - free_bytes))

    def make_room(self) -> None:
        self.ballast.unlink()


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


@dataclass
class Trial:
    """The archive on its disk, what it ought to hold, and a reader."""

    directory: Path
    now_s: float = 1_700_000_000.0
    model: Model = field(default_factory=Model)

    def __post_init__(self) -> None:
        self.disk = Disk(self.directory / "disk")
        root = self.disk.root / "archive"
        self.signer = make_signer(self.directory / "signer", "Uploader <uploader@example.com>")
        self.shelf = Shelf(self.directory / "shelf", self.signer)
        self.archive = LocalArchive(root, url=f"file:{root}/public", clock=lambda: self.now_s)
        for address in ADDRESSES:
            self.archive.ensure_ppa(
                address, series=[SERIES], architectures=[architecture()], uploaders=[self.signer.public], by=ME
            )
        sources = "\n".join(self.archive.sources_text(address, SERIES) for address in ADDRESSES)
        self.apt = Apt(self.directory / "apt", sources)

    def succeed(self, *operations: Operation) -> None:
        """Do operations, with all the room there is."""
        for one in operations:
            self.now_s += DAY_S
            perform(self.archive, prepare(one, self.shelf))
            self.model = self.model.after(one)
            assert agrees(self.archive, self.model), one

    def attempt(self, job: Job) -> str:
        """Try an operation; why the archive could not, "" when it could. Readers have one state or the other."""
        before, after = self.model, self.model.after(job.operation)
        try:
            perform(self.archive, job)
        except ArchiveError as error:
            why = str(error)
        else:
            why = ""
            self.model = after
        for ppa in ADDRESSES:
            check_published(self.directory / "disk/archive/public" / ppa.owner / ppa.name)
        self.apt.run("update")
        seen = {address: held_by_apt(self.apt, address) for address in ADDRESSES}
        assert seen in ([before.held, after.held] if why else [after.held]), why
        return why

    def close(self) -> None:
        self.archive.stop_agents()
        self.archive.close()
        openpgp.stop_agent(self.signer.home)


def with_more_and_more_room(trial: Trial, operation: Operation) -> None:
    """Until the operation succeeds, each time in the state before it; then it was tried in its every part."""
    for free_bytes in levels():
        job = prepare(again(trial, operation), trial.shelf)
        trial.disk.leave(free_bytes)
        why = trial.attempt(job)
        print(f"{operation.what}, {free_bytes >> 10} KiB free: {why or 'done'}", flush=True)
        trial.disk.make_room()
        if not why:
            assert free_bytes or operation.what == "collect", "it needs no room at all"
            return
        assert any(words in why for words in FULL), why
        trial.succeed(job.operation)
        check_archive(trial.archive)


def levels() -> Iterator[int]:
    """Free bytes to try: the first few pages one by one, then in growing steps."""
    yield from (number * PAGE_BYTES for number in range(FIRST_STEPS))
    yield from (int(FIRST_STEPS * PAGE_BYTES * GROWTH**number) for number in itertools.count())


def again(trial: Trial, operation: Operation) -> Operation:
    """Bring the archive to where an operation may be done, and the operation with a version that fits."""
    what, name = operation.what, operation.name
    add = Operation("add", PPA, name, f"{trial.model.number + 1}.0-1")
    build = Operation("build", PPA, name, add.version)
    if what == "add":
        return add
    if what == "build":
        trial.succeed(add)
        return build
    if what == "copy":
        trial.succeed(add, build)
        return Operation("copy", STABLE, name)
    if what == "roll back":
        if (PPA, "first") not in trial.model.snapshots:
            trial.succeed(add, build, Operation("snapshot", PPA, "first"))
            add = Operation("add", PPA, name, f"{trial.model.number + 1}.0-1")
            build = Operation("build", PPA, name, add.version)
        trial.succeed(add, build)
        return Operation("roll back", PPA, "first")
    if what == "collect":
        trial.succeed(add, build, Operation("delete", PPA, name))
        trial.now_s += 30 * DAY_S
    return operation


def with_a_disk_that_is_read_only(trial: Trial, operation: Operation) -> None:
    """The disk becomes read-only under an archive that is open; and is writable again."""
    job = prepare(again(trial, operation), trial.shelf)
    trial.archive.close()  # files that are open keep a disk from being mounted so; it opens them again
    trial.archive.stop_agents()
    mount("-o", "remount,ro", str(trial.disk.root))
    why = trial.attempt(job)
    print(f"{operation.what}, read-only: {why}", flush=True)
    assert any(words in why for words in READ_ONLY), why
    mount("-o", "remount,rw", str(trial.disk.root))
    trial.succeed(job.operation)
    check_archive(trial.archive)


def main(directory: str, what: str) -> None:
    trial = Trial(Path(directory))
    try:
        operation = Operation(what, PPA, "ab")
        with_more_and_more_room(trial, operation)
        with_a_disk_that_is_read_only(trial, operation)
    finally:
        trial.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
