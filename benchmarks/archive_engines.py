"""What is asked of every archive that is measured, and what measuring them needs: uploads, memory, disk."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from archive_packages import (
    ARCHITECTURE,
    Package,
    package_name,
    write_changes,
    write_package,
)

from ppa_tools import openpgp

BIG, SIDE = "big", "side"
"""The two PPAs: the one that is measured, and the one that packages are copied from."""

LOOK_S = 0.004
CHILD_LIMIT_S = 3600


class NotOffered(Exception):
    """This archive has no such operation."""


@dataclass(frozen=True)
class Signer:
    """The one key of everything here that is not a PPA's own: uploads, and what the peers publish."""

    home: Path
    fingerprint: str

    @property
    def public_key(self) -> Path:
        """The key without its secret, where gpgv looks when it is told nothing."""
        return self.home / "trustedkeys.gpg"

    def sign(self, text: bytes) -> bytes:
        """Clear-sign a text."""
        return openpgp.clearsign(self.home, [self.fingerprint], text)


def open_signer(home: Path) -> Signer:
    """The key in ``home``, an ed25519 one without a passphrase; made when missing."""
    keys = openpgp.secret_keys(home) or (openpgp.create_key(home, "Uploader <uploader@example.com>"),)
    signer = Signer(home, keys[0].fingerprint)
    signer.public_key.write_bytes(openpgp.export_public(home, signer.fingerprint, armor=False))
    return signer


@dataclass(frozen=True)
class Place:
    """Where an archive of one size lives while it is measured: a directory of its own and the signer."""

    root: Path
    signer: Signer

    @property
    def environment(self) -> Mapping[str, str]:
        """For the peers: nothing of the caller's but the way to the tools."""
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.root),
            "GNUPGHOME": str(self.signer.home),
            "LC_ALL": "C.UTF-8",
        }


@dataclass(frozen=True)
class Upload:
    """A package that nobody has yet, signed: each .changes in a directory with the files that it names.

    ``source`` and ``binaries`` are apart, as builders send them; ``both`` is all in one.
    """

    name: str
    source: Path
    binaries: Path
    both: Path


def make_upload(signer: Signer, directory: Path, number: int, series: str) -> Upload:
    """Write package ``number`` below ``directory`` and sign its .dsc and its .changes."""
    name = package_name(number)
    package = Package(number, directory / name / "files")
    package.directory.mkdir(parents=True)
    write_package(package, signer.sign)
    source = (package.dsc, *package.tarballs)

    def pack(kind: str, files: Sequence[Path], words: str) -> Path:
        changes = write_changes(package, series, files, words, kind)
        if kind != ARCHITECTURE:
            changes.write_bytes(signer.sign(changes.read_bytes()))
        room = directory / name / kind
        room.mkdir()
        for path in files:
            os.link(path, room / path.name)
        return changes.rename(room / changes.name)

    return Upload(
        name,
        pack("source", source, "source"),
        pack(ARCHITECTURE, [package.deb], ARCHITECTURE),
        pack("both", package.files, f"source {ARCHITECTURE}"),
    )


class Engine(Protocol):
    """An archive with its PPAs ``BIG`` and ``SIDE`` loaded; what it cannot do raises NotOffered.

    ``copy``, ``delete`` and ``roll_back`` end published. ``accept`` does where ``accept_publishes``; where not,
    apt sees an upload after ``publish``.
    """

    accept_publishes: bool

    def accept(self, upload: Upload) -> None:
        """Take an upload into BIG, its signature checked."""

    def publish(self) -> None:
        """Write and sign the indexes of BIG, if only for the last change."""

    def copy(self, names: Sequence[str]) -> None:
        """Copy sources with their binaries from SIDE to BIG."""

    def delete(self, names: Sequence[str]) -> None:
        """Delete sources with their binaries from BIG."""

    def count(self) -> int:
        """List all of BIG; how many sources there are."""

    def find(self, name: str) -> bool:
        """List one package of BIG; whether it is there."""

    def snapshot(self, label: str) -> None:
        """Keep what BIG holds now."""

    def prepare_roll_back(self) -> None:
        """What a roll back needs ready; not measured."""

    def roll_back(self, label: str) -> None:
        """Publish what BIG held then."""

    def collect_garbage(self) -> None:
        """Remove the files that nobody needs any more."""

    def peak_rss_bytes(self) -> int:
        """The most memory that the archive's process, or any of them, has had."""


@dataclass(frozen=True)
class Family:
    """An archive and the ways it can be driven, each a column of the tables.

    ``prepare`` makes the two PPAs at a place. ``load`` fills BIG and SIDE and publishes them. ``open`` gives one
    of the ``columns``. ``series`` is what a .changes for BIG says as its Distribution.
    """

    name: str
    columns: tuple[str, ...]
    series: str
    prepare: Callable[[Place], None]
    load: Callable[[Place, Sequence[Package], Sequence[Package]], None]
    open: Callable[[str, Place], AbstractContextManager[Engine]]


@dataclass
class Children:
    """Runs an archive's commands and remembers the most memory that one of them has had."""

    environment: Mapping[str, str]
    peak_rss_bytes: int = field(default=0)

    def run(self, *argv: str) -> str:
        """What a command prints; raises RuntimeError with its words when it fails."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            child = subprocess.Popen(
                argv, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=errors
            )
            threading.Thread(target=self._watch, args=(child,), daemon=True).start()
            status = child.wait()  # with a limit it would look now and then, and be late
            out.seek(0)
            if status != 0:
                errors.seek(0)
                words = (out.read()[-1000:] + errors.read()[-1000:]).decode(errors="replace")
                raise RuntimeError(f"{' '.join(argv)[:300]}: {status}\n{words}")
            return out.read().decode()

    def _watch(self, child: subprocess.Popen[bytes]) -> None:
        # getrusage() would tell the parent's size, where that is larger: a child begins as its copy.
        deadline = time.monotonic() + CHILD_LIMIT_S
        while child.returncode is None:
            self.peak_rss_bytes = max(self.peak_rss_bytes, peak_rss_bytes(child.pid))
            if time.monotonic() > deadline:
                child.kill()
            time.sleep(LOOK_S)


def peak_rss_bytes(pid: int) -> int:
    """The most memory that a process has had in its present program; 0 when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def disk_bytes(root: Path) -> int:
    """What a directory takes on its disk, a file with several names once."""
    seen: dict[tuple[int, int], int] = {}
    for directory, _, names in os.walk(root):
        for path in (directory, *(f"{directory}/{name}" for name in names)):
            status = os.lstat(path)
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())
