"""The embedded archive: PPAs on this machine, their uploads, their publishing history, their signed indexes.

Below ``root``:

history.sqlite             what was uploaded and published, when, by whom and why: the truth; all else follows it
blobs/                     every file once, by its SHA-256
incoming/                  uploads that are still coming in; incoming-binaries/ those of the workers
keys/OWNER/NAME/           the GnuPG home of each PPA's own keys
index-blocks/OWNER/NAME/   rendered pieces of its indexes: a cache
contents/OWNER/NAME/       where its Contents are written before they are published
locks/, locks-contents/    a lock a PPA, held while its indexes, and while its Contents, are written
locks-transfers/           the same, while packages are fetched from another archive
public/OWNER/NAME/         what is served, as plain files: dists/ and pool/; private/ for PPAs that ask for a token

Every operation is one transaction and may be repeated. What is done is in the history before it is acknowledged;
the indexes follow, and are written again from the history when a crash came in between. Any number of threads and
processes may use one root.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from ppa_tools import openpgp
from ppa_tools.address import Address
from ppa_tools.archives import (
    accept,
    checks,
    copying,
    ending,
    garbage,
    importing,
    reading,
    repair,
    rollback,
    verify,
)
from ppa_tools.archives import administration as admin
from ppa_tools.archives import history as h
from ppa_tools.archives.accept import Receipt
from ppa_tools.archives.checks import UploadedFile
from ppa_tools.archives.control import Changes
from ppa_tools.archives.durable import explained
from ppa_tools.archives.errors import ArchiveError, ChangeRefused, UnknownPPA, UploadRefused
from ppa_tools.archives.findings import Finding
from ppa_tools.archives.garbage import CollectedNames, GarbageReport
from ppa_tools.archives.history import (
    PPA,
    AccessToken,
    BinaryPublication,
    ChangeMade,
    Listed,
    Refusal,
    Series,
    Settings,
    Snapshot,
    SourcePublication,
    Status,
    Uploader,
)
from ppa_tools.archives.importing import Origin, Parcel
from ppa_tools.archives.layout import Layout
from ppa_tools.archives.leftovers import Leftover
from ppa_tools.archives.outcomes import Outcome, Place, Wanted
from ppa_tools.archives.publisher import Published
from ppa_tools.archives.publishing import Publishing
from ppa_tools.archives.reading import Event, Publication
from ppa_tools.archives.repair import Repaired
from ppa_tools.archives.rollback import Difference
from ppa_tools.publication import File

__all__ = [
    "PPA",
    "AccessToken",
    "ArchiveError",
    "BinaryPublication",
    "ChangeMade",
    "ChangeRefused",
    "CollectedNames",
    "Difference",
    "Event",
    "Finding",
    "GarbageReport",
    "Leftover",
    "Listed",
    "LocalArchive",
    "Outcome",
    "Publication",
    "Published",
    "Receipt",
    "Refusal",
    "Repaired",
    "Series",
    "Settings",
    "Snapshot",
    "SourcePublication",
    "Status",
    "UnknownPPA",
    "UploadRefused",
    "Uploader",
    "Wanted",
]

KEEP_BY_HASH_S = 3600.0


class LocalArchive:
    """The PPAs below one directory.

    ``url`` is where that archive is served, without a slash at its end; ``database`` an SQLAlchemy URL of the
    history, where it is not the SQLite file below ``root``. ``by`` everywhere says who does it, for the history.
    """

    def __init__(
        self,
        root: Path,
        *,
        url: str = "http://127.0.0.1:8011",
        database: str = "",
        clock: Callable[[], float] = time.time,
        keep_by_hash_s: float = KEEP_BY_HASH_S,
    ) -> None:
        self.root = root
        self.url = url.rstrip("/")
        self._clock = clock
        self._keep_by_hash_s = keep_by_hash_s
        self._layout = Layout(root)
        self._pool = self._layout.pool
        self.incoming = self._layout.incoming
        self.incoming_binaries = self._layout.incoming_binaries
        with explained(root):
            root.mkdir(parents=True, exist_ok=True)
            self._history = h.History(database) if database else h.open_history(self._layout.history_file)
            for directory in self._layout.closed:
                directory.mkdir(mode=0o700, exist_ok=True)
            self._layout.served_root(private=False).mkdir(exist_ok=True)
        self._publishing = Publishing(self._history, self._layout, clock, keep_by_hash_s)

    def close(self) -> None:
        """Close the history."""
        self._history.close()

    def stop_agents(self) -> None:
        """End the agents that hold the PPAs' keys; whoever signs next has them started again."""
        stop_agents(self.root)

    # PPAs

    def ensure_ppa(
        self,
        address: Address,
        *,
        description: str | None = None,
        series: Sequence[str] = (),
        architectures: Sequence[str] = (),
        uploaders: Iterable[bytes] = (),
        private: bool = False,
        by: str = "the archive",
    ) -> PPA:
        """Create a PPA, or add to it what it lacks; what it has stays. Ends published.

        ``architectures`` are for each of the named ``series``; ``uploaders`` are public keys (armored or binary).
        A PPA that is there stays as private or public as it is. Raises ArchiveError for names that cannot be used.
        """
        admin.check_names(address, series, architectures)
        keys = [uploader for data in uploaders for uploader in admin.read_uploaders(data)]
        with self._publishing.alone(address):
            key = self._first_key(address)
            with self._history.write() as conn:
                now, ppa = self._clock(), h.find_ppa(conn, address)
                if ppa is None:
                    ppa = h.add_ppa(conn, address, Settings(description or "", private), now)
                elif description is not None and description != ppa.description:
                    h.configure_ppa(conn, ppa, replace(ppa.settings, description=description))
                    admin.touch_all_series(conn, ppa, now, by, "configure", "its description")
                if not ppa.key_fingerprints:
                    h.add_signing_key(conn, ppa, key, now)
                for name in series:
                    admin.ensure_series(conn, ppa, name, architectures, now, by)
                for uploader in keys:
                    h.add_uploader(conn, ppa, uploader, now)
        self.publish(address)
        return self.ppa(address)

    def configure(self, address: Address, *, consent: bool = False, by: str, **changes: Any) -> PPA:
        """Change some of a PPA's ``Settings``, given by their names; ends published.

        A private PPA becomes public only with ``consent``. Raises UnknownPPA, and ArchiveError for what cannot be.
        """
        with self._publishing.alone(address), self._history.write() as conn:
            ppa = admin.find(conn, address)
            settings = replace(ppa.settings, **changes)
            admin.check_settings(settings, ppa.settings, consent=consent)
            if settings != ppa.settings:
                h.configure_ppa(conn, ppa, settings)
                why = reading.changed_settings_in_words(ppa.settings, settings)
                admin.touch_all_series(conn, ppa, self._clock(), by, "configure", why)
                for one in h.list_series(conn, ppa):
                    surplus = admin.surplus_versions(conn, ppa, one, settings.versions)
                    why = f"{settings.versions} of its versions are kept published"
                    if surplus:
                        self._end(conn, Place(ppa, one), surplus, Status.SUPERSEDED, by, why)
        self.publish(address)
        return self.ppa(address)

    def delete_ppa(self, address: Address, *, by: str, why: str = "") -> None:
        """Delete a PPA with all it publishes. Its history, its keys and its names stay, should it come back."""
        with self._publishing.alone(address):
            with self._history.write() as conn:
                ppa = admin.find(conn, address)
                for one in h.list_series(conn, ppa):
                    self._end(conn, Place(ppa, one), None, Status.DELETED, by, why or "the PPA was deleted")
                    h.mark_series_deleted(conn, one, self._clock())
                h.remove_names(conn, ppa.id, None, self._clock())
                h.mark_ppa_deleted(conn, ppa, self._clock())
            self._publishing.remove_served(ppa)

    def delete_series(self, address: Address, series: str, *, by: str, why: str = "") -> None:
        """Delete a series of a PPA with all that it publishes."""
        with self._publishing.alone(address):
            with self._history.write() as conn:
                ppa = admin.find(conn, address)
                one = admin.find_series(conn, ppa, series)
                self._end(conn, Place(ppa, one), None, Status.DELETED, by, why or "the series was deleted")
                h.mark_series_deleted(conn, one, self._clock())
            shutil.rmtree(self.directory_of(ppa) / "dists" / series, ignore_errors=True)

    def remove_architecture(self, address: Address, series: str, architecture: str, *, by: str) -> None:
        """Publish a series for an architecture no more. Ends published; raises ArchiveError for its last one."""
        with self._publishing.alone(address), self._history.write() as conn:
            ppa = admin.find(conn, address)
            admin.remove_architecture(
                conn, ppa, admin.find_series(conn, ppa, series), architecture, self._clock(), by
            )
        self.publish(address)
        shutil.rmtree(self.directory_of(ppa) / f"dists/{series}/main/binary-{architecture}", ignore_errors=True)

    def ppas(self) -> tuple[PPA, ...]:
        """All PPAs, by owner and name."""
        with self._history.read() as conn:
            return h.list_ppas(conn)

    def ppa(self, address: Address) -> PPA:
        """The PPA at an address; raises UnknownPPA."""
        with self._history.read() as conn:
            return admin.find(conn, address)

    def series(self, address: Address) -> tuple[Series, ...]:
        """The series of a PPA, by name."""
        with self._history.read() as conn:
            return h.list_series(conn, admin.find(conn, address))

    def check_series(self, address: Address, name: str) -> None:
        """Raise UnknownPPA when there is no such PPA, or it has no such series."""
        with self._history.read() as conn:
            admin.find_series(conn, admin.find(conn, address), name)

    def uploaders(self, address: Address) -> tuple[Uploader, ...]:
        """Who may upload to a PPA."""
        with self._history.read() as conn:
            return h.list_uploaders(conn, admin.find(conn, address))

    def remove_uploader(self, address: Address, fingerprint: str) -> None:
        """Let someone upload no more; raises ArchiveError when they could not."""
        with self._history.write() as conn:
            if not h.remove_uploader(conn, admin.find(conn, address), fingerprint):
                raise ArchiveError(f"{fingerprint} is no uploader of {address}")

    # Keys that sign, and tokens

    def add_key(self, address: Address, *, by: str) -> str:
        """Begin a rotation: a new key signs beside the others; its fingerprint. Ends published."""
        with self._publishing.alone(address):
            key = openpgp.create_key(self._layout.key_home(address), f"Embedded archive {address}").fingerprint
            with self._history.write() as conn:
                ppa = admin.find(conn, address)
                h.add_signing_key(conn, ppa, key, self._clock())
                admin.touch_all_series(conn, ppa, self._clock(), by, "add key", key)
        self.publish(address)
        return key

    def retire_key(self, address: Address, fingerprint: str, *, by: str) -> None:
        """End a rotation: a key signs no more. Ends published; raises ArchiveError for the last one."""
        with self._publishing.alone(address), self._history.write() as conn:
            ppa = admin.find(conn, address)
            if fingerprint not in ppa.key_fingerprints:
                raise ArchiveError(f"{address} is not signed by {fingerprint}")
            if len(ppa.key_fingerprints) == 1:
                raise ArchiveError(f"{fingerprint} is the only key of {address}: add another one first")
            h.retire_signing_key(conn, ppa, fingerprint, self._clock())
            admin.touch_all_series(conn, ppa, self._clock(), by, "retire key", fingerprint)
        self.publish(address)

    def public_key(self, address: Address) -> bytes:
        """The PPA's public keys, in one armored block."""
        ppa = self.ppa(address)
        return openpgp.export_public(self._layout.key_home(address), *ppa.key_fingerprints)

    def create_token(self, address: Address, name: str, *, may_upload: bool = False, by: str) -> str:
        """A new token that reads a private PPA, and may upload to it; told this once, and kept as a hash."""
        with self._history.write() as conn:
            ppa, now = admin.find(conn, address), self._clock()
            return admin.make_token(conn, ppa, name, may_upload=may_upload, now=now, by=by)

    def revoke_token(self, address: Address, name: str) -> None:
        """A token holds no more; raises ArchiveError when there is none by this name."""
        with self._history.write() as conn:
            found = [one for one in h.list_tokens(conn, admin.find(conn, address)) if one.name == name]
            if not found:
                raise ArchiveError(f"{address} has no token {name}")
            h.revoke_token(conn, found[0], self._clock())

    def tokens(self, address: Address) -> tuple[AccessToken, ...]:
        """The tokens of a PPA that hold."""
        with self._history.read() as conn:
            return h.list_tokens(conn, admin.find(conn, address))

    def check_token(self, address: Address, secret: str, *, upload: bool = False) -> AccessToken | None:
        """The token that a secret is of, where it holds (and, with ``upload``, may upload); else None."""
        token = admin.match_token(self.tokens(address), secret)
        return token if token is None or token.may_upload or not upload else None

    def sources_text(self, address: Address, series: str) -> str:
        """What goes to /etc/apt/sources.list.d/NAME.sources: deb822, with the key in it."""
        self.check_series(address, series)
        url = f"{self.url}/{address.owner}/{address.name}"
        return reading.sources_text(url, [series], self.public_key(address))

    def one_liner(self, address: Address, series: str) -> str:
        """The command that adds the PPA to a machine."""
        return reading.one_liner(self.url, address, series, private=self.ppa(address).settings.private)

    # Uploads

    def accept_source(self, address: Address, series: str, directory: Path, changes_name: str) -> Receipt:
        """Accept a signed source upload: the files of ``directory``, which holds nothing else.

        Raises UploadRefused with the reason, UnknownPPA, ArchiveError. The files are copied.
        """
        self.check_series(address, series)
        with self._copied(directory) as copies:
            return self.accept_source_here(address, series, copies, changes_name)

    def accept_source_here(self, address: Address, series: str, directory: Path, changes_name: str) -> Receipt:
        """As ``accept_source``, for a directory below ``incoming`` that only the archive writes to: no copy."""
        self.check_series(address, series)
        upload = checks.check_source_upload(directory, changes_name, series, self.uploaders(address))
        with explained(self.root), self._history.write() as conn:
            receipt = accept.accept_source(self._scene(conn, address, series), upload)
        return self._bring_back(receipt, upload.files)

    def accept_binaries(
        self, address: Address, series: str, architecture: str, directory: Path, changes_name: str, worker: str
    ) -> Receipt:
        """Accept binaries that ``worker`` built on ``architecture``: the files of ``directory``.

        The caller vouches for the worker. Raises as ``accept_source``; the files are copied.
        """
        self.check_series(address, series)
        with self._copied(directory) as copies:
            return self.accept_binaries_here(address, series, architecture, copies, changes_name, worker)

    def accept_binaries_here(
        self, address: Address, series: str, architecture: str, directory: Path, changes_name: str, worker: str
    ) -> Receipt:
        """As ``accept_binaries``, for a directory below ``incoming`` that only the archive writes to."""
        with self._history.read() as conn:
            known = admin.find_series(conn, admin.find(conn, address), series).architectures
        if architecture not in known:
            raise UploadRefused(f"{address} has no {architecture} in {series}, only {', '.join(known)}")
        upload = checks.check_binary_upload(directory, changes_name, series, architecture)
        with explained(self.root), self._history.write() as conn:
            receipt = accept.accept_binaries(self._scene(conn, address, series), upload, architecture, worker)
        return self._bring_back(receipt, upload.files)

    def read_changes(self, address: Address, series: str, text: bytes, name: str, *, source: bool) -> Changes:
        """What a .changes says, before its files come; a source's must be signed by an uploader.

        Raises UploadRefused and UnknownPPA.
        """
        self.check_series(address, series)
        if not source:
            return checks.check_binary_changes(text, name, series)
        return checks.check_source_changes(text, name, series, self.uploaders(address))[0]

    def find_upload(self, address: Address, series: str, changes_sha256: str) -> Receipt | None:
        """The receipt of an upload that was accepted before; None when it was not, or is wanted again.

        It is wanted again when files of it are needed, and were lost.
        """
        with self._history.read() as conn:
            one = admin.find_series(conn, admin.find(conn, address), series)
            upload = h.find_upload(conn, one.id, changes_sha256)
            if upload is None or repair.lost_of(conn, self._layout, upload, self._clock()):
                return None
            source, version = h.name_of_release(conn, upload.source_release_id)
        return Receipt(*(str(address), series, upload.architecture, source, version, changes_sha256), already=True)

    def note_refusal(
        self, address: Address, series: str, changes_name: str, reason: str, *, by: str = "", via: str
    ) -> None:
        """Keep that an upload was turned away; ``by`` is who signed it, where that is sure, ``via`` how it came.

        A PPA that is not here keeps nothing.
        """
        with self._history.write() as conn:
            if (ppa := h.find_ppa(conn, address)) is not None:
                h.add_refusal(conn, ppa, Refusal(self._clock(), series, changes_name, reason, by, via))

    def refusals(self, address: Address, *, limit: int = 20) -> tuple[Refusal, ...]:
        """The last uploads that were turned away, newest first."""
        with self._history.read() as conn:
            return h.list_refusals(conn, admin.find(conn, address), limit)

    # Changing what is there

    def copy(
        self,
        source: Address,
        source_series: str,
        destination: Address,
        destination_series: str,
        packages: Sequence[Wanted] | None,
        *,
        binaries: bool = True,
        consent: bool = False,
        by: str,
        why: str = "",
    ) -> tuple[Outcome, ...]:
        """Copy packages (None: all that are active) between series; all of them, or none. Ends published.

        Launchpad's rules hold. What is private goes to a public PPA only with ``consent``. Raises ChangeRefused
        with every package that stands in the way, and UnknownPPA.
        """
        with self._history.write() as conn:
            here, there = (
                self._place(conn, source, source_series),
                self._place(conn, destination, destination_series),
            )
            if here.ppa.settings.private and not there.ppa.settings.private and not consent:
                raise ChangeRefused(
                    f"{source} is private and {destination} is public: say with your consent (--unembargo) "
                    "that these packages may be seen by everybody",
                    [],
                )
            now = self._clock()
            done = copying.copy(conn, here, there, packages, binaries=binaries, now=now, by=by, why=why)
        self.publish(destination)
        return done

    def import_parcels(
        self, address: Address, series: str, origin: Origin, parcels: Sequence[Parcel], *, by: str, why: str = ""
    ) -> tuple[Outcome, ...]:
        """Publish what another archive has published, by the rules of a copy; all of it, or none. Ends published.

        The files lie below ``incoming``. Raises ChangeRefused with every package that stands in the way.
        """
        self.check_series(address, series)
        checked = importing.check_parcels(parcels)
        with explained(self.root), self._history.write() as conn:
            place, now = self._place(conn, address, series), self._clock()
            done = importing.import_parcels(conn, self._pool, place, origin, checked, now=now, by=by, why=why)
        repair.bring_back(
            self._history, self._layout, (file for one in checked for file in one.files.values()), self._clock()
        )
        self.publish(address)
        return done

    def delete(
        self, address: Address, series: str, packages: Sequence[Wanted] | None, *, by: str, why: str = ""
    ) -> tuple[Outcome, ...]:
        """Delete active packages (None: all) with their binaries. Ends published; raises ChangeRefused."""
        return self._end_and_publish(address, series, packages, Status.DELETED, by, why)

    def supersede(
        self, address: Address, series: str, packages: Sequence[Wanted] | None, *, by: str, why: str = ""
    ) -> tuple[Outcome, ...]:
        """End active packages with their binaries as superseded. Ends published; raises ChangeRefused."""
        return self._end_and_publish(address, series, packages, Status.SUPERSEDED, by, why)

    def snapshot(self, address: Address, name: str, *, by: str, why: str = "") -> Snapshot:
        """Name what a PPA holds now, and keep its files as long as the snapshot is kept."""
        admin.check_label(name, "snapshot")
        with self._history.write() as conn:
            ppa = admin.find(conn, address)
            if any(one.name == name for one in h.list_snapshots(conn, ppa)):
                raise ArchiveError(f"{address} has a snapshot {name} already")
            return h.add_snapshot(conn, ppa, name, self._clock(), by, why)

    def snapshots(self, address: Address) -> tuple[Snapshot, ...]:
        """The snapshots of a PPA, oldest first."""
        with self._history.read() as conn:
            return h.list_snapshots(conn, admin.find(conn, address))

    def delete_snapshot(self, address: Address, name: str) -> None:
        """Forget a snapshot; raises ArchiveError when there is none by this name."""
        with self._history.write() as conn:
            h.remove_snapshot(conn, rollback.find_snapshot(conn, admin.find(conn, address), name))

    def diff(
        self, address: Address, before: str | float, after: str | float | None = None, *, series: str = ""
    ) -> tuple[Difference, ...]:
        """What changed between two snapshots (names) or moments (seconds since the epoch, UTC); None is now."""
        with self._history.read() as conn:
            ppa = admin.find(conn, address)
            return tuple(
                difference
                for one in self._series_of(conn, ppa, series)
                for difference in rollback.differences(
                    conn,
                    one,
                    rollback.generation_of(conn, ppa, one, before),
                    one.generation if after is None else rollback.generation_of(conn, ppa, one, after),
                )
            )

    def roll_back(
        self, address: Address, to: str | float, *, series: str = "", by: str, why: str = ""
    ) -> tuple[Outcome, ...]:
        """Bring back what a PPA, or one series of it, held at a snapshot or a moment. Ends published.

        Raises ChangeRefused when files that it needs are no longer kept, or a series is gone: nothing is done
        then.
        """
        with self._history.write() as conn:
            ppa = admin.find(conn, address)
            target = rollback.describe(to)
            if not series:
                rollback.check_series_are_there(conn, ppa, to)
            done = [
                outcome
                for one in self._series_of(conn, ppa, series)
                for outcome in rollback.roll_back(
                    conn,
                    Place(ppa, one),
                    rollback.generation_of(conn, ppa, one, to),
                    target,
                    now=self._clock(),
                    by=by,
                    why=why,
                )
            ]
        self.publish(address)
        return tuple(done)

    # What is there

    def listing(
        self, address: Address, *, series: str = "", source: str = "", active: bool = True
    ) -> list[Listed]:
        """A line a source version, by series and name: the quick way to see what a PPA holds."""
        with self._history.read() as conn:
            return h.list_sources(conn, admin.find(conn, address), series=series, source=source, active=active)

    def publications(
        self,
        address: Address,
        *,
        series: str = "",
        source: str = "",
        sources: Collection[str] | None = None,
        version: str = "",
        active: bool = False,
    ) -> tuple[Publication, ...]:
        """Source publications with their binaries, by name, newest version first; "" and None mean any."""
        with self._history.read() as conn:
            ppa = admin.find(conn, address)
            wanted = {"series": series, "source": source, "sources": sources, "version": version}
            return reading.publications(conn, ppa, **wanted, active=active)  # type: ignore[arg-type]

    def sources(
        self, address: Address, *, names: Collection[str] | None = None, active: bool = False
    ) -> tuple[SourcePublication, ...]:
        """Source publications alone, the newest last: quick, however many they are; None means any."""
        with self._history.read() as conn:
            return h.select_source_publications(conn, admin.find(conn, address), sources=names, active=active)

    def source_files(self, address: Address, release_ids: Collection[int]) -> dict[int, tuple[File, ...]]:
        """Where the files of source releases lie, as far as they are kept."""
        with self._history.read() as conn:
            return reading.source_files(conn, admin.find(conn, address), self._layout, release_ids)

    def binary_files(self, address: Address, release_ids: Collection[int]) -> dict[int, tuple[File, ...]]:
        """Where the packages of binary releases lie, as far as they are kept."""
        with self._history.read() as conn:
            return reading.binary_files(conn, admin.find(conn, address), self._layout, release_ids)

    def history(self, address: Address, *, series: str = "", source: str = "") -> tuple[Event, ...]:
        """What happened to a PPA's packages, oldest first."""
        with self._history.read() as conn:
            return reading.events(conn, admin.find(conn, address), series=series, source=source)

    def changes(self, address: Address, *, series: str = "", limit: int = 0) -> tuple[ChangeMade, ...]:
        """The changes made to a PPA's series, each a transaction, in their order; with a limit the last ones."""
        with self._history.read() as conn:
            return h.list_changes(conn, admin.find(conn, address), series, limit)

    # Publishing

    def publish(self, address: Address, *, force: bool = False) -> tuple[Published, ...]:
        """Write the indexes of the series that are due: they lag behind the history, or will soon be no longer
        valid. With ``force``, of all, and every stanza is rendered again, whatever was kept.

        Raises ArchiveError with what to do when the disk refuses; readers then have what they had.
        """
        return self._publishing.publish(address, force=force)

    def publish_due(self) -> tuple[Published, ...]:
        """Publish what is due in all PPAs: what a crash left undone, and what will soon be no longer valid."""
        return self._publishing.publish_due()

    def publish_contents(self, address: Address, *, until: Callable[[], bool] = lambda: False) -> tuple[str, ...]:
        """Write and publish the Contents of the series in which they lag behind; others may publish meanwhile.

        Stops early, with nothing published, once ``until`` is true. Returns which packages have no lines because
        their files cannot be listed, and why. Raises ArchiveError.
        """
        return self._publishing.publish_contents(address, until=until)

    def publish_lagging_contents(self, *, until: Callable[[], bool] = lambda: False) -> tuple[str, ...]:
        """``publish_contents`` of every PPA that has some to write."""
        return self._publishing.publish_lagging_contents(until=until)

    # Upkeep

    def collect_garbage(self, *, dry_run: bool) -> GarbageReport:
        """Let go of files that no PPA needs any more, and remove what crashes have left, in the whole archive.

        A dry run tells what would go, and changes nothing.
        """
        with explained(self.root):
            return garbage.collect(self._history, self._layout, self._clock, self._keep_by_hash_s, dry_run=dry_run)

    def verify(self, address: Address | None = None, *, deep: bool = True) -> tuple[Finding, ...]:
        """What is wrong with a PPA, or (None) with the archive; nothing, where all is as it should be.

        ``deep`` reads every file of the pool; else their sizes must do. It may run beside writers.
        """
        ppas = self.ppas() if address is None else (self.ppa(address),)
        return verify.verify(self._history, self._layout, ppas, self._clock(), whole=address is None, deep=deep)

    def repair(self, address: Address | None = None) -> Repaired:
        """Verify, and mend what can be."""
        found = self.verify(address)
        with explained(self.root):
            done = repair.repair(
                self._history, self._layout, found, self._clock(), lambda one: self.publish(one, force=True)
            )
        return Repaired(done, self.verify(address, deep=False) if done else found)

    # Where things are

    def public_directory(self, address: Address) -> Path:
        """The PPA's directory as it is served, with dists/ and pool/; raises UnknownPPA."""
        return self.directory_of(self.ppa(address))

    def directory_of(self, ppa: PPA) -> Path:
        """The directory of a PPA as it is served; private ones lie apart, where no plain web server looks."""
        return self._publishing.directory_of(ppa)

    @contextlib.contextmanager
    def _copied(self, directory: Path) -> Iterator[Path]:
        """Copies of the plain files of a directory; anything else in it is refused."""
        with explained(self.root), tempfile.TemporaryDirectory(dir=self.incoming, prefix=".copy-") as name:
            for path in sorted(directory.iterdir()):
                if path.is_symlink() or not path.is_file():
                    raise UploadRefused(f"{path.name} is no plain file")
                shutil.copyfile(path, Path(name) / path.name)
            yield Path(name)

    def _end_and_publish(
        self,
        address: Address,
        series: str,
        packages: Sequence[Wanted] | None,
        status: Status,
        by: str,
        why: str,
    ) -> tuple[Outcome, ...]:
        with self._history.write() as conn:
            done = self._end(conn, self._place(conn, address, series), packages, status, by, why)
        self.publish(address)
        return done

    def _end(
        self,
        conn: Connection,
        place: Place,
        packages: Sequence[Wanted] | None,
        status: Status,
        by: str,
        why: str,
    ) -> tuple[Outcome, ...]:
        return ending.end_packages(conn, place, packages, status, now=self._clock(), by=by, why=why)

    def _bring_back(self, receipt: Receipt, files: Iterable[UploadedFile]) -> Receipt:
        """What was there before, and was lost since, is there again."""
        if not receipt.already:
            return receipt
        back = repair.bring_back(self._history, self._layout, files, self._clock())
        return replace(receipt, notes=(*receipt.notes, *back))

    def _place(self, conn: Connection, address: Address, series: str) -> Place:
        ppa = admin.find(conn, address)
        return Place(ppa, admin.find_series(conn, ppa, series))

    def _series_of(self, conn: Connection, ppa: PPA, name: str) -> tuple[Series, ...]:
        return (admin.find_series(conn, ppa, name),) if name else h.list_series(conn, ppa)

    def _scene(self, conn: Connection, address: Address, series: str) -> accept.Scene:
        place = self._place(conn, address, series)
        return accept.Scene(conn, self._pool, place.ppa, place.series, self._clock())

    def _first_key(self, address: Address) -> str:
        """The key of a new PPA: one that its home has already, or a new one."""
        home = self._layout.key_home(address)
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        keys = openpgp.secret_keys(home) or (openpgp.create_key(home, f"Embedded archive {address}"),)
        return keys[-1].fingerprint


def stop_agents(root: Path) -> None:
    """End the agents that hold the keys of the PPAs below ``root``, without opening the archive."""
    for home in root.glob("keys/*/*"):
        openpgp.stop_agent(home)
