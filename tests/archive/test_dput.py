"""Uploads by the clients that people have: dput-ng by FTP, SFTP and HTTP, against a real server."""

from __future__ import annotations

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
from tests.archive.conftest import (
    PPA,
    SERIES,
    TOKEN,
    Server,
    Signer,
    architecture,
    free_port,
    make_source,
)

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
        kept = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        return {name for name in kept if not name.startswith(("history.sqlite", "keys/", "locks/"))}

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)


@pytest.fixture
def uploads(tmp_path: Path, signer: Signer) -> Iterator[Uploads]:
    one = Uploads(tmp_path / "home", free_port())
    one.home.mkdir()
    one.configure()
    (one.home / "secrets").mkdir(mode=0o700)
    (one.home / "secrets/archive-worker-token").write_text(TOKEN)
    one.archive = LocalArchive(one.home / "archive", url=one.url)
    one.archive.ensure_ppa(
        PPA, description="A PPA", series=[SERIES], architectures=[architecture()], uploaders=[signer.public]
    )
    with (one.home / "log").open("w") as log:
        one.start(stderr=log)
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


@pytest.mark.parametrize("method", ["ftp", "sftp", "http"])
def test_dput_uploads_and_the_source_is_published(
    method: str, dput: Dput, uploads: Uploads, signer: Signer, tmp_path: Path
) -> None:
    done = dput(method, make_source(tmp_path / "s", signer))
    assert done.returncode == 0, done.stdout + uploads.log
    assert uploads.versions() == ["1.0-1"]
    assert "accepted: hello 1.0-1" in uploads.log
    again = dput(method, make_source(tmp_path / "s2", signer, version="1.1-1"))
    assert again.returncode == 0, again.stdout
    assert uploads.versions() == ["1.1-1"]
