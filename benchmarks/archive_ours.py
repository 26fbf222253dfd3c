"""The embedded archive: called in this process, and by its command, where a process starts for every operation.

The two PPAs are filled below the check of signatures, which alone would take half an hour at 100,000 packages: by
the functions that accept a checked upload, hundreds in a transaction, and with one sync at the end in place of one
a file. What is measured afterwards goes the whole way.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from archive_engines import BIG, SIDE, Children, Engine, Family, NotOffered, Place, Upload, peak_rss_bytes
from archive_packages import (
    ARCHITECTURE,
    Package,
    binary_control,
    draw_texts,
    write_changes,
)

from buildfarm.settings import HOME_VARIABLE
from ppa_tools.address import Address
from ppa_tools.archives import accept
from ppa_tools.archives import history as h
from ppa_tools.archives.checks import BinaryUpload, Deb, SourceUpload, UploadedFile
from ppa_tools.archives.control import parse_binary_control, parse_changes, parse_dsc
from ppa_tools.archives.durable import digests_of
from ppa_tools.archives.local import LocalArchive, Wanted
from ppa_tools.archives.pool import Pool

SERIES = "stable"
WORKER = "worker-1"
PERSON = "somebody"
ADDRESSES = {name: Address("local", "bench", name) for name in (BIG, SIDE)}
LOAD_AT_ONCE = 500


def prepare(place: Place) -> None:
    """The two PPAs."""
    archive = _open(place)
    for address in ADDRESSES.values():
        key = place.signer.public_key.read_bytes()
        archive.ensure_ppa(address, series=[SERIES], architectures=[ARCHITECTURE], uploaders=[key])
    archive.close()


def load(place: Place, big: Sequence[Package], side: Sequence[Package]) -> None:
    """Accept everything below the check of signatures, publish."""
    root = _root(place)
    history, pool = h.open_history(root / "history.sqlite"), UnsyncedPool(root / "blobs")
    for name, packages in ((BIG, big), (SIDE, side)):
        for first in range(0, len(packages), LOAD_AT_ONCE):
            with history.write() as conn:
                ppa = h.find_ppa(conn, ADDRESSES[name])
                assert ppa is not None
                series = h.find_series(conn, ppa, SERIES)
                assert series is not None
                scene = accept.Scene(conn, pool, ppa, series, time.time())
                for package in packages[first : first + LOAD_AT_ONCE]:
                    _load_one(scene, package, place.signer.fingerprint)
    history.close()
    os.sync()
    archive = _open(place)
    for address in ADDRESSES.values():
        archive.publish(address)
    archive.close()


@contextlib.contextmanager
def open_column(column: str, place: Place) -> Iterator[Engine]:
    """The library in this process, or the command."""
    if column == "ours, CLI":
        environment = {**os.environ, HOME_VARIABLE: str(place.root)}
        yield OursCommand(place, Children(environment))
        return
    archive = _open(place)
    try:
        for address in ADDRESSES.values():
            archive.configure(address, keep_ended_s=0.0, by=PERSON)
        yield Ours(archive)
    finally:
        archive.close()


FAMILY = Family("ours", ("ours", "ours, CLI"), SERIES, prepare, load, open_column)


class UnsyncedPool(Pool):
    """A pool that leaves it to its user to sync."""

    def adopt(self, files: Iterable[tuple[Path, str]]) -> None:
        """Link files among the blobs."""
        for path, sha256 in files:
            blob = self.blob(sha256)
            blob.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.link(path, blob)


@dataclass(frozen=True)
class Ours:
    """The library, as the farm's own stages and its server use it."""

    archive: LocalArchive
    accept_publishes = False

    def accept(self, upload: Upload) -> None:
        big = ADDRESSES[BIG]
        self.archive.accept_source(big, SERIES, upload.source.parent, upload.source.name)
        binaries = upload.binaries
        self.archive.accept_binaries(big, SERIES, ARCHITECTURE, binaries.parent, binaries.name, WORKER)

    def publish(self) -> None:
        self.archive.publish(ADDRESSES[BIG])

    def copy(self, names: Sequence[str]) -> None:
        packages = [Wanted(name) for name in names]
        self.archive.copy(ADDRESSES[SIDE], SERIES, ADDRESSES[BIG], SERIES, packages, by=PERSON)

    def delete(self, names: Sequence[str]) -> None:
        self.archive.delete(ADDRESSES[BIG], SERIES, [Wanted(name) for name in names], by=PERSON)

    def count(self) -> int:
        return len(self.archive.listing(ADDRESSES[BIG], series=SERIES))

    def find(self, name: str) -> bool:
        return bool(self.archive.listing(ADDRESSES[BIG], series=SERIES, source=name))

    def snapshot(self, label: str) -> None:
        self.archive.snapshot(ADDRESSES[BIG], label, by=PERSON)

    def prepare_roll_back(self) -> None:
        pass

    def roll_back(self, label: str) -> None:
        self.archive.roll_back(ADDRESSES[BIG], label, by=PERSON)

    def collect_garbage(self) -> None:
        self.archive.collect_garbage(dry_run=False)

    def peak_rss_bytes(self) -> int:
        return peak_rss_bytes(os.getpid())


@dataclass(frozen=True)
class OursCommand:
    """``buildfarm archive``."""

    place: Place
    children: Children
    accept_publishes = False

    def call(self, *words: str) -> str:
        """Run the command."""
        return self.children.run(sys.executable, "-m", "buildfarm", "archive", *words)

    def accept(self, upload: Upload) -> None:
        raise NotOffered(f"{upload.name}: uploads come by dput, not by a command")

    def publish(self) -> None:
        self.call("publish", str(ADDRESSES[BIG]))

    def copy(self, names: Sequence[str]) -> None:
        self.call("copy", str(ADDRESSES[SIDE]), str(ADDRESSES[BIG]), *names)

    def delete(self, names: Sequence[str]) -> None:
        self.call("delete", str(ADDRESSES[BIG]), *names, "--yes")

    def snapshot(self, label: str) -> None:
        self.call("snapshot", "create", str(ADDRESSES[BIG]), label)

    def prepare_roll_back(self) -> None:
        pass

    def roll_back(self, label: str) -> None:
        self.call("rollback", str(ADDRESSES[BIG]), label, "--yes")

    def collect_garbage(self) -> None:
        self.call("gc", "--yes")

    def count(self) -> int:
        return sum(line.startswith(f"{SERIES} ") for line in self.call("list", str(ADDRESSES[BIG])).splitlines())

    def find(self, name: str) -> bool:
        return name in self.call("list", str(ADDRESSES[BIG]), "--source", name)

    def peak_rss_bytes(self) -> int:
        return self.children.peak_rss_bytes


def _root(place: Place) -> Path:
    return place.root / "archive"  # as the farm has it below its home


def _open(place: Place) -> LocalArchive:
    return LocalArchive(_root(place))


def _load_one(scene: accept.Scene, package: Package, uploader: str) -> None:
    source, binaries = _checked_source(package, uploader), _checked_binaries(package)
    accept.accept_source(scene, source)
    accept.accept_binaries(scene, binaries, ARCHITECTURE, WORKER)
    for changes in (source.files[-1], binaries.files[-1]):
        changes.path.unlink()


def _checked_source(package: Package, uploader: str) -> SourceUpload:
    """What a check of its upload would say of a source; the .changes is the last of its files."""
    named = (package.dsc, *package.tarballs)
    changes_path = write_changes(package, SERIES, named, "source", "source")
    changes = parse_changes(changes_path.read_bytes())
    text = package.dsc.read_bytes()
    files = tuple(UploadedFile(path, digests_of(path)) for path in (*named, changes_path))
    return SourceUpload(
        changes=changes,
        changes_sha256=files[-1].digests.sha256,
        dsc=parse_dsc(text),
        dsc_file=next(file for file in changes.files if file.name == package.dsc.name),
        payload_sha256=hashlib.sha256(text).hexdigest(),
        uploader=uploader,
        files=files,
        left_out=(),
    )


def _checked_binaries(package: Package) -> BinaryUpload:
    """As ``_checked_source``, for the binary."""
    changes_path = write_changes(package, SERIES, [package.deb], ARCHITECTURE, ARCHITECTURE)
    files = tuple(UploadedFile(path, digests_of(path)) for path in (package.deb, changes_path))
    control = binary_control(package.name, draw_texts(package.number)).encode()
    deb = Deb(parse_binary_control(control, package.deb.name), files[0])
    changes = parse_changes(changes_path.read_bytes())
    return BinaryUpload(changes, files[-1].digests.sha256, (deb,), files, ())
