"""Counting jobs and what was done to them, without a look at the tables that have a row for each job there ever was."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, func, literal_column, select

from jobctl.model import Status
from jobctl.stats import (
    OPEN,
    Activity,
    Done,
    Failure,
    Minute,
    Running,
    Stats,
    TypeStats,
    Waiting,
    Window,
    Worked,
    Working,
)
from jobctl.storage.decoding import instant_of
from jobctl.storage.pausing import EVERYTHING, paused_types
from jobctl.storage.spelling import as_text, epoch, instant
from jobctl.storage.statements import BLOCKED, FAILED, PENDING, RUNNING
from jobctl.storage.store import Store
from jobctl.storage.tables import act, current, error, job, tally, worker
from jobctl.storage.tallying import COUNTED, EVER, Sum, clock

HOUR = timedelta(hours=1)

_is_later = current.c.scheduled_at > instant(bindparam("at"))

_PENDING = select(
    current.c.type_name,
    func.count(),
    epoch(func.min(current.c.scheduled_at)),
    func.count(case((_is_later, literal_column("1")))),
    epoch(func.min(case((_is_later, current.c.scheduled_at)))),
).group_by(current.c.type_name)
"""All of them, and those that are scheduled: as little as can be is done for each row."""

CLAIMABLE = _PENDING.where(current.c.status == PENDING, current.c.paused_at.is_(None))
"""The ready and the scheduled ones, by the index that claims go by, alone."""

PENDING_PAUSED = _PENDING.where(current.c.status == PENDING, current.c.paused_at.is_not(None))

PAUSED_CHAINS = (
    select(current.c.type_name, func.count()).where(current.c.paused_at.is_not(None)).group_by(current.c.type_name)
)

WAITING = (
    select(
        current.c.status,
        current.c.type_name,
        func.count(),
        epoch(func.min(current.c.scheduled_at)),
        epoch(func.min(current.c.claimed_at)),
    )
    .where(current.c.status.in_([BLOCKED, FAILED]))
    .group_by(current.c.status, current.c.type_name)
)
"""The blocked and the failed ones, by their index alone."""

RUNNING_BY_TYPE = (
    select(current.c.type_name, func.count(), epoch(func.min(current.c.claimed_at)))
    .where(current.c.status == RUNNING)
    .group_by(current.c.type_name)
)

TALLIES = select(
    epoch(tally.c.minute), tally.c.type_name, *(tally.c[name] for name in COUNTED), as_text(tally.c.durations)
)

_acted_on: Any = literal_column("jobctl_act.details ->> 'type'")
_inside: Any = literal_column("jobctl_act.details ->> 'worker'")

ACTS = (
    select(_acted_on, act.c.action, func.count())
    .where(act.c.at >= instant(bindparam("since")), _acted_on.is_not(None), _inside.is_(None))
    .group_by(_acted_on, act.c.action)
)
"""What a worker's command did to its own job is the worker's: its tally has it."""

_since = func.coalesce(current.c.claimed_at, current.c.scheduled_at)

RUNNING_NOW = (
    select(
        as_text(current.c.job_id),
        as_text(current.c.chain_id),
        current.c.type_name,
        current.c.attempt,
        current.c.worker,
        epoch(_since),
    )
    .where(current.c.status == RUNNING)
    .order_by(_since, current.c.chain_id)
    .limit(bindparam("most"))
)

FAILURES = (
    select(
        as_text(error.c.job_id),
        as_text(job.c.chain_id),
        job.c.type_name,
        error.c.attempt,
        error.c.worker,
        epoch(error.c.at),
        error.c.error,
    )
    .join_from(error, job, job.c.id == error.c.job_id)
    .order_by(error.c.id.desc())
    .limit(bindparam("most"))
)

WORKERS = select(
    worker.c.name,
    worker.c.host,
    worker.c.pid,
    worker.c.concurrency,
    worker.c.running,
    worker.c.stopping,
    epoch(worker.c.seen_at),
    worker.c.beat_seconds,
).order_by(worker.c.name, worker.c.id)

_of_minute = tally.c.minute >= instant(bindparam("since"))

MINUTES = (
    select(epoch(tally.c.minute), func.sum(tally.c.completed + tally.c.continued), func.sum(tally.c.errors))
    .where(_of_minute)
    .group_by(tally.c.minute)
)

_OF_TYPE: dict[Select[Any], Select[Any]] = {
    statement: statement.where(column == bindparam("type_name"))
    for statement, column in (
        (CLAIMABLE, current.c.type_name),
        (PENDING_PAUSED, current.c.type_name),
        (PAUSED_CHAINS, current.c.type_name),
        (WAITING, current.c.type_name),
        (RUNNING_BY_TYPE, current.c.type_name),
        (TALLIES, tally.c.type_name),
        (ACTS, _acted_on),
    )
}
"""The same, of one type."""


class _Reader:
    """Reads rows, of one type or of all."""

    def __init__(self, store: Store, conn: Connection, type_name: str | None = None) -> None:
        self._store = store
        self._conn = conn
        self._type_name = type_name

    def rows(self, statement: Select[Any], **parameters: Any) -> list[tuple[Any, ...]]:
        if self._type_name is not None:
            statement, parameters = _OF_TYPE[statement], {**parameters, "type_name": self._type_name}
        return self._store.run(self._conn, statement, parameters)


def stats(store: Store, conn: Connection, lengths: Sequence[timedelta], type_name: str | None) -> Stats:
    """What is counted, of one type or of all, in windows of these lengths."""
    reader = _Reader(store, conn, type_name)
    at = clock(store, conn)
    windows = tuple(_window(length, at) for length in lengths)
    paused = paused_types(conn)
    open_ = _open(reader, at)
    paused_chains = dict(reader.rows(PAUSED_CHAINS))
    worked = _worked(reader, windows)
    acts = [_acts(reader, window) for window in windows]
    names = sorted({*open_, *worked, *(name for each in acts for name in each)})
    types = tuple(
        TypeStats(
            type_name=name,
            paused=not paused.keys().isdisjoint({EVERYTHING, name}),
            paused_chains=paused_chains.get(name, 0),
            open={status: open_.get(name, {}).get(status, Waiting()) for status in OPEN},
            done=tuple(
                Done(window, _worked_since(worked.get(name, {}), window.since), by_hand.get(name, {}))
                for window, by_hand in zip(windows, acts, strict=True)
            ),
            ever=_worked_since(worked.get(name, {}), EVER),
        )
        for name in names
    )
    return Stats(at, windows, tuple(paused.values()), types)


def activity(store: Store, conn: Connection, *, most: int, minutes: int) -> Activity:
    """What goes on: so many jobs and failures at the most, and so many minutes."""
    at = clock(store, conn)
    running = store.run(conn, RUNNING_NOW, {"most": most})
    failures = store.run(conn, FAILURES, {"most": most})
    workers = store.run(conn, WORKERS, {})
    this_minute = at.replace(second=0, microsecond=0)
    shown = [this_minute - timedelta(minutes=ago) for ago in reversed(range(minutes))]
    counted = store.run(conn, MINUTES, {"since": shown[0].timestamp()})
    done = {instant_of(minute): (int(settled), int(errors)) for minute, settled, errors in counted}
    return Activity(
        at=at,
        workers=tuple(
            Working(name, host, pid, slots, used, bool(stopping), instant_of(seen_at), beat)
            for name, host, pid, slots, used, stopping, seen_at, beat in workers
        ),
        running=tuple(
            Running(job_id, chain_id, type_name, attempt, worker, instant_of(since))
            for job_id, chain_id, type_name, attempt, worker, since in running
        ),
        failures=tuple(
            Failure(job_id, chain_id, type_name, attempt, worker, instant_of(failed_at), text)
            for job_id, chain_id, type_name, attempt, worker, failed_at, text in failures
        ),
        minutes=tuple(Minute(each, *done.get(each, (0, 0))) for each in shown),
    )


def _window(length: timedelta, at: datetime) -> Window:
    since = (at - length).replace(second=0, microsecond=0)
    if length > HOUR:
        since = since.replace(minute=0)
    return Window(length, since, (at - since).total_seconds())


def _open(reader: _Reader, at: datetime) -> dict[str, dict[Status, Waiting]]:
    """The jobs that are not closed, by type and status."""
    found: dict[str, dict[Status, Waiting]] = defaultdict(dict)
    for statement in (CLAIMABLE, PENDING_PAUSED):
        for name, count, oldest, scheduled, first in reader.rows(statement, at=at.timestamp()):
            ready = count - scheduled
            _add(found[name], Status.READY, Waiting(ready, _instant_or_none(oldest) if ready else None))
            _add(found[name], Status.SCHEDULED, Waiting(scheduled, _instant_or_none(first)))
    for status, name, count, scheduled_at, claimed_at in reader.rows(WAITING):
        since = scheduled_at if status == Status.BLOCKED or claimed_at is None else claimed_at
        found[name][Status(status)] = Waiting(count, _instant_or_none(since))
    for name, count, claimed_at in reader.rows(RUNNING_BY_TYPE):
        found[name][Status.RUNNING] = Waiting(count, _instant_or_none(claimed_at))
    return found


def _instant_or_none(seconds: float | None) -> datetime | None:
    return None if seconds is None else instant_of(seconds)


def _add(types: dict[Status, Waiting], status: Status, more: Waiting) -> None:
    before = types.get(status, Waiting())
    instants = [each for each in (before.oldest_at, more.oldest_at) if each is not None]
    types[status] = Waiting(before.count + more.count, min(instants, default=None))


def _worked(reader: _Reader, windows: Iterable[Window]) -> dict[str, dict[datetime, Worked]]:
    """What workers did, by type, added up from the beginning of each window to that of the next shorter one."""
    edges = sorted({EVER, *(each.since for each in windows)})
    sums: dict[str, dict[datetime, Sum]] = defaultdict(lambda: defaultdict(Sum))
    stretches: dict[float, datetime] = {}  # by minute, in seconds
    for minute, name, *counts, durations in reader.rows(TALLIES):
        if minute not in stretches:
            stretches[minute] = edges[bisect_right(edges, instant_of(minute)) - 1]
        sums[name][stretches[minute]].add(counts, durations)
    return {name: {since: each.worked() for since, each in found.items()} for name, found in sums.items()}


def _worked_since(stretches: Mapping[datetime, Worked], since: datetime) -> Worked:
    return Worked.total([each for beginning, each in stretches.items() if beginning >= since])


def _acts(reader: _Reader, window: Window) -> dict[str, dict[str, int]]:
    """How many acts by hand, by type and action."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for name, action, count in reader.rows(ACTS, since=window.since.timestamp()):
        found[name][action] = count
    return found
