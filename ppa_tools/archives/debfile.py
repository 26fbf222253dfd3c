"""Reading a .deb that nobody vouches for, its control fields and its list of files, within bounds."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, BinaryIO

from ppa_tools.archives.control import BinaryControl, parse_binary_control
from ppa_tools.archives.errors import ArchiveError, UploadRefused

CONTROL_TARBALL_LIMIT_BYTES = 32 << 20
CONTROL_FILE_LIMIT_BYTES = 1 << 20
TOOL_MEMORY_BYTES = 1 << 30
TOOL_TIMEOUT_S = 60.0
PATHS_LIMIT_BYTES = 128 << 20
PATHS_TIMEOUT_S = 900.0  # a package of many gigabytes is read from its beginning to its end


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
    with _running(["dpkg-deb", "--ctrl-tarfile", str(path)], TOOL_TIMEOUT_S) as child:
        try:
            control = _find_control(BoundedReader(_output_of(child), CONTROL_TARBALL_LIMIT_BYTES))  # type: ignore[arg-type]
        except TooMuch:
            raise UploadRefused(
                f"{name}: its control part unpacks to more than {CONTROL_TARBALL_LIMIT_BYTES >> 20} MiB"
            ) from None
        except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            raise UploadRefused(f"{name} is no Debian package: {error}") from error
    if control is None:
        raise UploadRefused(f"{name} has no control file of a sensible size")
    return parse_binary_control(control, name)


def list_deb_paths(path: Path, limit_bytes: int = PATHS_LIMIT_BYTES) -> tuple[str, ...]:
    """What a .deb installs, but directories, sorted and without a leading slash.

    Names with control characters are left out: no line of an index can hold them. Raises UploadRefused when the
    list is longer than ``limit_bytes``, takes too long or cannot be read. Only names come here: what is unpacked
    goes through a pipe, between children whose memory is bounded.
    """
    with (
        _running(["dpkg-deb", "--fsys-tarfile", str(path)], PATHS_TIMEOUT_S) as unpacking,
        _running(
            ["tar", "--list", "--file=-", "--quoting-style=escape"], PATHS_TIMEOUT_S, _output_of(unpacking)
        ) as listing,
    ):
        _output_of(unpacking).close()  # tar has it: it alone shall hear of the end
        data = _output_of(listing).read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise UploadRefused(f"{path.name}: the names of its files are more than {limit_bytes >> 20} MiB")
        if listing.wait() or unpacking.wait():
            raise UploadRefused(f"{path.name}: its files cannot be listed, or not in {PATHS_TIMEOUT_S:g} s")
    lines = data.decode("utf-8", "replace").split("\n")
    return tuple(sorted({name for line in lines if (name := _plain_name(line))}))


def _plain_name(line: str) -> str:
    """The path that a line of tar's list means; "" for directories, and for names that need more than a line."""
    parts = line.split("\\\\")  # a backslash is told as two; one alone begins the code of a control character
    name = "\\".join(parts).removeprefix("./").removeprefix("/")
    return name if not line.endswith("/") and name.isprintable() and not any("\\" in p for p in parts) else ""


@contextlib.contextmanager
def _running(
    argv: Sequence[str], timeout_s: float, stdin: IO[bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A child of bounded memory, whose output is read; it is killed when its time is over, or the block ends."""
    try:
        child = subprocess.Popen(
            argv,
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "DPKG_DEB_THREADS_MAX": "1"},
        )
    except FileNotFoundError as error:
        raise ArchiveError(f"{argv[0]} is not installed") from error
    timer = threading.Timer(timeout_s, child.kill)
    timer.start()
    try:
        _bound_memory(child.pid)
        yield child
    finally:
        timer.cancel()
        child.kill()
        child.wait()
        _output_of(child).close()


def _output_of(child: subprocess.Popen[bytes]) -> IO[bytes]:
    """What a child puts out."""
    assert child.stdout is not None
    return child.stdout


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
