"""Single builds of Launchpad's: how far they are, their logs, and asking for them again."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ppa_tools.archives.door import Stats, Unreachable
from ppa_tools.archives.launchpad import reading
from ppa_tools.archives.launchpad.client import LaunchpadClient
from ppa_tools.archives.launchpad.paging import Collection, Row
from ppa_tools.publication import BuildState

GZIP = b"\x1f\x8b"
LOG_LIMIT_BYTES = 500 << 20
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class BuildEntry:
    """A build: ``api_url`` is what the web service knows it by, ``page`` is for people.

    ``log_url`` is where its log is ("": nowhere yet). ``duration_s`` is the time it took on its builder, None
    while that is not told; ``missing`` are the packages that it waits for.
    """

    architecture: str
    state: BuildState
    api_url: str
    page: str
    log_url: str = ""
    duration_s: float | None = None
    missing: str = ""


def read_entries(
    client: LaunchpadClient, archive_url: str, key: str, doing: str, stats: Stats
) -> tuple[BuildEntry, ...]:
    """All builds of a source publication, by its key. Raises NotThere, NoRights, Unreachable."""
    wanted = Collection(f"{archive_url}/+sourcepub/{key}", {"ws.op": "getBuilds"}, "getBuilds", doing)
    return tuple(_entry(row) for row in client.rows(wanted, stats))


def _entry(row: Row) -> BuildEntry:
    one = reading.build(row, published=False)
    began, ended = reading.moment(row.get("date_first_dispatched")), reading.moment(row.get("datebuilt"))
    missing = row.get("dependencies")
    log_url = row.get("build_log_url")
    return BuildEntry(
        one.architecture,
        one.state,
        row["self_link"],
        one.url,
        log_url if isinstance(log_url, str) else "",
        ended - began if began is not None and ended is not None else None,
        missing if isinstance(missing, str) else "",
    )


def ask_again(client: LaunchpadClient, entry: BuildEntry, stats: Stats) -> None:
    """Ask for a build that did not pass to be built again. Raises Refused, NoRights, Unreachable, Uncertain."""
    client.change(entry.api_url, {"ws.op": "retry"}, doing="have a build done again", stats=stats)


def copy_log(client: LaunchpadClient, entry: BuildEntry, target: BinaryIO, stats: Stats) -> None:
    """Write a build's log to ``target``, unpacked, of a very long one the beginning. Raises Unreachable."""
    answer = client.session.get(entry.log_url, kind="build log", stats=stats, tries=3)
    if not answer.is_good:
        raise Unreachable(f"Launchpad does not give the build's log: it answers {answer.status}")
    size = 0
    for chunk in _unpacked(answer.body):
        target.write(chunk[: LOG_LIMIT_BYTES - size])
        size += len(chunk)
        if size >= LOG_LIMIT_BYTES:
            break


def _unpacked(body: bytes) -> Iterator[bytes]:
    if not body.startswith(GZIP):
        yield body
        return
    reader, unpacker = io.BytesIO(body), zlib.decompressobj(wbits=31)
    try:
        while chunk := unpacker.unconsumed_tail or reader.read(CHUNK_BYTES):
            yield unpacker.decompress(chunk, CHUNK_BYTES)
    except zlib.error as error:
        raise Unreachable(f"the build's log is no gzip stream: {error}") from error
