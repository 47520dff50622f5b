"""Pausing by hand, and resuming: types, chains, or all there are."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from jobctl.acts import Hand, change
from jobctl.errors import UsageError
from jobctl.locking import lock_named
from jobctl.model import Pause
from jobctl.naming import check_type_name
from jobctl.storage import pausing
from jobctl.storage.pausing import EVERYTHING
from jobctl.storage.records import WORK, JobRow
from jobctl.storage.store import Store

CLAIMS_SECONDS = 2.0
"""How long a pause waits for claims under way, which take some milliseconds each: one may hang."""

LOOK_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be paused or resumed.

    Attributes:
        ids: Chains, by themselves or by their current jobs.
        types: Names of types; EVERYTHING is all there are.
    """

    ids: tuple[str, ...]
    types: tuple[str, ...]

    @classmethod
    def of(cls, ids: Iterable[str], types: Iterable[str], *, everything: bool) -> Target:
        """From what a caller names.

        Raises:
            UsageError: It is no type's name, or nothing at all.
        """
        names = tuple(dict.fromkeys(types))
        for each in names:
            check_type_name(each, UsageError)
        target = cls(tuple(ids), (*names, *([EVERYTHING] if everything else [])))
        if not target.ids and not target.types:
            raise UsageError("say what: chains, types or everything")
        return target


def pause(store: Store, conn: Connection, target: Target, hand: Hand) -> list[Pause]:
    """See ``Client.pause``."""
    before = _lock_types(store, conn, target)
    rows = lock_named(store, conn, target.ids)
    new = [each for each in target.types if each not in before]
    if new:
        pausing.pause_types(store, conn, new, hand.actor, hand.note)
    changed = pausing.pause_chains(store, conn, [row.chain_id for row in rows]) if rows else set()
    _record(store, conn, hand, "pause", new, [row for row in rows if row.chain_id in changed])
    return _found(target, rows, pausing.paused_types(conn), pausing.paused_chains(conn, [row.chain_id for row in rows]))


def resume(store: Store, conn: Connection, target: Target, hand: Hand) -> list[Pause]:
    """See ``Client.resume``."""
    before = _lock_types(store, conn, target)
    rows = lock_named(store, conn, target.ids)
    ended = _found(target, rows, before, pausing.paused_chains(conn, [row.chain_id for row in rows]))
    types = [each for each in target.types if each in before]
    if types:
        pausing.resume_types(store, conn, types)
    changed = pausing.resume_chains(store, conn, [row.chain_id for row in rows]) if rows else set()
    resumed = [row for row in rows if row.chain_id in changed]
    _record(store, conn, hand, "resume", types, resumed)
    store.notify(conn, {WORK: {*types, *(row.type_name for row in resumed)}})
    return ended


def await_claims(store: Store) -> None:
    """After types were paused: wait for claims that began before, so that what is not running now will not run."""
    with store.transaction(read_only=True) as conn:
        under_way = store.claims_under_way(conn)
    deadline = time.monotonic() + CLAIMS_SECONDS
    while under_way and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        with store.transaction(read_only=True) as conn:
            under_way &= store.claims_under_way(conn)


def _lock_types(store: Store, conn: Connection, target: Target) -> Mapping[str, Pause]:
    """The types that are paused, which nobody else changes until the end of the transaction."""
    if not target.types:
        return {}
    store.lock_keys(conn, [pausing.LOCK])
    return pausing.paused_types(conn)


def _found(
    target: Target, rows: Iterable[JobRow], types: Mapping[str, Pause], chains: Mapping[str, Pause]
) -> list[Pause]:
    """The pauses of a target: of types, then of chains, in the order given."""
    return [types[each] for each in target.types if each in types] + [
        chains[row.chain_id] for row in rows if row.chain_id in chains
    ]


def _record(
    store: Store, conn: Connection, hand: Hand, action: str, types: Iterable[str], rows: Iterable[JobRow]
) -> None:
    is_paused = action == "pause"

    def details(type_name: str | None) -> dict[str, Any]:
        return change(type_name, {"paused": not is_paused}, {"paused": is_paused})

    acts = [hand.act(action, None, None, details(each or None)) for each in types]
    acts += [hand.act(action, row.chain_id, row.id, details(row.type_name)) for row in rows]
    if acts:
        store.record(conn, acts)
