"""The embedded archive: PPAs on this machine, their uploads, their publishing history, their signed indexes.

Below ``root``:

history.sqlite             what was uploaded and published, when, by whom and why: the truth; all else follows it
blobs/                     every file once, by its SHA-256
incoming/                  uploads that are still coming in; incoming-binaries/ those of the workers
keys/OWNER/NAME/           the GnuPG home of each PPA's own key
locks/                     a lock a PPA, held while its indexes are written
public/OWNER/NAME/         what is served, as plain files: dists/ and pool/

Every operation is one transaction and may be repeated. An upload that is accepted is in the history before it is
acknowledged; the indexes follow, and are written again from the history when a crash came in between. Any number
of threads and processes may use one root.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Connection

from ppa_tools import openpgp
from ppa_tools.address import Address
from ppa_tools.archives import accept, checks, publisher
from ppa_tools.archives import history as h
from ppa_tools.archives.accept import Receipt
from ppa_tools.archives.control import ARCHITECTURE, Changes
from ppa_tools.archives.durable import locked
from ppa_tools.archives.errors import ArchiveError, UnknownPPA, UploadRefused
from ppa_tools.archives.history import PPA, BinaryPublication, Series, SourcePublication, Status, Uploader
from ppa_tools.archives.pool import Pool
from ppa_tools.archives.publisher import Published
from ppa_tools.debversion import version_key

__all__ = [
    "PPA",
    "ArchiveError",
    "BinaryPublication",
    "Event",
    "LocalArchive",
    "Publication",
    "Published",
    "Receipt",
    "Series",
    "SourcePublication",
    "Status",
    "UnknownPPA",
    "UploadRefused",
    "Uploader",
]

SERIES_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,62}")
RESERVED_OWNERS = ("api", "upload", "upload-binaries")
KEEP_BY_HASH_S = 3600.0


@dataclass(frozen=True)
class Publication:
    """A source version in a series with its binaries; ``built_on``: the builds that have come."""

    source: SourcePublication
    binaries: tuple[BinaryPublication, ...]
    built_on: tuple[str, ...]


@dataclass(frozen=True)
class Event:
    """A line of a PPA's history; ``what`` is uploaded, published, superseded or deleted. Times are UTC seconds."""

    at: float
    what: str
    kind: str
    name: str
    version: str
    series: str
    architecture: str
    who: str
    why: str


class LocalArchive:
    """The PPAs below one directory. ``url`` is where that archive is served, without a slash at its end."""

    def __init__(
        self,
        root: Path,
        *,
        url: str = "http://127.0.0.1:8011",
        clock: Callable[[], float] = time.time,
        keep_by_hash_s: float = KEEP_BY_HASH_S,
    ) -> None:
        self.root = root
        self.url = url.rstrip("/")
        self._clock = clock
        self._keep_by_hash_s = keep_by_hash_s
        self._history = h.open_history(root / "history.sqlite")
        self._pool = Pool(root / "blobs")
        self.incoming = root / "incoming"
        self.incoming_binaries = root / "incoming-binaries"
        for directory in (self._pool.root, self.incoming, self.incoming_binaries, root / "public"):
            directory.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Close the history."""
        self._history.close()

    def stop_agents(self) -> None:
        """End the agents that hold the PPAs' keys; whoever signs next has them started again."""
        for home in self.root.glob("keys/*/*"):
            openpgp.stop_agent(home)

    # PPAs

    def ensure_ppa(
        self,
        address: Address,
        *,
        description: str | None = None,
        series: Sequence[str] = (),
        architectures: Sequence[str] = (),
        uploaders: Iterable[bytes] = (),
    ) -> PPA:
        """Create a PPA, or add to it what it lacks; what it has stays. Ends published.

        ``architectures`` are for each of the named ``series``; ``uploaders`` are public keys (armored or binary).
        Raises ArchiveError for names that cannot be used.
        """
        _check_names(address, series, architectures)
        keys = [Uploader(key.fingerprint, key.uid, data) for data in uploaders for key in _read_keys(data)]
        with locked(self._lock_file(address)):
            fingerprint = self._ensure_key(address)
            with self._history.write() as conn:
                ppa = h.find_ppa(conn, address)
                if ppa is None:
                    ppa = h.add_ppa(conn, address, description or "", fingerprint, self._clock())
                elif description is not None and description != ppa.description:
                    h.describe_ppa(conn, ppa, description)
                for name in series:
                    _ensure_series(conn, ppa, name, architectures, self._clock())
                for uploader in keys:
                    h.add_uploader(conn, ppa, uploader, self._clock())
        self.publish(address)
        return self.ppa(address)

    def ppas(self) -> tuple[PPA, ...]:
        """All PPAs, by owner and name."""
        with self._history.read() as conn:
            return h.list_ppas(conn)

    def ppa(self, address: Address) -> PPA:
        """The PPA at an address; raises UnknownPPA."""
        with self._history.read() as conn:
            ppa = h.find_ppa(conn, address)
        if ppa is None:
            raise UnknownPPA(f"there is no {address} here")
        return ppa

    def series(self, address: Address) -> tuple[Series, ...]:
        """The series of a PPA, by name."""
        ppa = self.ppa(address)
        with self._history.read() as conn:
            return h.list_series(conn, ppa)

    def check_series(self, address: Address, name: str) -> None:
        """Raise UnknownPPA when there is no such PPA, or it has no such series."""
        self._find_series(self.ppa(address), name)

    def uploaders(self, address: Address) -> tuple[Uploader, ...]:
        """Who may upload to a PPA."""
        ppa = self.ppa(address)
        with self._history.read() as conn:
            return h.list_uploaders(conn, ppa)

    def public_key(self, address: Address) -> bytes:
        """The PPA's public key, armored."""
        ppa = self.ppa(address)
        return openpgp.export_public(self._key_home(address), ppa.key_fingerprint)

    def sources_text(self, address: Address, series: str) -> str:
        """What goes to /etc/apt/sources.list.d/NAME.sources: deb822, with the key in it."""
        self._find_series(self.ppa(address), series)
        key = self.public_key(address).decode("ascii").strip()
        lines = [
            "Types: deb deb-src",
            f"URIs: {self.url}/{address.owner}/{address.name}",
            f"Suites: {series}",
            "Components: main",
            "Signed-By:",
            *(f" {line.strip() or '.'}" for line in key.splitlines()),
        ]
        return "\n".join(lines) + "\n"

    def one_liner(self, address: Address, series: str) -> str:
        """The command that adds the PPA to a machine."""
        name = f"{address.name}-{series}.sources"
        return (
            f"curl -fsSL {self.url}/{address.owner}/{address.name}/{name} "
            f"| sudo tee /etc/apt/sources.list.d/{address.owner}-{name} >/dev/null && sudo apt-get update"
        )

    # Uploads

    def accept_source(self, address: Address, series: str, directory: Path, changes_name: str) -> Receipt:
        """Accept a signed source upload: the files of ``directory``, which holds nothing else.

        Raises UploadRefused with the reason, UnknownPPA, ArchiveError. The files are copied.
        """
        self._find_series(self.ppa(address), series)
        with tempfile.TemporaryDirectory(dir=self.incoming, prefix=".copy-") as name:
            return self.accept_source_here(address, series, _copy_files(directory, Path(name)), changes_name)

    def accept_source_here(self, address: Address, series: str, directory: Path, changes_name: str) -> Receipt:
        """As ``accept_source``, for a directory below ``incoming`` that only the archive writes to: no copy."""
        ppa = self.ppa(address)
        self._find_series(ppa, series)
        with self._history.read() as conn:
            uploaders = h.list_uploaders(conn, ppa)
        upload = checks.check_source_upload(directory, changes_name, series, uploaders)
        with self._history.write() as conn:
            scene = self._scene(conn, ppa, series)
            return accept.accept_source(scene, upload)

    def accept_binaries(
        self, address: Address, series: str, architecture: str, directory: Path, changes_name: str, worker: str
    ) -> Receipt:
        """Accept binaries that ``worker`` built on ``architecture``: the files of ``directory``.

        The caller vouches for the worker. Raises as ``accept_source``; the files are copied.
        """
        self._find_series(self.ppa(address), series)
        with tempfile.TemporaryDirectory(dir=self.incoming, prefix=".copy-") as name:
            copies = _copy_files(directory, Path(name))
            return self.accept_binaries_here(address, series, architecture, copies, changes_name, worker)

    def accept_binaries_here(
        self, address: Address, series: str, architecture: str, directory: Path, changes_name: str, worker: str
    ) -> Receipt:
        """As ``accept_binaries``, for a directory below ``incoming`` that only the archive writes to."""
        ppa = self.ppa(address)
        known = self._find_series(ppa, series).architectures
        if architecture not in known:
            raise UploadRefused(f"{address} has no {architecture} in {series}, only {', '.join(known)}")
        upload = checks.check_binary_upload(directory, changes_name, series, architecture)
        with self._history.write() as conn:
            scene = self._scene(conn, ppa, series)
            return accept.accept_binaries(scene, upload, architecture, worker)

    def read_changes(self, address: Address, series: str, text: bytes, name: str, *, source: bool) -> Changes:
        """What a .changes says, before its files come; a source's must be signed by an uploader.

        Raises UploadRefused and UnknownPPA.
        """
        ppa = self.ppa(address)
        self._find_series(ppa, series)
        if not source:
            return checks.check_binary_changes(text, name, series)
        with self._history.read() as conn:
            uploaders = h.list_uploaders(conn, ppa)
        return checks.check_source_changes(text, name, series, uploaders)[0]

    def find_upload(self, address: Address, series: str, changes_sha256: str) -> Receipt | None:
        """The receipt of an upload that was accepted before; None when it was not."""
        ppa = self.ppa(address)
        with self._history.read() as conn:
            one = self._find_series(ppa, series)
            upload = h.find_upload(conn, one.id, changes_sha256)
            if upload is None:
                return None
            source, version = h.name_of_release(conn, upload.source_release_id)
        return Receipt(*(str(address), series, upload.architecture, source, version, changes_sha256), already=True)

    # What is there

    def publications(
        self,
        address: Address,
        *,
        series: str = "",
        source: str = "",
        version: str = "",
        active: bool = False,
    ) -> tuple[Publication, ...]:
        """Source publications with their binaries, by name, newest version first; "" means any."""
        ppa = self.ppa(address)
        with self._history.read() as conn:
            sources = h.select_source_publications(
                conn, ppa, series=series, source=source, version=version, active=active
            )
            binaries = h.select_binary_publications(
                conn, ppa, series=series, source=source, source_version=version
            )
            built = h.built_architectures(conn, ppa, source)
        by_source: dict[tuple[str, str, str], list[BinaryPublication]] = {}
        for one in binaries:
            by_source.setdefault((one.series, one.source, one.source_version), []).append(one)
        found = [
            Publication(
                one,
                tuple(by_source.get((one.series, one.source, one.version), ())),
                built.get((one.series, one.release_id), ()),
            )
            for one in reversed(sources)
        ]
        found.sort(key=lambda publication: version_key(publication.source.version), reverse=True)
        return tuple(sorted(found, key=lambda publication: (publication.source.series, publication.source.source)))

    def history(self, address: Address, *, series: str = "", source: str = "") -> tuple[Event, ...]:
        """What happened to a PPA's packages, oldest first."""
        ppa = self.ppa(address)
        with self._history.read() as conn:
            sources = h.select_source_publications(conn, ppa, series=series, source=source)
            binaries = h.select_binary_publications(conn, ppa, series=series, source=source)
        events = [event for row in sources for event in _events(row, "source", row.source, "source")]
        events += [
            event for row in binaries for event in _events(row, "binary", row.package, row.index_architecture)
        ]
        return tuple(sorted(events, key=lambda event: event.at))

    # Publishing

    def publish(self, address: Address, *, force: bool = False) -> tuple[Published, ...]:
        """Write the indexes of the series that lag behind the history (of all with ``force``)."""
        with locked(self._lock_file(address)):
            ppa = self.ppa(address)
            with self._history.read() as conn:
                wanted = [one.name for one in h.list_series(conn, ppa) if force or one.is_dirty]
            return tuple(self._publish_series(ppa, name) for name in wanted)

    def publish_dirty(self) -> tuple[Published, ...]:
        """Publish whatever lags behind, in all PPAs: what a crash left undone."""
        with self._history.read() as conn:
            addresses = {ppa.address for ppa, _ in h.dirty_series(conn)}
        return tuple(one for address in sorted(addresses) for one in self.publish(address))

    def public_directory(self, address: Address) -> Path:
        """The PPA's directory as it is served, with dists/ and pool/."""
        return self.root / "public" / address.owner / address.name

    def _publish_series(self, ppa: PPA, name: str) -> Published:
        home, keys = self._key_home(ppa.address), [ppa.key_fingerprint]

        def sign(release: bytes) -> tuple[bytes, bytes]:
            with ThreadPoolExecutor(1) as beside:
                detached = beside.submit(openpgp.detach_sign, home, keys, release)
                return openpgp.clearsign(home, keys, release), detached.result()

        return publisher.publish_series(
            self._history,
            self._pool,
            self.public_directory(ppa.address),
            ppa,
            name,
            sign,
            self._clock(),
            self._keep_by_hash_s,
        )

    def _scene(self, conn: Connection, ppa: PPA, series: str) -> accept.Scene:
        one = h.find_series(conn, ppa, series)
        assert one is not None
        return accept.Scene(conn, self._pool, ppa, one, self._clock())

    def _find_series(self, ppa: PPA, name: str) -> Series:
        with self._history.read() as conn:
            found = h.find_series(conn, ppa, name)
            known = [one.name for one in h.list_series(conn, ppa)]
        if found is None:
            raise UnknownPPA(f"{ppa.address} has no series {name}; it has {', '.join(known) or 'none'}")
        return found

    def _key_home(self, address: Address) -> Path:
        return self.root / "keys" / address.owner / address.name

    def _lock_file(self, address: Address) -> Path:
        return self.root / "locks" / address.owner / address.name

    def _ensure_key(self, address: Address) -> str:
        home = self._key_home(address)
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        keys = openpgp.secret_keys(home) or (openpgp.create_key(home, f"Embedded archive {address}"),)
        return keys[0].fingerprint


def _check_names(address: Address, series: Sequence[str], architectures: Sequence[str]) -> None:
    if address.backend != "local":
        raise ArchiveError(f"{address} is no PPA of the embedded archive: local:owner/name is wanted")
    if address.owner in RESERVED_OWNERS:
        raise ArchiveError(f"{address.owner!r} cannot own PPAs: the archive's own addresses begin with it")
    for name in series:
        if not SERIES_NAME.fullmatch(name):
            raise ArchiveError(f"{name!r} is no name for a series")
    for name in architectures:
        if not ARCHITECTURE.fullmatch(name) or name in ("all", "any", "source"):
            raise ArchiveError(f"{name!r} is no architecture")
    if series and not architectures:
        raise ArchiveError("a series needs at least one architecture")


def _ensure_series(conn: Connection, ppa: PPA, name: str, architectures: Sequence[str], now: float) -> None:
    found = h.find_series(conn, ppa, name)
    if found is None:
        h.add_series(conn, ppa, name, tuple(dict.fromkeys(architectures)))
        return
    missing = [arch for arch in dict.fromkeys(architectures) if arch not in found.architectures]
    if missing:
        h.set_architectures(conn, found, (*found.architectures, *missing))
        accept.spread_to_architectures(conn, ppa, found, missing, now)


def _read_keys(data: bytes) -> tuple[openpgp.Key, ...]:
    keys = openpgp.read_keys(data)
    if not keys:
        raise ArchiveError("an uploader's key is wanted, and this holds none that can be used")
    return keys


def _copy_files(directory: Path, into: Path) -> Path:
    """Copy the plain files of a directory; anything else in it is refused."""
    for path in sorted(directory.iterdir()):
        if path.is_symlink() or not path.is_file():
            raise UploadRefused(f"{path.name} is no plain file")
        shutil.copyfile(path, into / path.name)
    return into


def _events(
    row: SourcePublication | BinaryPublication, kind: str, name: str, architecture: str
) -> Iterable[Event]:
    span = row.span
    where = (kind, name, row.version, row.series, architecture)
    yield Event(span.created_at, "uploaded" if kind == "source" else "built", *where, span.created_by, span.why)
    if span.published_at is not None:
        yield Event(span.published_at, "published", *where, "", "")
    if span.ended_at is not None:
        yield Event(span.ended_at, span.status.lower(), *where, span.ended_by, span.end_why)
