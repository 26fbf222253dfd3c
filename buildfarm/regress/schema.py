"""The tables of nightly rebuilds."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()
SCHEMA_VERSION = 2  # counts the shapes that these tables have had; kept in the file as its user_version

UPGRADES = {1: ("ALTER TABLE nights ADD COLUMN left_out TEXT NOT NULL DEFAULT '[]'",)}
"""What makes the tables of the next version out of those of one."""

nights = Table(
    "nights",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("set", String(80), nullable=False),
    Column("driver", String(10), nullable=False),
    Column("reason", Text, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("told", Boolean, nullable=False, default=False),
    Column("told_by", Text, nullable=False, default="[]"),
    Column("rules", Text, nullable=False),
    Column("left_out", Text, nullable=False, server_default="[]"),
    Index("nights_open", "ended_at", "set"),
    sqlite_autoincrement=True,
)

# One for each subject of a night. variant: a digest of its options, and of the repositories that it builds from
# besides its series'; what is built otherwise is not compared. left: workers that it has left behind.
rebuilds = Table(
    "rebuilds",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("night", ForeignKey("nights.number"), nullable=False),
    Column("package", Text, nullable=False),
    Column("series", Text, nullable=False),
    Column("architecture", Text, nullable=False),
    Column("variant", String(16), nullable=False),
    Column("version", Text, nullable=False),
    Column("job", Text, nullable=False),
    Column("left", Text, nullable=False, default="[]"),
    Column("verdict", String(20)),
    Column("since", Float),
    Column("reason", Text, nullable=False, default=""),
    Column("cause_changed", Boolean, nullable=False, default=False),
    Column("flaky_rate", Text),
    Column("expected_s", Float),
    Column("fingerprint", Text, nullable=False, default=""),
    Column("culprit", Text),
    Column("decided_by", Integer),
    Column("ended_at", Float),
    UniqueConstraint("night", "package", "series", "architecture"),
    Index("rebuilds_subject", "package", "series", "architecture", "id"),
    Index("rebuilds_unsettled", "verdict", "night"),
)

# state: waiting (for its time and a worker), submitted (to its driver), done. counts: false for what a worker said
# that proved unsound. ran_in: the environment that it had; environment: the one that it is to have. Numbers are
# names of directories: one that was given away is never given again.
builds = Table(
    "builds",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("rebuild", ForeignKey("rebuilds.id"), nullable=False),
    Column("kind", String(10), nullable=False),
    Column("state", String(10), nullable=False, default="waiting"),
    Column("attempts", Integer, nullable=False, default=0),
    Column("tries", Text, nullable=False, default="[]"),
    Column("wanted_worker", Text, nullable=False, default=""),
    Column("avoid_workers", Text, nullable=False, default="[]"),
    Column("alone", Boolean, nullable=False, default=False),
    Column("environment", Text, nullable=False, default=""),
    Column("not_before", Float, nullable=False, default=0.0),
    Column("priority", Integer, nullable=False, default=0),
    Column("worker", Text, nullable=False, default=""),
    Column("buildset", Integer),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("outcome", String(20)),
    Column("counts", Boolean, nullable=False, default=True),
    Column("ran_in", Text, nullable=False, default=""),
    Column("total_s", Float),
    Column("report", Text),
    Column("page", Text, nullable=False, default=""),
    Column("job", Text),
    Index("builds_rebuild", "rebuild", "id"),
    Index("builds_state", "state", "not_before"),
    sqlite_autoincrement=True,
)

# What people know of a cause: a bug's address, a note.
labels = Table(
    "labels",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("text", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("set_at", Float, nullable=False),
)

# Without a reason: the worker was put back, and ``since`` is when.
workers_out = Table(
    "workers_out",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("since", Float, nullable=False),
)
