"""Deleting chains by hand, never from under one that waits for them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from jobctl.acts import Hand, change
from jobctl.awaited import awaited_by, refuse_awaited, without_awaited
from jobctl.errors import NotFoundError
from jobctl.ids import unique_ids
from jobctl.storage import editing, reading
from jobctl.storage.parameters import id_rows
from jobctl.storage.records import CLOSED, LOST
from jobctl.storage.store import Store


def delete(
    store: Store, conn: Connection, chain_ids: Iterable[str], hand: Hand, *, cascade: bool, keep_awaited: bool
) -> list[str]:
    """Delete chains; see ``Client.delete``."""
    wanted = unique_ids(chain_ids)
    found = reading.chains(conn, wanted)
    if len(wanted) == 1 and not found:
        raise NotFoundError(f"there is no chain {wanted[0]}", id=wanted[0])
    doomed = [each for each in wanted if each in found]
    if not doomed:
        return []
    locked = store.lock(conn, doomed)
    if cascade:  # a chain may begin to wait for another until it is locked
        while (more := _with_blockers(store, conn, doomed)) - set(doomed):
            doomed += sorted(more - set(doomed))
            locked = store.lock(conn, doomed)
    store.run(conn, editing.LOCK_ROOTS, {"ids": id_rows(doomed)})
    waiting = awaited_by(store, conn, doomed)
    if keep_awaited:
        doomed = without_awaited(waiting, doomed)
    else:
        refuse_awaited(waiting, set(doomed), "delete them too, or first")
    rows = reading.chains(conn, doomed)
    remove(store, conn, doomed)
    gone = [each for each in doomed if each in rows]  # without those that somebody else deleted meanwhile
    store.record(
        conn,
        [
            hand.act(
                "delete", each, rows[each].job_id, change(rows[each].type_name, {"status": rows[each].status}, None)
            )
            for each in gone
        ],
    )
    running = {each.job_id for each in locked.values() if each.lease is not None and each.chain_id in rows}
    store.notify(conn, {CLOSED: {""}, LOST: running})
    return gone


def remove(store: Store, conn: Connection, chain_ids: Iterable[str]) -> None:
    """Delete the rows of chains that are locked, roots too, and that no open chain waits for."""
    ids = id_rows(chain_ids)
    for statement in editing.DELETE:
        store.run(conn, statement, {"ids": ids})


def _with_blockers(store: Store, conn: Connection, chain_ids: Iterable[str]) -> set[str]:
    return {id_ for (id_,) in store.run(conn, editing.WITH_BLOCKERS, {"ids": id_rows(chain_ids)})}
