"""Sending an upload to the embedded archive over HTTP: the .changes, only what it lacks, the .changes again."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppa_tools.address import Address
from ppa_tools.archives.durable import digests_of
from ppa_tools.archives.errors import ArchiveError, ArchiveUnreachable, UploadRefused, VersionNotNewer
from ppa_tools.archives.ledger import Ledger

TIMEOUT_S = 120.0
ANSWER_LIMIT_BYTES = 16 << 20
REFUSALS = (413, 422)
CONFLICT = 409  # it forgot the .changes: begin again


@dataclass(frozen=True)
class UploadReceipt:
    """The archive's answer to an upload.

    ``already``: it had it before. ``sent`` are the files that travelled now. ``in_release_sha256`` names the
    publication that the upload is part of.
    """

    archive: str
    series: str
    architecture: str
    source: str
    version: str
    changes_sha256: str
    already: bool
    notes: tuple[str, ...]
    in_release_sha256: str
    sent: tuple[str, ...]


@dataclass(frozen=True)
class PublishedBuild:
    """What the archive publishes of a source version for one architecture: ``packages`` name -> version."""

    built: bool
    packages: dict[str, str]


@dataclass(frozen=True)
class UploadClient:
    """An embedded archive by the address it is served at; ``token`` is the workers', for binaries."""

    url: str
    token: str = ""
    timeout_s: float = TIMEOUT_S

    def upload(
        self,
        address: Address,
        series: str,
        changes: Path,
        files: list[Path],
        ledger: Ledger,
        *,
        architecture: str = "",
    ) -> UploadReceipt:
        """Send a source (or, with ``architecture``, the binaries built on it); the receipt.

        ``files`` are all but the .changes. What an earlier attempt got across is asked for first and not sent
        again. The .changes goes first, since the archive takes only files that one names, and once more to have
        the upload decided. Raises UploadRefused with the archive's reason, ArchiveUnreachable when trying again
        may help, and ArchiveError for what neither mends (a wrong token, an unknown PPA).
        """
        where = [address.owner, address.name, series]
        kind = "upload-binaries" if architecture else "upload"
        path = _path(kind, *where, *([architecture] if architecture else []), ledger.changes_sha256)
        held = self._json("GET", path)
        if held["accepted"]:
            ledger.note_accepted(held["accepted"])
            return _receipt(held["accepted"], ())
        there = {name: one["sha256"] for name, one in held["files"].items()}
        changes_path = f"{path}/{_path(changes.name)[1:]}"
        sent: list[str] = []
        answer = self._put(changes_path, changes)
        for file in sorted(files):
            if not answer["accepted"] and there.get(file.name) != digests_of(file).sha256:
                self._put(f"{path}/{_path(file.name)[1:]}", file)
                sent.append(file.name)
            ledger.note_sent(file.name)
        if not answer["accepted"]:
            answer = self._put(changes_path, changes)
        if not answer["accepted"]:
            raise ArchiveUnreachable(f"the archive at {self.url} lost {', '.join(answer['missing'])} meanwhile")
        ledger.note_sent(changes.name)
        ledger.note_accepted(answer)
        return _receipt(answer, (*sent, changes.name))

    def published_build(
        self, address: Address, series: str, source: str, version: str, architecture: str
    ) -> PublishedBuild:
        """Whether the build of a source version on an architecture has come, and what is published of it."""
        rows = self.publications(address, series, source, version)
        return PublishedBuild(
            built=any(architecture in row["built_on"] for row in rows),
            packages={
                binary["package"]: binary["version"]
                for row in rows
                for binary in row["binaries"]
                if binary["index"] == architecture and binary["status"] in ("Pending", "Published")
            },
        )

    def publications(
        self, address: Address, series: str, source: str, version: str = ""
    ) -> Sequence[Mapping[str, Any]]:
        """What the archive tells of a source's publications in a series, of one version or of all."""
        query = urllib.parse.urlencode({"series": series, "source": source, "version": version})
        answer = self._json("GET", f"{_path('api', address.owner, address.name, 'publications')}?{query}")
        rows: Sequence[Mapping[str, Any]] = answer["publications"]
        return rows

    def in_release(self, address: Address, series: str) -> bytes:
        """The series' InRelease as it is served now."""
        path = _path(address.owner, address.name, "dists", series, "InRelease")
        status, body = self._ask("GET", path)
        if status != 200:
            raise ArchiveUnreachable(f"{self.url}{path} answers {status}")
        return body

    def _json(self, method: str, path: str) -> dict[str, Any]:
        return _judge(f"{self.url}{path}", *self._ask(method, path))

    def _put(self, path: str, file: Path) -> dict[str, Any]:
        return _judge(f"{self.url}{path}", *self._ask("PUT", path, file))

    def _ask(self, method: str, path: str, file: Path | None = None) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        with self._connected() as (connection, prefix):
            try:
                if file is None:
                    connection.request(method, prefix + path, headers=headers)
                else:
                    headers |= {
                        "Content-Length": str(file.stat().st_size),
                        "Content-Type": "application/octet-stream",
                    }
                    with file.open("rb") as body:
                        connection.request(method, prefix + path, body=body, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before all was sent: the answer may be there already
            answer = connection.getresponse()
            return answer.status, answer.read(ANSWER_LIMIT_BYTES)

    @contextmanager
    def _connected(self) -> Iterator[tuple[http.client.HTTPConnection, str]]:
        parts = urllib.parse.urlsplit(self.url)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=self.timeout_s)
        try:
            yield connection, parts.path.rstrip("/")
        except (OSError, http.client.HTTPException) as error:
            raise ArchiveUnreachable(f"the archive at {self.url} cannot be reached: {error}") from error
        finally:
            connection.close()


def _judge(url: str, status: int, body: bytes) -> dict[str, Any]:
    """The JSON of a good answer; raises for any other."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    reason = answer.get("reason", "") if isinstance(answer, dict) else ""
    if status in REFUSALS and isinstance(answer, dict) and "not_newer_than" in answer:
        raise VersionNotNewer(reason, str(answer["not_newer_than"]))
    if status in REFUSALS:
        raise UploadRefused(reason or f"{url} answers {status}")
    if status >= 500 or status == CONFLICT:
        raise ArchiveUnreachable(f"{url} answers {status}: {reason}")
    if status >= 400 or not isinstance(answer, dict):
        raise ArchiveError(f"{url} answers {status}: {reason or 'that is no archive of ours'}")
    return answer


def _path(*segments: str) -> str:
    return "".join(f"/{urllib.parse.quote(segment, safe='~+')}" for segment in segments)


def _receipt(answer: dict[str, Any], sent: tuple[str, ...]) -> UploadReceipt:
    return UploadReceipt(
        archive=answer["archive"],
        series=answer["series"],
        architecture=answer["architecture"],
        source=answer["source"],
        version=answer["version"],
        changes_sha256=answer["changes_sha256"],
        already=answer["already"],
        notes=tuple(answer["notes"]),
        in_release_sha256=answer["in_release_sha256"],
        sent=sent,
    )
