"""Running stock autopkgtest: itself in a sandbox, its tests in testbeds, what it leaves taken home with care.

autopkgtest trusts the source that it tests: it copies trees out of the testbed, follows links in them, and puts
fields of debian/control into programs that it runs. So it runs where builds' unit tests do, as nobody, without a
network, in a root that has it installed; all it can reach is the door to its testbed. What comes home is one file,
packed inside and read here member by member.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO

from buildfarm import process
from buildfarm.build.environments import use_layers
from buildfarm.build.namespaces import Ended, Orders, enter
from buildfarm.build.roots import BUILDER_UID, Root
from buildfarm.build.sandbox import HOME, TREE, memory_available
from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.verify.autopkgtest import (
    Declared,
    RunEnd,
    Stopped,
    Where,
    read_declared,
    read_message,
    read_summary,
)
from buildfarm.verify.testbeds import Run, Testbed, serve_testbed

RUNNER_PACKAGES = ("autopkgtest",)
GENERATOR_PACKAGES = ("autodep8",)
INSIDE = Path(__file__).with_name("autopkgtest_inside.py")
DOOR = "/build/door"
BEFORE = "/srv/before"
OUT, PACKED, UNPACKED = f"{HOME}/out", f"{HOME}/out.tar", f"{HOME}/src"
OUTPUT_LIMIT_BYTES = 64 << 20
PACKED_LIMIT_BYTES = 160 << 20
FILES_LIMIT, FILE_LIMIT_BYTES = 2000, 32 << 20
CONTROL_LIMIT_BYTES = 256 << 10
SUMMARY_LIMIT_BYTES, LOG_LIMIT_BYTES = 256 << 10, 16 << 20
FRAME_END_S = 90.0
LOOK_TIMEOUT_S = 600.0
SCRATCH_LIMIT_BYTES = 4 << 30
UPDATE_TIMEOUT_S = 600.0
# Ubuntu's, in seconds; the test's own comes from the recipe.
TIME_LIMITS = {"short": 300, "install": 3000, "copy": 900, "build": 20000}
NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
DISK_FULL = re.compile(r"^(?:tar|cat): .*No space left on device", re.MULTILINE)
VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+~:-]*")


@dataclass(frozen=True)
class Tested:
    """What is tested: the source package's files, and the binaries it was published with, by name and version.

    ``sources`` is the archive's .sources file, as users get it. ``before`` are URLs of the ``packages`` when the
    archive does not list them any more: an earlier version.
    """

    name: str
    version: str
    dsc: Path
    files: tuple[Path, ...]
    sources: str
    packages: Mapping[str, str]
    before: tuple[str, ...] = ()


@dataclass(frozen=True)
class Order:
    """One run of autopkgtest: how long each test and all together may take, where its files and its log go.

    It is over the tests ``only`` (() is all) but those ``without``. ``unpacked``: the source is unpacked beside
    autopkgtest, for testbeds that lack dpkg-source; nothing can be built. ``dependent`` is another source, whose
    tests the testbed's apt fetches.
    """

    test_timeout_s: int
    timeout_s: float
    out: Path
    log: BinaryIO
    where: Where = "overlay"
    only: Sequence[str] = ()
    without: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    unpacked: bool = False
    dependent: str = ""


class NotThere(Exception):
    """The archive has no longer what is to be tested."""


@contextlib.contextmanager
def runner_layers(root: Root, cache: Path, declared: Declared, log: BinaryIO) -> Iterator[tuple[Path, ...]]:
    """A root with autopkgtest in it, and what makes tests up where the source wants that; raises FarmTrouble."""
    packages = RUNNER_PACKAGES + (GENERATOR_PACKAGES if declared.generated else ())
    with contextlib.ExitStack() as stack:
        try:
            use = stack.enter_context(use_layers(root, packages, cache, log))
        except PackageFault as fault:
            raise FarmTrouble(
                f"{' and '.join(packages)} cannot be installed in {root.series}",
                details=f"{fault.brief}\n{fault.details}",
                resolution="Do the series' sources in farm.toml leave out a component (Ubuntu's universe)?",
            ) from fault
        yield use.directories


def look_into(tested: Tested, layers: Sequence[Path], log: BinaryIO) -> Declared:
    """What a source declares; it is unpacked in a sandbox. Raises PackageFault when dpkg-source cannot."""
    script = (
        'dpkg-source --no-check -x "$1" src >&2 && cp -L src/debian/control control && '
        "if test -e src/debian/tests/control; then cp -L src/debian/tests/control tests-control; fi"
    )
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        wanted = [(f"tree/{name}", place / name, CONTROL_LIMIT_BYTES) for name in ("control", "tests-control")]
        ended = _in_sandbox(
            ("sh", "-c", script, "sh", tested.dsc.name),
            layers,
            stack.enter_context(_bundle(tested)),
            timeout_s=LOOK_TIMEOUT_S,
            results=wanted,
            log=log,
        )
        if ended.status != 0 or ended.files.get("tree/control") != "ok":
            raise PackageFault(
                "the source package cannot be unpacked, or has no debian/control",
                details=ended.finished.tail(),
                resolution="`dpkg-source -x` on it says why.",
            )
        if ended.files.get("tree/tests-control") == "too-large":
            raise PackageFault(
                f"debian/tests/control is larger than {CONTROL_LIMIT_BYTES >> 10} KiB",
                where="debian/tests/control",
            )
        control, tests = (path.read_text("utf-8", "replace") if path.is_file() else None for _, path, _ in wanted)
        there = ended.files.get("tree/tests-control") == "ok"
        return read_declared(tests if there else None, control or "")


def prepare(run: Run, tested: Tested, proxy: str) -> None:
    """Make a testbed ready: the archive added as users add it, its lists fetched, exactly this version preferred.

    Raises NotThere when the archive offers another version, and FarmTrouble when it cannot be asked.
    """
    pins = [
        f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n"
        for name, version in sorted(tested.packages.items())
        if NAME.fullmatch(name) and VERSION.fullmatch(version)
    ]
    sources = re.sub("^Types: deb$", "Types: deb deb-src", tested.sources, flags=re.MULTILINE)
    files = {
        "/etc/apt/sources.list.d/archive.sources": sources,
        "/etc/apt/preferences.d/tested": "\n".join(pins),
        "/etc/apt/apt.conf.d/zz-no-translations": 'Acquire::Languages "none";\n',
    }
    if proxy:
        settings = (f'Acquire::{scheme}::Proxy "{proxy}";\n' for scheme in ("http", "https"))
        files["/etc/apt/apt.conf.d/zz-way-out"] = "".join(settings)
    for path, text in files.items():
        _must(run, ["sh", "-c", 'printf %s "$1" >"$2"', "sh", text, path])
    _must(run, ["sh", "-c", "id tester >/dev/null 2>&1 || useradd --create-home --shell /bin/bash tester"])
    if tested.before:
        _fetch_before(run, tested.before)
    update = ["apt-get", "-q", "-o", "Acquire::Retries=2", "update", "--error-on=any"]
    _must(run, update, UPDATE_TIMEOUT_S, "apt-get update failed in the testbed")
    offered = {name: _candidate(_must(run, ["apt-cache", "policy", name])) for name in tested.packages}
    for name, version in offered.items():
        # What apt does not know at all is no package for users (a udeb), as long as it knows another one.
        if version != tested.packages[name] and (version or not any(offered.values())):
            raise NotThere(f"apt offers {version or 'nothing'} of {name}, not {tested.packages[name]}")


def _candidate(policy: str) -> str:
    """The version that apt would install, by ``apt-cache policy``; "" for a name it does not know."""
    found = re.search(r"^\s+Candidate: (\S+)$", policy, re.MULTILINE)
    return found[1] if found and found[1] != "(none)" else ""


def _fetch_before(run: Run, urls: Sequence[str]) -> None:
    """Give a testbed packages that its archive lists no longer, in a repository of its own."""
    _must(run, ["mkdir", "-p", BEFORE])
    for url in urls:
        target = f"{BEFORE}/{url.rpartition('/')[2]}"
        _must(run, ["/usr/lib/apt/apt-helper", "download-file", url, target], UPDATE_TIMEOUT_S)
    _must(run, ["sh", "-c", 'cd "$1" && dpkg-scanpackages --multiversion . >Packages', "sh", BEFORE])
    text = f"Types: deb\nURIs: file:{BEFORE}\nSuites: ./\nTrusted: yes\n"
    _must(run, ["sh", "-c", 'printf %s "$1" >"$2"', "sh", text, "/etc/apt/sources.list.d/before.sources"])


def run_autopkgtest(tested: Tested, testbed: Testbed, layers: Sequence[Path], order: Order) -> RunEnd:
    """One run of autopkgtest, itself in a sandbox of ``layers``; raises FarmTrouble when that cannot be had."""
    framed = ("python3", "-I", f"{TREE}/{INSIDE.name}", "frame", f"{order.timeout_s:.0f}", str(OUTPUT_LIMIT_BYTES))

    def say(line: str) -> None:
        order.log.write(f"{order.where}: {line}\n".encode("utf-8", "backslashreplace"))
        order.log.flush()

    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=order.out.parent)))
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(mine)
        stack.enter_context(serve_testbed(testbed, mine, say))
        ended = _in_sandbox(
            (*framed, OUT, PACKED, *_words(tested, testbed.capabilities, order)),
            layers,
            stack.enter_context(_bundle(tested)),
            timeout_s=order.timeout_s + FRAME_END_S,
            results=[("home/out.tar", place / "out.tar", PACKED_LIMIT_BYTES)],
            log=order.log,
            control=theirs,
        )
        _require_end(ended)
        if ended.finished.timed_out:
            return RunEnd(order.where, None, stopped="time")
        return _read_end(take_home(place / "out.tar", order.out), testbed, order)


def take_home(packed: Path, out: Path) -> tuple[Mapping[str, object], int]:
    """Unpack what came out of the sandbox below ``out``: regular files only, by names that are made harmless.

    Returns what the frame told of the end, and how many members were left out.
    """
    out.mkdir(parents=True, exist_ok=True)
    end: Mapping[str, object] = {}
    left_out = count = 0
    room = PACKED_LIMIT_BYTES
    with _opened(packed) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.type == tarfile.REGTYPE else None
            if content is None or member.size > min(FILE_LIMIT_BYTES, room) or count >= FILES_LIMIT:
                left_out += 1
                if left_out > FILES_LIMIT:
                    break
                continue
            if member.name == "end.json":
                end = _read_told(content.read(4096))
                continue
            count += 1
            room -= member.size
            left_out += not _place(out, member.name, content)
    return end, left_out


@contextlib.contextmanager
def _opened(packed: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(packed, "r:") as tar:
            yield tar
    except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
        raise FarmTrouble(
            f"what autopkgtest left cannot be read: {error}", resolution="It is tried again."
        ) from error


def _read_told(text: bytes) -> Mapping[str, object]:
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _place(out: Path, name: str, content: IO[bytes]) -> bool:
    parts = [re.sub(r"[^A-Za-z0-9._+~@,=-]", "_", part)[:120] for part in name.split("/")][1:]
    if not parts or len(parts) > 8 or any(part in ("", ".", "..") for part in parts):
        return False
    path = out.joinpath(*parts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            shutil.copyfileobj(content, file)
    except (FileExistsError, NotADirectoryError):
        return False
    return True


def _require_end(ended: Ended) -> None:
    """Raise FarmTrouble unless the frame came to its end, or had to be stopped together with all that is in it."""
    packed = ended.status == 0 and ended.files.get("home/out.tar") == "ok"
    if not packed and not ended.finished.timed_out:
        raise FarmTrouble(
            f"autopkgtest's sandbox failed: {ended.error or process.how_it_ended(ended.finished)}",
            details=ended.finished.tail(),
            resolution="It is tried again.",
        )


def _read_end(home: tuple[Mapping[str, object], int], testbed: Testbed, order: Order) -> RunEnd:
    end, left_out = home
    summary, log = _text(order.out / "summary", SUMMARY_LIMIT_BYTES), _text(order.out / "log", LOG_LIMIT_BYTES)
    status, told = end.get("status"), end.get("stopped")
    message = read_message(summary) or read_message(log[-8192:])
    stopped: Stopped = "time" if told == "time" else "output" if told == "output" else ""
    if testbed.broken == "disk" or DISK_FULL.search(log):
        stopped = "disk"
    elif testbed.broken:
        stopped, message = "machine", testbed.broken
    return RunEnd(
        order.where,
        status if isinstance(status, int) else None,
        read_summary(summary, log, order.where, only=order.only, without=order.without),
        message,
        stopped,
        left_out=left_out,
    )


def _text(path: Path, limit: int) -> str:
    try:
        with path.open("rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _words(tested: Tested, capabilities: Sequence[str], order: Order) -> tuple[str, ...]:
    """The words that start autopkgtest, and what has to happen before."""
    limits = {**TIME_LIMITS, "test": order.test_timeout_s}
    dsc = f"{TREE}/{tested.dsc.name}"
    # By that file autopkgtest knows a tree that needs no building, and takes it to the testbed as it is.
    script = 'dpkg-source --no-check -x "$1" "$2" && touch "$2/debian/files" && shift 2 && exec "$@"'
    return (
        *(("sh", "-c", script, "sh", dsc, UNPACKED) if order.unpacked else ()),
        "autopkgtest",
        f"--output-dir={OUT}",
        "--no-built-binaries",
        *(f"--timeout-{name}={seconds}" for name, seconds in limits.items()),
        *(f"--test-name={name}" for name in order.only),
        *(f"--skip-test={name}" for name in order.without),
        *(f"--env={name}={value}" for name, value in order.environment.items()),
        *(("--needs-internet=skip", order.dependent) if order.dependent else ()),
        *(() if order.dependent else (f"{UNPACKED}/" if order.unpacked else dsc,)),
        "--",
        f"{TREE}/{INSIDE.name}",
        "server",
        DOOR,
        *capabilities,
    )


def _in_sandbox(
    argv: Sequence[str],
    layers: Sequence[Path],
    bundle: BinaryIO,
    *,
    timeout_s: float,
    results: Sequence[tuple[str, Path, int]],
    log: BinaryIO,
    control: socket.socket | None = None,
) -> Ended:
    orders = Orders(
        tuple(argv),
        process.clean_environment(HOME, USER="builder", LOGNAME="builder"),
        layers=layers,
        uid=BUILDER_UID,
        cwd=TREE,
        unpack=True,
        scratch_bytes=min(SCRATCH_LIMIT_BYTES, memory_available() // 2),
        scratch_inodes=1_000_000,
        limits={"NPROC": 2048, "DATA": 4 << 30, "FSIZE": 4 << 30, "CORE": 0, "NOFILE": 4096},
        results=results,
        doors=(DOOR,) if control is not None else (),
    )
    ended = enter(
        orders,
        timeout_s=timeout_s,
        input_file=bundle,
        log=log,
        limit_bytes=2 * OUTPUT_LIMIT_BYTES,
        keep_bytes=process.TAIL_BYTES,
        control=control,
    )
    if ended.failed:
        raise FarmTrouble(
            f"the sandbox cannot be set up: {ended.error or ended.failed}",
            details=ended.finished.tail(),
            resolution="Is the machine short of memory? It is tried again.",
        )
    return ended


@contextlib.contextmanager
def _bundle(tested: Tested) -> Iterator[BinaryIO]:
    """The source package and our program, as a tar stream of plain files."""
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for path in (*tested.files, INSIDE):
                entry = tarfile.TarInfo(path.name)
                entry.size, entry.mode = path.stat().st_size, 0o755 if path == INSIDE else 0o644
                entry.mtime = int(time.time())
                with path.open("rb") as content:
                    tar.addfile(entry, content)
        file.seek(0)
        yield file


def _must(run: Run, argv: Sequence[str], timeout_s: float = 120.0, brief: str = "") -> str:
    status, said = run(argv, timeout_s)
    if status != 0:
        raise FarmTrouble(
            brief or f"{argv[0]} failed in the testbed ({status})",
            details="\n".join(said.splitlines()[-15:]),
            resolution="Are the mirror and the archive in reach? It is tried again.",
        )
    return said
