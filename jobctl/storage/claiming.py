"""Claiming one job by its chain, which is locked; both databases alike."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, exists, literal_column, or_, select, update

from jobctl.storage import leasing
from jobctl.storage.claimed import claimed
from jobctl.storage.parameters import id_rows, type_rows
from jobctl.storage.records import JobRow
from jobctl.storage.spelling import among, matching
from jobctl.storage.statements import IDS, PENDING
from jobctl.storage.store import Store
from jobctl.storage.tables import current, job, pause

_is_paused = exists().where(or_(pause.c.type_name == current.c.type_name, pause.c.type_name == literal_column("''")))

PAUSED = select(or_(current.c.paused_at.is_not(None), _is_paused.correlate(current))).where(
    current.c.chain_id == bindparam("chain_id")
)

CLAIM = (
    update(current)
    .values(leasing.lease_values(leasing.TYPES.c.lease_seconds))
    .where(
        among(current.c.chain_id, IDS.c.id),
        current.c.type_name == leasing.TYPES.c.type_name,
        current.c.status == PENDING,
    )
)

CLAIMED = (
    select(*leasing.CLAIMED)
    .join_from(IDS, current, matching(current.c.chain_id, IDS.c.id))
    .join(job, job.c.id == current.c.job_id)
)


def is_paused(conn: Connection, chain_id: str) -> bool:
    """Whether a claim passes over the chain: it is paused, or its current job's type is, or all are."""
    return bool(conn.scalar(PAUSED, {"chain_id": chain_id}))


def claim_chain(
    store: Store, conn: Connection, chain_id: str, types: Mapping[str, float], *, worker: str, lease: str
) -> list[JobRow]:
    """Take the current job of a chain that is locked, due or not; see ``Store.claim``."""
    ids = id_rows([chain_id])
    store.run(conn, CLAIM, {"ids": ids, "types": type_rows(types), "claim_worker": worker, "claim_lease": lease})
    return claimed(store.run(conn, CLAIMED, {"ids": ids}), worker=worker, lease=lease)
