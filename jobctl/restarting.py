"""Restarting by hand: a new chain that begins as an old one did, or as any of its jobs did."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from jobctl.acts import Hand
from jobctl.asking import CARRIED
from jobctl.codecs import decode_json
from jobctl.errors import NotFoundError, UsageError
from jobctl.ids import new_id, require_id
from jobctl.model import Chain, Schedule
from jobctl.registry import Registry
from jobctl.starting import Started
from jobctl.storage import reading
from jobctl.storage.parameters import JsonRow
from jobctl.storage.records import JobRow, NewJob
from jobctl.storage.store import Store


def restart(
    store: Store,
    conn: Connection,
    processors: Registry,
    chain_id: str,
    from_job: str | None,
    input_: Any,
    schedule: Schedule,
    hand: Hand,
) -> Chain:
    """Start a chain like another; see ``Client.restart``."""
    before = _job(conn, require_id(chain_id), None if from_job is None else require_id(from_job))
    # from a job in the middle too: whether a chain may begin with its type is not asked when a person wants it so
    text = processors.encode_input(before.type_name, decode_json(before.input) if input_ is CARRIED else input_)
    id_ = new_id()
    first = NewJob(
        id=id_,
        chain_id=id_,
        chain_index=0,
        chain_type=before.type_name,
        type_name=before.type_name,
        input=before.input if input_ is CARRIED else text,
        priority=before.priority,
        schedule=schedule,
    )
    (started,) = Started(store.start(conn, [first]))
    facts: JsonRow = {"type": before.type_name, "input": "carried" if input_ is CARRIED else "given"}
    store.record(
        conn,
        [
            hand.act("restart", before.chain_id, before.id, {**facts, "restarted_as": id_}),
            hand.act("restart", id_, id_, {**facts, "restarted_from": before.chain_id, "from_job": before.id}),
        ],
    )
    return started


def _job(conn: Connection, chain_id: str, job_id: str | None) -> JobRow:
    """The job of the chain that is to be started again: its first one, unless another is named.

    Raises:
        NotFoundError: There is no such chain or job.
        UsageError: The job is another chain's, or the chain is a job.
    """
    wanted = chain_id if job_id is None else job_id
    found = reading.jobs(conn, {chain_id, wanted})
    if chain_id not in found:
        raise NotFoundError(f"there is no chain {chain_id}", id=chain_id)
    chain = found[chain_id].chain_id
    if chain != chain_id:
        raise UsageError(f"{chain_id} is a later job of the chain {chain}: name the chain, and from which job")
    if wanted not in found:
        raise NotFoundError(f"there is no job {wanted}", id=wanted)
    if found[wanted].chain_id != chain_id:
        raise UsageError(f"the job {wanted} is none of the chain {chain_id}, but of {found[wanted].chain_id}")
    return found[wanted]
