"""The calls that count: numbers by type and status, and what goes on.

Most programs never call them: what they need is imported when they are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection

from jobctl.client.connected import Connected
from jobctl.errors import UsageError
from jobctl.naming import type_name_of
from jobctl.processors import AnyProcessor

if TYPE_CHECKING:
    from jobctl.stats import Activity, Stats

MOST: Final = range(1, 1001)
MINUTES: Final = range(1, 61)


class CountingCalls(Connected):
    """Counting."""

    def stats(
        self,
        *,
        type_name: str | AnyProcessor | None = None,
        windows: Sequence[timedelta | str] | None = None,
        conn: Connection | None = None,
    ) -> Stats:
        """How many jobs are where, since when, and what was done lately, by type.

        Open jobs are counted one by one, by indexes. What was done is what workers counted, who write it every few
        seconds, and what was done by hand.

        Args:
            type_name: Only this type, or the processor.
            windows: How far to look back, a minute to two days each; longer than an hour means from a full hour on.
                None: five minutes, an hour and a day.
            conn: The caller's transaction.

        Raises:
            UsageError: A window is too short or too long.
        """
        from jobctl.stats import DEFAULT_WINDOWS, window_length
        from jobctl.storage import counting

        lengths = list(dict.fromkeys(window_length(each) for each in windows or DEFAULT_WINDOWS))
        name = None if type_name is None else type_name_of(type_name)
        with self._ready().on(conn, read_only=True) as on:
            return counting.stats(self.store, on, lengths, name)

    def activity(self, *, limit: int = 20, minutes: int = 60, conn: Connection | None = None) -> Activity:
        """What goes on: the workers, what they run, what failed last, and what was done in each of the last minutes.

        Args:
            limit: So many running jobs and failed attempts at the most, 1 to 1000.
            minutes: So many minutes, 1 to 60.
            conn: The caller's transaction.

        Raises:
            UsageError: A number is out of range.
        """
        from jobctl.storage import counting

        for name, value, allowed in (("limit", limit, MOST), ("minutes", minutes, MINUTES)):
            if value not in allowed:
                raise UsageError(f"{name}: {value} is out of range: {allowed.start} to {allowed.stop - 1}")
        with self._ready().on(conn, read_only=True) as on:
            return counting.activity(self.store, on, most=limit, minutes=minutes)
