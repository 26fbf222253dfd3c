"""Real repositories to look at, and servers that answer as badly as servers do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from buildfarm.job import Branch

BRZ = Path(sys.executable).with_name("brz")
WHO = "Ann Author <ann@example.org>"


@dataclass
class Repository:
    """What git and Bazaar have in common here: a directory, and commands that must succeed in it."""

    path: Path
    home: Path
    clock: int = 1_700_000_000

    def call(self, *words: str | Path | bytes, input_bytes: bytes = b"", **env: str) -> str:
        done = subprocess.run(
            words,
            cwd=self.path,
            input=input_bytes,
            capture_output=True,
            check=False,
            env={**self.environment(), **env},
            timeout=60,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.decode("utf-8", "surrogateescape").strip()

    def environment(self) -> dict[str, str]:
        self.clock += 60
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "BRZ_HOME": str(self.home),
            "BRZ_EMAIL": WHO,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Ann Author",
            "GIT_AUTHOR_EMAIL": "ann@example.org",
            "GIT_COMMITTER_NAME": "Ann Author",
            "GIT_COMMITTER_EMAIL": "ann@example.org",
            "GIT_AUTHOR_DATE": f"{self.clock} +0000",
            "GIT_COMMITTER_DATE": f"{self.clock} +0000",
            "LANG": "C.UTF-8",
        }

    def write(self, files: Mapping[str | bytes, str | bytes]) -> None:
        for name, content in files.items():
            path = self.path / os.fsdecode(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())


@dataclass
class GitRepository(Repository):
    name: str = "main"

    @property
    def branch(self) -> Branch:
        return Branch("git", str(self.path), self.name)

    def git(self, *words: str | Path, input_bytes: bytes = b"") -> str:
        return self.call("git", *words, input_bytes=input_bytes)

    def commit(self, message: str, files: Mapping[str | bytes, str | bytes] | None = None) -> str:
        self.write(files or {"file": message})
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def set_tree(self, *entries: tuple[str, bytes, bytes]) -> str:
        """Commit a tree of (mode, name, content) as it stands, however wrong the names are."""
        raw = b""
        for mode, name, content in entries:
            stored = self.git("hash-object", "-w", "--stdin", input_bytes=content)
            blob = "1" * 40 if mode == "160000" else stored
            raw += mode.encode() + b" " + name + b"\0" + bytes.fromhex(blob)
        tree = self.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", input_bytes=raw)
        return self.commit_tree(tree)

    def commit_tree(self, tree: str) -> str:
        commit = self.git("commit-tree", "-m", "a tree", tree)
        self.git("update-ref", f"refs/heads/{self.name}", commit)
        return commit


@dataclass
class BzrRepository(Repository):
    @property
    def branch(self) -> Branch:
        return Branch("bzr", str(self.path))

    def bzr(self, *words: str | Path | bytes) -> str:
        return self.call(BRZ, *words)

    def commit(self, message: str, files: Mapping[str | bytes, str | bytes] | None = None) -> str:
        self.write(files or {"file": message})
        self.bzr("add", "-q")
        self.bzr("commit", "-q", "--unchanged", "-m", message)
        return self.tip()

    def tip(self) -> str:
        return (self.path / ".bzr" / "branch" / "last-revision").read_text().split()[1]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def git_repository(tmp_path: Path) -> GitRepository:
    repository = GitRepository(tmp_path / "trunk", tmp_path / "home")
    repository.home.mkdir()
    repository.path.mkdir()
    repository.git("init", "-q", "-b", "main")
    return repository


@pytest.fixture
def bzr_repository(tmp_path: Path) -> BzrRepository:
    repository = BzrRepository(tmp_path / "bzr-trunk", tmp_path / "bzr-home")
    repository.home.mkdir()
    repository.path.mkdir()
    repository.bzr("init", "-q")
    return repository


@dataclass
class SilentServer:
    """Accepts, reads, and never says a word."""

    port: int
    held: list[socket.socket] = field(default_factory=list)


@pytest.fixture
def silent_server() -> Iterator[SilentServer]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = SilentServer(listener.getsockname()[1])

        def accept() -> None:
            while True:
                try:
                    server.held.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for connection in server.held:
            connection.close()


@dataclass
class BzrServer:
    process: subprocess.Popen[bytes]
    url: str


@pytest.fixture
def bzr_server(bzr_repository: BzrRepository) -> Iterator[BzrServer]:
    """``brz serve`` for the directory that the branch is in, writable."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            BRZ,
            "serve",
            "--allow-writes",
            "--listen=127.0.0.1",
            f"--port={port}",
            f"--directory={bzr_repository.path.parent}",
        ],
        env=bzr_repository.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: can_connect(port), "brz serve")
        yield BzrServer(process, f"bzr://127.0.0.1:{port}/{bzr_repository.path.name}")
    finally:
        process.kill()
        process.wait()


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def wait_for(condition, what: str, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {timeout_s} s"
        time.sleep(0.02)
