"""All that is known of many chains, in as many statements as of one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, select

from jobctl.storage import queries, reading
from jobctl.storage.parameters import id_rows
from jobctl.storage.reading import Detail
from jobctl.storage.records import JobRow
from jobctl.storage.spelling import among
from jobctl.storage.statements import IDS
from jobctl.storage.tables import act, blocker, error, job

JOBS = queries.JOBS.where(among(job.c.chain_id, IDS.c.id)).order_by(job.c.chain_id, job.c.chain_index)

DEPENDENTS = (
    queries.JOBS.add_columns(blocker.c.chain_id)
    .join(blocker, blocker.c.job_id == job.c.id)
    .where(among(blocker.c.chain_id, IDS.c.id))
    .order_by(job.c.created_at, job.c.id)
)

ERRORS = (
    select(job.c.chain_id, error.c.job_id, error.c.attempt, error.c.at, error.c.worker, error.c.error)
    .join(job, job.c.id == error.c.job_id)
    .where(among(job.c.chain_id, IDS.c.id))
    .order_by(error.c.id)
)

ACTS = queries.ACTS.where(among(act.c.chain_id, IDS.c.id)).order_by(act.c.id)


def details(conn: Connection, chain_ids: Iterable[str]) -> list[Detail]:
    """All that is known of those of these chains that exist, in the order given."""
    wanted = list(chain_ids)
    asked = {"ids": id_rows(wanted)}
    chains = reading.chains(conn, wanted)
    own, dependents = defaultdict[str, list[JobRow]](list), defaultdict[str, list[JobRow]](list)
    errors, acts = defaultdict[str, list[tuple[Any, ...]]](list), defaultdict[str, list[tuple[Any, ...]]](list)
    for row in conn.execute(JOBS, asked):
        own[row.chain_id].append(JobRow(*row))
    for *facts, chain_id in conn.execute(DEPENDENTS, asked):
        dependents[chain_id].append(JobRow(*facts))
    for chain_id, *facts in conn.execute(ERRORS, asked):
        errors[chain_id].append(tuple(facts))
    for row in conn.execute(ACTS, asked):
        acts[row.chain_id].append(tuple(row))
    waits = reading.blocker_ids(conn, [row for rows in (*own.values(), *dependents.values()) for row in rows])
    blockers = {id_: {each for row in rows for each in waits.get(row.id, ())} for id_, rows in own.items()}
    found = reading.chains(conn, set[str]().union(*blockers.values())) if blockers else {}
    return [
        Detail(
            chain=chains[id_],
            jobs=own[id_],
            blocker_ids=waits,
            blockers={each: found[each] for each in sorted(blockers[id_])},
            dependents=dependents[id_],
            errors=errors[id_],
            acts=acts[id_],
        )
        for id_ in wanted
        if id_ in chains
    ]
