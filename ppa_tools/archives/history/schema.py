"""The publishing history's tables: what was ever uploaded to a PPA, and what was published when, and why.

A *release* is content (a source version, a binary package); a *publication* is a release in a series of a PPA,
from its creation to its end, as in Launchpad. Content is shared: one row in ``files`` for every SHA-256, however
many PPAs hold it. Rows of publications are never removed; their status moves on. Rendered index stanzas are kept,
so that publishing reads rows and not packages. Times are seconds since the epoch, UTC.

Every change to a series counts its ``generation`` up by one and leaves a row in ``series_changes``. A publication
was active at generation G when ``created_generation <= G`` and it had not ended by then: ``ended_generation`` is
null or greater than G. So a generation names what a series held, for ever, and costs nothing to keep.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

SCHEMA_VERSION = 2

KEEP_ENDED_S = 7 * 86400.0  # as long as Launchpad keeps the files of what was superseded or deleted

metadata = MetaData()


def word(length: int) -> String:
    """A word of at most so many characters; it sorts by its bytes everywhere, as SQLite and apt's indexes do."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True))

ppas = Table(
    "ppas",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("owner", word(128), nullable=False),
    Column("name", word(128), nullable=False),
    Column("description", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("deleted_at", Double),
    Column("private", Boolean, nullable=False, server_default=false()),
    Column("quota_bytes", BigInteger, nullable=False, server_default="0"),  # 0: none
    Column("used_bytes", BigInteger, nullable=False, server_default="0"),
    Column("versions", Integer, nullable=False, server_default="1"),
    Column("keep_ended_s", Double, nullable=False, server_default=str(KEEP_ENDED_S)),
    Column("compressions", word(32), nullable=False, server_default="gz"),
    Column("valid_for_s", Double, nullable=False, server_default="0"),  # 0: without Valid-Until
    UniqueConstraint("owner", "name"),
)

# All that are not retired sign: two, while one takes over from the other.
signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ppa_id", ForeignKey("ppas.id"), nullable=False),
    Column("fingerprint", word(64), nullable=False),
    Column("added_at", Double, nullable=False),
    Column("retired_at", Double),
    UniqueConstraint("ppa_id", "fingerprint"),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ppa_id", ForeignKey("ppas.id"), nullable=False),
    Column("name", word(128), nullable=False),
    Column("secret_sha256", word(64), nullable=False),
    Column("may_upload", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("revoked_at", Double),
    Index("access_tokens_by_ppa", "ppa_id"),
)

# A series is dirty while generation is ahead of published_generation: every change to what it publishes counts
# generation up in the same transaction, and the publisher sets the other to what it has written.
series = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ppa_id", ForeignKey("ppas.id"), nullable=False),
    Column("name", word(64), nullable=False),
    Column("architectures", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("published_generation", Integer, nullable=False),
    Column("contents_generation", Integer, nullable=False, server_default="0"),
    Column("published_at", Double),
    Column("deleted_at", Double),
    UniqueConstraint("ppa_id", "name"),
)

series_changes = Table(
    "series_changes",
    metadata,
    Column("series_id", ForeignKey("series.id"), primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("by", Text, nullable=False),
    Column("what", word(32), nullable=False),
    Column("why", Text, nullable=False),
    Index("series_changes_by_time", "series_id", "at"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ppa_id", ForeignKey("ppas.id"), nullable=False),
    Column("name", word(128), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("why", Text, nullable=False),
    UniqueConstraint("ppa_id", "name"),
)

snapshot_series = Table(
    "snapshot_series",
    metadata,
    Column("snapshot_id", ForeignKey("snapshots.id"), primary_key=True),
    Column("series_id", ForeignKey("series.id"), primary_key=True),
    Column("generation", Integer, nullable=False),
    Index("snapshot_series_by_generation", "series_id", "generation"),
)

uploader_keys = Table(
    "uploader_keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ppa_id", ForeignKey("ppas.id"), nullable=False),
    Column("fingerprint", word(64), nullable=False),
    Column("uid", Text, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("added_at", Double, nullable=False),
    UniqueConstraint("ppa_id", "fingerprint"),
)

files = Table(
    "files",
    metadata,
    Column("sha256", word(64), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("md5", word(32), nullable=False),
    Column("sha1", word(40), nullable=False),
    Column("expired_at", Double),  # since then no PPA holds it, and the pool need not
)

# Names for ever: a name that was once given to some bytes in a PPA never means others there.
file_names = Table(
    "file_names",
    metadata,
    Column("ppa_id", ForeignKey("ppas.id"), primary_key=True),
    Column("name", word(255), primary_key=True),
    Column("sha256", ForeignKey("files.sha256"), nullable=False),
    Column("pool_path", Text, nullable=False),
    Column("removed_at", Double),  # since then the PPA does not serve it; the name stays taken
    Index("file_names_by_content", "sha256"),
)

source_releases = Table(
    "source_releases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("origin_ppa_id", ForeignKey("ppas.id"), nullable=False),
    Column("source", word(128), nullable=False),
    Column("version", word(255), nullable=False),
    Column("architectures", Text, nullable=False),
    Column("payload_sha256", word(64), nullable=False),
    Column("stanza", Text, nullable=False),
    UniqueConstraint("origin_ppa_id", "source", "version"),
    Index("source_releases_by_name", "source"),
)

source_release_files = Table(
    "source_release_files",
    metadata,
    Column("release_id", ForeignKey("source_releases.id"), primary_key=True),
    Column("name", word(255), primary_key=True),
    Column("sha256", ForeignKey("files.sha256"), nullable=False),
    Index("source_release_files_by_content", "sha256"),
)

binary_releases = Table(
    "binary_releases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("source_release_id", ForeignKey("source_releases.id"), nullable=False),
    Column("package", word(128), nullable=False),
    Column("version", word(255), nullable=False),
    Column("architecture", word(32), nullable=False),
    Column("file_name", word(255), nullable=False),
    Column("sha256", ForeignKey("files.sha256"), nullable=False),
    Column("stanza", Text, nullable=False),
    Index("binary_releases_by_source", "source_release_id"),
    Index("binary_releases_by_content", "sha256"),
)

# What a package installs, for Contents: a line a path, zlib. Read from the .deb when first asked for.
binary_contents = Table(
    "binary_contents",
    metadata,
    Column("release_id", ForeignKey("binary_releases.id"), primary_key=True),
    Column("paths", LargeBinary, nullable=False),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=False),
    Column("architecture", word(32), nullable=False),  # "source", or what the binaries were built on
    Column("changes_sha256", word(64), nullable=False),
    Column("source_release_id", ForeignKey("source_releases.id"), nullable=False),
    Column("uploaded_at", Double, nullable=False),
    Column("uploaded_by", Text, nullable=False),
    UniqueConstraint("series_id", "changes_sha256"),
    Index("uploads_by_release", "source_release_id", "series_id"),
)

# Everything an upload brought, the .changes and .buildinfo included: they are kept, though no index names them.
upload_files = Table(
    "upload_files",
    metadata,
    Column("upload_id", ForeignKey("uploads.id"), primary_key=True),
    Column("name", word(255), primary_key=True),
    Column("sha256", ForeignKey("files.sha256"), nullable=False),
    Index("upload_files_by_content", "sha256"),
)

# Uploads that were turned away, and why: for the PPA's page. ``signer`` is "" where no signature held.
refusals = Table(
    "refusals",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ppa_id", ForeignKey("ppas.id"), nullable=False),
    Column("at", Double, nullable=False),
    Column("series", word(64), nullable=False),
    Column("changes_name", word(255), nullable=False),
    Column("reason", Text, nullable=False),
    Column("signer", word(64), nullable=False),
    Column("via", word(16), nullable=False),
    Index("refusals_by_ppa", "ppa_id", "id"),
)


def _publication_columns(table: str) -> list[Column[Any] | Index]:
    return [
        Column("status", word(16), nullable=False),
        Column("created_at", Double, nullable=False),
        Column("created_by", Text, nullable=False),
        Column("why", Text, nullable=False),
        Column("copied_from_id", ForeignKey(f"{table}.id")),
        Column("published_at", Double),
        Column("ended_at", Double),
        Column("ended_by", Text),
        Column("end_why", Text),
        Column("superseded_by_id", ForeignKey(f"{table}.id")),
        Column("created_generation", Integer, nullable=False, server_default="0"),
        Column("ended_generation", Integer),
        Index(f"{table}_by_creation", "series_id", "created_generation"),
        Index(f"{table}_by_end", "series_id", "ended_generation"),
    ]


source_publications = Table(
    "source_publications",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=False),
    Column("release_id", ForeignKey("source_releases.id"), nullable=False),
    Column("source", word(128), nullable=False),
    Column("version", word(255), nullable=False),
    *_publication_columns("source_publications"),
    Index("source_publications_by_name", "series_id", "source", "status"),
    Index("source_publications_by_status", "series_id", "status"),
    Index("source_publications_by_release", "release_id", "series_id"),
)

# index_architecture is the Packages file it stands in: a package for all architectures has a row for each.
binary_publications = Table(
    "binary_publications",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=False),
    Column("index_architecture", word(32), nullable=False),
    Column("release_id", ForeignKey("binary_releases.id"), nullable=False),
    Column("package", word(128), nullable=False),
    Column("version", word(255), nullable=False),
    Column("architecture", word(32), nullable=False),
    Column("source", word(128), nullable=False),
    Column("source_version", word(255), nullable=False),
    *_publication_columns("binary_publications"),
    Index("binary_publications_by_package", "series_id", "package", "status"),
    Index("binary_publications_by_source", "series_id", "source", "status"),
    Index("binary_publications_by_state", "series_id", "status"),
    Index("binary_publications_by_release", "release_id"),
)
