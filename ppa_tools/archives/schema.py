"""The publishing history's tables: what was ever uploaded to a PPA, and what was published when, and why.

A *release* is content (a source version, a binary package); a *publication* is a release in a series of a PPA,
from its creation to its end, as in Launchpad. Content is shared: one row in ``files`` for every SHA-256, however
many PPAs hold it. Rows of publications are never removed; their status moves on. Rendered index stanzas are kept,
so that publishing reads rows and not packages. Times are seconds since the epoch, UTC.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
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
)

SCHEMA_VERSION = 1

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True))

ppas = Table(
    "ppas",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("description", Text, nullable=False),
    Column("key_fingerprint", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("owner", "name"),
)

# A series is dirty while generation is ahead of published_generation: every change to what it publishes counts
# generation up in the same transaction, and the publisher sets the other to what it has written.
series = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ppa_id", ForeignKey("ppas.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("architectures", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("published_generation", Integer, nullable=False),
    UniqueConstraint("ppa_id", "name"),
)

uploader_keys = Table(
    "uploader_keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ppa_id", ForeignKey("ppas.id"), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("uid", Text, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("added_at", Double, nullable=False),
    UniqueConstraint("ppa_id", "fingerprint"),
)

files = Table(
    "files",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("md5", String(32), nullable=False),
    Column("sha1", String(40), nullable=False),
)

# Names for ever: a name that was once given to some bytes in a PPA never means others there.
file_names = Table(
    "file_names",
    metadata,
    Column("ppa_id", ForeignKey("ppas.id"), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("sha256", ForeignKey("files.sha256"), nullable=False),
    Column("pool_path", Text, nullable=False),
)

source_releases = Table(
    "source_releases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("origin_ppa_id", ForeignKey("ppas.id"), nullable=False),
    Column("source", String(128), nullable=False),
    Column("version", String(255), nullable=False),
    Column("architectures", Text, nullable=False),
    Column("payload_sha256", String(64), nullable=False),
    Column("stanza", Text, nullable=False),
    UniqueConstraint("origin_ppa_id", "source", "version"),
    Index("source_releases_by_name", "source"),
)

source_release_files = Table(
    "source_release_files",
    metadata,
    Column("release_id", ForeignKey("source_releases.id"), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("sha256", ForeignKey("files.sha256"), nullable=False),
)

binary_releases = Table(
    "binary_releases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("source_release_id", ForeignKey("source_releases.id"), nullable=False),
    Column("package", String(128), nullable=False),
    Column("version", String(255), nullable=False),
    Column("architecture", String(32), nullable=False),
    Column("file_name", String(255), nullable=False),
    Column("sha256", ForeignKey("files.sha256"), nullable=False),
    Column("stanza", Text, nullable=False),
    Index("binary_releases_by_source", "source_release_id"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=False),
    Column("architecture", String(32), nullable=False),  # "source", or what the binaries were built on
    Column("changes_sha256", String(64), nullable=False),
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
    Column("name", String(255), primary_key=True),
    Column("sha256", ForeignKey("files.sha256"), nullable=False),
)


def _publication_columns(table: str) -> list[Column[object]]:
    return [
        Column("status", String(16), nullable=False),
        Column("created_at", Double, nullable=False),
        Column("created_by", Text, nullable=False),
        Column("why", Text, nullable=False),
        Column("copied_from_id", ForeignKey(f"{table}.id")),
        Column("published_at", Double),
        Column("ended_at", Double),
        Column("ended_by", Text),
        Column("end_why", Text),
        Column("superseded_by_id", ForeignKey(f"{table}.id")),
    ]


source_publications = Table(
    "source_publications",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=False),
    Column("release_id", ForeignKey("source_releases.id"), nullable=False),
    Column("source", String(128), nullable=False),
    Column("version", String(255), nullable=False),
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
    Column("index_architecture", String(32), nullable=False),
    Column("release_id", ForeignKey("binary_releases.id"), nullable=False),
    Column("package", String(128), nullable=False),
    Column("version", String(255), nullable=False),
    Column("architecture", String(32), nullable=False),
    Column("source", String(128), nullable=False),
    Column("source_version", String(255), nullable=False),
    *_publication_columns("binary_publications"),
    Index("binary_publications_by_package", "series_id", "package", "status"),
    Index("binary_publications_by_source", "series_id", "source", "status"),
    Index("binary_publications_by_status", "series_id", "index_architecture", "status"),
)
