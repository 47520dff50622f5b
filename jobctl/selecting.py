"""Which chains an act by hand is for: those that a list shows, and that match still when their turn comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection

from jobctl.asking import ListFilter
from jobctl.ids import unique_ids
from jobctl.storage import reading
from jobctl.storage.store import Store

WALKED_AT_ONCE = 5000
"""How many ids a statement of a walk reads."""


def walk(store: Store, conn: Connection | None, wanted: ListFilter, limit: int | None) -> Iterator[str]:
    """The ids of the chains that match, in the order of a list; see ``Client.select``."""
    place: reading.Place | None = None
    left = limit
    while left is None or left > 0:
        page = WALKED_AT_ONCE if left is None else min(left, WALKED_AT_ONCE)
        with store.on(conn, read_only=True) as on:
            found = reading.walk_chains(on, wanted, place, page)
        for place in found:
            yield place[1]
        if len(found) < page:
            return
        left = None if left is None else left - page


def still(store: Store, conn: Connection, ids: Iterable[str], within: ListFilter | None) -> tuple[str, ...]:
    """Those of these chains that still match a filter, locked as far as they are open; without one, all as they are."""
    wanted = unique_ids(ids)
    if within is None or not wanted:
        return wanted
    store.lock(conn, wanted)
    matching = reading.chains_that(conn, wanted, within)
    return tuple(each for each in wanted if each in matching)
