"""A server that takes uploads, and the clients that people have: dput-ng, and FTP as it does it."""

from __future__ import annotations

import contextlib
import ftplib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ppa_tools.archives.local import LocalArchive, Refusal
from tests.archive.conftest import PPA, SERIES, TOKEN, Server, Signer, architecture, free_port

FILE_LIMIT_MIB = 1
SESSIONS = 8
INCOMING = f"~{PPA.owner}/{PPA.name}"


@dataclass
class Uploads(Server):
    """A server that dput can upload to; its log goes to a file."""

    ftp_port: int = field(default_factory=free_port)
    sftp_port: int = field(default_factory=free_port)
    archive: LocalArchive = field(init=False)

    def configure(self, more: str = "") -> None:
        (self.home / "farm.toml").write_text(
            f"[archive]\nport = {self.port}\nftp_port = {self.ftp_port}\nsftp_port = {self.sftp_port}\n"
            f"upload_file_mib = {FILE_LIMIT_MIB}\nupload_sessions = {SESSIONS}\nkeep_free_mib = 1\n{more}"
        )

    def begin(self) -> None:
        with (self.home / "log").open("a") as log:
            self.start(stderr=log)

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    def refusals(self) -> tuple[Refusal, ...]:
        return self.archive.refusals(PPA)

    def versions(self, source: str = "hello") -> list[str]:
        found = self.archive.publications(PPA, series=SERIES, source=source, active=True)
        return [one.source.version for one in found]

    def files(self) -> set[str]:
        """All that lies below the archive's root, but what the database and gpg keep for themselves."""
        root = self.home / "archive"
        found = {f"{where}/{name}".removeprefix(f"{root}/") for where, _, names in os.walk(root) for name in names}
        return {name for name in found if not name.startswith(("history.sqlite", "keys/", "locks/"))}

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)


@contextlib.contextmanager
def serving(home: Path, signer: Signer, more: str = "") -> Iterator[Uploads]:
    """A server with a PPA that the signer may upload to; ``more`` goes into its settings."""
    one = Uploads(home, free_port())
    one.home.mkdir()
    one.configure(more)
    (one.home / "secrets").mkdir(mode=0o700)
    (one.home / "secrets/archive-worker-token").write_text(TOKEN)
    one.archive = LocalArchive(one.home / "archive", url=one.url)
    one.archive.ensure_ppa(
        PPA, description="A PPA", series=[SERIES], architectures=[architecture()], uploaders=[signer.public]
    )
    one.begin()
    yield one
    if one.process is not None and one.process.poll() is None:
        assert one.stop() == 0
    one.archive.stop_agents()
    one.archive.close()


class Dput:
    """dput-ng with a home of its own: a profile for each way in, and the uploader's keyring."""

    def __init__(self, home: Path, uploads: Uploads, signer: Signer) -> None:
        self.home, self.uploads, self.signer = home, uploads, signer
        (home / ".dput.d/profiles").mkdir(parents=True)
        (home / ".ssh").mkdir(mode=0o700)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / ".ssh/id_ed25519")], check=True
        )
        self.profile("ftp", fqdn=f"127.0.0.1:{uploads.ftp_port}", login="anonymous", ftp={"timeout": 600})
        self.profile("sftp", fqdn="127.0.0.1", port=uploads.sftp_port, login="me", sftp={"confirm_upload": True})
        key = (uploads.home / "archive/keys/sftp-host-ed25519").read_bytes()
        public = subprocess.run(["ssh-keygen", "-y", "-f", "/dev/stdin"], input=key, capture_output=True)
        (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{uploads.sftp_port} {public.stdout.decode()}")
        token = uploads.archive.create_token(PPA, "dput", may_upload=True, by="a test")
        self.profile("http", fqdn=f"http://me:{token}@127.0.0.1:{uploads.port}")

    def profile(self, method: str, **more: Any) -> None:
        profile = {"method": method, "incoming": INCOMING, "hooks": ["checksum", "gpg"], **more}
        (self.home / f".dput.d/profiles/{method}.json").write_text(json.dumps(profile))

    def __call__(self, method: str, changes: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["dput", "--no-upload-log", "--force", method, str(changes)],
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "GNUPGHOME": str(self.signer.home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def dput(tmp_path: Path, uploads: Uploads, signer: Signer) -> Dput:
    return Dput(tmp_path / "user", uploads, signer)


@contextlib.contextmanager
def ftp_session(uploads: Uploads, path: str = INCOMING) -> Iterator[ftplib.FTP]:
    """A session as dput has it."""
    with ftplib.FTP() as ftp:
        ftp.connect("127.0.0.1", uploads.ftp_port, timeout=60)
        ftp.login()
        ftp.cwd(path)
        yield ftp


def in_order(changes: Path) -> list[Path]:
    """An upload's files, the .changes last."""
    return [*sorted(path for path in changes.parent.iterdir() if path != changes), changes]


def store(ftp: ftplib.FTP, *files: Path) -> str:
    """Send files; the last answer."""
    answer = ""
    for path in files:
        with path.open("rb") as file:
            answer = ftp.storbinary(f"STOR {path.name}", file)
    return answer


def send(uploads: Uploads, changes: Path, path: str = INCOMING) -> str:
    """Send an upload in a session of its own; the answer to its .changes."""
    with ftp_session(uploads, path) as ftp:
        return store(ftp, *in_order(changes))
