"""Claiming jobs by their chains, which are locked; both databases alike."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, or_, select, update

from jobctl.storage import leasing
from jobctl.storage.claimed import claimed
from jobctl.storage.records import JobRow
from jobctl.storage.spelling import matching, probed, rows
from jobctl.storage.statements import PENDING
from jobctl.storage.store import Store
from jobctl.storage.tables import current, job

PAUSED = select(or_(current.c.paused_at.is_not(None), ~leasing.not_paused(current))).where(
    current.c.chain_id == bindparam("chain_id")
)

_chosen = rows("chosen", chain_id="id", lease_seconds="number")

CLAIM = (
    update(current)
    .values(leasing.lease_values(_chosen.c.lease_seconds))
    .where(matching(current.c.chain_id, _chosen.c.chain_id), current.c.status == PENDING)
)

CLAIMED = (
    select(*leasing.CLAIMED)
    .join_from(_chosen, current, matching(current.c.chain_id, _chosen.c.chain_id))
    .join(job, probed(job.c.id, current.c.job_id))
)


def is_paused(conn: Connection, chain_id: str) -> bool:
    """Whether a claim passes over the chain: it is paused, or its current job's type is, or all are."""
    return bool(conn.scalar(PAUSED, {"chain_id": chain_id}))


def claim_chains(
    store: Store, conn: Connection, seconds: Mapping[str, float], *, worker: str, lease: str
) -> list[JobRow]:
    """Take the current jobs of chains that are locked, due or not; see ``Store.claim``.

    Args:
        store: The database.
        conn: A connection in the transaction that has locked the chains.
        seconds: The chains, each with the seconds that its job's lease holds.
        worker: The worker's name.
        lease: A new id that names this claim.
    """
    chosen = json.dumps([{"chain_id": id_, "lease_seconds": each} for id_, each in seconds.items()])
    store.run(conn, CLAIM, {"chosen": chosen, "claim_worker": worker, "claim_lease": lease})
    return claimed(store.run(conn, CLAIMED, {"chosen": chosen}), worker=worker, lease=lease)
