"""What workers did, kept by the minute: each writes rows of its own, and what is old is summed up in passing.

A row's minute is the beginning of what it counts: a minute, later the hour that it was in, at last the beginning of
time (EVER). So the sum of all rows only grows, a window of a day is read from few rows, and the table stays small.
"""

from __future__ import annotations

import json
import operator
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from jobctl.durations import Durations
from jobctl.stats import LONGEST_WINDOW, Worked
from jobctl.storage.decoding import instant_of
from jobctl.storage.spelling import as_json, as_text, epoch, instant, now, rows
from jobctl.storage.store import Store
from jobctl.storage.tables import tally

HOUR: Final = timedelta(hours=1)

EVER: Final = datetime.fromtimestamp(0, UTC)
"""The minute of the rows that count all that is older than any window."""

MINUTES_KEPT: Final = HOUR
"""How long the minutes of an hour are kept after its end."""

HOURS_KEPT: Final = LONGEST_WINDOW + HOUR

COUNTED: Final = ("completed", "continued", "rescheduled", "errors", "failed", "seconds")

_given = rows(
    "tallies",
    minute="number",
    worker_id="id",
    type_name="text",
    completed="big",
    continued="big",
    rescheduled="big",
    errors="big",
    failed="big",
    seconds="number",
    durations="text",
)
_columns = ("minute", "worker_id", "type_name", *COUNTED, "durations")
_values = select(
    instant(_given.c.minute),
    _given.c.worker_id,
    _given.c.type_name,
    *(_given.c[name] for name in COUNTED),
    as_json(_given.c.durations),
)

INSERT = insert(tally).from_select(_columns, _values)

_counts = (*COUNTED, "durations")
_postgresql = pg_insert(tally).from_select(_columns, _values)
_sqlite = sqlite_insert(tally).from_select(_columns, _values.where(_given.c.type_name.is_not(None)))
WRITE = {
    "postgresql": _postgresql.on_conflict_do_update(
        index_elements=tally.primary_key, set_={name: _postgresql.excluded[name] for name in _counts}
    ),
    "sqlite": _sqlite.on_conflict_do_update(
        index_elements=tally.primary_key, set_={name: _sqlite.excluded[name] for name in _counts}
    ),
}
"""The same on both; SQLite's grammar needs a WHERE between FROM and ON."""

CLOCK = select(epoch(now()))

_ended = tally.c.minute < instant(bindparam("until"))

OLD = (
    select(epoch(tally.c.minute), func.count() > func.count(tally.c.type_name.distinct()))
    .where(_ended)
    .group_by(tally.c.minute)
    .order_by(tally.c.minute)
)
"""The minutes before an instant of which there are rows, and whether a type has several."""

TAKE_OUT = (
    delete(tally)
    .where(tally.c.minute >= instant(bindparam("since")), _ended)
    .returning(tally.c.type_name, *(tally.c[name] for name in COUNTED), as_text(tally.c.durations))
)


def clock(store: Store, conn: Connection) -> datetime:
    """The database's time."""
    ((value,),) = store.run(conn, CLOCK, {})
    return instant_of(value)


def write(store: Store, conn: Connection, worker_id: str, minutes: Mapping[datetime, Mapping[str, Worked]]) -> None:
    """Write all that a worker has counted in these minutes, by type, over what it wrote of them before."""
    made = [
        _row(minute, worker_id, type_name, worked)
        for minute, types in minutes.items()
        for type_name, worked in types.items()
    ]
    store.run(conn, WRITE[store.dialect], {"tallies": json.dumps(made)})


def sum_up(store: Store, worker_id: str) -> None:
    """Sum up what is old, of all workers, into rows of this one's own, in a short transaction for each hour."""
    with store.transaction(read_only=True) as conn:
        at = clock(store, conn)
        minutes_end, hours_end = _hour(at - MINUTES_KEPT), at - HOURS_KEPT
        found = [
            (instant_of(minute), several)
            for minute, several in store.run(conn, OLD, {"until": minutes_end.timestamp()})
        ]
    spans = {hour: hour + HOUR for minute, several in found if (hour := _hour(minute)) != minute or several}
    if any(EVER < minute < hours_end for minute, _ in found):
        spans[EVER] = hours_end
    for into, until in spans.items():
        with store.transaction() as conn:
            sum_up_span(store, conn, worker_id, into, until)


def sum_up_span(store: Store, conn: Connection, worker_id: str, into: datetime, until: datetime) -> None:
    """Sum up the rows of a stretch of time into rows at its beginning.

    Whoever does the same at the same moment waits for the rows that are taken out, and then finds them gone.
    """
    sums: dict[str, Sum] = defaultdict(Sum)
    for name, *counts, durations in store.run(conn, TAKE_OUT, {"since": into.timestamp(), "until": until.timestamp()}):
        sums[name].add(counts, durations)
    made = [_row(into, worker_id, name, each.worked()) for name, each in sums.items()]
    store.run(conn, INSERT, {"tallies": json.dumps(made)})


class Sum:
    """Rows added up: there may be many thousands, so nothing is made for each of them."""

    __slots__ = ("_counts", "_durations")

    def __init__(self) -> None:
        self._counts = [0] * len(COUNTED)
        self._durations: dict[str, int] = {}

    def add(self, counts: Sequence[Any], durations: str) -> None:
        """Add the columns COUNTED, and durations."""
        self._counts = list(map(operator.add, self._counts, counts))
        found = self._durations
        for bound, count in json.loads(durations).items():
            found[bound] = found.get(bound, 0) + count

    def worked(self) -> Worked:
        """As a value."""
        counts: dict[str, Any] = dict(zip(COUNTED, self._counts, strict=True))
        return Worked(**counts, durations=Durations.of_milliseconds(self._durations))


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _row(minute: datetime, worker_id: str, type_name: str, worked: Worked) -> dict[str, Any]:
    return {
        "minute": minute.timestamp(),
        "worker_id": worker_id,
        "type_name": type_name,
        **{name: getattr(worked, name) for name in COUNTED},
        "seconds": round(worked.seconds, 6),
        "durations": worked.durations.encode(),
    }
