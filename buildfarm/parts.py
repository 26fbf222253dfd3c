"""The farm's processes: what each part runs, starting and stopping it, and telling whether it lives.

Every part runs in the foreground of a process of its own (``buildfarm up --foreground PART``), which is what a
systemd unit calls, too. ``buildfarm up`` starts them detached and keeps their process ids, each with its start
time, so that a number that the kernel gave to somebody else is never taken for ours.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import buildfarm
from buildfarm.errors import FarmTrouble, UsageError
from buildfarm.farm import Farm
from buildfarm.files import read_json, write_atomically, write_json
from buildfarm.latent import master_address, read_credentials
from buildfarm.process import run
from buildfarm.settings import HOME_VARIABLE, ROOT_VARIABLE, Settings
from buildfarm.trunk.location import reaching_environment

START_LIMIT_S = 120.0
STOP_LIMIT_S = 20.0
PORT_LIMIT_S = 10.0
MACHINES = "machines"  # the part that keeps machines ready

# `buildbot upgrade-master` knows a master's directory by the application's name, and reads `configfile`.
MASTER_TAC = """\
from twisted.application import service
from twisted.python.log import FileLogObserver, ILogObserver
from twisted.python.logfile import LogFile
from buildbot.master import BuildMaster

application = service.Application('buildmaster')
logfile = LogFile.fromFullPath({log!r}, rotateLength=10_000_000, maxRotatedFiles=5)
application.setComponent(ILogObserver, FileLogObserver(logfile).emit)
configfile = {config!r}
master = BuildMaster({basedir!r}, configfile, 0o022)
master.setServiceParent(application)
"""

WORKER_TAC = """\
from pathlib import Path
from twisted.application import service
from twisted.python.log import FileLogObserver, ILogObserver
from twisted.python.logfile import LogFile
from buildbot_worker.bot import Worker

application = service.Application("buildfarm")
logfile = LogFile.fromFullPath({log!r}, rotateLength=10_000_000, maxRotatedFiles=5)
application.setComponent(ILogObserver, FileLogObserver(logfile).emit)
password = Path({password!r}).read_text().strip()
worker = Worker({host!r}, {port}, {name!r}, password, {basedir!r}, 60, umask=0o022, maxdelay=5)

# Small messages go at once: held back until the master acknowledged the one before, each took 40 ms.
connected = worker.bf.gotPerspective
def at_once(perspective):
    perspective.broker.transport.setTcpNoDelay(True)
    connected(perspective)
worker.bf.gotPerspective = at_once

worker.setServiceParent(application)
"""


LATENT_TAC = """\
import json
import time
from pathlib import Path
from twisted.application import service
from twisted.internet import reactor
from twisted.internet.task import LoopingCall
from buildbot_worker.bot import Worker

application = service.Application("buildfarm")
said = json.loads(Path({credentials!r}).read_text())
worker = Worker(
    {host!r}, {port}, said["name"], said["password"], {basedir!r}, 60, umask=0o022, maxdelay=5, useTls={tls}
)

# A machine whose master is gone for good, or wants it no more, costs money for nothing: its worker ends.
# A master that wants it no more lets it in, and sends it away at once.
LONELY_LIMIT_S = {lonely_limit_s}
SETTLED_S = 60
lonely_since = time.monotonic()
connected_at = None
connected = worker.bf.gotPerspective

def gone():
    global lonely_since, connected_at
    if connected_at is not None and time.monotonic() - connected_at > SETTLED_S:
        lonely_since = time.monotonic()
    connected_at = None

def at_once(perspective):
    global connected_at
    connected_at = time.monotonic()
    perspective.broker.notifyOnDisconnect(gone)
    # Small messages go at once: held back until the master acknowledged the one before, each took 40 ms.
    perspective.broker.transport.setTcpNoDelay(True)
    connected(perspective)

def look():
    now = time.monotonic()
    settled = connected_at is not None and now - connected_at > SETTLED_S
    if not settled and now - lonely_since > LONELY_LIMIT_S:
        print("no master has wanted this worker for", LONELY_LIMIT_S, "s: the end", flush=True)
        reactor.stop()

worker.bf.gotPerspective = at_once
LoopingCall(look).start(5, now=False)
worker.setServiceParent(application)
"""


@dataclass(frozen=True)
class Living:
    """A running part: its process id and when it was started (epoch seconds)."""

    pid: int
    started_at: float


def part_names(farm: Farm) -> tuple[str, ...]:
    """The parts in the order they start."""
    pool = (MACHINES,) if farm.settings.vm.ready else ()
    return ("archive", farm.signer, "master", *pool, *farm.build_workers)


def running_parts(settings: Settings) -> tuple[str, ...]:
    """The parts that run, in the order they start; also those that the settings no longer ask for."""
    first = ("archive", "signer", "master", MACHINES)
    names = [path.stem for path in (settings.home / "run").glob("*.json")]
    order = {name: (first.index(name) if name in first else len(first), len(name), name) for name in names}
    return tuple(name for name in sorted(names, key=order.__getitem__) if living(settings, name) is not None)


# Being one part


def be_part(farm: Farm, name: str) -> NoReturn:
    """Become a part of the farm: this process is replaced.

    Raises UsageError for a name that is none, and FarmTrouble when the part runs already.
    """
    if name not in part_names(farm):
        raise UsageError(f"no part {name!r}", resolution=f"Parts: {', '.join(part_names(farm))}.")
    settings = farm.settings
    _record(settings, name, os.getpid())
    settings.logs.mkdir(parents=True, exist_ok=True)
    if name == "archive":
        argv = [sys.executable, "-m", "buildfarm", "archive", "serve"]
    elif name == MACHINES:
        argv = [sys.executable, "-m", "buildfarm", "vm", "pool"]
    elif name == "master":
        argv = _twistd(_prepare_master(farm))
    else:
        argv = _twistd(_prepare_worker(farm, name))
    os.execve(argv[0], argv, part_environment(settings))  # noqa: S606 (no shell is wanted)


def be_latent_worker(settings: Settings, path: Path) -> NoReturn:
    """Become a latent worker, on the machine that its master started for it: this process is replaced."""
    told = read_credentials(path)
    address = master_address(told.master)
    basedir = settings.home / "workers" / told.name
    (basedir / "info").mkdir(parents=True, exist_ok=True)
    tac = basedir / "buildbot.tac"
    text = LATENT_TAC.format(
        credentials=str(path.resolve()),
        host=address.host,
        port=address.port,
        tls=address.tls,
        basedir=str(basedir),
        lonely_limit_s=told.lonely_limit_s,
    )
    write_atomically(tac, text.encode())
    argv = _twistd(tac)
    os.execve(argv[0], argv, part_environment(settings))  # noqa: S606 (no shell is wanted)


def part_environment(settings: Settings) -> dict[str, str]:
    """The environment of the farm's own processes: what names the farm, and what it takes to reach trunks."""
    named = {HOME_VARIABLE: str(settings.home), ROOT_VARIABLE: str(settings.root), "PYTHONUNBUFFERED": "1"}
    return reaching_environment(**named)


def _twistd(tac: Path) -> list[str]:
    run_twistd = "from twisted.scripts.twistd import run; run()"
    return [sys.executable, "-c", run_twistd, "--nodaemon", "--no_save", "--pidfile=", f"--python={tac}"]


def _prepare_master(farm: Farm) -> Path:
    settings = farm.settings
    basedir = settings.home / "master"
    basedir.mkdir(parents=True, exist_ok=True)
    tac = basedir / "buildbot.tac"
    config = settings.root / "master.cfg"
    if not config.is_file():
        config = Path(buildfarm.__file__).parents[1] / "master.cfg"
    text = MASTER_TAC.format(log=str(settings.logs / "master.log"), basedir=str(basedir), config=str(config))
    write_atomically(tac, text.encode())
    _upgrade_database(settings, basedir)
    return tac


def _upgrade_database(settings: Settings, basedir: Path) -> None:
    from buildbot import version

    mark = basedir / "database-version"
    if mark.is_file() and mark.read_text(encoding="utf-8") == version:
        return
    run_buildbot = "from buildbot.scripts.runner import run; run()"
    argv = [sys.executable, "-c", run_buildbot, "upgrade-master", "--quiet", str(basedir)]
    run(argv, timeout_s=600, cwd=basedir, env=part_environment(settings), merge_errors=True, check=True)
    write_atomically(mark, version.encode())


def _prepare_worker(farm: Farm, name: str) -> Path:
    settings = farm.settings
    if name == farm.signer:
        from buildfarm.keys import algorithm_for, ensure_upload_key

        for archive in {"local:", *farm.uploads_to}:
            ensure_upload_key(settings, algorithm_for(archive))
    farm.worker_password(name)
    basedir = settings.home / "workers" / name
    (basedir / "info").mkdir(parents=True, exist_ok=True)
    tac = basedir / "buildbot.tac"
    text = WORKER_TAC.format(
        log=str(settings.logs / f"{name}.log"),
        password=str(settings.secrets / f"{name}-password"),
        host=settings.workers.local_host,
        port=settings.workers.port,
        name=name,
        basedir=str(basedir),
    )
    write_atomically(tac, text.encode())
    return tac


# Starting, stopping, telling


@contextlib.contextmanager
def one_at_a_time(settings: Settings) -> Iterator[None]:
    """Hold the right to start and stop parts here; waits, and says so, while another command has it."""
    path = settings.home / "run" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another `buildfarm up` or `down` is at work here: waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _record(settings: Settings, name: str, pid: int) -> None:
    """Keep a part's process; raises FarmTrouble when another process is that part already.

    The part does it for itself, too: so one that systemd started is known, and one whose ``up`` was killed.
    """
    one = living(settings, name)
    if one is not None and one.pid == pid:
        return
    if one is not None:
        raise FarmTrouble(f"{name} runs already (process {one.pid})", resolution="`buildfarm down` stops it.")
    kept = {"pid": pid, "ticks": start_ticks(pid), "started_at": time.time()}
    write_json(settings.home / "run" / f"{name}.json", kept)


def await_ports(settings: Settings, name: str) -> None:
    """Wait until the ports of a part are free: one that was killed just now may hold them for a moment still.

    Raises FarmTrouble when somebody else has one.
    """
    deadline = time.monotonic() + PORT_LIMIT_S
    for table, host, port in _ports(settings, name):
        while not _is_free(host, port):
            if time.monotonic() > deadline:
                raise FarmTrouble(
                    f"{name} cannot start: port {port} is in use by another program",
                    resolution=f"`ss -ltnp sport = :{port}` names it. Stop it, or set {table}.port in farm.toml.",
                )
            time.sleep(0.1)


def _ports(settings: Settings, name: str) -> tuple[tuple[str, str, int], ...]:
    if name == "archive":
        return (("archive", settings.archive.host, settings.archive.port),)
    if name == "master":
        workers = settings.workers
        return ("web", settings.web.host, settings.web.port), ("workers", workers.host, workers.port)
    return ()


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE  # any other trouble is for the part to tell
    return True


def resume_if_stopped(settings: Settings, name: str) -> bool:
    """Let a part go on that was stopped by SIGSTOP; False when it was not."""
    one = living(settings, name)
    if one is None or _state(one.pid) != b"T":
        return False
    os.kill(one.pid, signal.SIGCONT)
    return True


def _state(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return b""


def living(settings: Settings, name: str) -> Living | None:
    """The part's process, or None when it does not run."""
    try:
        kept = read_json(settings.home / "run" / f"{name}.json")
        if start_ticks(kept["pid"]) != kept["ticks"]:
            return None
        return Living(kept["pid"], kept["started_at"])
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None


def start_ticks(pid: int) -> int | None:
    """When a process was started, in the kernel's ticks since boot; None when there is none, or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == b"Z" else int(fields[19])


def start_part(farm: Farm, name: str) -> None:
    """Start a part detached from this terminal; raises FarmTrouble when its port is taken."""
    settings = farm.settings
    await_ports(settings, name)
    settings.logs.mkdir(parents=True, exist_ok=True)
    said = settings.logs / f"{name}.out"
    if said.exists() and said.stat().st_size:  # the last words of one that crashed
        said.replace(said.with_name(f"{said.name}.1"))
    with said.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "buildfarm", "up", "--foreground", name],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=settings.home,
            env=part_environment(settings),
            start_new_session=True,
        )
    if start_ticks(child.pid) is not None:
        _record(settings, name, child.pid)


def await_part(farm: Farm, name: str) -> None:
    """Wait until a part answers; raises FarmTrouble with its last lines when it does not."""
    deadline = time.monotonic() + START_LIMIT_S
    while not answers(farm, name):
        alive = living(farm.settings, name) is not None
        if not alive or time.monotonic() > deadline:
            raise FarmTrouble(
                f"{name} {'does not answer' if alive else 'ended at once'}",
                details=last_lines(farm.settings, name),
                resolution=f"Mend what it says, then `buildfarm up` again; `buildfarm logs {name}` shows more.",
            )
        time.sleep(0.1)


def answers(farm: Farm, name: str) -> bool:
    """Whether a part does its work: serves its pages, or is attached to the master."""
    settings = farm.settings
    if name == "archive":
        return _get(settings.archive_local_url + "/") is not None
    if name == "master":
        return _get(f"{settings.web_local_url}/api/v2/application.spec") is not None
    if name == MACHINES:
        from buildfarm.vm.pool import socket_path

        return socket_path(settings.home).is_socket()
    text = _get(f"{settings.web_local_url}/api/v2/workers?name={name}")
    return text is not None and any(worker["connected_to"] for worker in json.loads(text)["workers"])


def _get(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 (our own http address)
            body: bytes = answer.read(1_000_000)
            return body
    except urllib.error.HTTPError as error:
        return error.read() if error.code < 500 else None
    except OSError:
        return None


def signal_part(settings: Settings, name: str, number: signal.Signals) -> Living | None:
    """Signal a part, and say which process it was; None when it did not run."""
    one = living(settings, name)
    if one is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one.pid, number)
            os.kill(one.pid, signal.SIGCONT)  # a stopped process would take no other signal than SIGKILL
    return one


def await_end(settings: Settings, name: str, one: Living, limit_s: float) -> bool:
    """Wait until this process is the part no more; False when it still is, past the limit."""
    deadline = time.monotonic() + limit_s
    while living(settings, name) == one:
        if time.monotonic() > deadline:
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitpid(one.pid, os.WNOHANG)
        time.sleep(0.05)
    return True


def stop_part(settings: Settings, name: str, number: signal.Signals) -> bool:
    """Signal a part and wait for its end, by SIGKILL past the limit; False when it did not run."""
    one = signal_part(settings, name, number)
    if one is None:
        return False
    while not await_end(settings, name, one, STOP_LIMIT_S):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGKILL)
    (settings.home / "run" / f"{name}.json").unlink(missing_ok=True)
    return True


def last_lines(settings: Settings, name: str, lines: int = 15) -> str:
    """The end of what a part printed."""
    found = []
    for suffix in ("out", "log"):
        path = settings.logs / f"{name}.{suffix}"
        if path.is_file():
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - 32 * 1024))
                found += file.read().decode("utf-8", "replace").splitlines()[-lines:]
    return "\n".join(found[-lines:])
