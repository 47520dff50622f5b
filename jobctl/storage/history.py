"""What people did by hand, which outlives what they did it to."""

from __future__ import annotations

import base64
import json
from typing import Any

from sqlalchemy import Connection, bindparam, literal_column, select

from jobctl.errors import UsageError
from jobctl.storage.queries import ACTS
from jobctl.storage.tables import act

_DELETIONS = (
    select(act.c.actor)
    .where(act.c.chain_id == bindparam("chain_id"), act.c.action == literal_column("'delete'"))
    .order_by(act.c.id)
)

ORDERS = {True: "new", False: "old"}


def acts(
    conn: Connection, *, chain_id: str | None, newest_first: bool, limit: int, cursor: str | None
) -> tuple[list[tuple[Any, ...]], str | None]:
    """A page of acts, of one chain or all, and the cursor of the next."""
    statement = ACTS
    if chain_id is not None:
        statement = statement.where(act.c.chain_id == chain_id)
    if cursor is not None:
        place = _read_cursor(cursor, newest_first=newest_first)
        statement = statement.where(act.c.id < place if newest_first else act.c.id > place)
    order = act.c.id.desc() if newest_first else act.c.id
    found = conn.execute(statement.order_by(order).limit(literal_column(str(limit + 1))))
    rows = [tuple(row) for row in found]
    return rows[:limit], _cursor(rows[limit - 1][0], newest_first=newest_first) if len(rows) > limit else None


def deletions(conn: Connection, chain_id: str) -> list[str]:
    """Who deleted the chain, if somebody did."""
    return list(conn.scalars(_DELETIONS, {"chain_id": chain_id}))


def _cursor(place: int, *, newest_first: bool) -> str:
    text = json.dumps([ORDERS[newest_first], place])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(text: str, *, newest_first: bool) -> int:
    try:
        order, place = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        place = int(place)
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError("the cursor is not one that a history gave: leave it out to begin at the start") from error
    if order != ORDERS[newest_first]:
        raise UsageError("the cursor belongs to a history in the other order: use the same --order")
    return place
