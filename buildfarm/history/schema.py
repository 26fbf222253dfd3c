"""The history's tables."""

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
SCHEMA_VERSION = 1  # counts the shapes that these tables have had; kept in the file as its user_version

# Where each recipe's trunk was when the farm last looked. A trunk that moved house starts afresh.
watched = Table(
    "watched",
    metadata,
    Column("recipe", String(80), primary_key=True),
    Column("trunk", Text, nullable=False),
    Column("tip", Text, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("trouble", Text, nullable=False, default=""),
    Column("trouble_since", Float),
)

# One run for each commit of each recipe, however often it is tried.
runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", String(100), nullable=False, unique=True),
    Column("recipe", String(80), nullable=False),
    Column("revision", Text, nullable=False),
    Column("revno", Integer, nullable=False),
    Column("author", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("committed_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("rewritten", Boolean, nullable=False),
    Column("job", Text, nullable=False),
    Column("verdict", String(10)),
    Column("ended_at", Float),
    Column("change_id", Integer),
    UniqueConstraint("recipe", "revision"),
    Index("runs_open", "verdict", "id"),
)

# state: blocked, waiting (for its time), submitted (to Buildbot), done.
tasks = Table(
    "tasks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run", ForeignKey("runs.id"), nullable=False),
    Column("grp", String(20), nullable=False),
    Column("series", String(40), nullable=False),
    Column("architecture", String(40), nullable=False),
    Column("state", String(10), nullable=False),
    Column("verdict", String(10)),
    Column("reason", Text, nullable=False, default=""),
    Column("attempts", Integer, nullable=False, default=0),
    Column("forgiven", Integer, nullable=False, default=0),
    Column("not_before", Float, nullable=False, default=0.0),
    Column("buildset", Integer),
    Column("started_at", Float),
    Column("ended_at", Float),
    UniqueConstraint("run", "grp", "series", "architecture"),
    Index("tasks_state", "state", "run"),
)

# The last result of each stage; attempts before it are on Buildbot's pages.
stage_results = Table(
    "stage_results",
    metadata,
    Column("run", ForeignKey("runs.id"), primary_key=True),
    Column("stage", String(20), primary_key=True),
    Column("target", String(80), primary_key=True),
    Column("task", ForeignKey("tasks.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("verdict", String(10)),
    Column("reason", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("page", Text, nullable=False, default=""),
)
