"""The call that keeps who has seen what is sensitive.

Most programs never call it: what it needs is imported when it is called.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from jobctl.client.connected import Connected
from jobctl.ids import unique_ids


class RevealingCalls(Connected):
    """Leaving a trace before something sensitive is shown."""

    def reveal(
        self,
        chain_ids: Iterable[str],
        *,
        actor: str | None = None,
        note: str | None = None,
        conn: Connection | None = None,
    ) -> None:
        """Keep in the histories of chains that somebody is shown what is sensitive in them.

        Args:
            chain_ids: The chains; those that do not exist are passed over.
            actor: Who, for the history; user@host unless given.
            note: Why, for the history.
            conn: The caller's transaction.
        """
        from jobctl.acts import Hand
        from jobctl.storage import reading

        hand = Hand.of(actor, note)
        with self._writing(conn) as (store, on):
            found = reading.chains(on, unique_ids(chain_ids))
            store.record(
                on,
                [
                    hand.act("reveal", each.id, each.job_id, {"type": each.job_type, "status": each.status})
                    for each in found.values()
                ],
            )
