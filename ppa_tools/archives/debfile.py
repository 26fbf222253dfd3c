"""Reading the control fields of a .deb that nobody vouches for, within bounds of time and memory."""

from __future__ import annotations

import resource
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import BinaryIO

from ppa_tools.archives.control import BinaryControl, parse_binary_control
from ppa_tools.archives.errors import ArchiveError, UploadRefused

CONTROL_TARBALL_LIMIT_BYTES = 32 << 20
CONTROL_FILE_LIMIT_BYTES = 1 << 20
TOOL_MEMORY_BYTES = 1 << 30
TOOL_TIMEOUT_S = 60.0


class TooMuch(Exception):
    """More came than was allowed."""


class BoundedReader:
    """A stream that ends in TooMuch after ``limit_bytes``: a small file may unpack to a very large one."""

    def __init__(self, file: BinaryIO, limit_bytes: int) -> None:
        self._file = file
        self._left_bytes = limit_bytes

    def read(self, size: int = -1) -> bytes:
        """Read as a file does."""
        data = self._file.read(min(size, self._left_bytes + 1) if size >= 0 else self._left_bytes + 1)
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise TooMuch
        return data


def read_deb_control(path: Path) -> BinaryControl:
    """The control fields of a .deb; raises UploadRefused when it is none, or unpacks to too much.

    dpkg-deb only decompresses (every format it knows, zstd included) and we read the tar stream: nothing is
    written, and a bomb is cut off.
    """
    name = path.name
    try:
        child = subprocess.Popen(
            ["dpkg-deb", "--ctrl-tarfile", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "DPKG_DEB_THREADS_MAX": "1"},
        )
    except FileNotFoundError as error:
        raise ArchiveError("dpkg-deb is not installed") from error
    timer = threading.Timer(TOOL_TIMEOUT_S, child.kill)
    timer.start()
    try:
        _bound_memory(child.pid)
        assert child.stdout is not None
        control = _find_control(BoundedReader(child.stdout, CONTROL_TARBALL_LIMIT_BYTES))  # type: ignore[arg-type]
    except TooMuch:
        raise UploadRefused(
            f"{name}: its control part unpacks to more than {CONTROL_TARBALL_LIMIT_BYTES >> 20} MiB"
        ) from None
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise UploadRefused(f"{name} is no Debian package: {error}") from error
    finally:
        timer.cancel()
        child.kill()
        child.communicate()
    if control is None:
        raise UploadRefused(f"{name} has no control file of a sensible size")
    return parse_binary_control(control, name)


def _bound_memory(pid: int) -> None:
    try:
        resource.prlimit(pid, resource.RLIMIT_AS, (TOOL_MEMORY_BYTES, TOOL_MEMORY_BYTES))
    except ProcessLookupError:
        return  # it has ended already


def _find_control(stream: BinaryIO) -> bytes | None:
    with tarfile.open(fileobj=stream, mode="r|") as tarball:
        for member in tarball:
            if member.name in ("control", "./control") and member.isreg():
                file = tarball.extractfile(member)
                return file.read() if file and member.size <= CONTROL_FILE_LIMIT_BYTES else None
    return None
