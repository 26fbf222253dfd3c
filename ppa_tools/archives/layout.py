"""Where everything of an archive lies, below its root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ppa_tools.address import Address
from ppa_tools.archives.pool import Pool


@dataclass(frozen=True)
class Layout:
    """The directories of an archive; nothing is made here."""

    root: Path

    @property
    def history_file(self) -> Path:
        """The publishing history, where it is a SQLite file."""
        return self.root / "history.sqlite"

    @property
    def pool(self) -> Pool:
        """Every file once."""
        return Pool(self.root / "blobs")

    @property
    def incoming(self) -> Path:
        """Uploads that are still coming in."""
        return self.root / "incoming"

    @property
    def incoming_binaries(self) -> Path:
        """The same, of the workers."""
        return self.root / "incoming-binaries"

    @property
    def quarantine(self) -> Path:
        """Damaged files, set aside for people to look at."""
        return self.root / "quarantine"

    def served_root(self, *, private: bool) -> Path:
        """What a plain web server may be pointed at; private PPAs lie apart."""
        return self.root / ("private" if private else "public")

    @property
    def closed(self) -> tuple[Path, ...]:
        """What other users of the machine may not enter: files of private PPAs lie there."""
        rooms = (self.incoming, self.incoming_binaries, self.block_caches, self.contents_rooms)
        return (self.pool.root, self.served_root(private=True), *rooms)

    def served(self, address: Address, *, private: bool) -> Path:
        """The directory of a PPA as it is served, with dists/ and pool/."""
        return self.served_root(private=private) / address.owner / address.name

    def key_home(self, address: Address) -> Path:
        """The GnuPG home of a PPA's own keys."""
        return self.root / "keys" / address.owner / address.name

    @property
    def block_caches(self) -> Path:
        """The blocks of all PPAs' indexes."""
        return self.root / "index-blocks"

    def block_cache(self, address: Address) -> Path:
        """The blocks of a PPA's indexes."""
        return self.block_caches / address.owner / address.name

    def contents_room(self, address: Address) -> Path:
        """Where a PPA's Contents are written, before the others know of them."""
        return self.contents_rooms / address.owner / address.name

    @property
    def contents_rooms(self) -> Path:
        """The same, of all PPAs."""
        return self.root / "contents"

    def contents_lock_file(self, address: Address) -> Path:
        """The lock that is held while a PPA's Contents are written."""
        return self.root / "locks-contents" / address.owner / address.name

    def lock_file(self, address: Address) -> Path:
        """The lock that is held while a PPA's files are written."""
        return self.root / "locks" / address.owner / address.name

    def transfer_lock_file(self, address: Address) -> Path:
        """The lock that is held while files for a PPA are fetched from another archive."""
        return self.root / "locks-transfers" / address.owner / address.name
