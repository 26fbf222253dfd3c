"""One PPA of Launchpad through the door that all archives share: ``ppa:owner/name``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import BinaryIO, TypeVar
from urllib.parse import urlsplit

from ppa_tools.address import Address
from ppa_tools.archives.door import (
    CopyBatch,
    DoorError,
    NoRights,
    NotThere,
    Refused,
    Stats,
    Uncertain,
    Unreachable,
)
from ppa_tools.archives.downloading import Way
from ppa_tools.archives.launchpad import queries, reading
from ppa_tools.archives.launchpad.build_entries import BuildEntry, ask_again, copy_log, read_entries
from ppa_tools.archives.launchpad.builds import BuildReader
from ppa_tools.archives.launchpad.client import LaunchpadClient
from ppa_tools.archives.launchpad.files import FileReader
from ppa_tools.archives.launchpad.index import IndexReader
from ppa_tools.archives.launchpad.paging import Collection as Wanted
from ppa_tools.archives.launchpad.paging import Row, read_first, read_rest
from ppa_tools.parallel import in_parallel
from ppa_tools.publication import ACTIVE, Binary, Build, File, Publication, SeriesFacts, Side, Status

BATCH_SIZE = 50
"""Launchpad looks the names of a batch up one after the other, within the time it has for a request."""

WRITERS = 4
"""As many changes are asked for at once, of things that have nothing to do with each other."""

POCKET = "Release"
"""PPAs have no other."""

T = TypeVar("T")


class LaunchpadArchive:
    """A PPA; all of one ``client`` share its connections and login. Nothing is asked until it is needed."""

    batch_size = BATCH_SIZE
    is_immediate = False

    def __init__(self, client: LaunchpadClient, address: Address) -> None:
        self.address = address
        self.stats = Stats()
        self._client = client
        self._url = client.instance.archive_url(address)
        self._doing = f"read {address}"
        self._builds = BuildReader(client, self._url, self._doing, self.stats)
        self._entry: Row | None = None

    def side(self, *, with_past: bool, names: Collection[str] = (), series: Collection[str] = ()) -> Side:
        """What planning needs. Raises NotThere, NoRights, Unreachable."""
        wanted = queries.Filter(frozenset(names), frozenset(series), frozenset(() if with_past else ACTIVE))

        def read() -> tuple[Publication, ...]:
            found: list[Publication] = []
            reads: list[Callable[[], object]] = [self._facts, self._series]
            in_parallel([*reads, lambda: found.extend(self._read(wanted))])
            return tuple(found)

        publications = self._asked(read)
        private = bool(self._facts()["private"])
        return Side(self.address, private, self._series(), publications, with_past=with_past)

    def publications(
        self,
        *,
        names: Collection[str] = (),
        series: Collection[str] = (),
        statuses: Collection[Status] = (),
        since: float | None = None,
    ) -> tuple[Publication, ...]:
        """Source publications, each name's newest last; empty filters: any; ``since``: created then or later.

        Raises NotThere, NoRights, Unreachable.
        """
        wanted = queries.Filter(frozenset(names), frozenset(series), frozenset(statuses), since)
        return self._asked(lambda: self._read(wanted))

    def builds(self, publications: Sequence[Publication]) -> Mapping[str, tuple[Build, ...]]:
        """The builds of publications, by their keys."""
        return self._client.reading(lambda: self._builds.builds(publications), self._doing)

    def build_entries(self, publication: Publication) -> tuple[BuildEntry, ...]:
        """All builds of a publication, with their logs' places. Raises NotThere, NoRights, Unreachable."""

        def read() -> tuple[BuildEntry, ...]:
            return read_entries(self._client, self._url, publication.key, self._doing, self.stats)

        return self._client.reading(read, self._doing)

    def ask_again(self, entry: BuildEntry) -> None:
        """Have a build that did not pass done again. Raises Refused, NoRights, Unreachable, Uncertain."""
        ask_again(self._client, entry, self.stats)

    def copy_log(self, entry: BuildEntry, target: BinaryIO) -> None:
        """Write a build's log to ``target``, of a very long one the beginning. Raises Unreachable."""
        copy_log(self._client, entry, target, self.stats)

    def binaries(self, publications: Sequence[Publication]) -> Mapping[str, tuple[Binary, ...]]:
        """The binaries published of each, by key."""

        def read() -> Mapping[str, tuple[Binary, ...]]:
            rows = self._builds.binary_rows(publications)
            return {key: tuple(map(reading.binary, its)) for key, its in rows.items()}

        return self._client.reading(read, self._doing)

    def source_files(self, publications: Sequence[Publication]) -> Mapping[str, tuple[File, ...]]:
        """The .dsc and the files that it names, by key; empty where they are no longer kept."""
        return self._client.reading(lambda: self._files().source_files(publications), self._doing)

    def binary_files(self, publications: Sequence[Publication]) -> Mapping[str, tuple[File, ...]]:
        """The .debs of each, by key."""
        return self._client.reading(lambda: self._files().binary_files(publications), self._doing)

    def way_to(self, url: str) -> Way:
        """How a file is asked for: of a private PPA from the web service, which knows who asks.

        It leads from there to where the file is, with a token of its own.
        """
        token = self._client.session.token
        api, where = urlsplit(self._client.instance.api), urlsplit(url)
        is_ours = where.scheme == api.scheme and api.netloc in (where.netloc, f"api.{where.netloc}")
        if token is None or not is_ours or not self._facts()["private"]:
            return Way(url)
        asked = url if where.netloc == api.netloc else f"{self._client.instance.api}{where.path}"
        return Way(asked, {"Authorization": token.authorization()})

    def ask_copies(self, batch: CopyBatch) -> None:
        """Ask for copies: in chunks where Launchpad takes what is newest, else one by one.

        What is asked in several requests and fails between them is Uncertain. Those that Launchpad refuses one by
        one are named, and the others are asked for. Raises Refused, NoRights, NotThere, Unreachable, Uncertain.
        """
        common: dict[str, object] = {
            "from_archive": self._client.instance.archive_url(batch.source),
            "from_series": batch.from_series,
            "to_series": batch.to_series,
            "to_pocket": POCKET,
            "include_binaries": batch.with_binaries,
        }
        if batch.unembargo:
            common["unembargo"] = True
        if batch.latest:
            names = [one.source for one in batch.copies]
            chunks = [names[at : at + BATCH_SIZE] for at in range(0, len(names), BATCH_SIZE)]
            forms = [{"ws.op": "copyPackages", **common, "source_names": chunk} for chunk in chunks]
            what = names[0] if len(names) == 1 else f"{len(names)} packages"
            self._ask_each(forms, f"copy {what} from {batch.source} to {self.address}")
            return
        forms = [
            {"ws.op": "copyPackage", **common, "source_name": one.source, "version": one.version}
            for one in batch.copies
        ]
        self._ask_each(forms, f"copy from {batch.source} to {self.address}")

    def ask_batches(self, batches: Sequence[CopyBatch]) -> tuple[DoorError | None, ...]:
        """Ask for several batches at once; what became of each, None where it was taken. Raises NoRights."""
        self._client.sign_in()

        def ask(batch: CopyBatch) -> DoorError | None:
            try:
                self.ask_copies(batch)
            except DoorError as error:
                return error
            return None

        return tuple(in_parallel([partial(ask, one) for one in batches], workers=WRITERS))

    def ask_deletion(self, publication: Publication, why: str) -> None:
        """Ask that a source go with its binaries. When the connection breaks, it is looked whether it has gone.

        Raises as ``ask_copies``; one that has ended is fine.
        """
        url = f"{self._url}/+sourcepub/{publication.key}"
        doing = f"delete {publication} from {self.address}"
        form = {"ws.op": "requestDeletion", "removal_comment": why}
        try:
            self._client.change(url, form, doing=doing, stats=self.stats)
        except Uncertain as error:
            try:
                row = self._client.entry(url, kind="+sourcepub", doing=self._doing, stats=self.stats)
                with reading.understood(self._doing):
                    is_active = reading.publication(row).is_active
            except DoorError:
                raise error from None
            if is_active:
                raise

    def ask_deletions(self, publications: Sequence[Publication], why: str) -> frozenset[str]:
        """Ask for several deletions at once, and for no more when one fails; returns the keys of what has gone."""
        self._client.sign_in()
        trouble = threading.Event()

        def ask(publication: Publication) -> str:
            if trouble.is_set():
                return ""
            try:
                self.ask_deletion(publication, why)
            except DoorError:
                trouble.set()
                return ""
            return publication.key

        asked = in_parallel([partial(ask, one) for one in publications], workers=WRITERS)
        return frozenset(filter(None, asked))

    def close(self) -> None:
        """Let go of idle connections; what shares them opens new ones."""
        self._client.close()

    def _ask_each(self, forms: Sequence[Mapping[str, object]], doing: str) -> None:
        refused = []
        for number, form in enumerate(forms):
            named = f"{doing}: {form['source_name']} {form['version']}" if "source_name" in form else doing
            try:
                self._client.change(self._url, form, doing=named, stats=self.stats)
            except (Refused, NotThere) as error:
                refused.append(error)
            except (NoRights, Unreachable) as error:
                if number:
                    raise Uncertain(
                        f"{number} of {len(forms)} requests to {doing} were made, then: {error}",
                        resolution="Look what has come before asking again.",
                    ) from error
                raise
        if refused:
            raise type(refused[0])("; ".join(map(str, refused)))

    def _read(self, wanted: queries.Filter) -> tuple[Publication, ...]:
        base = queries.broad(wanted, self._client.instance)
        try:
            first = read_first(self._client.session, self._publications_by(base), self.stats)
        except Refused as error:
            self._client.check_series(wanted.series, self.stats, error)
            raise
        rows: dict[str, Row] = {}
        fitting = sum(not wanted.statuses or row["status"] in wanted.statuses for row in first.rows)
        share = fitting / max(len(first.rows), 1)
        better = queries.narrow(wanted, base, first.pages_left, share)
        if better is None:
            found = [read_rest(self._client.session, self._publications_by(base), first, self.stats)]
        else:
            reads = [partial(self._rows, query) for query in better.queries]
            found = [read() for read in reads] if better.in_turn else in_parallel(reads)
        for its in found:
            rows.update({row["self_link"]: row for row in its})
        publications = [one for one in reading.publications(rows.values()) if wanted.admits(one)]
        return tuple(sorted(publications, key=lambda one: (one.source, int(one.key))))

    def _rows(self, query: queries.Parameters) -> tuple[Row, ...]:
        return self._client.rows(self._publications_by(query), self.stats)

    def _publications_by(self, query: queries.Parameters) -> Wanted:
        return Wanted(self._url, query, "getPublishedSources", self._doing)

    def _series(self) -> Mapping[str, SeriesFacts]:
        return self._client.series(self.stats)

    def _facts(self) -> Row:
        if self._entry is None:
            entry = self._client.entry(self._url, kind="archive", doing=self._doing, stats=self.stats)
            if "private" not in entry:
                raise Unreachable(f"Launchpad's answer does not say whether {self.address} is private")
            self._entry = entry
        return self._entry

    def _files(self) -> FileReader:
        content = self._client.instance.content
        public = bool(content) and not self._facts()["private"]
        indexes = IndexReader(self._client.session, content, self.address, self.stats) if public else None
        return FileReader(self._client, self._url, self._doing, self.stats, self._builds, indexes)

    def _asked(self, read: Callable[[], T]) -> T:
        """What ``read`` returns; where the PPA is not there, it is said which are."""
        try:
            return self._client.reading(read, self._doing)
        except NotThere as error:
            if error.resolution:
                raise
            raise self._client.not_there(self.address, self.stats) from error
