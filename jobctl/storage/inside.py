"""Whether a job was settled from inside of an attempt, and how."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from jobctl.codecs import decode_json
from jobctl.storage.records import Complete, Continue, Held
from jobctl.storage.statements import word
from jobctl.storage.tables import act

SettledAs = type[Complete] | type[Continue]

SETTLING = (
    select(act.c.action, act.c.details)
    .where(act.c.chain_id == bindparam("chain_id"), act.c.job_id == bindparam("job_id"))
    .where(act.c.action.in_((word("complete"), word("continue"))))
)


def settled_inside(conn: Connection, held: Held) -> SettledAs | None:
    """As what a command of this attempt has settled its job, if it has: see ``inside.Inside.facts``."""
    wanted = (held.worker, held.attempt)
    for action, text in conn.execute(SETTLING, {"chain_id": held.chain_id, "job_id": held.id}):
        details = decode_json(text)
        if (details.get("worker"), details.get("attempt")) == wanted:
            return Complete if action == "complete" else Continue
    return None
