"""The body of a machine as a domain of libvirt's, on ``qemu:///session`` or ``qemu:///system`` of this host.

libvirt starts qemu, so qemu's sockets are reached by names here: this process listens on them in the machine's
directory, qemu connects as it starts, and the names are removed. The domain is transient and destroyed by libvirtd
when the connection that made it closes; that connection is a virsh which the kernel kills when its owner dies. So
no domain outlives its owner, as long as libvirtd lives. What libvirt has no words for is told to qemu itself: the
disk whose writes go to an unlinked file, the network that is one address, a QMP of our own.

A machine asleep cannot be woken here: libvirt does not let go of a machine's memory file as qemu alone does.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from defusedxml.ElementTree import ParseError, fromstring

from buildfarm import process
from buildfarm.errors import FarmTrouble
from buildfarm.process import clean_environment
from buildfarm.vm.body import END_LIMIT_S, TIED, Wires
from buildfarm.vm.qemu import (
    CHANNELS,
    GIVE_UP,
    Accel,
    Disk,
    Hardware,
    cpu_model,
    escape,
    uefi_firmware,
    way_out,
)

PREFIX = "libvirt:"
START_LIMIT_S = 60.0
CONNECT_LIMIT_S = 30.0
ASK_LIMIT_S = 120.0  # the first to ask a daemon waits while it tries every emulator there is
SAID_LIMIT_BYTES = 64 << 10
WIRES = ("qmp", "console", "shell", *CHANNELS)
ARCHITECTURES = {"amd64": "x86_64", "i386": "x86_64"}
EMULATOR = "/usr/bin/qemu-system-x86_64"
QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
# Less than libvirt has: the network's one address is a program for each connection, in a session of its own.
SANDBOX = "on,obsolete=deny,resourcecontrol=deny"
XDG = ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")


@dataclass(frozen=True)
class Domain:
    """All that decides a domain. Its sockets and ``credentials`` lie in ``directory``.

    ``models`` are the host's security models: under ``dac`` qemu runs as ``owner`` (and no file changes hands),
    the others know nothing of files that libvirt is not told of, and are left out. ``serial`` is the machine's
    serial number.
    """

    name: str
    architecture: str
    accel: Accel
    hardware: Hardware
    disk: Disk
    gateway: Path
    directory: Path
    address: str
    scratch: Path
    credentials: Path | None = None
    owner: tuple[int, int] = (0, 0)
    models: tuple[str, ...] = ()
    serial: str = ""


def domain_xml(domain: Domain) -> str:
    """A domain's XML (pure)."""
    root = ET.Element("domain", {"type": "kvm" if domain.accel == "kvm" else "qemu"})
    _text(root, "name", domain.name)
    _text(root, "memory", str(domain.hardware.memory_mib), unit="MiB")
    _text(root, "vcpu", str(domain.hardware.cpus))
    system = ET.SubElement(root, "os")
    _text(system, "type", "hvm", arch=ARCHITECTURES[domain.architecture], machine="pc")
    if domain.disk.kernel is not None:
        _text(system, "kernel", str(domain.disk.kernel))
        if domain.disk.initrd is not None:
            _text(system, "initrd", str(domain.disk.initrd))
        _text(system, "cmdline", domain.disk.append)
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "vmport", {"state": "off"})
    _processor(root, domain)
    _text(root, "on_poweroff", "destroy")
    _text(root, "on_reboot", "destroy")
    _text(root, "on_crash", "destroy")
    _devices(root, domain)
    for model in domain.models:
        if model == "dac":
            label = ET.SubElement(root, "seclabel", {"type": "static", "model": model, "relabel": "no"})
            _text(label, "label", f"+{domain.owner[0]}:+{domain.owner[1]}")
        else:
            ET.SubElement(root, "seclabel", {"type": "none", "model": model})
    _told_to_qemu(root, domain)
    return ET.tostring(root, encoding="unicode")


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text


def _processor(root: ET.Element, domain: Domain) -> None:
    if domain.accel == "kvm":
        ET.SubElement(root, "cpu", {"mode": "host-passthrough"})
        return
    processor = ET.SubElement(root, "cpu", {"mode": "custom", "match": "exact", "check": "none"})
    _text(processor, "model", cpu_model(domain.architecture, domain.accel), fallback="forbid")


def _devices(root: ET.Element, domain: Domain) -> None:
    devices = ET.SubElement(root, "devices")
    _text(devices, "emulator", EMULATOR)
    ET.SubElement(devices, "controller", {"type": "usb", "model": "none"})
    ET.SubElement(devices, "controller", {"type": "virtio-serial", "ports": "8"})
    ET.SubElement(devices, "memballoon", {"model": "none"})
    ET.SubElement(ET.SubElement(devices, "video"), "model", {"type": "vga" if domain.hardware.screen else "none"})
    ET.SubElement(devices, "panic", {"model": "isa"})
    entropy = ET.SubElement(devices, "rng", {"model": "virtio"})
    _text(entropy, "backend", "/dev/urandom", model="random")
    serial = _connected(devices, "serial", domain, "console")
    ET.SubElement(serial, "target", {"type": "isa-serial", "port": "0"})
    # A console of its own kind stands first for the serial one; else libvirt takes the shell's for that.
    ET.SubElement(_connected(devices, "console", domain, "console"), "target", {"type": "serial", "port": "0"})
    ET.SubElement(_connected(devices, "console", domain, "shell"), "target", {"type": "virtio", "port": "1"})
    for name in CHANNELS:
        channel = _connected(devices, "channel", domain, name)
        ET.SubElement(channel, "target", {"type": "virtio", "name": f"org.buildfarm.{name}"})


def _connected(devices: ET.Element, tag: str, domain: Domain, wire: str) -> ET.Element:
    device = ET.SubElement(devices, tag, {"type": "unix"})
    ET.SubElement(device, "source", {"mode": "connect", "path": str(domain.directory / wire)})
    return device


def _told_to_qemu(root: ET.Element, domain: Domain) -> None:
    drive = f"if=none,id=disk,file={escape(str(domain.disk.path))},format={domain.disk.format},snapshot=on"
    forward = way_out(domain.gateway)
    # libvirt numbers its own devices from the first place on, and these come to theirs before.
    words = [
        *("-sandbox", SANDBOX),
        *("-rtc", "base=utc,clock=host"),
        *("-drive", f"{drive},cache=unsafe,discard=unmap,detect-zeroes=unmap"),
        *("-device", "virtio-blk-pci,drive=disk,bootindex=1,addr=0x1d"),
        *("-netdev", f"user,id=net,restrict=on,ipv6=off,{forward}"),
        *("-device", f"virtio-net-pci,netdev=net,romfile=,mac={domain.address},addr=0x1e"),
        *("-chardev", f"socket,id=qmp,path={escape(str(domain.directory / 'qmp'))}"),
        *("-mon", "chardev=qmp,mode=control"),
    ]
    if domain.credentials is not None:
        words += ["-smbios", f"type=11,path={escape(str(domain.credentials))}"]
    if domain.serial:
        words += ["-smbios", f"type=1,serial={escape(domain.serial)}"]
    if (firmware := uefi_firmware(domain.architecture, domain.disk)) is not None:
        words += ["-bios", str(firmware)]
    elif domain.disk.kernel is None:  # so that its BIOS is seen on the serial console
        words += ["-machine", "graphics=off", *GIVE_UP]
    told = ET.SubElement(root, f"{{{QEMU_NAMESPACE}}}commandline")
    for word in words:
        ET.SubElement(told, f"{{{QEMU_NAMESPACE}}}arg", {"value": word})
    ET.SubElement(told, f"{{{QEMU_NAMESPACE}}}env", {"name": "TMPDIR", "value": str(domain.scratch)})
    # libvirt's own -sandbox comes last, and denies what ours allows: it is told that this qemu has none.
    unknown = ET.SubElement(root, f"{{{QEMU_NAMESPACE}}}capabilities")
    ET.SubElement(unknown, f"{{{QEMU_NAMESPACE}}}del", {"capability": "seccomp-sandbox"})


class LibvirtBody:
    """A domain, held by a virsh of ours."""

    def __init__(
        self, holder: subprocess.Popen[bytes], wires: Wires, gateway: Path, record: Path, said: str
    ) -> None:
        self.wires = wires
        self.gateway = gateway
        self._holder = holder
        self._record = record
        self._said = said
        self._ending = threading.Lock()
        self._qemu = _peer(wires.qmp)

    def destroy(self) -> None:
        """Kill qemu, and let libvirt forget the domain."""
        with self._ending:
            if self._qemu is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    signal.pidfd_send_signal(self._qemu, signal.SIGKILL)
                select.select([self._qemu], [], [], END_LIMIT_S)
                os.close(self._qemu)
                self._qemu = None
            _end(self._holder)
            with contextlib.suppress(OSError):  # in system mode it is root's
                self._record.unlink()

    def last_words(self) -> str:
        """What libvirt kept of qemu's own words."""
        with contextlib.suppress(OSError):
            lines = self._record.read_bytes()[-SAID_LIMIT_BYTES:].decode("utf-8", "backslashreplace").splitlines()
            said = [line for line in lines if line.startswith("qemu-system") or "terminating" in line]
            return "\n".join(said[-5:]) or self._said
        return self._said


@contextlib.contextmanager
def libvirt_body(domain: Domain, uri: str, credentials: bytes) -> Iterator[LibvirtBody]:
    """Start a domain; it is gone after the ``with`` block. Raises FarmTrouble when it cannot be started.

    Call it in a thread that lives as long as the machine: the kernel kills virsh when the *thread* that started it
    ends.
    """
    with contextlib.ExitStack() as stack:
        listeners = {}
        for wire in WIRES:
            listener = listeners[wire] = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            listener.bind(str(domain.directory / wire))
            listener.listen(1)
        if domain.credentials is not None:
            _write_private(domain.credentials, credentials)
        _write_private(domain.directory / "domain.xml", domain_xml(domain).encode())
        holder = _hold(uri, domain.directory)
        stack.callback(_end, holder)
        said = _create(holder)
        ours: list[socket.socket] = []
        try:
            for wire in WIRES:
                ours.append(_accept(listeners[wire], said))
                (domain.directory / wire).unlink()
        except BaseException:
            for one in ours:
                one.close()
            raise
        body = LibvirtBody(holder, Wires(*ours), domain.gateway, _record_of(uri, domain.name), said)
        stack.callback(body.destroy)
        yield body


def uri_of(backend: str) -> str:
    """libvirt's address in ``libvirt:URI``, as ``vm.backend`` has it."""
    return backend.removeprefix(PREFIX)


def domain_name(name: str) -> str:
    """A name for libvirt, which nobody else's domain has."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)
    return f"buildfarm-{kept[:60].strip('-')}-{secrets.token_hex(4)}"


def security_models(uri: str, architecture: str, accel: Accel) -> tuple[str, ...]:
    """The host's security models; raises FarmTrouble where libvirt does not answer, or has no such machines."""
    if architecture not in ARCHITECTURES:
        raise FarmTrouble(
            f"no machines of {architecture} by libvirt",
            where="vm.backend",
            resolution='Set backend = "qemu" in farm.toml for them.',
        )
    done = process.run(
        ["virsh", "--connect", uri, "capabilities"], timeout_s=ASK_LIMIT_S, env=_environment(), merge_errors=True
    )
    if not done.ok:
        raise FarmTrouble(
            f"libvirt does not answer on {uri}",
            where="vm.backend",
            details=done.tail(5),
            resolution="Start its daemon (`systemctl start libvirtd`; for a session `libvirtd --daemon`, as the "
            'farm\'s user), or set backend = "qemu" in farm.toml. It is tried again.',
        )
    try:
        capabilities = fromstring(done.output)
    except ParseError as error:
        raise FarmTrouble(f"libvirt's capabilities cannot be read: {error}", where=uri) from error
    wanted = "kvm" if accel == "kvm" else "qemu"
    path = f"guest/arch[@name='{ARCHITECTURES[architecture]}']/domain[@type='{wanted}']"
    if capabilities.find(path) is None:
        raise FarmTrouble(
            f"libvirt on {uri} has no machines of type {wanted} for {architecture}",
            where="vm.backend",
            resolution="Install qemu-system-x86 and libvirt-daemon-driver-qemu there, and restart libvirtd.",
        )
    models = [one.text or "" for one in capabilities.findall("host/secmodel/model")]
    return tuple(model for model in models if model not in ("", "none"))


def _environment() -> Mapping[str, str]:
    kept = {name: os.environ[name] for name in XDG if name in os.environ}
    # A daemon that we started would end with the stage, and take others' machines with it.
    return clean_environment(os.environ.get("HOME", "/nonexistent"), **kept, LIBVIRT_AUTOSTART="0")


def _record_of(uri: str, name: str) -> Path:
    """Where libvirt keeps what a domain's qemu says."""
    if uri.endswith("/session"):
        cache = os.environ.get("XDG_CACHE_HOME") or f"{os.environ.get('HOME', '/nonexistent')}/.cache"
        return Path(cache) / "libvirt" / "qemu" / "log" / f"{name}.log"
    return Path("/var/log/libvirt/qemu") / f"{name}.log"


def _write_private(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _hold(uri: str, directory: Path) -> subprocess.Popen[bytes]:
    if shutil.which("virsh") is None:
        raise FarmTrouble(
            "this host has no virsh",
            where="vm.backend",
            resolution='Install libvirt-clients, or set backend = "qemu" in farm.toml.',
        )
    return subprocess.Popen(
        [*TIED, str(os.getpid()), "virsh", "--quiet", "--connect", uri],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=directory,
        env=dict(_environment()),
        start_new_session=True,
        umask=0o077,
    )


def _create(holder: subprocess.Popen[bytes]) -> str:
    """Have virsh make the domain; returns what it said. Raises FarmTrouble."""
    assert holder.stdin is not None
    assert holder.stdout is not None
    mark = secrets.token_hex(8)
    said = bytearray()
    deadline = time.monotonic() + START_LIMIT_S
    with contextlib.suppress(BrokenPipeError):  # it says why
        holder.stdin.write(f"create domain.xml --autodestroy\necho {mark}\n".encode())
        holder.stdin.flush()
    whole = False
    while not whole and len(said) < SAID_LIMIT_BYTES and (left := deadline - time.monotonic()) > 0:
        if select.select([holder.stdout], [], [], min(left, 1.0))[0]:
            piece = os.read(holder.stdout.fileno(), 4096)
            if not piece:
                break
            said += piece
            whole = mark.encode() in said
    text = said.decode("utf-8", "backslashreplace").replace(mark, "")
    text = re.sub(r"^virsh #.*$", "", text, flags=re.MULTILINE).strip()
    if not whole or "error:" in text:
        raise FarmTrouble(
            "libvirt does not start a machine" if whole else "libvirt does not say whether it starts a machine",
            where="vm.backend",
            details=text[-4000:],
            resolution="It is tried again.",
        )
    return text


def _accept(listener: socket.socket, said: str) -> socket.socket:
    listener.settimeout(CONNECT_LIMIT_S)
    try:
        wire, _ = listener.accept()
    except TimeoutError as error:
        raise FarmTrouble("qemu was started by libvirt, and did not connect", details=said) from error
    wire.setblocking(True)
    return wire


def _peer(wire: socket.socket) -> int | None:
    """A handle of the process at a socket's other end: a number may be another's by the time it is wanted."""
    pid, _uid, _gid = struct.unpack("3i", wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        return os.pidfd_open(pid) if pid > 0 else None
    except OSError:
        return None


def _end(holder: subprocess.Popen[bytes]) -> None:
    """Close libvirt's connection, on which the domain hangs."""
    for stream in (holder.stdin, holder.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        holder.wait(END_LIMIT_S)
    if holder.poll() is None:
        holder.kill()
        holder.wait()
