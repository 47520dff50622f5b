"""The statements with which jobs are claimed on SQLite, built once."""

from __future__ import annotations

from sqlalchemy import bindparam, select, update

from jobctl.storage import leasing
from jobctl.storage import statements as sql
from jobctl.storage.spelling import among, matching, now
from jobctl.storage.tables import current, job

_first = select(leasing.LANES.c.type_name, leasing.LANES.c.priority, leasing.FIRST_DUE.label("due")).subquery("first")
LANES = select(_first.c.type_name, _first.c.priority, _first.c.due).where(_first.c.due <= now())
"""The types and priorities that have jobs to be claimed, and when the first of each was due."""

CANDIDATES = (
    select(current.c.scheduled_at, current.c.chain_id)
    .where(
        current.c.type_name == bindparam("type_name"),
        current.c.priority == bindparam("priority"),
        leasing.CLAIMABLE,
        current.c.scheduled_at <= now(),
    )
    .order_by(current.c.scheduled_at, current.c.chain_id)
    .limit(bindparam("most"))
)

CLAIM = (
    update(current)
    .values(leasing.lease_values())
    .where(among(current.c.chain_id, sql.IDS.c.id), current.c.type_name == leasing.TYPES.c.type_name)
)

CLAIMED = (
    select(*leasing.CLAIMED)
    .join_from(sql.IDS, current, matching(current.c.chain_id, sql.IDS.c.id))
    .join(job, job.c.id == current.c.job_id)
)
