"""The calls that tell what people did by hand, and what is paused because of it.

Most programs never call them: what they need is imported when they are called.
"""

from __future__ import annotations

from sqlalchemy import Connection

from jobctl.asking import Page, check_limit
from jobctl.client.connected import Connected
from jobctl.errors import NotFoundError
from jobctl.ids import require_id
from jobctl.model import Act, Pause


class HistoryCalls(Connected):
    """Looking at acts and pauses."""

    def history(
        self,
        id: str | None = None,  # noqa: A002 - the field's name everywhere
        *,
        newest_first: bool = True,
        limit: int = 50,
        cursor: str | None = None,
        conn: Connection | None = None,
    ) -> Page[Act]:
        """A page of what was done by hand.

        Args:
            id: Only to this chain, which may be deleted, or to that of this job; None: to any, and to types.
            newest_first: The order, by time.
            limit: How many acts a page has, from 1 to 1000.
            cursor: Where the page before ended.
            conn: The caller's transaction.

        Raises:
            NotFoundError: There is no such chain or job, and nothing is known of one.
        """
        from jobctl.storage import history, reading
        from jobctl.storage.decoding import act_of

        check_limit(limit)
        wanted = None if id is None else require_id(id)
        with self._ready().on(conn, read_only=True) as on:
            job = None if wanted is None else reading.jobs(on, [wanted]).get(wanted)
            chain_id = wanted if job is None else job.chain_id
            rows, further = history.acts(on, chain_id=chain_id, newest_first=newest_first, limit=limit, cursor=cursor)
        if wanted is not None and job is None and not rows:
            raise NotFoundError(f"there is no chain or job {wanted}, and nothing is known of one", id=wanted)
        return Page(tuple(act_of(row) for row in rows), further)

    def pauses(self, *, limit: int = 50, cursor: str | None = None, conn: Connection | None = None) -> Page[Pause]:
        """A page of what is paused: on the first one all there are and types, by name; then chains, by id.

        Args:
            limit: How many chains a page has, from 1 to 1000.
            cursor: Where the page before ended.
            conn: The caller's transaction.
        """
        from jobctl.storage import pausing

        check_limit(limit)
        after = None if cursor is None else require_id(cursor)
        with self._ready().on(conn, read_only=True) as on:
            types = pausing.paused_types(on) if after is None else {}
            chains = list(pausing.all_paused_chains(on, after=after, limit=limit + 1).values())
        further = chains[limit - 1].name if len(chains) > limit else None
        return Page((*types.values(), *chains[:limit]), further)
