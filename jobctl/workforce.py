"""Who works: the registered workers, whether they live, and what they hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection

from jobctl.reports import MISSED_BEATS, HeldJob, WorkerReport, WorkerState
from jobctl.storage import presence
from jobctl.storage.presence import HeldRow, WorkerRow

Named = TypeVar("Named", WorkerRow, WorkerReport)


def workers(conn: Connection, *, with_jobs: bool = False) -> list[WorkerReport]:
    """The workers on the list, by name; with the jobs that they hold if those are wanted."""
    rows = presence.workers(conn)
    held = _by_worker(rows, presence.held(conn)) if with_jobs and rows else {}
    return [_report(row, held.get(row.id, ())) for row in rows]


def _report(row: WorkerRow, held: Iterable[HeldRow]) -> WorkerReport:
    return WorkerReport(
        id=row.id,
        name=row.name,
        host=row.host,
        pid=row.pid,
        version=row.version,
        types=tuple(json.loads(row.types)),
        concurrency=row.concurrency,
        running=row.running,
        state=_state(row),
        busy_since=row.busy_since,
        started_at=row.started_at,
        seen_at=row.seen_at,
        jobs=tuple(
            HeldJob(each.job_id, each.chain_id, each.type_name, each.claimed_at, each.leased_until) for each in held
        ),
    )


def _state(row: WorkerRow) -> WorkerState:
    if row.silent_seconds > MISSED_BEATS * row.beat_seconds:
        return WorkerState.DEAD
    return WorkerState.STOPPING if row.stopping else WorkerState.ALIVE


def _by_worker(workers: Sequence[WorkerRow], held: Iterable[HeldRow]) -> dict[str, list[HeldRow]]:
    """What each worker holds."""
    found: dict[str, list[HeldRow]] = {}
    for each in held:
        if (has := holder(workers, each.worker, each.claimed_at)) is not None:
            found.setdefault(has.id, []).append(each)
    return found


def holder(workers: Iterable[Named], name: str | None, claimed_at: datetime) -> Named | None:
    """The worker of this name that claimed something then: of several the last that had started."""
    named = sorted((each for each in workers if each.name == name), key=lambda each: each.started_at)
    # when the first of them started is known less exactly than when it claimed
    return next((each for each in reversed(named) if each.started_at <= claimed_at), named[0] if named else None)
