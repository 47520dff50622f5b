"""Finding what to claim on SQLite, which has no LATERAL; questions are cheap there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import chain
from typing import Any, TypeAlias

from sqlalchemy import Connection, bindparam, func, select

from jobctl.asking import PRIORITIES
from jobctl.storage import leasing
from jobctl.storage.spelling import now
from jobctl.storage.store import Store
from jobctl.storage.tables import current

_ABOVE = PRIORITIES.stop

_asked: Any = func.json_each(bindparam("below")).table_valued("key", "value", name="asked")
_types = select(_asked.c.key.label("type_name"), _asked.c.value.label("priority")).subquery("types")
_lane = (
    select(_types.c.type_name, leasing.next_lower(_types).label("priority"))
    .where(leasing.not_paused(_types))
    .cte("lane")
    .prefix_with("MATERIALIZED")  # else each priority is looked for twice
)
_one, _next = current.alias("one"), current.alias("next")
_now = select(now()).scalar_subquery()  # once, and not for each row
_first = (
    select(_lane.c.type_name, _lane.c.priority, _one.c.scheduled_at, _one.c.chain_id, _now.label("at"))
    .join_from(_lane, _one, _one.c.chain_id == leasing.first_of(_lane, current.c.chain_id))
    .order_by(_lane.c.priority.desc(), _one.c.scheduled_at, _one.c.chain_id)
    .limit(bindparam("most"))
    .subquery("first")
)
LANES = select(*_first.c, _next.c.scheduled_at, _next.c.chain_id).outerjoin_from(
    _first, _next, _next.c.chain_id == leasing.second_of(_first, current.c.chain_id)
)
"""Of each type that is not paused, the next lower priority of which jobs wait: when the first one is due, its chain,
the time now, and the same of the second one. So many of these as are wanted, those whose jobs go first. The parameter
is a JSON object, of types and of what their priorities are to be below."""

CANDIDATES = (
    select(current.c.scheduled_at, current.c.chain_id)
    .where(
        current.c.type_name == bindparam("type_name"),
        current.c.priority == bindparam("priority"),
        leasing.CLAIMABLE,
        current.c.scheduled_at <= now(),
    )
    .order_by(current.c.scheduled_at, current.c.chain_id)
    .limit(bindparam("most"))
)


Candidate: TypeAlias = tuple[int, int, str, str]
"""A job that is due: its priority, negated, when it is due, its chain and its type; they sort as they are claimed. The
first one of a type and a priority stands for their lane, too."""


def candidates(store: Store, conn: Connection, types: Iterable[str], limit: int) -> list[Candidate]:
    """The first jobs that are due of these types, so many at the most and at least one, if there is one.

    Types, and their lower priorities, are looked at only as far as those before leave room.
    """
    found: list[Candidate] = []
    lanes = _Lanes(store, conn, limit)
    below = dict.fromkeys(types, _ABOVE)
    while below:
        asked = store.run(conn, LANES, {"below": json.dumps(below), "most": limit})
        due = lanes.add(asked)
        found = lanes.first()
        seen = {type_name: priority for type_name, priority, *_ in asked}
        unseen = below.keys() - seen if due < len(asked) == limit else ()
        lowest = -found[-1][0] if len(found) == limit else -_ABOVE
        below = {name: below[name] for name in unseen} | {name: each for name, each in seen.items() if each > lowest}
    return found


class _Lanes:
    """The lanes that are known, and their jobs: of each as many as it takes, as to read all that are wanted is dear."""

    def __init__(self, store: Store, conn: Connection, limit: int) -> None:
        self._store = store
        self._conn = conn
        self._limit = limit
        self._second: dict[Candidate, Candidate | None] = {}
        self._read: dict[Candidate, list[Candidate]] = {}
        self._whole: set[Candidate] = set()  # of these no more is wanted

    def add(self, rows: Iterable[tuple[Any, ...]]) -> int:
        """Add those lanes of these rows of LANES that are due; returns how many."""
        before = len(self._second)
        for type_name, priority, due, chain_id, at, next_due, next_chain in rows:
            if due <= at:
                second = None if next_chain is None else (-priority, next_due, next_chain, type_name)
                self._second[-priority, due, chain_id, type_name] = second
        return len(self._second) - before

    def first(self) -> list[Candidate]:
        """The first jobs of all lanes."""
        lanes = sorted(self._second)[: self._limit]  # the others' first jobs go after the first ones of these
        share = self._limit // max(len(lanes), 1) + 1
        for lane in lanes:
            second = self._second[lane]
            if second is None or (len(lanes) == self._limit and second > lanes[-1]):
                self._read[lane] = [lane]
                self._whole.add(lane)
            elif lane not in self._read:
                self._look(lane, share)
        found = self._sorted(lanes)
        more = [lane for lane in lanes if lane not in self._whole and self._read[lane][-1] <= found[-1]]
        for lane in more:
            self._look(lane, self._limit)
        return self._sorted(lanes) if more else found

    def _look(self, lane: Candidate, most: int) -> None:
        falling, _, _, type_name = lane
        parameters = {"type_name": type_name, "priority": -falling, "most": most}
        found = self._store.run(self._conn, CANDIDATES, parameters)
        self._read[lane] = [(falling, due, chain_id, type_name) for due, chain_id in found]
        if len(found) < most or most >= self._limit:
            self._whole.add(lane)

    def _sorted(self, lanes: list[Candidate]) -> list[Candidate]:
        return sorted(chain.from_iterable(self._read[lane] for lane in lanes))[: self._limit]
