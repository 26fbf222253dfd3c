"""Starting programs in namespaces of their own: whose ids they get, and how they are entered.

How, and why so. The command of a sandbox must be nobody on the host, also when the farm runs as root, so a user
namespace is made and the subordinate ids of our user (/etc/subuid) are mapped into it by newuidmap and newgidmap;
ids 0-65535 inside are ids nobody has outside. unshare(1) could do that only from util-linux 2.38 on
(``--map-auto``; Ubuntu 22.04 has 2.37), and sbuild's way is a Perl program inside a shell command, so
buildfarm.build.inside makes the system calls itself. Where AppArmor keeps ordinary programs from user namespaces
(Ubuntu 24.04, ``apparmor_restrict_unprivileged_userns``) ``mmdebstrap --unshare-helper``, which is allowed to,
makes the user namespace and starts the same program in it.

The directories used lie below the working directory that the program starts in: nothing on the way to it need be
readable by the ids inside.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from buildfarm import process
from buildfarm.errors import FarmTrouble
from buildfarm.files import remove_tree
from buildfarm.process import Finished

IDS_WANTED = 65536
REMOVE_TIMEOUT_S = 600
HELD_START_S, HELD_END_S = 60.0, 15.0
REPLY_LIMIT_BYTES = 4096
APPARMOR_RESTRICTION = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
SUBUID, SUBGID = Path("/etc/subuid"), Path("/etc/subgid")


@dataclass(frozen=True)
class Orders:
    """What buildfarm.build.inside is to do.

    Either ``directory`` alone is given: ``argv`` runs as the namespace's root in that directory of the host
    (for making and removing files that belong to subordinate ids). Or ``layers``: directories that make the root
    file system, the topmost first, read-only; with ``upper`` and ``work`` changes go there. ``uid`` 0 is the
    namespace's root, any other an unprivileged user with ``limits`` (names of RLIMIT_*). ``results`` are files
    below /build to read back: (path, host file, size limit in bytes). ``doors`` are addresses inside (a path, or
    HOST:PORT of the namespace's own loopback) where what connects is accepted by the owner. ``processes`` is how
    many there may be at most with all others of our user (0: no limit of its own). ``scratch`` is an empty
    directory of our subordinate ids for what an unprivileged user writes; None is a tmpfs of ``scratch_bytes``.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    directory: Path | None = None
    layers: Sequence[Path] = ()
    upper: Path | None = None
    work: Path | None = None
    network: bool = False
    uid: int = 0
    cwd: str = "/"
    unpack: bool = False
    scratch_bytes: int = 0
    scratch_inodes: int = 0
    scratch: Path | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    results: Sequence[tuple[str, Path, int]] = ()
    doors: Sequence[str] = ()
    processes: int = 0


@dataclass(frozen=True)
class Ended:
    """How it ended: the border program's own end, the command's exit status (negative: signal) when it ran to
    its end, what came of each result (``ok``, ``missing``, ``irregular``, ``too-large``), and where the walls
    failed, if they did."""

    finished: Finished
    status: int | None
    files: Mapping[str, str]
    failed: str = ""
    error: str = ""


def enter(
    orders: Orders,
    *,
    timeout_s: float,
    input_file: BinaryIO | None = None,
    log: BinaryIO | None = None,
    merge_errors: bool = True,
    limit_bytes: int = process.OUTPUT_LIMIT_BYTES,
    keep_bytes: int | None = None,
    control: socket.socket | None = None,
    watch: process.Watch | None = None,
) -> Ended:
    """Carry out ``orders`` and say how it ended; raises FarmTrouble when no namespace can be had.

    The sockets of ``doors`` come over ``control``, one end of a pair (see ``receive_doors``); it is closed here.
    """
    with contextlib.ExitStack() as stack:
        if control is not None:
            stack.enter_context(control)
        border = _make_border(orders, stack, control)
        finished = process.run(
            border.argv,
            timeout_s=timeout_s,
            cwd=border.base,
            input_file=input_file,
            pass_fds=border.pass_fds,
            log=log,
            merge_errors=merge_errors,
            limit_bytes=limit_bytes,
            keep_bytes=keep_bytes,
            watch=watch,
        )
        border.report.seek(0)
        return _read_report(border.report.read(), finished)


@dataclass(frozen=True)
class Held:
    """An environment that is held open: commands run in it one after another or side by side, as its root."""

    doors: Sequence[socket.socket]
    control: socket.socket

    def start(self, argv: Sequence[str], streams: tuple[int, int, int], reply: int) -> None:
        """Start a command with these standard streams.

        Its end is told on the socket ``reply`` as ``{"status": N}`` and a line's end (negative: a signal); when
        the other end of it is closed before, the command and its descendants are killed. Raises OSError when the
        environment is no more.
        """
        with _memory_file("argv", json.dumps(list(argv)).encode()) as told:
            socket.send_fds(self.control, [b"run"], [told.fileno(), *streams, reply])

    def run(
        self, argv: Sequence[str], *, timeout_s: float, log: BinaryIO | None = None, keep_bytes: int = 1 << 20
    ) -> tuple[int | None, str]:
        """Run a command to its end: its exit status (None: stopped, or all ended), and what it printed."""
        mine, theirs = socket.socketpair()
        reader, writer = os.pipe()
        with mine, os.fdopen(reader, "rb", buffering=0) as output:
            with theirs, os.fdopen(writer, "wb", buffering=0), Path(os.devnull).open("rb") as nothing:
                self.start(argv, (nothing.fileno(), writer, writer), theirs.fileno())
            deadline = time.monotonic() + timeout_s
            text = _read_until(output, deadline, log, keep_bytes)
            mine.settimeout(max(0.1, deadline - time.monotonic()))
            return read_status(mine), text.decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def hold(orders: Orders) -> Iterator[Held]:
    """An environment of ``layers``, ``upper`` and ``work`` for the ``with`` block; nothing runs in it at first.

    To be used in one thread that lives as long as it: the kernel ends it with the thread that started it. Raises
    FarmTrouble when it cannot be had.
    """
    with contextlib.ExitStack() as stack:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(mine)
        said = stack.enter_context(tempfile.TemporaryFile())
        with theirs:
            border = _make_border(orders, stack, theirs, held=True)
            child = stack.enter_context(
                subprocess.Popen(
                    border.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    cwd=border.base,
                    env=process.clean_environment(),
                    pass_fds=border.pass_fds,
                    start_new_session=True,
                    umask=0o022,
                )
            )
        stack.callback(_let_go, child, mine)
        doors = receive_doors(mine)
        if doors is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(HELD_END_S)
            border.report.seek(0)
            said.seek(0)
            told = border.report.read() or said.read(4096)
            raise FarmTrouble(
                "the environment cannot be set up",
                details=told.decode("utf-8", "backslashreplace"),
                resolution="User namespaces and overlayfs in them (Linux 5.11) must be allowed, and /etc/subuid "
                "and /etc/subgid have a range for the farm's user: `make install` sees to the last.",
            )
        for door in doors:
            stack.enter_context(door)
        yield Held(doors, mine)


def receive_doors(control: socket.socket) -> list[socket.socket] | None:
    """The listening sockets of an environment, once it stands; None when it never did."""
    control.settimeout(HELD_START_S)
    try:
        message, fds, _, _ = socket.recv_fds(control, 16, 16)
    except OSError:
        return None
    control.settimeout(None)
    return [socket.socket(fileno=fd) for fd in fds] if message else None


def read_status(reply: socket.socket) -> int | None:
    """The exit status told on a command's socket, None for none; whoever is inside may have written it."""
    text = b""
    try:
        while not text.endswith(b"\n") and len(text) < REPLY_LIMIT_BYTES:
            if not (more := reply.recv(REPLY_LIMIT_BYTES)):
                break
            text += more
        status = json.loads(text)["status"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return status if isinstance(status, int) else None


def _read_until(output: BinaryIO, deadline: float, log: BinaryIO | None, keep_bytes: int) -> bytearray:
    kept = bytearray()
    while select.select([output], [], [], max(0.0, deadline - time.monotonic()))[0]:
        if not (chunk := os.read(output.fileno(), 65536)):
            break
        if log is not None:
            log.write(chunk)
            log.flush()
        kept += chunk
        del kept[:-keep_bytes]
    return kept


def _let_go(child: subprocess.Popen[bytes], control: socket.socket) -> None:
    """End an environment: init sees that we are gone, ends all that is in it, and then itself."""
    control.close()
    try:
        child.wait(HELD_END_S)
    except subprocess.TimeoutExpired:
        child.kill()


@dataclass(frozen=True)
class _Border:
    argv: list[str]
    base: Path
    pass_fds: tuple[int, ...]
    report: BinaryIO


def _make_border(
    orders: Orders, stack: contextlib.ExitStack, control: socket.socket | None, *, held: bool = False
) -> _Border:
    """The border program and what it inherits, open as long as ``stack``."""
    helper = needs_helper()
    report = stack.enter_context(_memory_file("report"))
    base = _base_of(orders)
    plain = _with_descriptors(orders, base, stack)
    plain |= {"report": report.fileno(), "enter": not helper, "host_root": not orders.layers}
    plain |= {"control": control.fileno() if control else None, "held": held}
    plain |= {"keep": [report.fileno(), *(fd for _, fd, _ in plain["results"])]}
    plain["keep"] += [control.fileno()] if control else []
    plain |= _id_maps()
    told = stack.enter_context(_memory_file("orders", json.dumps(plain).encode()))
    program = stack.enter_context(_memory_file("inside", _program()))
    python = "/usr/bin/python3" if helper else os.path.realpath(sys.executable)
    return _Border(
        [
            *(["mmdebstrap", "--unshare-helper"] if helper else []),
            *(python, "-I", "-S", f"/dev/fd/{program.fileno()}", str(told.fileno())),
        ],
        # Only the working directory follows into a new mount namespace, and a mount's source has to be in it.
        base,
        (told.fileno(), program.fileno(), *plain["keep"]),
        report,
    )


def run_as_owner(
    argv: Sequence[str], directory: Path, *, timeout_s: float, input_file: BinaryIO | None = None
) -> None:
    """Run a host's tool in ``directory`` as the root of our subordinate ids; raises FarmTrouble if it fails.

    Outside it is one of "others": it makes files in ``directory`` only if those may write there.
    """
    orders = Orders(tuple(argv), process.clean_environment(), directory=directory)
    ended = enter(orders, timeout_s=timeout_s, input_file=input_file)
    if ended.status != 0:
        how = process.how_it_ended(ended.finished) if ended.status is None else f"exited {ended.status}"
        raise FarmTrouble(
            f"{argv[0]} {how} in {directory}",
            details=ended.error or ended.finished.tail(),
        )


def remove_owned_tree(path: Path) -> None:
    """Remove a tree that belongs to subordinate ids, or to us but for some in it; missing is no error."""
    if not path.is_symlink() and not path.exists():
        return
    remove = ["rm", "-rf", "--one-file-system", "--"]
    if os.getuid() == 0:  # and to any others: mmdebstrap as root uses the host's own ids
        process.run([*remove, str(path)], timeout_s=REMOVE_TIMEOUT_S, check=True)
    elif path.lstat().st_uid != os.getuid():
        run_as_owner([*remove, f"./{path.name}"], path.parent, timeout_s=REMOVE_TIMEOUT_S)
    else:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o777)  # for the ids that own what is in it
            for child in path.iterdir():
                remove_owned_tree(child)
        remove_tree(path)


def subordinate_range(path: Path, user: str, uid: int) -> tuple[int, int]:
    """The first id and the number of ids that ``/etc/subuid`` (or subgid) gives a user; raises FarmTrouble."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    for line in lines:
        name, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        if name in (user, str(uid)) and first.isdigit() and count.isdigit() and int(count) >= IDS_WANTED:
            return int(first), IDS_WANTED
    free = free_range("\n".join(lines))
    kind = "uids" if path == SUBUID else "gids"
    raise FarmTrouble(
        f"{user} has no {IDS_WANTED} subordinate ids in {path}",
        resolution=f"`make install` adds them; or: sudo usermod --add-sub{kind} "
        f"{free}-{free + IDS_WANTED - 1} {user}",
    )


def free_range(text: str) -> int:
    """The first id, 100000 or above, that no line of a subuid file reaches."""
    ends = [100000]
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        if first.isdigit() and count.isdigit():
            ends.append(int(first) + int(count))
    return max(ends)


def _id_maps() -> dict[str, Any]:
    uid = os.getuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    maps = {}
    for name, path in (("uid_map", SUBUID), ("gid_map", SUBGID)):
        first, count = subordinate_range(path, user, uid)
        maps[name] = [(0, first, count)]
    return maps


def needs_helper() -> bool:
    """Whether AppArmor keeps an ordinary user's programs from having powers in a user namespace."""
    if os.getuid() == 0:
        return False
    try:
        return APPARMOR_RESTRICTION.read_text().strip() == "1"
    except OSError:
        return False


def _base_of(orders: Orders) -> Path:
    used = [path for path in (*orders.layers, orders.upper, orders.work, orders.scratch) if path is not None]
    return orders.directory or Path(os.path.commonpath(used))


def _with_descriptors(orders: Orders, base: Path, stack: contextlib.ExitStack) -> dict[str, Any]:
    results = []
    for name, path, limit in orders.results:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
        stack.callback(os.close, fd)
        results.append((name, fd, limit))
    return {
        "argv": list(orders.argv),
        "env": dict(orders.env),
        "layers": [str(path.relative_to(base)) for path in orders.layers],
        "upper": str(orders.upper.relative_to(base)) if orders.upper else None,
        "work": str(orders.work.relative_to(base)) if orders.work else None,
        "scratch": str(orders.scratch.relative_to(base)) if orders.scratch else None,
        "results": results,
        "limits": dict(orders.limits),
        "doors": list(orders.doors),
        **{
            name: getattr(orders, name)
            for name in ("network", "uid", "cwd", "unpack", "scratch_bytes", "scratch_inodes", "processes")
        },
    }


def _program() -> bytes:
    return Path(__file__).with_name("inside.py").read_bytes()


@contextlib.contextmanager
def _memory_file(name: str, content: bytes = b"") -> Iterator[BinaryIO]:
    with os.fdopen(os.memfd_create(name), "w+b") as file:
        file.write(content)
        file.seek(0)
        yield file


def _read_report(text: bytes, finished: Finished) -> Ended:
    if not text:
        return Ended(finished, None, {})
    data = json.loads(text)
    return Ended(
        finished, data.get("status"), data.get("files", {}), data.get("failed", ""), data.get("error", "")
    )
