"""Publishing the PPAs of one archive: its locks, when a series is due, where its files lie, and its signatures."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ppa_tools import openpgp
from ppa_tools.address import Address
from ppa_tools.archives import administration as admin
from ppa_tools.archives import contents, indexes, publisher
from ppa_tools.archives import history as h
from ppa_tools.archives.block_store import PlainSums
from ppa_tools.archives.durable import explained, locked
from ppa_tools.archives.errors import ArchiveError
from ppa_tools.archives.history.contents import mark_contents, ppas_without_contents
from ppa_tools.archives.layout import Layout
from ppa_tools.archives.publisher import Published


class Publishing:
    """Writes the indexes of PPAs from the history, one PPA at a time by whoever holds its lock."""

    def __init__(
        self, history: h.History, layout: Layout, clock: Callable[[], float], keep_by_hash_s: float
    ) -> None:
        self._history = history
        self._layout = layout
        self._clock = clock
        self._keep_by_hash_s = keep_by_hash_s
        self._sums = PlainSums()

    def publish(self, address: Address, *, force: bool = False) -> tuple[Published, ...]:
        """Write the indexes of the series that are due: they lag behind the history, or will soon be no longer
        valid. With ``force``, of all, and every stanza is rendered again, whatever was kept.

        Raises ArchiveError with what to do when the disk refuses; readers then have what they had.
        """
        with self.alone(address):
            with self._history.read() as conn:
                ppa = admin.find(conn, address)
                known, now = h.list_series(conn, ppa), self._clock()
                wanted = [one.name for one in known if force or one.is_due(ppa.settings, now)]
            self._settle(ppa)
            return tuple(self._publish_series(ppa, name, fresh=force) for name in wanted)

    def publish_due(self) -> tuple[Published, ...]:
        """Publish what is due in all PPAs: what a crash left undone, and what will soon be no longer valid."""
        with self._history.read() as conn:
            addresses = [ppa.address for ppa in h.due_ppas(conn, self._clock())]
        return tuple(one for address in addresses for one in self.publish(address))

    def publish_contents(self, address: Address, *, until: Callable[[], bool] = lambda: False) -> tuple[str, ...]:
        """Write and publish the Contents of the series in which they lag behind; others may publish meanwhile.

        Stops early, with nothing published, once ``until`` is true. Returns which packages have no lines because
        their files cannot be listed, and why. Raises ArchiveError.
        """
        with explained(self._layout.root), locked(self._layout.contents_lock_file(address)):
            with self._history.read() as conn:
                series = h.list_series(conn, admin.find(conn, address))
            lagging = [one for one in series if one.contents_generation != one.generation]
            room = contents.make_room(self._layout.contents_room(address))
            return tuple(
                problem for one in lagging for problem in self._publish_contents(address, one, room, until)
            )

    def publish_lagging_contents(self, *, until: Callable[[], bool] = lambda: False) -> tuple[str, ...]:
        """``publish_contents`` of every PPA that has some to write."""
        with self._history.read() as conn:
            addresses = [ppa.address for ppa in ppas_without_contents(conn)]
        return tuple(problem for address in addresses for problem in self.publish_contents(address, until=until))

    def directory_of(self, ppa: h.PPA) -> Path:
        """The directory of a PPA as it is served; private ones lie apart, where no plain web server looks."""
        return self._layout.served(ppa.address, private=ppa.settings.private)

    def remove_served(self, ppa: h.PPA) -> None:
        """Serve nothing of a PPA any more; the caller holds its lock."""
        for private in (False, True):
            directory = self._layout.served(ppa.address, private=private)
            if directory.is_dir():
                shutil.rmtree(directory)

    @contextlib.contextmanager
    def alone(self, address: Address) -> Iterator[None]:
        """Hold a PPA's lock; raises ArchiveError when the disk refuses, or the keys are of no use."""
        try:
            with explained(self._layout.root), locked(self._layout.lock_file(address)):
                yield
        except openpgp.OpenPGPError as error:
            raise ArchiveError(f"the keys of {address} cannot be used now: {error}") from error

    def _settle(self, ppa: h.PPA) -> None:
        """Have a PPA's files lie where its being private or public wants them; the caller holds its lock."""
        here = self._layout.served(ppa.address, private=ppa.settings.private)
        there = self._layout.served(ppa.address, private=not ppa.settings.private)
        if there.is_dir():
            if here.is_dir():
                shutil.rmtree(here)
            here.parent.mkdir(parents=True, exist_ok=True)
            there.rename(here)

    def _publish_contents(
        self, address: Address, series: h.Series, room: Path, until: Callable[[], bool]
    ) -> tuple[str, ...]:
        problems = contents.list_files(self._history, self._layout.pool, series.id, until)
        if until():
            return problems
        written = contents.write_contents(self._history, series, room)
        with self.alone(address):
            with self._history.read() as conn:
                ppa = admin.find(conn, address)
                if h.find_series(conn, ppa, series.name) is None:
                    return ()  # it was deleted meanwhile
            self._settle(ppa)
            directory = self.directory_of(ppa) / "dists" / series.name
            if not contents.stand(directory, written):
                contents.place_contents(directory, written)
                self._publish_series(ppa, series.name, contents=written.listed)
            with self._history.write() as conn:
                mark_contents(conn, series.id, written.generation)
        return problems

    def _publish_series(
        self, ppa: h.PPA, name: str, *, fresh: bool = False, contents: Sequence[indexes.Listed] | None = None
    ) -> Published:
        home, keys = self._layout.key_home(ppa.address), ppa.key_fingerprints

        def sign(release: bytes) -> tuple[bytes, bytes]:
            with ThreadPoolExecutor(1) as beside:
                detached = beside.submit(openpgp.detach_sign, home, keys, release)
                return openpgp.clearsign(home, keys, release), detached.result()

        return publisher.publish_series(
            self._history,
            self._layout.pool,
            publisher.Target(self.directory_of(ppa), self._layout.block_cache(ppa.address), self._sums),
            ppa,
            name,
            sign,
            self._clock(),
            self._keep_by_hash_s,
            contents=contents,
            fresh=fresh,
        )
