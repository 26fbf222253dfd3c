"""The embedded archive through the door that all archives share: ``local:owner/name``."""

from __future__ import annotations

import contextlib
import difflib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from ppa_tools.address import Address
from ppa_tools.archives.domination import builds_for
from ppa_tools.archives.door import CopyBatch, DoorError, NotThere, Refused, Stats, Uncertain, Unreachable
from ppa_tools.archives.errors import ArchiveError, ArchiveTrouble, ChangeRefused, UnknownPPA
from ppa_tools.archives.history import BinaryPublication, SourcePublication
from ppa_tools.archives.importing import Origin, Parcel
from ppa_tools.archives.local import LocalArchive, Wanted
from ppa_tools.archives.reading import Publication as Held
from ppa_tools.publication import (
    ACTIVE,
    Binary,
    Build,
    BuildState,
    File,
    Publication,
    SeriesFacts,
    Side,
    Status,
)

BATCH_SIZE = 500
READ_AGAIN = "`buildfarm archive verify` says what is wrong; once it is mended, run this again."


class EmbeddedArchive:
    """One PPA of the embedded archive; ``by`` says in its history who changes it.

    ``archive`` is closed with it. What is asked for is done, and in the indexes, when asking returns.
    """

    is_immediate = True
    batch_size = BATCH_SIZE

    def __init__(self, archive: LocalArchive, address: Address, *, by: str) -> None:
        self.archive = archive
        self.address = address
        self.by = by
        self.stats = Stats()

    def check(self) -> None:
        """Raise NotThere when there is no such PPA."""
        with self._asked("check"):
            self.archive.ppa(self.address)

    def side(self, *, with_past: bool, names: Collection[str] = (), series: Collection[str] = ()) -> Side:
        """What planning needs to know; raises NotThere and Unreachable."""
        with self._asked("side"):
            ppa = self.archive.ppa(self.address)
            known = self.archive.series(self.address)
            rows = self._sources(names, series, active=not with_past)
        return Side(
            self.address,
            ppa.settings.private,
            {one.name: SeriesFacts(one.name, one.architectures) for one in known},
            tuple(_publication(one) for one in rows),
            with_past=with_past,
            versions=ppa.settings.versions,
        )

    def publications(
        self,
        *,
        names: Collection[str] = (),
        series: Collection[str] = (),
        statuses: Collection[Status] = (),
        since: float | None = None,
    ) -> tuple[Publication, ...]:
        """Source publications, each name's newest last; empty filters: any; ``since``: created then or later."""
        with self._asked("publications"):
            active = bool(statuses) and set(statuses) <= set(ACTIVE)
            rows = self._sources(names, series, active=active)
        return tuple(
            _publication(one)
            for one in rows
            if (not statuses or one.span.status in statuses) and (since is None or one.span.created_at >= since)
        )

    def builds(self, publications: Sequence[Publication]) -> Mapping[str, tuple[Build, ...]]:
        """The builds of publications, by their keys; one that has not come needs building: nobody tells more."""
        with self._asked("builds"):
            architectures = {one.name: one.architectures for one in self.archive.series(self.address)}
            held = self._held(publications)
        return {key: _builds(one, architectures.get(one.source.series, ())) for key, one in held.items()}

    def binaries(self, publications: Sequence[Publication]) -> Mapping[str, tuple[Binary, ...]]:
        """The binaries published of each, by key: of one that has ended, those that were."""
        with self._asked("binaries"):
            held = self._held(publications)
        return {key: tuple(_binary(row) for row in _binaries_of(one)) for key, one in held.items()}

    def source_files(self, publications: Sequence[Publication]) -> Mapping[str, tuple[File, ...]]:
        """Where the .dsc and the files that it names lie, by key; empty when one of them is no longer kept."""
        with self._asked("source files"):
            held = self._held(publications)
            releases = {one.source.release_id for one in held.values()}
            files = self.archive.source_files(self.address, releases)
        return {key: files[one.source.release_id] for key, one in held.items()}

    def binary_files(self, publications: Sequence[Publication]) -> Mapping[str, tuple[File, ...]]:
        """Where the .debs of each lie, by key, as far as they are kept."""
        with self._asked("binary files"):
            releases = {
                key: sorted({row.release_id for row in _binaries_of(one)})
                for key, one in self._held(publications).items()
            }
            files = self.archive.binary_files(self.address, {one for its in releases.values() for one in its})
        return {key: tuple(file for one in its for file in files[one]) for key, its in releases.items()}

    def ask_copies(self, batch: CopyBatch) -> None:
        """Copy a batch from another PPA of this archive: all of it, or none, and it is published.

        Raises Refused with every package that stands in the way, NotThere, Uncertain.
        """
        if batch.source.backend != "local":
            raise Refused(f"{batch.source} is no PPA of this archive", resolution="It is transferred, not copied.")
        wanted = [Wanted(one.source, one.version) for one in batch.copies]
        with self._asked("copy", taken=lambda: self._has_come(batch)):
            self.archive.copy(
                batch.source,
                batch.from_series,
                self.address,
                batch.to_series,
                wanted,
                binaries=batch.with_binaries,
                consent=batch.unembargo,
                by=self.by,
                why=batch.why,
            )

    def import_parcels(self, batch: CopyBatch, origin: Origin, parcels: Sequence[Parcel]) -> None:
        """Publish what another archive has published, and was fetched from there; raises as ``ask_copies``."""
        with self._asked("import", taken=lambda: self._has_come(batch)):
            self.archive.import_parcels(self.address, batch.to_series, origin, parcels, by=self.by, why=batch.why)

    def ask_deletion(self, publication: Publication, why: str) -> None:
        """Delete a source with its binaries, and publish; one that has ended is fine. Raises as ``ask_copies``."""
        self.ask_deletions([publication], why)

    def ask_deletions(self, publications: Sequence[Publication], why: str) -> frozenset[str]:
        """As ``ask_deletion``; each series is changed, and published, once. All of them go."""
        with self._asked("delete", taken=lambda: self._has_gone(publications)):
            rows = self.archive.sources(self.address, names={one.source for one in publications})
            by_key = {str(row.id): row for row in rows}
            if unknown := [str(one) for one in publications if one.key not in by_key]:
                raise NotThere(f"{', '.join(unknown)} is not, and was not, in {self.address}")
            active: dict[str, list[Wanted]] = {}
            for row in (by_key[one.key] for one in publications):
                if row.span.status in ACTIVE:
                    active.setdefault(row.series, []).append(Wanted(row.source, row.version))
            for series, wanted in active.items():
                self.archive.delete(self.address, series, wanted, by=self.by, why=why)
        return frozenset(one.key for one in publications)

    def roll_back(self, moment: float, series: Collection[str], why: str) -> None:
        """Take the series, or all, back to what they held at a moment (UTC seconds): each whole, or not at all.

        Raises Refused, naming what is no longer kept, and Uncertain.
        """
        with self._asked("roll back", taken=lambda: True):
            for name in series or ("",):
                self.archive.roll_back(self.address, moment, series=name, by=self.by, why=why)

    def close(self) -> None:
        """Close the archive's history."""
        self.archive.close()

    def _sources(
        self, names: Collection[str], series: Collection[str], *, active: bool
    ) -> list[SourcePublication]:
        rows = self.archive.sources(self.address, names=names or None, active=active)
        wanted = [one for one in rows if not series or one.series in series]
        return sorted(wanted, key=lambda one: (one.series, one.source, one.id))

    def _held(self, publications: Sequence[Publication]) -> dict[str, Held]:
        names = {one.source for one in publications}
        wanted = {one.key for one in publications}
        held = self.archive.publications(self.address, sources=names) if names else ()
        return {str(one.source.id): one for one in held if str(one.source.id) in wanted}

    def _has_come(self, batch: CopyBatch) -> bool:
        """Whether any of a batch is there: it is one transaction."""
        rows = self.archive.sources(self.address, names={one.source for one in batch.copies}, active=True)
        there = {(row.source, row.version) for row in rows if row.series == batch.to_series}
        return any((one.source, one.version) in there for one in batch.copies)

    def _has_gone(self, publications: Sequence[Publication]) -> bool:
        """Whether any of these has ended."""
        rows = self.archive.sources(self.address, names={one.source for one in publications}, active=True)
        return not {one.key for one in publications} <= {str(row.id) for row in rows}

    @contextlib.contextmanager
    def _asked(self, what: str, *, taken: Callable[[], bool] | None = None) -> Iterator[None]:
        """Count what is asked, and put the archive's errors in the door's words.

        Where a change ends in trouble, it may stand in the history while only its publication is lacking: whether
        it was ``taken`` is looked for then.
        """
        began = time.monotonic()
        self.stats.requests += 1
        self.stats.by_kind[what] = self.stats.by_kind.get(what, 0) + 1
        try:
            yield
        except UnknownPPA as error:
            raise NotThere(str(error), resolution=self._nearest()) from error
        except ChangeRefused as error:
            raise Refused(str(error)) from error
        except (ArchiveError, OSError) as error:
            trouble = Unreachable if isinstance(error, ArchiveTrouble | OSError) else DoorError
            if taken is not None and _was_taken(taken):
                trouble = Uncertain
            raise trouble(str(error), resolution=READ_AGAIN) from error
        finally:
            self.stats.seconds += time.monotonic() - began

    def _nearest(self) -> str:
        """What may have been meant by an address, or a series, that is not there."""
        known = [str(one.address) for one in self.archive.ppas()]
        if str(self.address) in known:
            return f"It has {', '.join(one.name for one in self.archive.series(self.address)) or 'no series yet'}."
        if near := difflib.get_close_matches(str(self.address), known, n=3, cutoff=0.5):
            return f"Did you mean {', '.join(near)}?"
        return f"There are {', '.join(known[:10])}." if known else "No PPA is there yet."


def _was_taken(taken: Callable[[], bool]) -> bool:
    """What looking tells; where it cannot be looked, it may have been."""
    try:
        return taken()
    except (ArchiveError, OSError):
        return True


def _publication(one: SourcePublication) -> Publication:
    span = one.span
    return Publication(
        str(one.id),
        one.source,
        one.version,
        one.series,
        span.status,
        created_at=span.created_at,
        published_at=span.published_at,
        ended_at=span.ended_at,
        by=span.created_by,
        why=span.why,
        ended_by=span.ended_by,
        end_why=span.end_why,
    )


def _binary(row: BinaryPublication) -> Binary:
    return Binary(
        row.package,
        row.version,
        row.architecture,
        row.index_architecture,
        row.source,
        row.source_version,
        row.series,
        row.span.status,
    )


def _binaries_of(one: Held) -> list[BinaryPublication]:
    """The active binaries of a source that is active; the last ones of one that has ended."""
    last = {(row.index_architecture, row.package): row for row in one.binaries}
    is_active = one.source.span.status in ACTIVE
    return [row for _, row in sorted(last.items()) if not is_active or row.span.status in ACTIVE]


def _builds(one: Held, series_architectures: Sequence[str]) -> tuple[Build, ...]:
    """A build an architecture that the source is for; a source that is for all is built on one of them."""
    wanted = [name for name in series_architectures if builds_for(one.architectures, name)]
    wanted += [name for name in one.built_on if name not in wanted]
    if not wanted and "all" in one.architectures:
        wanted += series_architectures[:1]
    return tuple(
        Build(
            name,
            BuildState.BUILT if name in one.built_on else BuildState.NEEDS_BUILDING,
            published=name in one.built_on and _is_published(one, name),
        )
        for name in wanted
    )


def _is_published(one: Held, architecture: str) -> bool:
    statuses = {
        row.span.status
        for row in _binaries_of(one)
        if row.index_architecture == architecture and row.span.status in ACTIVE
    }
    return statuses == {Status.PUBLISHED}
