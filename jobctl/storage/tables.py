"""The tables as SQLAlchemy sees them. schema.sql and the migrations are the truth; a test holds these to it."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

from jobctl.storage.spelling import Id, JsonText, Timestamp

metadata = MetaData()

migration = Table(
    "jobctl_migration",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("applied_at", Timestamp, nullable=False),
)

job = Table(
    "jobctl_job",
    metadata,
    Column("id", Id, primary_key=True),
    Column("chain_id", Id, nullable=False),
    Column("chain_index", Integer, nullable=False),
    Column("chain_type", Text, nullable=False),
    Column("type_name", Text, nullable=False),
    Column("blocker_count", SmallInteger, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("dedup_key", Text),
    Column("input", JsonText, nullable=False),
)

current = Table(
    "jobctl_current",
    metadata,
    Column("chain_id", Id, primary_key=True),
    Column("job_id", Id, nullable=False),
    Column("chain_index", Integer, nullable=False),
    Column("type_name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("scheduled_at", Timestamp, nullable=False),
    Column("claimed_at", Timestamp),
    Column("lease", Id),
    Column("worker", Text),
    Column("leased_until", Timestamp),
    Column("last_error", Text),
    Column("dedup_key", Text),
    Column("paused_at", Timestamp),
)

settled = Table(
    "jobctl_settled",
    metadata,
    Column("chain_id", Id, primary_key=True),
    Column("chain_index", Integer, primary_key=True),
    Column("status", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("scheduled_at", Timestamp, nullable=False),
    Column("claimed_at", Timestamp),
    Column("completed_at", Timestamp, nullable=False),
    Column("completed_by", Text),
    Column("output", JsonText),
)

blocker = Table(
    "jobctl_blocker",
    metadata,
    Column("job_id", Id, primary_key=True),
    Column("position", SmallInteger, primary_key=True),
    Column("chain_id", Id, nullable=False),
)

error = Table(
    "jobctl_error",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("job_id", Id, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("worker", Text),
    Column("error", Text, nullable=False),
)

act = Table(
    "jobctl_act",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("chain_id", Id),
    Column("job_id", Id),
    Column("at", Timestamp, nullable=False),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("note", Text),
    Column("details", JsonText, nullable=False),
)

pause = Table(
    "jobctl_pause",
    metadata,
    Column("type_name", Text, primary_key=True),
    Column("at", Timestamp, nullable=False),
    Column("actor", Text, nullable=False),
    Column("note", Text),
)

worker = Table(
    "jobctl_worker",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", Text, nullable=False),
    Column("types", JsonText, nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("running", Integer, nullable=False),
    Column("stopping", SmallInteger, nullable=False),
    Column("busy_since", Timestamp),
    Column("started_at", Timestamp, nullable=False),
    Column("seen_at", Timestamp, nullable=False),
    Column("beat_seconds", Double, nullable=False),
)

tally = Table(
    "jobctl_tally",
    metadata,
    Column("minute", Timestamp, primary_key=True),
    Column("worker_id", Id, primary_key=True),
    Column("type_name", Text, primary_key=True),
    Column("completed", BigInteger, nullable=False),
    Column("continued", BigInteger, nullable=False),
    Column("rescheduled", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("durations", JsonText, nullable=False),
)
