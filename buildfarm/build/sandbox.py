"""Running what a commit says, where it can see and harm nothing: no network, no host, no keys, and limits on all.

The command runs as the unprivileged user ``builder`` (uid 1000 inside; outside an id that nobody has) in user,
mount, pid, ipc, uts and network namespaces of its own (buildfarm.build.namespaces says how they are made), with no
capabilities and no_new_privs. It sees a read-only root file system, one tmpfs for all that it writes, /proc of its
own processes and six device nodes. Its copy of the tree is packed by tar outside and unpacked by tar inside, so
that names and links in it are only ever interpreted inside. Results come back through descriptors opened here: the
border program reads them when every process inside is dead, regular files only, following no link, up to a limit.

Not limited: the processor. Memory is limited per process, and the sandbox is the first that the kernel kills when
memory runs out.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from buildfarm import process
from buildfarm.build.namespaces import Ended, Orders, enter
from buildfarm.build.roots import BUILDER_UID
from buildfarm.errors import FarmTrouble, PackageFault

TREE = "/build/tree"
HOME = "/build/home"
MEMORY_SHARE = 2  # the tmpfs may take one part in so many of the memory that is available
TREE_LIMIT_BYTES = 4 << 30  # a larger tree is the package's fault; a smaller one that does not fit is ours
PAGE_BYTES = 4096
PACKER_END_S = 30
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # the second is how a shell tells of its child's end


@dataclass(frozen=True)
class Limits:
    """What a command may use. Past time or output it is killed; past the others its own calls fail.

    ``memory_bytes`` is private memory for each process, ``scratch_bytes`` all files together (0: half of the
    memory that is available).
    """

    timeout_s: float
    output_bytes: int = 64 << 20
    processes: int = 2048
    memory_bytes: int = 4 << 30
    file_bytes: int = 2 << 30
    scratch_bytes: int = 0
    scratch_files: int = 1_000_000


@dataclass(frozen=True)
class Wanted:
    """A file that the command leaves, where to put it outside, and how large it may be.

    ``inside`` is relative to /build: ``tree/PATH`` or ``home/PATH``.
    """

    inside: str
    outside: Path
    limit_bytes: int


@dataclass(frozen=True)
class Ran:
    """How the command ended: ``status`` is its exit status, negative for a signal, None when it was stopped.

    ``output`` is the end of what it printed. ``files`` says of each wanted file ``ok``, ``missing``,
    ``irregular`` (no regular file) or ``too-large``; only an ``ok`` one has content outside.
    """

    status: int | None
    output: str
    duration_s: float
    timed_out: bool = False
    output_limit_hit: bool = False
    files: Mapping[str, str] = field(default_factory=dict)


def run_in_sandbox(
    layers: Sequence[Path],
    tree: Path,
    command: Sequence[str],
    *,
    limits: Limits,
    environment: Mapping[str, str] | None = None,
    wanted: Sequence[Wanted] = (),
    log: BinaryIO | None = None,
) -> Ran:
    """Run ``command`` in a copy of ``tree`` on the root that ``layers`` make; nothing of it is left afterwards.

    Raises PackageFault when the tree is larger than any sandbox, and FarmTrouble when the sandbox cannot be set
    up, the tree cannot be read or does not fit into the memory there is, or the kernel ran out of memory.
    """
    for one in wanted:
        _check_inside(one.inside)
    orders = Orders(
        tuple(command),
        process.clean_environment(HOME, USER="builder", LOGNAME="builder", **(environment or {})),
        layers=layers,
        uid=BUILDER_UID,
        cwd=TREE,
        unpack=True,
        scratch_bytes=limits.scratch_bytes or memory_available() // MEMORY_SHARE,
        scratch_inodes=limits.scratch_files,
        limits={
            "NPROC": limits.processes,
            "DATA": limits.memory_bytes,
            "FSIZE": limits.file_bytes,
            "CORE": 0,
            "NOFILE": 4096,
        },
        results=[(one.inside, one.outside, one.limit_bytes) for one in wanted],
    )
    kills_before = count_oom_kills()
    with _packed(tree) as stream:
        ended = enter(
            orders,
            timeout_s=limits.timeout_s,
            input_file=stream,
            log=log,
            limit_bytes=limits.output_bytes,
            keep_bytes=process.TAIL_BYTES,
        )
    if ended.failed == "unpack":
        raise _blame_unpacking(ended, tree, limits)
    if ended.status in KILLED and count_oom_kills() > kills_before:
        raise FarmTrouble(
            "the command was killed while the machine ran out of memory",
            details=ended.finished.tail(),
            resolution="It is tried again. When it comes back: more memory, or fewer stages at a time.",
        )
    return _judge(ended, wanted)


def _blame_unpacking(ended: Ended, tree: Path, limits: Limits) -> PackageFault | FarmTrouble:
    """Whose fault it is that tar could not unpack the tree: by the tree's size, not by what memory was free."""
    details = f"{ended.error}\n{ended.finished.tail()}".strip()
    sizes = [_size_of(Path(at) / name) for at, below, files in os.walk(tree) for name in (*below, *files)]
    total = sum(-(-size // PAGE_BYTES) * PAGE_BYTES for size in sizes)
    for found, limit, what in (
        (total, limits.scratch_bytes or TREE_LIMIT_BYTES, "bytes"),
        (max(sizes, default=0), limits.file_bytes, "bytes in one file"),
        (len(sizes), limits.scratch_files, "files"),
    ):
        if found > limit:
            return PackageFault(
                f"the tree does not fit into the sandbox: {found} {what}, the limit is {limit}",
                details=details,
                resolution="Keep large data out of the trunk.",
            )
    return FarmTrouble(
        "the tree could not be unpacked in the sandbox",
        details=details,
        resolution="Is the machine short of memory? It is tried again.",
    )


def _size_of(path: Path) -> int:
    return path.lstat().st_size


def count_oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started (Linux 4.13 and later)."""
    with Path("/proc/vmstat").open(encoding="ascii") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)


def _judge(ended: Ended, wanted: Sequence[Wanted]) -> Ran:
    finished = ended.finished
    if ended.failed or (ended.status is None and not (finished.timed_out or finished.output_limit_hit)):
        raise FarmTrouble(
            f"the sandbox cannot be set up: {ended.error or process.how_it_ended(finished)}",
            where=ended.failed,
            details=finished.tail(),
            resolution="User namespaces must be allowed, and /etc/subuid and /etc/subgid have a range for the "
            "farm's user: `make install` sees to both.",
        )
    for one in wanted:
        if ended.files.get(one.inside) != "ok":
            one.outside.unlink(missing_ok=True)
    return Ran(
        ended.status,
        finished.text,
        finished.duration_s,
        finished.timed_out,
        finished.output_limit_hit,
        ended.files,
    )


@contextlib.contextmanager
def _packed(tree: Path) -> Iterator[BinaryIO]:
    """The tree as a tar stream; symbolic links stay links, owners are left behind.

    Raises FarmTrouble at the end of the ``with`` block when the tree could not be read whole.
    """
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            ["tar", "--create", "--owner=0", "--group=0", "--numeric-owner", "--directory", str(tree), "."],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            env=process.clean_environment(),
        ) as packer,
    ):
        assert packer.stdout is not None
        try:
            yield packer.stdout  # type: ignore[misc]
            packer.stdout.close()  # whoever did not read to the end is told so by SIGPIPE
            with contextlib.suppress(subprocess.TimeoutExpired):
                packer.wait(PACKER_END_S)
        finally:
            packer.stdout.close()
            packer.kill()
        if packer.wait() not in (0, -signal.SIGPIPE):
            said.seek(0)
            raise FarmTrouble(
                "the tree cannot be packed for the sandbox",
                details=said.read(4096).decode("utf-8", "backslashreplace"),
                resolution="It is tried again. Can the farm's user read all of the run's tree?",
            )


def _check_inside(path: str) -> None:
    parts = path.split("/")
    if not path or path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise PackageFault(
            f"{path.removeprefix('tree/')!r} is no path inside the tree",
            resolution="Give a path relative to the tree, without . and .. in it.",
        )


def memory_available() -> int:
    """MemAvailable, in bytes; half of all memory when the kernel does not say."""
    with Path("/proc/meminfo").open(encoding="ascii") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
