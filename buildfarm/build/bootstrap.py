"""Root file systems as tarballs, made with mmdebstrap: what clean builds and machines' disks both begin with."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from buildfarm import process
from buildfarm.build.apt_sources import AptSources
from buildfarm.build.namespaces import remove_owned_tree
from buildfarm.errors import FarmError, FarmTrouble

MAKE_TIMEOUT_S = 3600
FAST_DISK = Path("/dev/shm")  # noqa: S108 (only a place for directories with names of our own)
FAST_DISK_WANTED_BYTES = 4 << 30


@dataclass(frozen=True)
class Bootstrap:
    """One call of mmdebstrap. ``hooks`` are its customize hooks, in order, after the keys are in their places;
    ``again`` is the command that shows a person everything it says."""

    series: str
    architecture: str
    variant: str
    sources: AptSources
    packages: tuple[str, ...]
    hooks: tuple[str, ...]
    again: str
    environment: Mapping[str, str] = field(default_factory=dict)


def native_architecture() -> str:
    """The host's Debian architecture."""
    return process.run(["dpkg", "--print-architecture"], timeout_s=30, check=True).text.strip()


def bootstrap(order: Bootstrap, tarball: Path, scratch: Path, log: BinaryIO) -> tuple[str, ...]:
    """Make ``tarball``; returns its packages as "name=version". Raises FarmTrouble with mmdebstrap's last lines.

    Beside the tarball two files are left, "sources" and "packages".
    """
    listing = tarball.with_name("packages")
    # mmdebstrap's child in the user namespace reads its sources from standard input, not from this directory.
    with tarball.with_name("sources").open("w+b") as sources:
        sources.write(order.sources.text.encode())
        sources.seek(0)
        finished = process.run(
            _mmdebstrap(order, tarball, listing),
            timeout_s=MAKE_TIMEOUT_S,
            env=process.clean_environment(TMPDIR=str(scratch), **order.environment),
            input_file=sources,
            merge_errors=True,
            log=log,
        )
    if not finished.ok or not tarball.is_file():
        raise FarmTrouble(
            f"mmdebstrap {process.how_it_ended(finished)} making a root of {order.series}",
            details=_error_lines(finished.text) or finished.tail(),
            resolution=f"Is the mirror in reach? `{order.again}` shows everything it says.",
        )
    return tuple(sorted(listing.read_text(encoding="utf-8").split()))


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock file (flock) for the length of a ``with`` block; waits for whoever has it.

    Who holds it alone may remove it: those who waited for it then agree on a new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            if _is_still(path, file):
                yield
                return


@contextlib.contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold a lock file alone for the ``with`` block, where nobody else has it; says whether it is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield _is_still(path, file)


def _is_still(path: Path, file: BinaryIO) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def own_directory(path: Path) -> Iterator[Path]:
    """An empty directory for the length of a ``with`` block; what a killed maker left there goes first."""
    remove_owned_tree(path)
    path.mkdir(parents=True)
    path.chmod(0o755)  # whatever our umask: the ids inside pass through
    try:
        yield path
    finally:
        remove_owned_tree(path)


def open_directory(parent: Path, key: str) -> Path:
    """A directory that our subordinate ids may write to; those that were left of the same key go first.

    Anybody may write there, so its name cannot be guessed, and only its owner lists ``parent``.
    """
    parent.mkdir(exist_ok=True)
    parent.chmod(0o711)
    for left in parent.glob(f"{key}-*"):
        remove_owned_tree(left)
    making = parent / f"{key}-{secrets.token_hex(16)}"
    making.mkdir()
    making.chmod(0o777)
    return making


@contextlib.contextmanager
def private_directory(parent: Path) -> Iterator[Path]:
    """A directory below ``parent`` for the ``with`` block, where our subordinate ids may write and nobody else
    comes; those whose owners were killed go first.

    Its owner holds its lock. Whoever makes one or looks for what was left holds the lock of all.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        with locked(parent.with_name(f"{parent.name}.lock")):
            _sweep(parent)
            path = open_directory(parent, secrets.token_hex(8))
            lock = parent / f"{path.name}.lock"
            held.enter_context(locked(lock))
        try:
            yield path
        finally:
            remove_owned_tree(path)
            lock.unlink(missing_ok=True)


def _sweep(parent: Path) -> None:
    for name in {path.name.removesuffix(".lock") for path in parent.iterdir()}:
        lock = parent / f"{name}.lock"
        with locked_if_free(lock) as free, contextlib.suppress(FarmError):  # what resists is tried again next time
            if free:
                remove_owned_tree(parent / name)
                lock.unlink(missing_ok=True)


@contextlib.contextmanager
def scratch_directory(making: Path) -> Iterator[Path]:
    """A directory to unpack in, for who has ``making`` to himself: of one name for it, so that nothing is left for
    ever, and of another in every cache."""
    name = hashlib.sha256(str(making.resolve()).encode()).hexdigest()
    with own_directory(_scratch_place() / f"buildfarm-{name[:40]}") as scratch:
        yield scratch


def _scratch_place() -> Path:
    """Where to unpack for a while: in memory when there is plenty and the mount allows it, else on disk."""
    fit = fast_disk_has_room(unfit=os.ST_NODEV | os.ST_NOEXEC | os.ST_NOSUID)
    return FAST_DISK if fit else Path("/var/tmp")  # noqa: S108 (mmdebstrap makes its own directory there)


def fast_disk_has_room(wanted_bytes: int = FAST_DISK_WANTED_BYTES, unfit: int = os.ST_NOEXEC) -> bool:
    """Whether /dev/shm has that much free, and is mounted with none of the ``unfit`` flags (of statvfs(3))."""
    try:
        status = os.statvfs(FAST_DISK)
    except OSError:
        return False
    return not status.f_flag & unfit and status.f_bavail * status.f_frsize >= wanted_bytes


def say(log: BinaryIO, line: str) -> None:
    """A line of our own in a log that tools write to as well."""
    log.write(line.encode() + b"\n")
    log.flush()


def _own_mounts() -> list[str]:
    """How root has mmdebstrap's mounts end with it: when it is killed they would stay on the host, in the way of
    whoever next uses the directory. An ordinary user's are in a namespace anyway."""
    words = ["unshare", "--mount"]
    return words if os.getuid() == 0 and process.run([*words, "true"], timeout_s=30).ok else []


def _mmdebstrap(order: Bootstrap, tarball: Path, listing: Path) -> list[str]:
    carried = [f"--aptopt={line}" for line in order.sources.settings]
    keys = [f"upload {shlex.quote(str(path))} {shlex.quote(str(path))}" for path in order.sources.keyrings]
    keyrings = [f'mkdir -p "$1"{shlex.quote(str(path.parent))}' for path in order.sources.keyrings]
    show = 'chroot "$1" dpkg-query -W -f \'${Package}=${Version}\\n\' > "$1/packages.txt"'
    fetch = f"download /packages.txt {shlex.quote(str(listing))}"
    hooks = (*keyrings, *keys, *order.hooks, show, fetch, 'rm "$1/packages.txt"')
    return [
        *_own_mounts(),
        "mmdebstrap",
        f"--variant={order.variant}",
        "--format=tar",
        f"--architectures={order.architecture}",
        f"--include={','.join(order.packages)}",
        "--dpkgopt=force-unsafe-io",
        *carried,
        # The package lists stay in: `apt-get update` later then fetches only what is newer.
        "--skip=cleanup/apt/lists",
        *(f"--customize-hook={hook}" for hook in hooks),
        order.series,
        str(tarball),
        "-",
    ]


def _error_lines(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith(("E: ", "W: ", "Err:"))]
    return "\n".join(lines[-12:])
