"""Tiny real packages, signed by a real key, and an archive to send them to."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from ppa_tools import openpgp
from ppa_tools.address import Address
from ppa_tools.archives.local import LocalArchive

PPA = Address("local", "demo", "trunk")
SERIES = "bookworm"
TOKEN = "a-token-for-tests"


def architecture() -> str:
    return subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()


@dataclass(frozen=True)
class Signer:
    home: Path
    fingerprint: str

    @property
    def public(self) -> bytes:
        return openpgp.export_public(self.home, self.fingerprint)

    def sign(self, text: str) -> bytes:
        return openpgp.clearsign(self.home, [self.fingerprint], text.encode())


def make_signer(home: Path, uid: str) -> Signer:
    return Signer(home, openpgp.create_key(home, uid).fingerprint)


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    one = make_signer(tmp_path_factory.mktemp("signer"), "Uploader <uploader@example.com>")
    yield one
    openpgp.stop_agent(one.home)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    one = make_signer(tmp_path_factory.mktemp("stranger"), "Stranger <stranger@example.com>")
    yield one
    openpgp.stop_agent(one.home)


def tarball(name: str, files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(f"{name}/{path}")
            info.size = len(content)
            info.mode = 0o755 if path == "debian/rules" else 0o644
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), mtime=0)


def file_lists(directory: Path, names: list[str], *, changes: bool) -> str:
    rows: dict[str, list[str]] = {"Checksums-Sha1": [], "Checksums-Sha256": [], "Files": []}
    for name in names:
        data = (directory / name).read_bytes()
        more = "misc optional " if changes else ""
        rows["Checksums-Sha1"].append(f" {hashlib.sha1(data).hexdigest()} {len(data)} {name}")
        rows["Checksums-Sha256"].append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}")
        rows["Files"].append(f" {hashlib.md5(data).hexdigest()} {len(data)} {more}{name}")
    return "".join(f"{field}:\n" + "\n".join(lines) + "\n" for field, lines in rows.items())


def changes_text(
    directory: Path,
    names: list[str],
    *,
    source: str,
    version: str,
    series: str = SERIES,
    architectures: str = "source",
) -> str:
    return (
        "Format: 1.8\nDate: Thu, 01 Jan 2026 00:00:00 +0000\n"
        f"Source: {source}\nBinary: {source}\nArchitecture: {architectures}\nVersion: {version}\n"
        f"Distribution: {series}\nUrgency: medium\nMaintainer: Uploader <uploader@example.com>\n"
        "Changed-By: Uploader <uploader@example.com>\nDescription:\n"
        f" {source} - a package\nChanges:\n {source} ({version}) {series}; urgency=medium\n .\n   * A change.\n"
        + file_lists(directory, names, changes=True)
    )


def make_source(
    directory: Path,
    signer: Signer,
    *,
    source: str = "hello",
    version: str = "1.0-1",
    series: str = SERIES,
    architectures: str = "any",
    content: bytes = b"hello\n",
    with_orig: bool = True,
) -> Path:
    """A signed 3.0 (quilt) source upload in ``directory``; the path of its .changes."""
    directory.mkdir(parents=True, exist_ok=True)
    upstream, _, _ = version.rpartition("-")
    noepoch = version.partition(":")[2] or version
    orig = f"{source}_{upstream.partition(':')[2] or upstream}.orig.tar.gz"
    debian = f"{source}_{noepoch}.debian.tar.gz"
    (directory / orig).write_bytes(tarball(f"{source}-{upstream}", {"hello.txt": b"hello\n"}))
    (directory / debian).write_bytes(
        tarball(
            "debian",
            {
                "changelog": (
                    f"{source} ({version}) unstable; urgency=medium\n\n  * A change.\n\n"
                    " -- Uploader <uploader@example.com>  Thu, 01 Jan 2026 00:00:00 +0000\n"
                ).encode(),
                "source/format": b"3.0 (quilt)\n",
                "control": f"Source: {source}\n\nPackage: {source}\nArchitecture: {architectures}\n".encode(),
                "content": content,
            },
        )
    )
    dsc = f"{source}_{noepoch}.dsc"
    text = (
        f"Format: 3.0 (quilt)\nSource: {source}\nBinary: {source}\nArchitecture: {architectures}\n"
        f"Version: {version}\nMaintainer: Uploader <uploader@example.com>\nStandards-Version: 4.6.2\n"
        + file_lists(directory, [orig, debian], changes=False)
    )
    (directory / dsc).write_bytes(signer.sign(text))
    if not with_orig:
        (directory / orig).unlink()
    names = [dsc, debian] + ([orig] if with_orig else [])
    changes = directory / f"{source}_{noepoch}_source.changes"
    changes.write_bytes(signer.sign(changes_text(directory, names, source=source, version=version, series=series)))
    return changes


def make_deb(
    directory: Path,
    *,
    package: str = "hello",
    version: str = "1.0-1",
    arch: str = "",
    source: str = "",
    content: str = "hello",
) -> Path:
    """A real .deb made by dpkg-deb."""
    arch = arch or architecture()
    root = directory / f".tree-{package}"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr/share" / package).mkdir(parents=True)
    (root / "usr/share" / package / "content").write_text(content)
    (root / "DEBIAN/control").write_text(
        f"Package: {package}\nVersion: {version}\nArchitecture: {arch}\n"
        + (f"Source: {source}\n" if source else "")
        + "Maintainer: Uploader <uploader@example.com>\nSection: misc\nPriority: optional\n"
        "Description: a package\n It says hello.\n .\n Twice.\n"
    )
    deb = directory / f"{package}_{version.partition(':')[2] or version}_{arch}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(deb)],
        check=True,
        capture_output=True,
    )
    shutil.rmtree(root)
    return deb


def make_binaries(
    directory: Path,
    *,
    source: str = "hello",
    version: str = "1.0-1",
    arch: str = "",
    series: str = SERIES,
    packages: dict[str, str] | None = None,
    content: str = "hello",
) -> Path:
    """A binary upload; ``packages`` maps package names to architectures. The path of its .changes."""
    directory.mkdir(parents=True, exist_ok=True)
    arch = arch or architecture()
    packages = packages or {source: arch}
    names = []
    for package, its in packages.items():
        deb = make_deb(
            directory,
            package=package,
            version=version,
            arch=its,
            source="" if package == source else source,
            content=content,
        )
        names.append(deb.name)
    noepoch = version.partition(":")[2] or version
    changes = directory / f"{source}_{noepoch}_{arch}.changes"
    words = " ".join(sorted(set(packages.values())))
    changes.write_text(
        changes_text(directory, names, source=source, version=version, series=series, architectures=words)
    )
    return changes


@pytest.fixture
def archive(tmp_path: Path, signer: Signer) -> Iterator[LocalArchive]:
    one = LocalArchive(tmp_path / "archive", url="http://archive.example")
    one.ensure_ppa(
        PPA,
        description="A PPA for tests",
        series=[SERIES],
        architectures=[architecture()],
        uploaders=[signer.public],
    )
    yield one
    one.stop_agents()
    one.close()


def index_text(archive: LocalArchive, path: str) -> str:
    """An index below dists/SERIES/main/, as a reader of the gz form has it."""
    compressed = archive.public_directory(PPA) / f"dists/{SERIES}/main/{path}.gz"
    return gzip.decompress(compressed.read_bytes()).decode()


class Apt:
    """Stock apt with a root of its own, with nothing of the host but dpkg's architecture."""

    def __init__(self, root: Path, sources: str) -> None:
        self.root = root
        for directory in (
            "etc/apt/sources.list.d",
            "etc/apt/preferences.d",
            "etc/apt/apt.conf.d",
            "etc/apt/trusted.gpg.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/lib/dpkg",
        ):
            (root / directory).mkdir(parents=True, exist_ok=True)
        (root / "var/lib/dpkg/status").touch()
        (root / "etc/apt/sources.list.d/ppa.sources").write_text(sources)

        (root / "apt.conf").write_text(
            f'Dir "{root}";\nDir::State::status "{root}/var/lib/dpkg/status";\n'
            f'APT::Sandbox::User "{"root" if os.getuid() == 0 else ""}";\n'
            'Debug::NoLocking "true";\nAPT::Update::Error-Mode "any";\n'
        )

    def run(self, *words: str) -> str:
        done = subprocess.run(
            ["apt-get", "-q", "-y", *words],
            capture_output=True,
            text=True,
            cwd=self.root,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "APT_CONFIG": f"{self.root}/apt.conf"},
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@dataclass
class Server:
    """A real archive server in a process of its own."""

    home: Path
    port: int
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, stderr: IO[str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "buildfarm", "archive", "serve"],
            env={**os.environ, "BUILDFARM_HOME": str(self.home)},
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert self.url in line, line

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.communicate()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        self.process.communicate(timeout=60)
        return self.process.returncode


_given: set[int] = set()


def free_port() -> int:
    """A port that is free now, and that nobody here was given before: a server has several at once."""
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


@pytest.fixture
def server(tmp_path: Path, signer: Signer) -> Iterator[Server]:
    one = Server(tmp_path / "home", free_port())
    one.home.mkdir()
    (one.home / "farm.toml").write_text(f"[archive]\nport = {one.port}\n")
    (one.home / "secrets").mkdir(mode=0o700)
    (one.home / "secrets/archive-worker-token").write_text(TOKEN)
    archive = LocalArchive(one.home / "archive", url=one.url)
    archive.ensure_ppa(
        PPA,
        description="A PPA for tests",
        series=[SERIES],
        architectures=[architecture()],
        uploaders=[signer.public],
    )
    one.start()
    yield one
    if one.process is not None and one.process.poll() is None:
        one.stop()
    archive.stop_agents()
    archive.close()
