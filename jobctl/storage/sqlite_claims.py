"""The statements that find what to claim on SQLite, built once."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from jobctl.storage import leasing
from jobctl.storage.spelling import now
from jobctl.storage.tables import current

_first = (
    select(leasing.LANES.c.type_name, leasing.LANES.c.priority, leasing.FIRST_DUE.label("due"))
    .where(leasing.LANES.c.priority.is_not(None))
    .cte("first")
    .prefix_with("MATERIALIZED")  # else each is looked for twice
)
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
