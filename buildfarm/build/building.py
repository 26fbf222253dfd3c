"""Building a source package on layers: without a network, as an unprivileged user, in a place that is thrown away.

The package's own build is `dpkg-buildpackage`, called as sbuild calls it. What sbuild does around it is done
beforehand and once: the environment is layers that stand ready (buildfarm.build.environments), read-only, so that
no build can change the next one's. All that a build writes is below /build: in memory where that is enough, else
in a directory that is watched. The log has sbuild's form, so that people and programs that know one know the
other.
"""

from __future__ import annotations

import contextlib
import shlex
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO

from buildfarm import process
from buildfarm.build.bootstrap import private_directory
from buildfarm.build.limits import (
    FILES_LIMIT,
    RESERVE_BYTES,
    BuildLimits,
    LimitWatch,
    free_bytes,
    require_room,
)
from buildfarm.build.logs import ONCE_MORE
from buildfarm.build.namespaces import Ended, Orders, enter
from buildfarm.build.results import RESULTS, RESULTS_LIMIT_BYTES, require_results, unpack_results
from buildfarm.build.roots import BUILDER_UID
from buildfarm.build.sandbox import KILLED, count_oom_kills, memory_available
from buildfarm.build.sbuild import FILE_LIMIT_BYTES
from buildfarm.errors import FarmTrouble

PLACE = "/build/tree"
SPACE = "home/space"
SPACE_LIMIT_BYTES = 64
LAST_LINES = 15
OPEN_FILES = 16384
# A tree is guessed to grow to so many times its source packages' size; more than this share of the memory that is
# available it never gets. A guess may be far too low (PHP builds itself five times), a second build is dear, and
# room that is not used costs nothing: so it gets some times as much.
GROWTH, SMALLEST_BYTES, MEMORY_SHARE, ROOM_TO_GROW = 100, 256 << 20, 3, 6
RUNS = 2  # at most: in memory, and on disk where that was too small; each has the limits in full
UNPACK_FAILED = 121
NO_ROOM = b"No space left on device"
BOX_WIDTH = 76


@dataclass(frozen=True)
class LayeredBuild:
    """What to build: the source package of ``files``, the .dsc first, on ``layers`` (the topmost first).

    ``arch_all``: also what is Architecture: all. ``options`` are words of DEB_BUILD_OPTIONS. ``expected_bytes``
    is how much it wrote before (0: unknown). ``scratch`` is where directories for it may be made, on the layers'
    disk. ``prepared_s`` is what it took until everything stood ready.
    """

    files: tuple[Path, ...]
    package: str
    version: str
    series: str
    architecture: str
    layers: tuple[Path, ...]
    scratch: Path
    arch_all: bool = True
    options: tuple[str, ...] = ()
    limits: BuildLimits = BuildLimits()
    expected_bytes: int = 0
    prepared_s: float = 0.0

    @property
    def dsc(self) -> str:
        """The name of its .dsc."""
        return self.files[0].name


@dataclass(frozen=True)
class BuildEnd:
    """How it ended. ``status`` is what sbuild would have exited with: 0 built, 2 attempted, 3 given back, 1 else.
    ``stopped`` is why the farm ended it ("": it did not), ``last`` what it said last. ``artifacts`` lie in the
    directory that was given. Of a build that was done twice it is the second's end."""

    status: int
    stage: str
    stopped: str
    build_s: float
    disk_bytes: int
    memory_bytes: int
    artifacts: tuple[Path, ...]
    last: tuple[str, ...] = ()


def box(title: str) -> str:
    """A title as sbuild frames it."""
    edge = "+" + "-" * (BOX_WIDTH + 2) + "+"
    return f"\n{edge}\n| {title:<{BOX_WIDTH}} |\n{edge}\n\n"


def build_on_layers(order: LayeredBuild, out: Path, log: BinaryIO) -> BuildEnd:
    """Build, and put what was made into ``out``; raises FarmTrouble when the build could not even be tried, and
    PackageFault when what it made cannot be taken out.

    Ends with the log's Summary, and leaves nothing else behind.
    """
    began = time.monotonic()
    results = out / "results.tar"
    try:
        ran = _run(order, out, log, _memory_for(order))
        if ran.in_memory and ran.filled_up:
            _say(log, f"\n{ONCE_MORE}\n")
            began = time.monotonic()
            ran = _run(order, out, log, 0)
        build_s = time.monotonic() - began
        end = _judge(order, ran, build_s, _space(out / "space", ran.room_bytes))
        if end.status == 0:
            end = replace(end, artifacts=unpack_results(results, out))
    finally:
        for left in (results, out / "space"):
            left.unlink(missing_ok=True)
    if end.stopped:
        _say(log, f"\nE: the build was stopped: {end.stopped}\n")
    write_summary(log, order, end)
    return end


def write_summary(log: BinaryIO, order: LayeredBuild, end: BuildEnd) -> None:
    """The end of a log, in sbuild's words."""
    values = {
        "Build Architecture": order.architecture,
        "Build Type": "binary" if order.arch_all else "any",
        "Build-Space": str(end.disk_bytes >> 10) if end.disk_bytes else "n/a",
        "Build-Time": f"{end.build_s:.0f}",
        "Distribution": order.series,
        "Fail-Stage": end.stage,
        "Host Architecture": order.architecture,
        "Install-Time": f"{order.prepared_s:.0f}",
        "Job": order.dsc,
        "Machine Architecture": order.architecture,
        "Package": order.package,
        "Package-Time": f"{end.build_s + order.prepared_s:.0f}",
        "Source-Version": order.version,
        "Status": {0: "successful", 2: "attempted", 3: "given-back"}.get(end.status, "failed"),
        "Version": order.version,
    }
    _say(log, box("Summary") + "".join(f"{key}: {value}\n" for key, value in values.items() if value))


def write_heading(log: BinaryIO, title: str) -> None:
    """The beginning of a log."""
    edge = "+" + "=" * (BOX_WIDTH + 2) + "+"
    date = formatdate()
    _say(log, f"{edge}\n| {title:<{BOX_WIDTH - len(date)}}{date} |\n{edge}\n\n")


def _say(log: BinaryIO, text: str) -> None:
    log.write(text.encode("utf-8", "backslashreplace"))
    log.flush()


def _memory_for(order: LayeredBuild) -> int:
    """How many bytes of memory the build's files may take; 0: they go to disk."""
    source_bytes = sum(path.stat().st_size for path in order.files)
    wanted = max(2 * order.expected_bytes or GROWTH * source_bytes, SMALLEST_BYTES)
    room = wanted if order.expected_bytes else ROOM_TO_GROW * wanted
    most = min(order.limits.memory_mib << 20 or memory_available(), memory_available()) // MEMORY_SHARE
    disk = order.limits.disk_mib << 20
    if (min(wanted, disk) if disk else wanted) > most:
        return 0
    return min(room, most, disk or most)


class _Listener:
    """A log that is written on, and whether it ever said that there was no room."""

    def __init__(self, log: BinaryIO) -> None:
        self._log = log
        self._end = b""
        self.no_room = False

    def write(self, data: bytes) -> int:
        self.no_room = self.no_room or NO_ROOM in self._end + data
        self._end = (self._end + data)[-len(NO_ROOM) :]
        return self._log.write(data)

    def flush(self) -> None:
        self._log.flush()


@dataclass(frozen=True)
class _Ran:
    """How a build ran. ``in_memory`` is how much of it its files were given, 0: they were on disk;
    ``results_bytes`` is how large the archive of what it made could be."""

    ended: Ended
    watch: LimitWatch
    in_memory: int
    results_bytes: int
    no_room: bool

    @property
    def room_bytes(self) -> int:
        """How much it could write at most."""
        return self.in_memory or self.watch.disk_bytes

    @property
    def filled_up(self) -> bool:
        """Whether files that did not fit may be why it failed; a build that was stopped is not tried again."""
        finished = self.ended.finished
        stopped = finished.timed_out or finished.output_limit_hit or finished.stopped
        return self.ended.status != 0 and not stopped and self.no_room


def builder_orders(order: LayeredBuild) -> Orders:
    """The walls that a build runs in, and what runs there: the files of its source come in as a tar stream."""
    return Orders(
        ("sh", "-c", build_script(order)),
        process.clean_environment(
            USER="builder",
            LOGNAME="builder",
            DEB_BUILD_OPTIONS=" ".join(order.options),
            SHELL="/bin/sh",
        ),
        layers=order.layers,
        uid=BUILDER_UID,
        cwd=PLACE,
        unpack=True,
        scratch_inodes=FILES_LIMIT,
        limits={
            "NPROC": order.limits.processes,
            "FSIZE": FILE_LIMIT_BYTES,
            "CORE": 0,
            "NOFILE": OPEN_FILES,
        },
    )


def _run(order: LayeredBuild, out: Path, log: BinaryIO, in_memory: int) -> _Ran:
    kills_before = count_oom_kills()
    listener = _Listener(log)
    with contextlib.ExitStack() as stack:
        scratch = None if in_memory else stack.enter_context(private_directory(order.scratch))
        if scratch is not None:
            require_room(scratch, order.expected_bytes or SMALLEST_BYTES)
        watch = LimitWatch(order.limits, scratch, memory_available(), in_memory)
        stream = stack.enter_context(packed_source(order.files))
        out.mkdir(parents=True, exist_ok=True)
        results_bytes = min(
            RESULTS_LIMIT_BYTES, in_memory or watch.disk_bytes, max(0, free_bytes(out) - RESERVE_BYTES)
        )
        orders = replace(
            builder_orders(order),
            scratch=scratch,
            scratch_bytes=in_memory,
            results=[
                (RESULTS, out / "results.tar", results_bytes),
                (SPACE, out / "space", SPACE_LIMIT_BYTES),
            ],
        )
        ended = enter(
            orders,
            timeout_s=order.limits.timeout_s,
            input_file=stream,
            log=listener,  # type: ignore[arg-type]
            limit_bytes=order.limits.log_mib << 20,
            keep_bytes=process.TAIL_BYTES,
            watch=watch,
        )
    if ended.status in KILLED and count_oom_kills() > kills_before:
        raise FarmTrouble(
            "the build was killed while the machine ran out of memory",
            details=ended.finished.tail(),
            resolution="It is tried again. When it comes back: more memory, or fewer builds at a time.",
        )
    return _Ran(ended, watch, in_memory, results_bytes, listener.no_room)


def _space(told: Path, room_bytes: int) -> int:
    """The disk that a build took by its own account, in bytes; 0 when it gave none, or more than it could have."""
    try:
        first = told.read_text(encoding="ascii", errors="replace").split()[:1]
    except FileNotFoundError:
        return 0
    claimed = int(first[0]) << 10 if first and first[0].isdecimal() else 0
    return claimed if claimed <= room_bytes else 0


def _judge(order: LayeredBuild, ran: _Ran, build_s: float, space_bytes: int) -> BuildEnd:
    ended, finished = ran.ended, ran.ended.finished
    stopped = finished.stopped
    if finished.timed_out:
        stopped = f"not done after {order.limits.timeout_s} s (timeout_s)"
    elif finished.output_limit_hit:
        stopped = f"its log grew beyond {order.limits.log_mib} MiB"
    if not stopped and (ended.failed or ended.status is None):
        raise FarmTrouble(
            f"the build cannot be carried out: {ended.error or process.how_it_ended(finished)}",
            where=ended.failed,
            details=finished.tail(),
            resolution="User namespaces must be allowed, and /etc/subuid and /etc/subgid have a range for the "
            "farm's user: `make install` sees to both."
            if ended.failed in ("namespace", "mount")
            else "It is tried again.",
        )
    built = not stopped and ended.status == 0
    if built:
        require_results(ended.files.get(RESULTS, "missing"), ran.results_bytes, ran.room_bytes, finished.tail())
    return BuildEnd(
        0 if built else 2,
        # The files have the content that the index vouches for: one that does not unpack never will.
        "" if built else "build",
        stopped,
        build_s,
        space_bytes or ran.watch.peak_disk_bytes,
        ran.watch.peak_memory_bytes,
        (),
        tuple(finished.text.rstrip().splitlines()[-LAST_LINES:]),
    )


def tree_name(order: LayeredBuild) -> str:
    """The directory below ``PLACE`` that the source is unpacked to."""
    upstream = order.version.partition(":")[2] or order.version
    return f"{order.package}-{upstream.rpartition('-')[0] or upstream}"


def build_script(order: LayeredBuild) -> str:
    """What runs inside, as the builder."""
    tree = tree_name(order)
    kind = "-b" if order.arch_all else "-B"
    return f"""\
printf %s {shlex.quote(box("Unpack source"))}
dpkg-source --no-check -x {shlex.quote(order.dsc)} {shlex.quote(tree)} || exit {UNPACK_FAILED}
cd {shlex.quote(tree)} || exit {UNPACK_FAILED}
printf %s {shlex.quote(box("Build"))}
dpkg-buildpackage --sanitize-env -us -uc {kind} -rfakeroot < /dev/null
status=$?
du -sk /build > /build/{SPACE} 2> /dev/null
[ $status = 0 ] || exit $status
cd .. && find . -maxdepth 1 -type f \\( -name '*.deb' -o -name '*.udeb' -o -name '*.ddeb' -o -name '*.changes' \\
    -o -name '*.buildinfo' \\) -print0 | tar -cf /build/{RESULTS} --format=gnu --hard-dereference --null -T -
"""


@contextlib.contextmanager
def packed_source(files: Sequence[Path]) -> Iterator[BinaryIO]:
    """A source package's files as a tar stream."""
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as packed:
            for path in files:
                info = tarfile.TarInfo(path.name)
                info.size, info.mode = path.stat().st_size, 0o644
                with path.open("rb") as content:
                    packed.addfile(info, content)
        file.seek(0)
        yield file
