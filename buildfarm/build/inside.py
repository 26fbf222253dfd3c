"""The program at the border of a namespace: it makes the walls, drops every power, and starts the command.

It is started by buildfarm.build.namespaces as ``python3 -I -S SOURCE FD`` and imports nothing of the farm, so
that neither the checkout nor the Python environment need be readable from inside. FD holds its orders as JSON
(see ``Orders`` there); its last word is a JSON report on another descriptor.

    outside        unshare, then newuidmap and newgidmap by a child that stayed outside; ends with its parent
    init           process 1 of the new pid namespace, root of the new user namespace: mounts, hands out
                   resources, starts the command, waits, kills what is left, reads results back
    the command    in a sandbox an unprivileged user: no capabilities, no_new_privs, limits, two open pipes

Two things go through the ``control`` descriptor, a socket whose other end the owner has. Doors: sockets that
listen inside (a path, or a port of the namespace's own loopback) are made here and handed out, so that the owner
accepts what connects to them and nothing inside stands between. And the commands of an environment that is held
open: one message each, with the descriptors of its standard streams and one that its end is told on. The end of
the socket is the end of the environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import stat
import struct
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
KEYCTL_JOIN_SESSION_KEYRING = 1
KEYCTL_NUMBERS = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "i686": 288, "ppc64le": 271, "s390x": 280}
# What the root of a held environment keeps, as in a container: chown, dac_override, fowner, fsetid, kill, setgid,
# setuid, setpcap, net_bind_service, sys_chroot, mknod, audit_write, setfcap. Without the others it reaches less of
# the kernel, and not init's memory.
CONTAINER_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 27, 29, 31})
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
STAGING = "/tmp"  # noqa: S108 (covered by a private tmpfs before anything is written)
NEW_ROOT = STAGING + "/root"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Orders = dict[str, Any]

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> int:
    """The result of a libc call; raises OSError that names what was tried."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    checked(
        libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()),
        "mount " + target,
    )


def enter_user_namespace(orders: Orders, flags: int) -> None:
    """Make the namespaces; a child that stays outside maps the ids, since only newuidmap may."""
    me, (reader, writer) = os.getpid(), os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(writer)
        os.read(reader, 1)
        for tool, ranges in (("newuidmap", orders["uid_map"]), ("newgidmap", orders["gid_map"])):
            words = [str(number) for one in ranges for number in one]
            if os.spawnvpe(os.P_WAIT, tool, [tool, str(me), *words], os.environ) != 0:
                os._exit(1)
        os._exit(0)
    os.close(reader)
    checked(libc.unshare(CLONE_NEWUSER | flags), "unshare")
    os.close(writer)
    if os.waitpid(helper, 0)[1] != 0:
        raise OSError(1, "newuidmap or newgidmap refused", "/etc/subuid, /etc/subgid")
    os.setgid(0)
    os.setuid(0)
    os.setgroups([])


def loopback_up() -> None:
    """A new network namespace has only a loopback device, and that is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def mount_root(orders: Orders) -> None:
    """The layers as one tree at NEW_ROOT: read-only in a sandbox, on top of ``upper`` when a layer is made."""
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    mount("tmpfs", STAGING, "tmpfs", MS_NOSUID, "mode=0755")
    os.mkdir(NEW_ROOT)
    lower = ":".join(orders["layers"])
    if orders["upper"] is not None:
        data = f"lowerdir={lower},upperdir={orders['upper']},workdir={orders['work']},userxattr"
        mount("overlay", NEW_ROOT, "overlay", 0, data)
    elif len(orders["layers"]) > 1:
        mount("overlay", NEW_ROOT, "overlay", MS_RDONLY | MS_NOSUID, f"lowerdir={lower},userxattr")
    else:
        mount(lower, NEW_ROOT, "none", MS_BIND)
        mount("none", NEW_ROOT, "none", MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID)


def mount_devices() -> None:
    """A /dev with the harmless nodes of the host's, and terminals and shared memory of its own."""
    dev = NEW_ROOT + "/dev"
    mount("tmpfs", dev, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k")
    for name in DEVICES:
        os.close(os.open(dev + "/" + name, os.O_CREAT | os.O_WRONLY, 0o666))
        mount("/dev/" + name, dev + "/" + name, "none", MS_BIND)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("ptmx", "pts/ptmx")):
        os.symlink(target, dev + "/" + name)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.symlink(f"/proc/self/fd/{number}", dev + "/" + name)
    os.mkdir(dev + "/pts")
    mount("devpts", dev + "/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    os.mkdir(dev + "/shm")


def mount_scratch(orders: Orders) -> None:
    """All that the command may write is one place: a tmpfs, with a size limit, or a directory that is watched."""
    root = NEW_ROOT
    if orders["scratch"]:
        place = orders["scratch"] + "/build"
        os.mkdir(place, 0o755)  # root's here, as the tmpfs is: the directory itself is open to all
        mount(place, root + "/build", "none", MS_BIND)
        mount("none", root + "/build", "none", MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV)
    else:
        data = f"mode=0755,size={orders['scratch_bytes']},nr_inodes={orders['scratch_inodes']}"
        mount("tmpfs", root + "/build", "tmpfs", MS_NOSUID | MS_NODEV, data)
    uid = orders["uid"]
    for name, mode, place in (
        ("tree", 0o755, None),
        ("home", 0o755, None),
        ("tmp", 0o1777, "/tmp"),  # noqa: S108 (inside the new root)
        ("vartmp", 0o1777, "/var/tmp"),  # noqa: S108
        ("shm", 0o1777, "/dev/shm"),  # noqa: S108
    ):
        path = root + "/build/" + name
        os.mkdir(path)
        os.chmod(path, mode)
        if place is None:
            os.chown(path, uid, uid)
        else:
            mount(path, root + place, "none", MS_BIND)
    mount("tmpfs", root + "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m")


def mount_resolver() -> None:
    """apt in a layer that is being made asks the host's name servers, and knows the host's names."""
    for name in ("resolv.conf", "hosts"):
        try:
            with open("/etc/" + name, "rb") as file:
                content = file.read()
        except FileNotFoundError:
            continue
        with open(STAGING + "/" + name, "wb") as file:
            file.write(content)
        target = NEW_ROOT + "/etc/" + name
        if os.path.isfile(target) and not os.path.islink(target):
            mount(STAGING + "/" + name, target, "none", MS_BIND)


def enter_root() -> None:
    """Make NEW_ROOT the root and let go of the host's tree."""
    os.chdir(NEW_ROOT)
    checked(libc.pivot_root(b".", b"."), "pivot_root")
    checked(libc.umount2(b".", MNT_DETACH), "umount of the host's root")
    os.chdir("/")


def limit(limits: dict[str, int]) -> None:
    """Take on limits (names of RLIMIT_*), none of them above those we are in."""
    for name, value in limits.items():
        number = getattr(resource, "RLIMIT_" + name)
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))


def drop_capabilities() -> None:
    """Whatever is started from here on is at most a container's root."""
    for number in range(64):
        if number not in CONTAINER_CAPABILITIES:
            libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)  # refused for the numbers this kernel does not have


def drop_powers(orders: Orders) -> None:
    """From here on an ordinary user who can never be more, in limits."""
    limit(orders["limits"])
    os.setgroups([])
    os.setresgid(orders["uid"], orders["uid"], orders["uid"])
    os.setresuid(orders["uid"], orders["uid"], orders["uid"])
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def start(
    orders: Orders,
    argv: list[str],
    directory: str,
    stdin: int | None = None,
    outputs: tuple[int, int] | None = None,
) -> int:
    """Fork and become ``argv``; nothing but the three standard descriptors goes along. Returns the process id."""
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        os.chdir(directory)
        source = os.open("/dev/null", os.O_RDONLY) if stdin is None else stdin
        os.dup2(source, 0)
        for number, output in enumerate(outputs or (), 1):
            os.dup2(output, number)
        os.closerange(3, 65536)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if orders["uid"]:
            drop_powers(orders)
        elif orders["held"]:
            limit(orders["limits"])
            drop_capabilities()
        os.umask(0o022)
        execute(argv, orders["env"])
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def execute(argv: list[str], env: dict[str, str]) -> None:
    """Become ``argv``, found on ``env``'s PATH (os.execvpe would import modules that are no longer in reach)."""
    if "/" in argv[0]:
        os.execve(argv[0], argv, env)
    for directory in env.get("PATH", "/usr/bin:/bin").split(":"):
        try:
            os.execve(f"{directory}/{argv[0]}", argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
    raise FileNotFoundError(2, "no such program", argv[0])


def wait_for(child: int) -> int:
    """Reap everything until ``child`` ends; its exit status, negative for a signal."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def open_beneath(path: str) -> int:
    """Open a regular file below the current directory without following one symbolic link on the way."""
    *directories, name = path.split("/")
    here = os.open(".", os.O_PATH | os.O_DIRECTORY)
    for part in directories:
        below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
        os.close(here)
        here = below
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
    os.close(here)
    return fd


def fetch(path: str, target: int, limit: int) -> str:
    """Copy one result out to the descriptor ``target``; returns what came of it, in one word."""
    try:
        fd = open_beneath(path)
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "irregular"
    with open(fd, "rb") as file, open(target, "wb", closefd=False) as copy:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return "irregular"
        if status.st_size > limit:
            return "too-large"
        while chunk := file.read(1 << 16):
            copy.write(chunk)
    return "ok"


def kill_the_rest() -> None:
    """As process 1: kill every other process of the namespace and reap it."""
    try:
        os.kill(-1, signal.SIGKILL)
        while True:
            os.wait()
    except (ChildProcessError, ProcessLookupError):
        return


def mount_held() -> None:
    """Memory file systems that services expect to find, each with a limit."""
    for place, mode, size in (("/run", "0755", "64m"), ("/dev/shm", "1777", "256m")):  # noqa: S108
        mount("tmpfs", NEW_ROOT + place, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode},size={size}")


def open_door(address: str) -> socket.socket:
    """A socket that listens inside, at a path or at HOST:PORT, for everybody who is there."""
    if address.startswith("/"):
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        door.bind(address)
        os.chmod(address, 0o666)  # noqa: S103 (for everybody inside; nobody outside sees it)
    else:
        host, _, port = address.rpartition(":")
        door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        door.bind((host, int(port)))
    door.listen(64)
    return door


def hand_out_doors(orders: Orders, control: socket.socket) -> None:
    """Tell the owner that all stands, and give it the doors; none of them stays open here."""
    doors = [open_door(address) for address in orders["doors"]]
    socket.send_fds(control, [b"ready"], [door.fileno() for door in doors])
    for door in doors:
        door.close()


def take_command(orders: Orders, control: socket.socket) -> tuple[int, int] | None:
    """Start the next command: its process id, and the descriptor its end is told on; None after the last."""
    message, fds, _, _ = socket.recv_fds(control, 16, 8)
    if not message:
        return None
    told, stdin, stdout, stderr, reply = fds
    with open(told, encoding="utf-8") as file:
        file.seek(0)
        argv = json.load(file)
    child = start(orders, argv, "/", stdin, (stdout, stderr))
    for fd in (stdin, stdout, stderr):
        os.close(fd)
    return child, reply


def children_of(parent: int) -> set[int]:
    """The processes below ``parent``."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    stat_line = file.read()
            except OSError:
                continue
            parents[int(name)] = int(stat_line[stat_line.rindex(b")") + 2 :].split()[1])
    found = {parent}
    while more := {pid for pid, above in parents.items() if above in found} - found:
        found |= more
    return found - {parent}


def kill_command(child: int) -> None:
    """Whoever asked for a command has gone away: end it and all below it."""
    for pid in (*children_of(child), child):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def reap(running: dict[int, int]) -> None:
    """Take in who has ended, and tell of those that were commands."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if (reply := running.pop(pid, None)) is not None:
            with contextlib.suppress(OSError):  # nobody may wait for it any more
                os.write(reply, json.dumps({"status": os.waitstatus_to_exitcode(status)}).encode() + b"\n")
            os.close(reply)


def hold(orders: Orders, control: socket.socket) -> None:
    """Start commands as they are asked for, until the owner lets go."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    running: dict[int, int] = {}
    while True:
        poller = select.poll()
        for fd in (control.fileno(), reader, *running.values()):
            poller.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poller.poll()}
        if reader in ready:
            os.read(reader, 4096)
        reap(running)
        for child, reply in list(running.items()):
            if reply in ready:  # its other end is closed: nothing is ever written there
                kill_command(child)
                os.close(running.pop(child))
        if control.fileno() in ready:
            begun = take_command(orders, control)
            if begun is None:
                return
            running[begun[0]] = begun[1]


def be_init(orders: Orders) -> dict[str, Any]:
    """Process 1: the walls, the command, the results. Returns the report."""
    orders["stage"] = "namespace"
    if orders["network"] is False:
        loopback_up()
    if orders["host_root"]:
        child = start(orders, orders["argv"], ".", stdin=os.dup(0))
        return {"status": wait_for(child)}
    orders["stage"] = "mount"
    mount_root(orders)
    mount("proc", NEW_ROOT + "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount_devices()
    if orders["uid"]:
        mount_scratch(orders)
    elif (
        orders["upper"] is None and not orders["held"]
    ):  # who only looks may want a place for a moment all the same
        mount("tmpfs", NEW_ROOT + "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=256m")  # noqa: S108
    if orders["held"]:
        mount_held()
    if orders["network"]:
        mount_resolver()
    checked(libc.sethostname(b"buildfarm", 9), "sethostname")
    enter_root()
    orders["stage"] = "run"
    if orders["uid"] or orders["held"]:
        # Neither a nested namespace's attack surface nor the session keyring of whoever started the farm.
        with open("/proc/sys/user/max_user_namespaces", "w") as file:
            file.write("0")
        if number := KEYCTL_NUMBERS.get(os.uname().machine):
            libc.syscall(number, KEYCTL_JOIN_SESSION_KEYRING, None)
    if orders["unpack"]:
        unpacked = wait_for(start(orders, ["tar", "-x", "-C", "/build/tree"], "/", stdin=os.dup(0)))
        if unpacked != 0:
            return {"failed": "run" if unpacked == 127 else "unpack", "error": f"tar ended with {unpacked}"}
    if orders["control"] is not None:
        control = socket.socket(fileno=orders["control"])
        hand_out_doors(orders, control)
        if orders["held"]:
            hold(orders, control)
            kill_the_rest()
            return {"status": 0}
    status = wait_for(start(orders, orders["argv"], orders["cwd"]))
    kill_the_rest()
    if orders["results"]:
        os.chdir("/build")
    return {"status": status, "files": {path: fetch(path, fd, limit) for path, fd, limit in orders["results"]}}


def main() -> int:
    """Outside: namespaces, then process 1 as a child, then its end."""
    with open(int(sys.argv[1]), encoding="utf-8") as file:
        orders = json.load(file)
    report_fd = orders["report"]
    for fd in orders["keep"]:
        os.set_inheritable(fd, False)
    flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | (0 if orders["network"] else CLONE_NEWNET)
    if orders["uid"] or orders["held"]:
        with open("/proc/self/oom_score_adj", "w") as file:  # when memory runs out, this goes first
            file.write("1000")
    if orders["processes"]:  # the kernel keeps it as the limit of the whole user namespace made next (Linux 5.14)
        limit({"NPROC": orders["processes"]})
    try:
        if orders["enter"]:
            enter_user_namespace(orders, flags)
        else:
            checked(libc.unshare(flags), "unshare")
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        reader, writer = os.pipe()
        child = os.fork()
    except OSError as error:
        os.write(report_fd, json.dumps({"failed": "namespace", "error": str(error)}).encode())
        return 125
    if child:
        return 0 if os.waitpid(child, 0)[1] == 0 else 125
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.close(writer)
    if select.select([reader], [], [], 0)[0]:  # our parent was gone before we asked to be told
        os._exit(125)
    try:
        report = be_init(orders)
    except OSError as error:
        report = {"failed": orders["stage"], "error": str(error)}
    os.write(report_fd, json.dumps(report).encode())
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
