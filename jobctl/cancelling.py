"""Cancelling chains by hand, never from under one that waits for them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection

from jobctl.acts import Hand, change
from jobctl.awaited import awaited_by, refuse_awaited, without_awaited
from jobctl.locking import find_named, read_current
from jobctl.model import Chain, Status
from jobctl.storage import editing, reading
from jobctl.storage import statements as sql
from jobctl.storage.decoding import chain_of
from jobctl.storage.parameters import cancelled_row, id_rows
from jobctl.storage.records import CLOSED, LOST, JobRow, Locked
from jobctl.storage.store import Store


def cancel(
    store: Store,
    conn: Connection,
    ids: Iterable[str],
    reason: str | None,
    hand: Hand,
    *,
    cascade: bool,
    keep_awaited: bool,
) -> list[Chain]:
    """Close chains as cancelled; see ``Client.cancel``."""
    named = find_named(conn, ids)
    if not named:
        return []
    locked = _lock(store, conn, {row.chain_id for row in named.values()}, cascade=cascade)
    wanted = [row.chain_id for row in read_current(conn, named, locked)]
    if not cascade:
        waiting = awaited_by(store, conn, locked)
        if keep_awaited:
            locked = {each: locked[each] for each in without_awaited(waiting, locked)}
            wanted = [each for each in wanted if each in locked]
        else:
            refuse_awaited(waiting, locked, "cancel them too (cascade), or first")
    if not locked:
        return []
    doomed = [*wanted, *sorted(locked.keys() - set(wanted))]
    before = reading.jobs(conn, [each.job_id for each in locked.values()])
    store.run(conn, sql.INSERT_SETTLED, {"results": json.dumps([cancelled_row(each) for each in doomed])})
    store.run(conn, sql.DELETE_CURRENT, {"ids": id_rows(doomed)})
    store.record(
        conn,
        [
            hand.act("cancel", each, locked[each].job_id, _details(before[locked[each].job_id], reason, wanted))
            for each in doomed
        ],
    )
    store.notify(conn, {CLOSED: {""}, LOST: {each.job_id for each in locked.values() if each.lease is not None}})
    chains = reading.chains(conn, doomed)
    return [chain_of(chains[each]) for each in doomed]


def _details(was: JobRow, reason: str | None, wanted: Collection[str]) -> Mapping[str, Any]:
    details = change(was.type_name, {"status": was.status}, {"status": Status.CANCELLED})
    if reason is not None:
        details["reason"] = reason
    if was.chain_id not in wanted:
        details["cascade"] = True
    return details


def _lock(store: Store, conn: Connection, chain_ids: Collection[str], *, cascade: bool) -> dict[str, Locked]:
    """Lock those of these chains that are open; with cascade also those that wait for them, and that wait for those."""
    asked = set(chain_ids)
    locked: dict[str, Locked] = {}
    while True:  # a chain may begin to wait for another, or cease to, until it is locked
        doomed = _with_waiting(store, conn, asked) if cascade else asked
        if not (new := doomed - locked.keys()):
            return {each: locked[each] for each in doomed}
        locked |= store.lock(conn, new)
        asked &= locked.keys()  # without those that closed meanwhile


def _with_waiting(store: Store, conn: Connection, chain_ids: Collection[str]) -> set[str]:
    return {id_ for (id_,) in store.run(conn, editing.WITH_WAITING, {"ids": id_rows(chain_ids)})}
