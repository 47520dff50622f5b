"""Whether a job was settled from inside of an attempt."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from jobctl.codecs import decode_json
from jobctl.storage.records import Held
from jobctl.storage.statements import word
from jobctl.storage.tables import act

SETTLING = (
    select(act.c.details)
    .where(act.c.chain_id == bindparam("chain_id"), act.c.job_id == bindparam("job_id"))
    .where(act.c.action.in_((word("complete"), word("continue"))))
)


def settled_inside(conn: Connection, held: Held) -> bool:
    """Whether a command of this attempt has settled its job: see ``inside.Inside.facts``."""
    found = conn.scalars(SETTLING, {"chain_id": held.chain_id, "job_id": held.id})
    wanted = (held.worker, held.attempt)
    return any((each.get("worker"), each.get("attempt")) == wanted for each in map(decode_json, found))
