"""Finding out why a chain's current job does not run."""

from __future__ import annotations

import difflib
from dataclasses import replace
from functools import cached_property
from typing import Any

from sqlalchemy import Connection

from jobctl.errors import NotFoundError
from jobctl.model import Status
from jobctl.reasons import MOST_NAMED, Reason, Why
from jobctl.reports import WorkerReport, WorkerState
from jobctl.storage import obstacles, queries, reading
from jobctl.storage.records import JobRow
from jobctl.workforce import holder, workers

MOST_WAITED_FOR = 100
"""How many chains that a job waits for are told of."""


def explain(conn: Connection, wanted: str) -> Why:
    """See ``Client.why``."""
    job = reading.jobs(conn, [wanted]).get(wanted)
    if job is None:
        return _deleted(conn, wanted)
    return _Explainer(conn).chain(job.chain_id, asked=wanted, deep=True)


def _deleted(conn: Connection, wanted: str) -> Why:
    act = obstacles.last_act(conn, wanted, ["delete"])
    if act is None:
        raise NotFoundError(f"there is no chain or job {wanted}", id=wanted)
    return Why(
        wanted,
        wanted,
        wanted,
        "",
        None,
        Reason.DELETED,
        obstacles.clock(conn),
        since=act.at,
        by=act.actor,
        by_hand=True,
        note=act.note,
    )


class _Explainer:
    """Explains chains on one connection; who works is read once."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    @cached_property
    def _workers(self) -> list[WorkerReport]:
        return workers(self._conn)

    def chain(self, chain_id: str, *, asked: str, deep: bool = False) -> Why:
        """Why a chain's current job does not run; with what its blockers wait for, if that is wanted."""
        found = self._conn.execute(queries.LAST_JOB, {"chain_id": chain_id}).one_or_none()
        if found is None:  # deleted just now
            raise NotFoundError(f"there is no chain or job {asked}", id=asked)
        row = JobRow(*found)
        place = obstacles.place(self._conn, chain_id)
        base = Why(
            asked,
            chain_id,
            row.id,
            row.type_name,
            Status(row.status),
            Reason.READY,
            place.now,
            attempt=row.attempt,
            error=row.last_error,
            workers=tuple(each.name for each in self._workers if each.takes(row.type_name)),
        )
        match base.status:
            case Status.BLOCKED:
                return self._blocked(base, deep=deep)
            case Status.SCHEDULED | Status.READY:
                return self._pending(base, row, place)
            case Status.RUNNING:
                return self._running(base, row, place)
            case Status.FAILED:
                since = obstacles.failed_at(self._conn, row.id)
                return replace(base, reason=Reason.FAILED, since=since, remedy=f"jobctl retry {chain_id}")
        return self._closed(base, row)

    def _blocked(self, base: Why, *, deep: bool) -> Why:
        waits_for = obstacles.open_blockers(self._conn, base.job_id, MOST_WAITED_FOR)
        explained = [self.chain(each, asked=each) for each in waits_for[:MOST_NAMED]] if deep else []
        hopeless = any(each.reason is Reason.CANCELLED for each in explained)
        return replace(
            base,
            reason=Reason.BLOCKED,
            waits_for=tuple(waits_for),
            blockers=tuple(explained),
            remedy=f"jobctl complete {base.chain_id} --force" if hopeless else None,
        )

    def _pending(self, base: Why, row: JobRow, place: obstacles.Place) -> Why:
        later = row.scheduled_at if base.status is Status.SCHEDULED else None
        if (paused := self._paused(base, place)) is not None:
            return replace(paused, until=later)
        if later is not None:
            remedy = f"jobctl trigger {base.chain_id}"
            return replace(base, reason=Reason.SCHEDULED, until=later, remedy=remedy)
        takers = [each for each in self._workers if each.takes(base.type_name)]
        if not takers:
            return self._nobody(base, row)
        busy = [each.busy_since for each in takers if each.busy_since is not None]
        if len(busy) == len(takers):
            return replace(base, reason=Reason.BUSY, since=max(busy))
        return replace(base, since=row.scheduled_at)

    def _paused(self, base: Why, place: obstacles.Place) -> Why | None:
        if place.paused_at is not None:
            act = obstacles.last_act(self._conn, base.chain_id, ["pause"])
            who: dict[str, Any] = {} if act is None else {"by": act.actor, "note": act.note}
            remedy = f"jobctl resume {base.chain_id}"
            return replace(
                base, reason=Reason.PAUSED, paused="chain", since=place.paused_at, by_hand=True, remedy=remedy, **who
            )
        for each in obstacles.pauses(self._conn, base.type_name):
            return replace(
                base,
                reason=Reason.PAUSED,
                paused="type" if each.type_name else "all",
                since=each.at,
                by=each.actor,
                by_hand=True,
                note=each.note,
                remedy=f"jobctl resume --type {each.type_name}" if each.type_name else "jobctl resume --all",
            )
        return None

    def _nobody(self, base: Why, row: JobRow) -> Why:
        alive = [each for each in self._workers if each.state is WorkerState.ALIVE]
        known = sorted({name for each in alive for name in each.types})
        return replace(
            base,
            reason=Reason.NO_WORKER,
            since=row.scheduled_at,
            others=tuple(each.name for each in alive),
            similar=tuple(difflib.get_close_matches(base.type_name, known)),
        )

    def _running(self, base: Why, row: JobRow, place: obstacles.Place) -> Why:
        has = None if place.claimed_at is None else holder(self._workers, row.worker, place.claimed_at)
        lives = has is not None and has.state is not WorkerState.DEAD
        return replace(
            base,
            reason=Reason.RUNNING if lives else Reason.SILENT,
            since=place.claimed_at,
            until=row.leased_until,
            seen_at=None if has is None else has.seen_at,
            by=row.worker,
            others=tuple(each.name for each in self._workers if each.state is WorkerState.ALIVE),
        )

    def _closed(self, base: Why, row: JobRow) -> Why:
        by_hand = row.completed_by is None
        act = obstacles.last_act(self._conn, base.chain_id, ["complete", "cancel"]) if by_hand else None
        return replace(
            base,
            reason=Reason.CANCELLED if base.status is Status.CANCELLED else Reason.COMPLETED,
            since=row.completed_at,
            by=row.completed_by if act is None else act.actor,
            by_hand=by_hand,
            note=None if act is None else act.note,
            error=None,
            workers=(),
        )
