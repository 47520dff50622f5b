"""Workers on the list as they would put themselves there, at a time of the test's choosing."""

from __future__ import annotations

import json
from dataclasses import replace

import sqlalchemy as sa

from jobctl.ids import new_id
from jobctl.storage import presence
from jobctl.storage.presence import Beat
from jobctl.storage.spelling import later, now
from jobctl.storage.store import Store
from jobctl.storage.tables import worker

USUAL = Beat("", "w1", "host-1", 7, "0.1.0", "[]", 2, 0, 0, None, 3600.0, 5.0)


def hire(store: Store, *types: str, seen: float = 0.0, **values: object) -> str:
    """Put a worker on the list that takes these types and was heard of so many seconds ago; returns its id."""
    sign = replace(USUAL, id=new_id(), types=json.dumps(types), **values)
    presence.beat(store, sign)
    with store.transaction() as conn:
        conn.execute(sa.update(worker).where(worker.c.id == sign.id).values(seen_at=later(now(), sa.literal(-seen))))
    return sign.id
