"""Finding and locking the chains that somebody names, before something is done to them by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from jobctl.errors import AlreadySettledError, NotFoundError
from jobctl.ids import unique_ids
from jobctl.storage import reading
from jobctl.storage.records import JobRow, Locked
from jobctl.storage.store import Store


def lock_named(store: Store, conn: Connection, ids: Iterable[str]) -> list[JobRow]:
    """Lock the chains that are named, by themselves or by their current jobs.

    Returns:
        The current jobs, in the order given, each once.

    Raises:
        NotFoundError: One does not exist.
        AlreadySettledError: One is closed, or not its chain's current job any more.
    """
    named = find_named(conn, ids)
    locked = store.lock(conn, [row.chain_id for row in named.values()])
    return read_current(conn, named, locked)


def find_named(conn: Connection, ids: Iterable[str]) -> dict[str, JobRow]:
    """The jobs that are named; a chain names its first one.

    Raises:
        NotFoundError: One does not exist.
    """
    wanted = unique_ids(ids)
    found = reading.jobs(conn, wanted) if wanted else {}
    for id_ in wanted:
        if id_ not in found:
            raise NotFoundError(f"there is no chain or job {id_}", id=id_)
    return {id_: found[id_] for id_ in wanted}


def read_current(conn: Connection, named: Mapping[str, JobRow], locked: Mapping[str, Locked]) -> list[JobRow]:
    """The current jobs of the chains that are named and locked, in the order given, each once.

    Raises:
        AlreadySettledError: One is closed, or not its chain's current job any more.
    """
    ids = list(dict.fromkeys(_current(conn, id_, row, locked) for id_, row in named.items()))
    rows = reading.jobs(conn, ids) if ids else {}
    return [rows[job_id] for job_id in ids]


def _current(conn: Connection, wanted: str, named: JobRow, locked: Mapping[str, Locked]) -> str:
    """The current job of the chain, which must be the one that was named, unless it was the chain."""
    chain_id = named.chain_id
    if chain_id not in locked:
        chain = reading.chains(conn, [chain_id]).get(chain_id)
        if chain is None:
            raise NotFoundError(f"the chain {chain_id} was deleted at the same moment", id=wanted)
        raise AlreadySettledError(
            f"the chain {chain_id} is {chain.status}: it is closed", id=wanted, chain_id=chain_id, status=chain.status
        )
    here = locked[chain_id]
    if wanted not in {chain_id, here.job_id}:
        raise AlreadySettledError(
            f"the job {wanted} was settled before: the chain {chain_id} is at '{here.type_name}'",
            id=wanted,
            chain_id=chain_id,
            status=named.status,
        )
    return here.job_id
