"""aptly, driven by its command and by its REST API, as its manual recommends for speed.

Its PGP provider is gpg, its default. No Contents and no bz2 are written; by-hash is on. A roll back in aptly is
the switch of a publication to an older snapshot: the repository itself stays as it is, so there is a publication
of snapshots beside that of the repository.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archive_engines import BIG, SIDE, Children, Engine, Family, Place, Upload, peak_rss_bytes
from archive_packages import ARCHITECTURE, Package

SWITCHES = ("-skip-contents", "-skip-bz2", "-batch")
SNAPSHOTS = "snapshots"
START_LIMIT_S = 30.0
API_LIMIT_S = 3600.0


def prepare(place: Place) -> None:
    """The repositories, and a publication of each."""
    settings = {"rootDir": str(place.root), "architectures": [ARCHITECTURE, "source"]}
    _config(place).write_text(json.dumps(settings), encoding="utf-8")
    command = AptlyCommand(place, Children(place.environment))
    for name in (BIG, SIDE):
        command.aptly("repo", "create", f"-distribution={name}", "-component=main", name)
        command.publish_new("repo", name, name)


def load(place: Place, big: Sequence[Package], side: Sequence[Package]) -> None:
    """Add all files at once, publish."""
    command = AptlyCommand(place, Children(place.environment))
    for name, packages in ((BIG, big), (SIDE, side)):
        command.aptly("repo", "add", name, *(str(package.directory) for package in packages))
        command.aptly("publish", "update", *SWITCHES, command.key, name, name)


@contextlib.contextmanager
def open_column(column: str, place: Place) -> Iterator[Engine]:
    """The command, or a server of the API that ends with the block."""
    if column == "aptly":
        yield AptlyCommand(place, Children(place.environment))
        return
    path = place.root / "api.sock"
    argv = ["aptly", f"-config={_config(place)}", "api", "serve", f"-listen=unix://{path}"]
    with (place.root / "api.log").open("wb") as log:
        server = subprocess.Popen(argv, env=place.environment, stdout=log, stderr=log)
    try:
        api = AptlyApi(place, path, server.pid)
        api.await_start()
        yield api
    finally:
        server.terminate()
        server.wait(30)


FAMILY = Family("aptly", ("aptly", "aptly API"), BIG, prepare, load, open_column)


def _config(place: Place) -> Path:
    return place.root / "aptly.conf"


@dataclass
class AptlyCommand:
    """A process an operation."""

    place: Place
    children: Children
    accept_publishes = False

    @property
    def key(self) -> str:
        """The switch that names the key."""
        return f"-gpg-key={self.place.signer.fingerprint}"

    def aptly(self, *words: str) -> str:
        """Run aptly."""
        return self.children.run("aptly", f"-config={_config(self.place)}", *words)

    def publish_new(self, kind: str, name: str, prefix: str, *more: str) -> None:
        """Publish a repository or snapshot where nothing was."""
        switches = (*SWITCHES, "-acquire-by-hash", self.key, *more)
        self.aptly("publish", kind, *switches, name, prefix)

    def accept(self, upload: Upload) -> None:
        keyring = f"-keyring={self.place.signer.public_key}"
        self.aptly("repo", "include", "-no-remove-files", keyring, f"-repo={BIG}", str(upload.both))

    def publish(self) -> None:
        self.aptly("publish", "update", *SWITCHES, self.key, BIG, BIG)

    def copy(self, names: Sequence[str]) -> None:
        self.aptly("repo", "copy", SIDE, BIG, *names)
        self.publish()

    def delete(self, names: Sequence[str]) -> None:
        self.aptly("repo", "remove", BIG, *names)
        self.publish()

    def count(self) -> int:
        words = self.aptly("repo", "show", "-with-packages", BIG)
        return sum(line.endswith("_source") for line in words.splitlines())

    def find(self, name: str) -> bool:
        return f"{name}_" in self.aptly("repo", "search", BIG, name)

    def snapshot(self, label: str) -> None:
        self.aptly("snapshot", "create", label, "from", "repo", BIG)

    def prepare_roll_back(self) -> None:
        now = f"now-{uuid.uuid4()}"
        self.snapshot(now)
        if f"{SNAPSHOTS}/" in self.aptly("publish", "list", "-raw").replace(" ", "/"):
            self.roll_back(now)
        else:
            self.publish_new("snapshot", now, SNAPSHOTS, f"-distribution={BIG}")

    def roll_back(self, label: str) -> None:
        self.aptly("publish", "switch", *SWITCHES, self.key, BIG, SNAPSHOTS, label)

    def collect_garbage(self) -> None:
        self.aptly("db", "cleanup")

    def peak_rss_bytes(self) -> int:
        return self.children.peak_rss_bytes


@dataclass
class AptlyApi:
    """A server that stays, asked over a socket; a connection a request, as curl would."""

    place: Place
    socket_path: Path
    pid: int
    accept_publishes = False

    def await_start(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            try:
                self._ask("GET", "/api/version")
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def accept(self, upload: Upload) -> None:
        for path in upload.both.parent.iterdir():
            self._send_file(f"/api/files/{upload.name}", path)
        # The API takes no keyring: gpg's own one has the key.
        self._ask("POST", f"/api/repos/{BIG}/include/{upload.name}")

    def publish(self) -> None:
        self._ask("PUT", f"/api/publish/{BIG}/{BIG}", self._publishing())

    def copy(self, names: Sequence[str]) -> None:
        self._ask("POST", f"/api/repos/{BIG}/packages", {"PackageRefs": self._references(SIDE, names)})
        self.publish()

    def delete(self, names: Sequence[str]) -> None:
        self._ask("DELETE", f"/api/repos/{BIG}/packages", {"PackageRefs": self._references(BIG, names)})
        self.publish()

    def count(self) -> int:
        return sum(
            reference.startswith("Psource ") for reference in self._ask("GET", f"/api/repos/{BIG}/packages")
        )

    def find(self, name: str) -> bool:
        return bool(self._references(BIG, [name]))

    def snapshot(self, label: str) -> None:
        self._ask("POST", f"/api/repos/{BIG}/snapshots", {"Name": label})

    def prepare_roll_back(self) -> None:
        now = f"now-{uuid.uuid4()}"
        self.snapshot(now)
        if any(row["Prefix"] == SNAPSHOTS for row in self._ask("GET", "/api/publish")):
            self.roll_back(now)
        else:
            new = {
                "SourceKind": "snapshot",
                "Sources": [{"Name": now}],
                "Distribution": BIG,
                "AcquireByHash": True,
            }
            self._ask("POST", f"/api/publish/{SNAPSHOTS}", new | self._publishing())

    def roll_back(self, label: str) -> None:
        snapshots = {"Snapshots": [{"Component": "main", "Name": label}]}
        self._ask("PUT", f"/api/publish/{SNAPSHOTS}/{BIG}", snapshots | self._publishing())

    def collect_garbage(self) -> None:
        self._ask("POST", "/api/db/cleanup")

    def peak_rss_bytes(self) -> int:
        return peak_rss_bytes(self.pid)

    def _publishing(self) -> dict[str, Any]:
        signing = {"Batch": True, "GpgKey": self.place.signer.fingerprint}
        return {"Signing": signing, "SkipContents": True, "SkipBz2": True}

    def _references(self, repository: str, names: Sequence[str]) -> list[str]:
        """One query for a few; all of the repository at once for many."""
        if len(names) == 1:
            found: list[str] = self._ask("GET", f"/api/repos/{repository}/packages?q={names[0]}")
            return found
        wanted = set(names)
        every: list[str] = self._ask("GET", f"/api/repos/{repository}/packages")
        return [reference for reference in every if reference.split(" ")[1] in wanted]

    def _send_file(self, path: str, file: Path) -> None:
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n\r\n'
        body = head.encode() + file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        self._request("POST", path, body, f"multipart/form-data; boundary={boundary}")

    def _ask(self, method: str, path: str, words: Any = None) -> Any:
        body = b"" if words is None else json.dumps(words).encode()
        return json.loads(self._request(method, path, body, "application/json") or b"null")

    def _request(self, method: str, path: str, body: bytes, content_type: str) -> bytes:
        connection = http.client.HTTPConnection("localhost", timeout=API_LIMIT_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(str(self.socket_path))
            connection.request(method, path, body, {"Content-Type": content_type})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status >= 300:
                raise RuntimeError(f"aptly answered {answer.status} to {method} {path}: {content[:500]!r}")
            return content
        finally:
            connection.close()
