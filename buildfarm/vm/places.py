"""Directories of machines that live: short of name, ours alone, and swept when their owner is no more."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from buildfarm.errors import FarmTrouble
from buildfarm.files import remove_tree

SOCKET_PATH_LIMIT = 107  # sun_path of unix(7), less its NUL


@contextlib.contextmanager
def machine_directory(memory_mib: int, limit_mib: int) -> Iterator[Path]:
    """A directory for one machine's sockets, removed after the ``with`` block.

    Its lock is held by this process: whoever makes the next one removes those whose owner was killed. Raises
    FarmTrouble when none can be had, and when all machines that live would have more than ``limit_mib`` of memory.
    """
    base = base_directory()
    with (base / "lock").open("ab") as making:
        fcntl.flock(making, fcntl.LOCK_EX)
        taken = _sweep(base)
        if taken + memory_mib > limit_mib:
            raise FarmTrouble(
                f"no memory for a machine: it wants {memory_mib} MiB, others have {taken} of {limit_mib} MiB",
                resolution="It is tried again. vm.memory_limit_mib in farm.toml is what all may have together.",
            )
        path = Path(tempfile.mkdtemp(prefix="m-", dir=base))
        lock = (path / "lock").open("ab")
        fcntl.flock(lock, fcntl.LOCK_EX)
        (path / "memory").write_text(str(memory_mib))
    with lock:
        try:
            if len(str(path / "gateway.sock")) > SOCKET_PATH_LIMIT:
                raise FarmTrouble(
                    f"{path} is too long a name for sockets", resolution="Set TMPDIR to a shorter one."
                )
            yield path
        finally:
            remove_tree(path)


def sweep() -> None:
    """Remove what machines left whose owner was killed."""
    base = base_directory()
    with (base / "lock").open("ab") as making:
        fcntl.flock(making, fcntl.LOCK_EX)
        _sweep(base)


def base_directory() -> Path:
    """The directory of all machines' sockets, ours alone; raises FarmTrouble when it is not."""
    base = Path(tempfile.gettempdir()) / f"buildfarm-{os.getuid()}"
    try:
        with contextlib.suppress(FileExistsError):
            base.mkdir(mode=0o700)
        found = base.lstat()
    except OSError as error:
        raise FarmTrouble(f"no place for machines: {error}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise FarmTrouble(
            f"{base} is not a directory of ours alone",
            resolution="Somebody else made it: remove it, or set TMPDIR to a directory of the farm's own.",
        )
    return base


def _sweep(base: Path) -> int:
    """Remove what belongs to nobody; returns the memory of the others, in MiB."""
    taken = 0
    for path in base.glob("m-*"):
        try:
            with (path / "lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(path)
        except BlockingIOError:
            text = (path / "memory").read_text() if (path / "memory").is_file() else ""
            taken += int(text) if text.isdigit() else 0
        except OSError:  # killed before it had its lock
            remove_tree(path)
    return taken
