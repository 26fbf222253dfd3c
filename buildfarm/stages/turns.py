"""One attempt at a time: a stage that is tried again ends whatever is left of the attempt before.

The master gives an attempt out only when it holds the one before for lost: its worker was killed, or does not
answer. What that worker started may still run, and must not write beside the new attempt.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from buildfarm.errors import FarmTrouble
from buildfarm.process import kill_family

WAIT_LIMIT_S = 30.0


@contextlib.contextmanager
def turn(directory: Path, name: str, wait_limit_s: float = WAIT_LIMIT_S) -> Iterator[None]:
    """Hold a stage of a workspace for oneself; an earlier holder is killed with all it started.

    ``directory`` is where the lock files lie. Raises FarmTrouble when the earlier holder does not die.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f"{name}.lock").open("a+b") as file:
        deadline = time.monotonic() + wait_limit_s
        while not _taken(file):
            holder = _holder(file)
            if holder:
                kill_family(holder)
            if time.monotonic() > deadline:
                raise FarmTrouble(
                    f"an earlier attempt at this stage does not end (process {holder or 'unknown'})",
                    where=str(directory),
                    resolution="End that process; the stage is tried again.",
                )
            time.sleep(0.05)
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield


def _taken(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: BinaryIO) -> int:
    file.seek(0)
    text = file.read(20)
    pid = int(text) if text.isdigit() else 0
    return pid if pid != os.getpid() else 0
