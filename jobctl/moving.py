"""Moving jobs in time by hand, all or none: scheduled and ready ones, and failed ones back to be tried again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection, Executable

from jobctl.acts import Hand, changed
from jobctl.asking import check_priority
from jobctl.errors import NotFailedError, NotWaitingError, UsageError
from jobctl.locking import lock_named
from jobctl.model import Job, Schedule, Status
from jobctl.storage import editing, reading
from jobctl.storage.decoding import job_of
from jobctl.storage.parameters import JsonRow, schedule_row
from jobctl.storage.records import WORK, JobRow
from jobctl.storage.store import Store

AHEAD_SECONDS = 0.001
"""By how much a triggered job is due before the next, so that they are claimed in the order given."""

MOVABLE = {Status.SCHEDULED, Status.READY}

Move = Callable[[list[JobRow]], None]
Check = Callable[[JobRow], None]


def trigger(store: Store, conn: Connection, ids: Iterable[str], hand: Hand) -> list[Job[Any]]:
    """Have jobs be due now; see ``Client.trigger``."""
    return _move(store, conn, ids, "trigger", hand, _set_due(store, conn, editing.TRIGGER), check=_refuse_unmovable)


def reschedule(
    store: Store, conn: Connection, ids: Iterable[str], schedule: Schedule | None, priority: int | None, hand: Hand
) -> list[Job[Any]]:
    """Give jobs another time, another priority, or both; see ``Client.reschedule``."""
    if schedule is None and priority is None:
        raise UsageError("say to what: a delay (after), a time (at) or a priority")
    values: JsonRow = {"priority": None if priority is None else check_priority(priority)}
    values |= {} if schedule is None else schedule_row(schedule)

    def move(rows: list[JobRow]) -> None:
        moved = [{"chain_id": row.chain_id, **values} for row in rows]
        store.run(conn, editing.RESCHEDULE, {"moved": json.dumps(moved)})

    return _move(store, conn, ids, "reschedule", hand, move, check=_refuse_unmovable)


def retry(store: Store, conn: Connection, ids: Iterable[str], hand: Hand) -> list[Job[Any]]:
    """Give failed jobs another round of attempts; see ``Client.retry``."""
    return _move(store, conn, ids, "retry", hand, _set_due(store, conn, editing.RETRY), check=_refuse_unfailed)


def _set_due(store: Store, conn: Connection, statement: Executable) -> Move:
    """Have jobs be due now, in the order given."""

    def move(rows: list[JobRow]) -> None:
        due = [{"chain_id": row.chain_id, "ahead": AHEAD_SECONDS * (len(rows) - at)} for at, row in enumerate(rows, 1)]
        store.run(conn, statement, {"due_now": json.dumps(due)})

    return move


def _move(
    store: Store, conn: Connection, ids: Iterable[str], action: str, hand: Hand, move: Move, *, check: Check
) -> list[Job[Any]]:
    before = lock_named(store, conn, ids)
    for row in before:
        check(row)
    if not before:
        return []
    move(before)
    after = reading.jobs(conn, [row.id for row in before])
    moved = [(row, after[row.id]) for row in before]
    store.record(conn, [hand.act(action, was.chain_id, was.id, changed(was, now)) for was, now in moved])
    store.notify(conn, {WORK: {row.type_name for row in before}})
    waits = reading.blocker_ids(conn, before)
    return [job_of(now, waits) for _, now in moved]


def _refuse_unmovable(row: JobRow) -> None:
    if row.status not in MOVABLE:
        raise NotWaitingError(
            f"the job {row.id} of '{row.type_name}' is {row.status}: only scheduled and ready jobs can be moved",
            id=row.id,
            status=row.status,
        )


def _refuse_unfailed(row: JobRow) -> None:
    if row.status != Status.FAILED:
        raise NotFailedError(
            f"the job {row.id} of '{row.type_name}' is {row.status}: only failed jobs can be retried",
            id=row.id,
            status=row.status,
        )
