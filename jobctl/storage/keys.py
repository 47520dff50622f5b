"""Keys: finding the chain that stands for one that is to be started."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, and_, exists, literal_column, or_, select

from jobctl.asking import Key
from jobctl.storage.parameters import key_row
from jobctl.storage.records import NewJob
from jobctl.storage.spelling import as_text, later, matching, now, rows
from jobctl.storage.store import Store
from jobctl.storage.tables import current, job

KEYS = rows("keys", place="int", type_name="text", dedup_key="text", seconds="number")
"""A parameter of keys; seconds: only chains that were started so many seconds ago or less."""

_excluded = rows("excluded", place="int", id="id")
_young = or_(KEYS.c.seconds.is_(None), job.c.created_at >= later(now(), -KEYS.c.seconds))
_not_excluded = ~exists(
    select(literal_column("1")).where(_excluded.c.place == KEYS.c.place, _excluded.c.id == job.c.id)
)

OPEN_WITH_KEY = (
    select(KEYS.c.place, job.c.id)
    .join_from(KEYS, current, matching(current.c.dedup_key, KEYS.c.dedup_key))
    .join(job, and_(job.c.id == current.c.chain_id, job.c.type_name == KEYS.c.type_name))
    .where(_young, _not_excluded)
    .order_by(job.c.created_at, job.c.id)
)
"""The open chains of these types with these keys, the newest last."""

_newest_with_key = (
    select(job.c.id)
    .where(job.c.type_name == KEYS.c.type_name, job.c.dedup_key == KEYS.c.dedup_key, _young, _not_excluded)
    .order_by(job.c.created_at.desc(), job.c.id.desc())
    .limit(literal_column("1"))
    .correlate(KEYS)
    .scalar_subquery()
)

ANY_WITH_KEY = select(KEYS.c.place, as_text(_newest_with_key))
"""The newest chain of each of these types with these keys, or null."""


def same(store: Store, conn: Connection, jobs: Sequence[NewJob]) -> dict[int, str]:
    """Which of these first jobs need not be started, because a chain with their key stands for them.

    Whoever starts a chain with one of these keys waits for the end of this transaction.

    Returns:
        The chains that stand for them, by their place among the jobs: chains that exist, or others of the jobs.
    """
    keyed = {place: (first, first.key) for place, first in enumerate(jobs) if isinstance(first.key, Key)}
    if not keyed:
        return {}
    store.lock_keys(conn, sorted({(first.type_name, key.text) for first, key in keyed.values()}))
    excluded = json.dumps([{"place": place, "id": id_} for place, (_, key) in keyed.items() for id_ in key.exclude])
    found: dict[int, str] = {}
    for scope, statement in (("incomplete", OPEN_WITH_KEY), ("any", ANY_WITH_KEY)):
        keys = [key_row(place, first, key) for place, (first, key) in keyed.items() if key.scope == scope]
        if keys:
            parameters = {"keys": json.dumps(keys), "excluded": excluded}
            found.update((place, id_) for place, id_ in store.run(conn, statement, parameters) if id_ is not None)
    made: dict[tuple[str, str], str] = {}
    for place, (first, key) in keyed.items():
        id_ = made.get((first.type_name, key.text))
        if id_ is not None and id_ not in key.exclude:
            found[place] = id_
        elif place not in found:
            made[first.type_name, key.text] = first.id
    return found
