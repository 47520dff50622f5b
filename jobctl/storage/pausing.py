"""Types and chains that are paused: nothing of them is claimed, by the conditions of claims in leasing.py."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, literal_column, null, select, update

from jobctl.model import Pause, Paused
from jobctl.storage.parameters import id_rows
from jobctl.storage.spelling import among, now, rows
from jobctl.storage.statements import IDS, word
from jobctl.storage.store import Store
from jobctl.storage.tables import act, current, pause

EVERYTHING = ""
"""In place of a type: all there are."""

LOCK = ("", "pause")
"""Locked in the way of a key, of a type that there cannot be, by whoever pauses or resumes types."""

_names = rows("names", type_name="text", actor="text", note="text")

PAUSE_TYPES = insert(pause).from_select(
    ["type_name", "at", "actor", "note"], select(_names.c.type_name, now(), _names.c.actor, _names.c.note)
)

RESUME_TYPES = delete(pause).where(among(pause.c.type_name, _names.c.type_name))

PAUSED_TYPES = select(pause.c.type_name, pause.c.at, pause.c.actor, pause.c.note).order_by(pause.c.type_name)

PAUSE_CHAINS = (
    update(current)
    .values(paused_at=now())
    .where(among(current.c.chain_id, IDS.c.id), current.c.paused_at.is_(None))
    .returning(current.c.chain_id)
)

RESUME_CHAINS = (
    update(current)
    .values(paused_at=null())
    .where(among(current.c.chain_id, IDS.c.id), current.c.paused_at.is_not(None))
    .returning(current.c.chain_id)
)

_last_act = (
    select(func.max(act.c.id))
    .where(act.c.chain_id == current.c.chain_id, act.c.action == word("pause"))
    .correlate(current)
    .scalar_subquery()
)

PAUSED_CHAINS = (
    select(current.c.chain_id, current.c.paused_at, act.c.actor, act.c.note)
    .outerjoin_from(current, act, act.c.id == _last_act)
    .where(current.c.paused_at.is_not(None))
    .order_by(current.c.chain_id)
)
"""The chains that are paused themselves, and who did so last."""

_THESE_CHAINS = PAUSED_CHAINS.where(among(current.c.chain_id, IDS.c.id))


def paused_types(conn: Connection) -> dict[str, Pause]:
    """The types that are paused, by name; all there are under no name."""
    return {
        name: Pause(Paused.TYPE if name else Paused.ALL, name or None, *facts)
        for name, *facts in conn.execute(PAUSED_TYPES)
    }


def paused_chains(conn: Connection, chain_ids: Iterable[str]) -> dict[str, Pause]:
    """Those of these chains that are paused themselves."""
    return _chains(conn, _THESE_CHAINS, {"ids": id_rows(chain_ids)})


def all_paused_chains(conn: Connection, *, after: str | None, limit: int) -> dict[str, Pause]:
    """So many of the chains that are paused themselves, in the order of their ids."""
    statement = PAUSED_CHAINS.limit(literal_column(str(limit)))
    return _chains(conn, statement if after is None else statement.where(current.c.chain_id > after), {})


def pause_types(store: Store, conn: Connection, names: Collection[str], actor: str, note: str | None) -> None:
    """Pause types that are not paused; who does so has the lock."""
    values = [{"type_name": name, "actor": actor, "note": note} for name in names]
    store.run(conn, PAUSE_TYPES, {"names": json.dumps(values)})


def resume_types(store: Store, conn: Connection, names: Collection[str]) -> None:
    """End the pause of types."""
    store.run(conn, RESUME_TYPES, {"names": json.dumps([{"type_name": name} for name in names])})


def pause_chains(store: Store, conn: Connection, chain_ids: Iterable[str]) -> set[str]:
    """Pause chains that are locked; returns those that were not paused before."""
    return {id_ for (id_,) in store.run(conn, PAUSE_CHAINS, {"ids": id_rows(chain_ids)})}


def resume_chains(store: Store, conn: Connection, chain_ids: Iterable[str]) -> set[str]:
    """End the pause of chains that are locked; returns those that were paused."""
    return {id_ for (id_,) in store.run(conn, RESUME_CHAINS, {"ids": id_rows(chain_ids)})}


def _chains(conn: Connection, statement: Select[Any], parameters: dict[str, Any]) -> dict[str, Pause]:
    return {id_: Pause(Paused.CHAIN, id_, *facts) for id_, *facts in conn.execute(statement, parameters)}
