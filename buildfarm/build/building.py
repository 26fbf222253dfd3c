"""Building a source package on layers: without a network, as an unprivileged user, in a place that is thrown away.

The package's own build is `dpkg-buildpackage`, called as sbuild calls it. What sbuild does around it is done
beforehand and once: the environment is layers that stand ready (buildfarm.build.environments), read-only, so that
no build can change the next one's. All that a build writes is below /build: in memory where that is enough, else
in a directory that is watched. The log has sbuild's form, so that people and programs that know one know the
other.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
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
from buildfarm.build.bootstrap import locked, open_directory
from buildfarm.build.limits import BuildLimits, LimitWatch
from buildfarm.build.namespaces import Ended, Orders, enter, remove_owned_tree
from buildfarm.build.roots import BUILDER_UID
from buildfarm.build.sandbox import KILLED, count_oom_kills, memory_available
from buildfarm.build.sbuild import ARTIFACT, FILE_LIMIT_BYTES
from buildfarm.errors import FarmTrouble

PLACE = "/build/tree"
RESULTS, SPACE = "home/results.tar", "home/space"
SPACE_LIMIT_BYTES = 64
LAST_LINES = 15
RESULTS_LIMIT_BYTES = 32 << 30
MEMBERS_LIMIT = 2000
OPEN_FILES = 16384
SCRATCH_FILES = 4_000_000
# A tree is guessed to grow to so many times its source packages' size; more than this share of the memory that is
# available it never gets.
GROWTH, SMALLEST_BYTES, MEMORY_SHARE = 40, 256 << 20, 3
UNPACK_FAILED = 121
BOX_WIDTH = 76


@dataclass(frozen=True)
class LayeredBuild:
    """What to build: the source package of ``files``, the .dsc first, on ``layers`` (the topmost first).

    ``arch_all``: also what is Architecture: all. ``options`` are words of DEB_BUILD_OPTIONS. ``expected_bytes``
    is how much it wrote before (0: unknown). ``scratch`` is where directories for it may be made, on the layers'
    disk; ``key`` tells it from all others that go on at the same time, and is the same when it is tried again.
    ``prepared_s`` is what it took until everything stood ready.
    """

    files: tuple[Path, ...]
    package: str
    version: str
    series: str
    architecture: str
    layers: tuple[Path, ...]
    scratch: Path
    key: str
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
    directory that was given."""

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
    """Build, and put what was made into ``out``; raises FarmTrouble when the build could not even be tried.

    Ends with the log's Summary, and leaves nothing else behind.
    """
    began = time.monotonic()
    in_memory = _memory_for(order)
    ended, watch = _run(order, out, log, in_memory)
    if in_memory and _filled_up(ended):
        _say(log, "\nIt did not fit into memory: once more, on disk.\n")
        ended, watch = _run(order, out, log, 0)
    build_s = time.monotonic() - began
    end = _judge(order, ended, watch, build_s, _space(out / "space"))
    artifacts: tuple[Path, ...] = ()
    results = out / "results.tar"
    if end.status == 0:
        artifacts = unpack_results(results, out)
    results.unlink(missing_ok=True)
    if end.stopped:
        _say(log, f"\nE: the build was stopped: {end.stopped}\n")
    end = replace(end, artifacts=artifacts)
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
    if order.limits.disk_mib:
        wanted = min(wanted, order.limits.disk_mib << 20)
    memory = order.limits.memory_mib << 20 or memory_available()
    return wanted if wanted <= min(memory, memory_available()) // MEMORY_SHARE else 0


def _filled_up(ended: Ended) -> bool:
    """Whether files that did not fit may be why it failed; a build that was stopped is not tried again."""
    stopped = ended.finished.timed_out or ended.finished.output_limit_hit or ended.finished.stopped
    return ended.status != 0 and not stopped and "No space left on device" in ended.finished.text


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
        scratch_inodes=SCRATCH_FILES,
        limits={
            "NPROC": order.limits.processes,
            "FSIZE": FILE_LIMIT_BYTES,
            "CORE": 0,
            "NOFILE": OPEN_FILES,
        },
    )


def _run(order: LayeredBuild, out: Path, log: BinaryIO, in_memory: int) -> tuple[Ended, LimitWatch]:
    kills_before = count_oom_kills()
    with contextlib.ExitStack() as stack:
        scratch = None if in_memory else stack.enter_context(scratch_directory(order))
        watch = LimitWatch(order.limits, scratch, memory_available())
        stream = stack.enter_context(packed_source(order.files))
        out.mkdir(parents=True, exist_ok=True)
        orders = replace(
            builder_orders(order),
            scratch=scratch,
            scratch_bytes=in_memory,
            results=[
                (RESULTS, out / "results.tar", RESULTS_LIMIT_BYTES),
                (SPACE, out / "space", SPACE_LIMIT_BYTES),
            ],
        )
        ended = enter(
            orders,
            timeout_s=order.limits.timeout_s,
            input_file=stream,
            log=log,
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
    return ended, watch


def _space(told: Path) -> int:
    """The disk that a build took by its own account, in bytes; 0 when it gave none."""
    try:
        first = told.read_text(encoding="ascii", errors="replace").split()[:1]
    except FileNotFoundError:
        return 0
    told.unlink()
    return int(first[0]) << 10 if first and first[0].isdecimal() else 0


def _judge(order: LayeredBuild, ended: Ended, watch: LimitWatch, build_s: float, space_bytes: int) -> BuildEnd:
    finished = ended.finished
    stopped = finished.stopped
    if finished.timed_out:
        stopped = f"not done after {order.limits.timeout_s} s (timeout_s)"
    elif finished.output_limit_hit:
        stopped = f"its log grew beyond {order.limits.log_mib} MiB"
    if not stopped and (ended.failed or ended.status is None):
        raise FarmTrouble(
            f"the build cannot be started: {ended.error or process.how_it_ended(finished)}",
            where=ended.failed,
            details=finished.tail(),
            resolution="User namespaces must be allowed, and /etc/subuid and /etc/subgid have a range for the "
            "farm's user: `make install` sees to both.",
        )
    built = not stopped and ended.status == 0 and ended.files.get(RESULTS) == "ok"
    return BuildEnd(
        0 if built else 2,
        # The files have the content that the index vouches for: one that does not unpack never will.
        "" if built else "build",
        stopped,
        build_s,
        space_bytes or watch.peak_disk_bytes,
        watch.peak_memory_bytes,
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
    -o -name '*.buildinfo' \\) -print0 | tar -cf /build/{RESULTS} --null -T -
"""


def unpack_results(archive: Path, out: Path) -> tuple[Path, ...]:
    """The files that a build left, from the tar archive that it packed: plain names, regular files, no more.

    Raises FarmTrouble for an archive that is none; what has another name or kind stays in it.
    """
    found = []
    try:
        with tarfile.open(archive, "r:") as packed:
            for number, member in enumerate(packed):
                name = member.name.removeprefix("./")
                if number >= MEMBERS_LIMIT:
                    break
                if not member.isreg() or not ARTIFACT.fullmatch(name):
                    continue
                stream = packed.extractfile(member)
                assert stream is not None
                with (out / name).open("wb") as target:
                    while chunk := stream.read(1 << 20):
                        target.write(chunk)
                found.append(out / name)
    except tarfile.TarError as error:
        raise FarmTrouble(f"what the build made cannot be read: {error}") from error
    return tuple(sorted(found))


@contextlib.contextmanager
def scratch_directory(order: LayeredBuild) -> Iterator[Path]:
    """A directory on the layers' disk for what a build writes; nobody but our subordinate ids can be in it."""
    order.scratch.mkdir(parents=True, exist_ok=True)
    sweep_scratch(order.scratch)
    key = hashlib.sha256(order.key.encode()).hexdigest()[:32]
    with locked(order.scratch / f"{key}.lock"):
        making = open_directory(order.scratch, key)
        try:
            yield making
        finally:
            remove_owned_tree(making)
            (order.scratch / f"{key}.lock").unlink(missing_ok=True)


def sweep_scratch(scratch: Path) -> None:
    """Remove what builds that were killed left there: nobody holds their locks any more."""
    for lock in scratch.glob("*.lock"):
        with contextlib.suppress(FileNotFoundError, BlockingIOError), lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in scratch.glob(f"{lock.stem}-*"):
                remove_owned_tree(left)
            lock.unlink(missing_ok=True)


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
