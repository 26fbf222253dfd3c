"""The archives that a command has open: each opened once, read side by side, closed at the end."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ppa_tools.address import Address
from ppa_tools.archives.door import Archive, CopyBatch
from ppa_tools.archives.words import size_in_words
from ppa_tools.commands.output import counted, note
from ppa_tools.parallel import in_parallel
from ppa_tools.publication import Side

if TYPE_CHECKING:
    from pathlib import Path

    from ppa_tools.apt.indexes import Reader
    from ppa_tools.archives.opening import Options

T = TypeVar("T")


class Session:
    """Opens archives as the arguments say (``arguments.add_archives``)."""

    def __init__(self, args: argparse.Namespace, reader: Reader | None = None) -> None:
        self._args = args
        self._open: dict[Address, Archive] = {}
        self._reader = reader
        self._keys: dict[str, bytes] = {}

    def instance_of(self, address: Address) -> str:
        """Which Launchpad an address is on, or the directory of the embedded archive that it is in."""
        return self.instance if address.backend == "ppa" else str(self.embedded_directory.resolve())

    @property
    def instance(self) -> str:
        """Which Launchpad is meant."""
        return str(self._args.instance)

    @property
    def embedded_directory(self) -> Path:
        """Where the embedded archive is; raises NotThere."""
        from ppa_tools.archives.opening import find_embedded

        return find_embedded(self._options())

    def _options(self) -> Options:
        from ppa_tools.archives.opening import Options

        return Options(instance=self._args.instance, local_archive=self._args.local_archive)

    def archive(self, address: Address) -> Archive:
        """An archive, opened when it is first asked for; raises NotThere, NoRights, Unreachable."""
        if address not in self._open:
            from ppa_tools.archives.opening import open_archive

            self._open[address] = open_archive(address, self._options())
        return self._open[address]

    def pair(self, source: Address, destination: Address) -> tuple[Archive, Archive]:
        """Two archives; the same one twice where they are one."""
        return self.archive(source), self.archive(destination)

    @property
    def reader(self) -> Reader:
        """What reads apt's indexes."""
        from ppa_tools.apt.indexes import Reader

        if self._reader is None:
            self._reader = Reader()
        return self._reader

    def keys_at(self, archive_url: str) -> bytes:
        """The keys that sign a PPA of Launchpad, asked for once; b"" where it tells none. Raises Unreachable."""
        if archive_url not in self._keys:
            self._keys[archive_url] = self.reader.read_launchpad_keys(archive_url)
        return self._keys[archive_url]

    def transfer(self, source: Archive, destination: Archive, batch: CopyBatch) -> None:
        """Carry copies from one kind of archive to the other; raises as ``Archive.ask_copies``."""
        from ppa_tools.archives.transfer import ask_transfer, means_of

        ask_transfer(source, destination, batch, means_of(self._options()))

    def each(self, addresses: Sequence[Address], ask: Callable[[Archive], T]) -> list[T]:
        """What each of several archives answers; they are asked at the same time."""
        archives = {one: self.archive(one) for one in addresses}
        if len(archives) == 1:
            answer = ask(*archives.values())
            return [answer for _ in addresses]
        asked = in_parallel([partial(ask, one) for one in archives.values()])
        answers = dict(zip(archives, asked, strict=True))
        return [answers[one] for one in addresses]

    def sides(self, addresses: Sequence[Address], *, with_past: bool) -> list[Side]:
        """What several archives hold."""
        return self.each(addresses, lambda archive: archive.side(with_past=with_past))

    def close(self) -> None:
        """Close what is open, and say what it has cost where that was asked for."""
        for archive in self._open.values():
            archive.close()
        if self._args.stats:
            for address, archive in self._open.items():
                note(f"{address}: {stats_text(archive)}")
            if self._reader is not None:
                cost = self._reader.fetcher
                received = size_in_words(cost.received_bytes)
                note(f"apt's indexes: {counted(cost.requests, 'request')}, {received} received")


@contextlib.contextmanager
def session(args: argparse.Namespace) -> Iterator[Session]:
    """Archives that are closed at the end, however it comes."""
    one = Session(args)
    try:
        yield one
    finally:
        one.close()


def stats_text(archive: Archive) -> str:
    """What talking to an archive has cost so far."""
    stats = archive.stats
    parts = [
        counted(stats.requests, "request"),
        f"{size_in_words(stats.received_bytes)} received",
        f"{size_in_words(stats.sent_bytes)} sent",
        f"{stats.seconds:.2f} s waited for",
    ]
    if stats.retried:
        parts.append(f"{stats.retried} repeated")
    return ", ".join(parts)
